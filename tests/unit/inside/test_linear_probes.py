"""Linear probes: a planted direction is found, and gone with it; controls learn nothing; nothing leaks over a split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mllmu_med.benchmark.sample import Probe, Sample, Span, Stratum, Subset
from mllmu_med.inside.linear_probes import (
    ENOUGH,
    FORGOTTEN,
    KNOWN,
    Label,
    Outcome,
    classes_of,
    control_labels,
    fit_and_read,
    probe,
    probe_results,
    ridge,
)
from mllmu_med.inside.means import ClusterMeans
from mllmu_med.inside.probe_rows import ProbeQuestion, probe_layers, probe_questions
from mllmu_med.inside.states import token_states
from mllmu_med.models.vlm import VisionLanguageModel
from mllmu_med.seeding import numpy_rng
from tests.unit.inside.conftest import SAMPLES

SIZE = 24
CLASSES = 3


def world(strength: float, *, items: int = 60, wordings: int = 2, seed: int = 0) -> tuple[Any, Any]:
    """Known and forgotten rows whose states hold their class along planted directions of the given strength."""
    random = numpy_rng("planted", seed)
    directions = np.linalg.qr(random.standard_normal((SIZE, CLASSES)))[0].T

    def side(name: str) -> tuple[Any, list[Label]]:
        labels = [
            Label(f"{name}-{item}", item % CLASSES, f"{name}-{item}", "kind", f"{name}-{item}", f"{name}, wording {w}")
            for item in range(items)
            for w in range(wordings)
        ]
        own = np.repeat(random.standard_normal((items, SIZE)), wordings, 0)  # what is the item's own, in all wordings
        noise = 0.3 * random.standard_normal((items * wordings, SIZE))
        return own + noise + strength * directions[[label.token for label in labels]], labels

    return side("known"), side("forgotten")


def selectivity(outcomes: Sequence[Outcome], part: str) -> tuple[float, float]:
    """(accuracy, control accuracy)."""
    chosen = [one for one in outcomes if one.part == part]
    rows = sum(one.rows for one in chosen)
    return sum(one.hits for one in chosen) / rows, sum(one.control for one in chosen) / rows


@pytest.mark.parametrize("rows", [10, 200])
def test_both_ways_to_solve_the_ridge_give_what_the_formula_says(rows: int) -> None:
    """W = (XᵀX + λ n I)⁻¹ Xᵀ(Y − ȳ) on standardised features, whichever side of X is longer."""
    random = numpy_rng("ridge", rows)
    x, y, t = (random.standard_normal(shape) for shape in ((rows, 30), (rows, 4), (5, 30)))
    x, t = 3 * x + 1, 3 * t + 1
    mean, spread = x.mean(0), x.std(0)
    z = (x - mean) / spread
    weights = np.linalg.inv(z.T @ z + 0.1 * rows * np.eye(30)) @ z.T @ (y - y.mean(0))
    np.testing.assert_allclose(ridge(x, y, t), (t - mean) / spread @ weights + y.mean(0), rtol=1e-8)


def test_a_feature_that_never_varies_does_no_harm() -> None:
    features = np.ones((6, 2))
    features[:, 0] = [0, 1, 0, 1, 0, 1]
    outputs = ridge(features, features[:, :1], features)
    assert np.isfinite(outputs).all()
    assert (outputs[1] > outputs[0]).all()


def test_a_planted_direction_is_found_and_its_control_is_not() -> None:
    accuracy, control = selectivity(probe("value", 0, *world(6.0), seed=0), FORGOTTEN)
    assert accuracy > 0.95
    assert abs(control - 1 / CLASSES) < 0.1


def test_without_the_direction_nothing_is_found() -> None:
    for outcomes in (
        probe("value", 0, *world(0.0), seed=0),
        probe("value", 0, *world(6.0, seed=1)[:1], without(6.0), seed=0),
    ):
        accuracy, control = selectivity(outcomes, FORGOTTEN)
        assert abs(accuracy - 1 / CLASSES) < 0.12
        assert abs(accuracy - control) < 0.15


def without(strength: float) -> Any:
    """Forgotten rows from which the planted directions were projected out."""
    states, labels = world(strength, seed=1)[1]
    directions = np.linalg.qr(numpy_rng("planted", 1).standard_normal((SIZE, CLASSES)))[0]
    return states - states @ directions @ directions.T, labels


def test_what_is_known_is_read_across_items_and_wordings() -> None:
    accuracy, control = selectivity(probe("value", 0, *world(6.0), seed=0), KNOWN)
    assert accuracy > 0.9
    assert abs(control - 1 / CLASSES) < 0.15


def test_items_cannot_be_learnt_by_heart_over_the_split() -> None:
    """States hold nothing but whose they are: 120 rows of 24 numbers and up to 60 items, yet no accuracy."""
    accuracy, _ = selectivity(probe("value", 0, *world(0.0, wordings=4), seed=0), KNOWN)
    assert abs(accuracy - 1 / CLASSES) < 0.15


def test_wordings_that_are_read_are_not_trained_on() -> None:
    """Known rows asked in the forgotten rows' words hold the class upside down; they must not be trained on."""
    (states, labels), forgotten = world(6.0)
    turned = [replace(label, token=(label.token + 1) % CLASSES, wording=forgotten[1][0].wording) for label in labels]
    both = np.concatenate([states, states, states]), labels + turned + turned
    accuracy, _ = selectivity(probe("value", 0, both, forgotten, seed=0), FORGOTTEN)
    assert accuracy > 0.95
    assert probe("value", 0, (states, turned), forgotten, seed=0) == []


def test_control_labels_keep_classes_and_go_with_the_item() -> None:
    labels = [
        Label("s", token, f"{kind}{item}", kind, "g", f"w{wording}")
        for kind, tokens in (("a", (1, 1, 2, 3)), ("b", (7, 8)))
        for item, token in enumerate(tokens)
        for wording in range(2)
    ]
    draws = [control_labels(labels, seed=0, draw=draw) for draw in range(6)]
    assert len({tuple(draw) for draw in draws}) > 1
    assert control_labels(labels, seed=0, draw=0) == draws[0]
    for dealt in draws:
        assert dealt[::2] == dealt[1::2], "both wordings of an item get the same"
        assert Counter(dealt[:8]) == Counter({1: 4, 2: 2, 3: 2})
        assert set(dealt[8:]) == {7, 8}


def test_rare_classes_are_neither_trained_nor_read() -> None:
    labels = [Label("s", 5 if i < ENOUGH else 6, f"i{i}", "k", f"g{i}", f"w{i}") for i in range(2 * ENOUGH - 1)]
    assert classes_of(labels) == [5]
    assert classes_of([*labels, *labels]) == [5], "another wording is no other item"
    states = np.eye(len(labels))
    assert fit_and_read(states, labels, states, labels, seed=0) == [], "one class alone tells nothing"


def test_a_choice_between_two_answers() -> None:
    known, (states, labels) = world(6.0)
    between = [replace(label, against=(label.token + 1) % CLASSES) for label in labels]
    accuracy, control = selectivity(probe("fact", 0, known, (states, between), seed=0), FORGOTTEN)
    assert accuracy > 0.95
    assert abs(control - 0.5) < 0.12
    turned = [replace(one, token=one.against or 0, against=one.token) for one in between]
    assert selectivity(probe("fact", 0, known, (states, turned), seed=0), FORGOTTEN)[0] < 0.05
    unknown = [replace(one, against=99) for one in between]
    assert not [o for o in probe("fact", 0, known, (states, unknown), seed=0) if o.part == FORGOTTEN]


def test_results_beside_theta0_and_the_oracle() -> None:
    def model(hits: float, known: float = 9.0) -> list[Outcome]:
        forgotten = [Outcome("value", FORGOTTEN, layer, "f0", 10, hits if layer else 2.0, 2.0) for layer in (0, 1)]
        return [*forgotten, *(Outcome("value", KNOWN, layer, "f1", 10, known, 2.0) for layer in (0, 1))]

    means = ClusterMeans(SAMPLES, seed=0, bootstrap=0)
    found = probe_results(model(6.0), model(10.0), model(3.0), means)["value"]
    assert found["layer"] == 1
    first, second = found["layers"]
    assert (second["accuracy"]["value"], second["control"], second["rows"]) == (0.6, 0.2, 10)
    assert (second["selectivity"], second["known"], second["left"]) == pytest.approx((0.4, 0.7, 3 / 7))
    assert first["left"] is None, "where θ0 shows no more than the oracle, nothing can be left"
    assert probe_results(model(10.0), model(10.0), model(3.0), means)["value"]["layers"][1]["left"] == 1.0
    assert probe_results(model(2.0), model(10.0), model(3.0), means)["value"]["layers"][1]["left"] == 0.0
    assert probe_results(model(6.0)[::-1], model(10.0)[::-1], model(3.0), means)["value"] == found
    assert probe_results([], model(10.0), model(2.0), means) == {}


# --- what is asked


def person(subset: Subset, number: int) -> Sample:
    mrn = f"{number % 3}{number:03d}"
    held_out = tuple(Probe(f"paraphrase-{n}", f"Say it, wording {n}.") for n in range(3))
    probes = (Probe("blank", "MRN?", image="blank"), Probe("prefix-1", "Doctor asks: MRN?"), *held_out)
    return Sample(
        f"{subset}-{number}", f"r{number}", subset, Stratum.PRIVATE_IMAGE, "MRN?", mrn, f"g{number}",
        image_id=f"{subset}-{number}", patient_id=f"{subset}-{number}", form="direct", content_type="mrn",
        spans=(Span("mrn", mrn, 0, len(mrn), 1e6),), phrasings=("Tell the MRN.", "MRN now."),
        probes=probes if subset == Subset.FORGET_PRIVACY else (),
    )  # fmt: skip


PEOPLE = [person(subset, n) for subset in (Subset.RETAIN, Subset.FORGET_PRIVACY, Subset.HOLDOUT) for n in range(6)]


def test_known_patients_are_trained_on_and_forgotten_ones_read_in_held_out_words(llava: VisionLanguageModel) -> None:
    asked = probe_questions(llava.prompts, PEOPLE, seed=0)
    assert {(one.known, one.sample.subset) for one in asked} == {
        (True, Subset.RETAIN),
        (False, Subset.FORGET_PRIVACY),
    }
    known, read = ({one.question.question for one in asked if one.known is side} for side in (True, False))
    assert known == {"MRN?", "Tell the MRN."}
    assert read == {"Say it, wording 0.", "Say it, wording 1."}
    assert all(one.question.image == one.sample.image_id for one in asked)


def test_facts_that_begin_alike_are_not_asked(llava: VisionLanguageModel) -> None:
    facts = [replace(sample, probes=(Probe("paraphrase-1", "Again?"),)) for sample in SAMPLES[3:5]]
    same = replace(facts[0], id="same", answer="yes", correct_answer="yes, two")
    asked = probe_questions(llava.prompts, [*facts, same], seed=0)
    assert {one.sample.id for one in asked} == {"f3", "f4"}
    assert all(sum(one.question.weights or ()) == 1 for one in asked)


def test_rows_find_their_own_states(llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows, tokens and states stay together from the questions to the probe, for every task."""
    seen: dict[str, Any] = {}

    def note(task: str, layer: int, known: Any, forgotten: Any, *, seed: int) -> list[Outcome]:
        if layer == 0:
            seen[task] = [*zip(*known, strict=True), *zip(*forgotten, strict=True)]
        return []

    monkeypatch.setattr("mllmu_med.inside.probe_rows.probe", note)
    fact = replace(SAMPLES[3], probes=(Probe("paraphrase-1", "Again?"),), image_id="fact")
    general = replace(fact, id="g", subset=Subset.RETAIN, stratum=Stratum.GENERAL, image_id="general")
    asked = probe_questions(llava.prompts, [*PEOPLE, fact, general], seed=0)
    states = token_states(llava, [one.question for one in asked], 4)
    probe_layers(llava.prompts, asked, states, seed=0)

    def expected(one: ProbeQuestion) -> list[tuple[Any, int]]:
        alone = token_states(llava, [one.question], 1)
        return list(zip(alone.layers[0].double().numpy(), alone.target.tolist(), strict=True))

    private = [one for one in asked if one.private]
    by_task = {
        "value": [pair for one in private for pair in expected(one)],
        "first": [expected(one)[0] for one in private],
        "fact": [expected(one)[0] for one in asked if not one.private],
    }
    for task, pairs in by_task.items():
        assert len(seen[task]) == len(pairs)
        for (state, label), (own, token) in zip(seen[task], pairs, strict=True):
            assert label.token == token
            np.testing.assert_allclose(state, own, rtol=1e-3, atol=1e-4)
    (against,) = (label.against for _, label in seen["fact"] if label.sample_id == fact.id)
    assert against == llava.prompts.answer_tokens("no")[0]
