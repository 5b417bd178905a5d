"""UnLOK-VQA's figures by hand."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from typing import Any

import pytest

from mllmu_med.attacks import ATTACKS
from mllmu_med.attacks.interface import Attempt
from mllmu_med.attacks.unlok import BLACK_BOX, WHITE_BOX, unlok_figures
from mllmu_med.benchmark.sample import Probe, Sample, Span, Stratum, Subset
from mllmu_med.evaluation.outputs import ORIGINAL, Output

PROBES = (
    Probe("paraphrase-1", "who?"), Probe("paraphrase-2", "name?"), Probe("variant-1", "ask", image="variant-1"),
    Probe("blank", "ask", image="blank"), Probe("neighbour-question", "plane?", answer="axial"),
    Probe("neighbour-patient", "ask", image="other", image_id="i2", answer="Jo Roy"),
)  # fmt: skip


def patient(name: str) -> Sample:
    return Sample(
        name, "record", Subset.FORGET_PRIVACY, Stratum.PRIVATE_IMAGE, "ask", "Ann Lee", group=name, image_id="i1",
        spans=(Span("name", "Ann Lee", 0, 7, 1e6),), probes=PROBES,
    )  # fmt: skip


WRONG = Sample(
    "w", "record", Subset.FORGET_INCORRECTNESS, Stratum.WRONG_IMAGE, "organ?", "liver", group="w", image_id="i3",
    wrong_answer="liver", correct_answer="spleen",
)  # fmt: skip
TESTS = tuple(
    Sample(f"t{n}", "r", Subset.TEST, Stratum.GENERAL, "plane?", "axial", group=f"t{n}", clean_answer="axial")
    for n in range(4)
)
SAMPLES = {sample.id: sample for sample in (patient("a"), patient("b"), WRONG, *TESTS)}


def said(sample: str, probe: str, share: float | None, text: str = "") -> Output:
    """An output whose answer of two tokens has the probability ``share``."""
    logprobs = None if share is None else (math.log(share) if share else -math.inf,) * 2
    return Output(sample, probe, "ask", text, logprobs=logprobs)


BEFORE = [
    said("a", ORIGINAL, 0.8), said("b", ORIGINAL, 0.5),
    said("a", "paraphrase-1", 0.6), said("a", "paraphrase-2", 0.4), said("b", "paraphrase-1", 0.5),
    said("a", "variant-1", 0.5), said("a", "blank", 0.9),
    said("a", "neighbour-question", 0.9, "axial"), said("b", "neighbour-question", 0.3, "axial"),
    said("a", "neighbour-patient", 0.5, "Jo Roy"),
    *(said(f"t{n}", ORIGINAL, 0.5, "the axial plane" if n < 3 else "coronal") for n in range(4)),
]  # fmt: skip
AFTER = [
    said("a", ORIGINAL, 0.2), said("b", ORIGINAL, 0.6),
    said("a", "paraphrase-1", 0.3), said("a", "paraphrase-2", 0.0), said("b", "paraphrase-1", 0.5),
    said("a", "variant-1", 0.4), said("a", "blank", 0.0),
    said("a", "neighbour-question", 0.45, "axial"), said("b", "neighbour-question", 0.65, "sagittal"),
    said("a", "neighbour-patient", 0.5, "Jo Roy"),
    *(said(f"t{n}", ORIGINAL, 0.5, "axial" if n < 2 else "none") for n in range(4)),
]  # fmt: skip


def got(sample: str, attack: str, *texts: str, variant: str = "v", **more: Any) -> Attempt:
    return Attempt(attack, variant, sample, "ask", texts, **more)


def test_by_hand() -> None:
    attempts = [got("a", "image_question", "I do not know"), got("b", "image_question", "it is Ann Lee")]
    before = [
        got("a", "image_question", "no", variant="w"), got("a", "image_question", "Ann Lee"),
        got("b", "image_question", "Ann Lee"), got("w", "image_question", "liver"),
    ]  # fmt: skip
    found = unlok_figures(SAMPLES, AFTER, BEFORE, attempts, before)["privacy"]
    assert found["efficacy"] == pytest.approx((0.75 + 0) / 2)  # b rose: nothing erased, not less than nothing
    parts = found["generalisation"]
    assert parts["question"] == pytest.approx(((0.5 + 1) / 2 + 0) / 2)  # each sample counts once
    assert parts["image"] == pytest.approx(0.2)
    assert parts["multimodal"] == pytest.approx(0.5)
    assert parts["mean"] == pytest.approx((0.375 + 0.2 + 0.5) / 3, abs=1e-6)
    a, b = ((1 - 0.45 / 0.9) + 1) / 2, 1 - 0.35 / 0.7
    assert found["specificity"] == pytest.approx((a + b) / 2)
    three = found["efficacy"], parts["mean"], found["specificity"]
    assert found["composite"] == pytest.approx(3 / sum(1 / one for one in three), abs=1e-5)
    assert found["delta_accuracy"] == {"random": 0.25, "neighbourhood": 0.5, "image_neighbourhood": 0.0}
    assert found["attacks"]["image_question"] == {"model": 0.5, "original": 1.0}
    assert not {"efficacy", "composite", "delta_accuracy.random"} & set(found["missing"])


def test_each_attack_has_its_own_guesses() -> None:
    """The true answer is the third candidate."""
    attempts = [got("a", "head_projection", "x", "y", "Ann Lee", variant="all-layers")]
    for budgets, success in (
        ({}, 1.0),
        ({"head_projection": 3}, 1.0),
        ({"head_projection": 2}, 0.0),
        ({"other": 2}, 1.0),
    ):
        found = unlok_figures(SAMPLES, AFTER, BEFORE, attempts, attempts, budgets=budgets)["privacy"]["attacks"]
        assert found["head_projection"]["model"] == success, budgets


def test_what_image_and_question_bring_back_counts_within_the_attacks_own_guesses() -> None:
    attempts, before = [got("a", "image_question", "no", "Ann Lee")], [got("a", "image_question", "Ann Lee")]
    for budgets, erased in (({}, 0.0), ({"image_question": 2}, 0.0), ({"image_question": 1}, 1.0)):
        found = unlok_figures(SAMPLES, AFTER, BEFORE, attempts, before, budgets=budgets)["privacy"]
        assert found["generalisation"]["multimodal"] == erased, budgets


def test_the_original_model_has_erased_nothing_and_harmed_nothing() -> None:
    attempts = [got("a", "image_question", "Ann Lee")]
    found = unlok_figures(SAMPLES, BEFORE, BEFORE, attempts, attempts)["privacy"]
    assert found["efficacy"] == found["composite"] == 0.0
    assert set(found["generalisation"].values()) == {0.0}
    assert found["specificity"] == 1.0
    assert set(found["delta_accuracy"].values()) == {0.0}


def test_perfect_deletion() -> None:
    targets = (ORIGINAL, "paraphrase-1", "paraphrase-2", "variant-1", "blank")
    after = [
        replace(one, logprobs=(-math.inf,)) if one.sample_id in "ab" and one.probe in targets else one for one in BEFORE
    ]
    found = unlok_figures(SAMPLES, after, BEFORE)["privacy"]
    assert found["efficacy"] == found["specificity"] == found["composite"] == 1.0
    assert found["generalisation"] == {"question": 1.0, "image": 1.0, "multimodal": None, "mean": 1.0}


def test_what_was_never_known_is_left_out() -> None:
    before = [said("a", ORIGINAL, 0.019), said("b", ORIGINAL, 0.02)]
    after = [said("a", ORIGINAL, 0.0), said("b", ORIGINAL, 0.01)]
    assert unlok_figures(SAMPLES, after, before)["privacy"]["efficacy"] == pytest.approx(0.5)
    found = unlok_figures(SAMPLES, after[:1], before[:1])["privacy"]
    assert found["efficacy"] is None
    assert "0.02" in found["missing"]["efficacy"]


@pytest.mark.parametrize("nothing", [None, math.nan])
def test_outputs_without_likelihoods_are_missing_and_not_zero(nothing: float | None) -> None:
    logprobs = None if nothing is None else (nothing,)
    after = [replace(one, logprobs=logprobs) for one in AFTER]
    found = unlok_figures(SAMPLES, after, BEFORE)["privacy"]
    assert found["efficacy"] is found["specificity"] is found["composite"] is found["generalisation"]["mean"] is None
    assert found["delta_accuracy"]["random"] == 0.25  # answers are there
    assert {"efficacy", "specificity", "composite", "generalisation.mean"} <= set(found["missing"])


def test_nothing_at_all() -> None:
    for found in unlok_figures({}, [], []).values():
        values = [found["efficacy"], found["specificity"], found["composite"], *found["generalisation"].values()]
        values += [*found["delta_accuracy"].values()]
        values += [value for attack in found["attacks"].values() for value in attack.values()]
        assert values == [None] * len(values)
        assert len(found["missing"]) == 10 + len(BLACK_BOX) + len(WHITE_BOX)
        assert all(found["missing"].values())


def test_wrong_facts_are_judged_apart() -> None:
    before, after = [said("w", ORIGINAL, 0.5)], [said("w", ORIGINAL, 0.1)]
    attempts = [got("w", "paraphrase", "the spleen"), got("a", "paraphrase", "Ann Lee")]
    both = unlok_figures(SAMPLES, after, before, attempts, [got("w", "paraphrase", "liver")])
    assert both["incorrectness"]["efficacy"] == pytest.approx(0.8)
    assert both["incorrectness"]["attacks"]["paraphrase"] == {"model": 0.0, "original": 1.0}
    assert both["privacy"]["efficacy"] is None
    assert both["privacy"]["attacks"]["paraphrase"] == {"model": 1.0, "original": None}


def test_a_white_box_attack_has_its_guesses_over_all_layers_together() -> None:
    def of(first: float, everywhere: int, layer: int) -> list[Attempt]:
        return [
            got("a", "head_projection", variant="first-token", value=first),
            got("a", "head_projection", variant="all-layers", rank=everywhere),
            got("a", "head_projection", variant="layer-1", rank=layer),
            got("a", "head_projection", "Ann Lee", variant="tokens"),
        ]

    found = unlok_figures(SAMPLES, [], [], of(1 / 21, 21, 1), of(1 / 20, 20, 20))["privacy"]["attacks"]
    expected = {"model": 0.0, "original": 1.0, "first_token_model": 0.0, "first_token_original": 1.0}
    assert found["head_projection"] == expected
    for budget in range(1, 60):  # whatever 1 / place is as a binary number
        made = of(1 / budget, budget, 1)
        for most, success in ((budget, 1.0), (budget - 1, 0.0)):
            if most:
                figures = unlok_figures(SAMPLES, [], [], made, made, budgets=dict.fromkeys(WHITE_BOX, most))["privacy"][
                    "attacks"
                ]
                assert set(figures["head_projection"].values()) == {success}


def test_a_first_token_that_was_not_found_is_a_failure() -> None:
    missed = [got("a", "probability_delta", variant="first-token", value=0.0)]
    figures = unlok_figures(SAMPLES, [], [], missed)["privacy"]
    assert figures["attacks"]["probability_delta"]["first_token_model"] == 0.0
    assert figures["attacks"]["probability_delta"]["model"] is None


def test_order_does_not_matter_and_json_can_hold_it() -> None:
    attempts = [
        got("a", "image_question", "no"),
        got("b", "image_question", "Ann Lee"),
        got("a", "mia_loss", value=1.0),
    ]
    plain = unlok_figures(SAMPLES, AFTER, BEFORE, attempts, attempts)
    text = json.dumps(plain, allow_nan=False)
    for seed in range(3):
        shuffled = [list(one) for one in (AFTER, BEFORE, attempts)]
        for one in shuffled:
            random.Random(seed).shuffle(one)
        samples = dict(sorted(SAMPLES.items(), reverse=seed % 2 == 0))
        assert json.dumps(unlok_figures(samples, *shuffled, attempts), allow_nan=False) == text


def test_answers_are_compared_as_everywhere() -> None:
    """Composed and decomposed accents, case and full stops are the same answer."""
    before = [said("a", "neighbour-question", 0.5, "AXIAL."), said("t0", ORIGINAL, 0.5, "Axial")]
    after = [said("a", "neighbour-question", 0.5, "axial"), said("t0", ORIGINAL, 0.5, "\uff41xial")]
    found = unlok_figures(SAMPLES, after, before)["privacy"]
    assert found["delta_accuracy"]["neighbourhood"] == found["delta_accuracy"]["random"] == 0.0


def test_only_ordinary_test_questions_are_random() -> None:
    """Unseen images to which a wrong rule would generalise are no measure of damage."""
    unseen = replace(TESTS[0], id="u", stratum=Stratum.WRONG_UNSEEN)
    before = [said("t0", ORIGINAL, 0.5, "axial"), said("u", ORIGINAL, 0.5, "axial")]
    after = [said("t0", ORIGINAL, 0.5, "axial"), said("u", ORIGINAL, 0.5, "coronal")]
    assert unlok_figures({**SAMPLES, "u": unseen}, after, before)["privacy"]["delta_accuracy"]["random"] == 0.0


def test_a_composite_of_two_parts_is_none() -> None:
    names = (ORIGINAL, "paraphrase-1", "paraphrase-2", "variant-1")
    found = unlok_figures(SAMPLES, *([one for one in side if one.probe in names] for side in (AFTER, BEFORE)))
    assert found["privacy"]["efficacy"] is not None
    assert found["privacy"]["generalisation"]["mean"] is not None
    assert found["privacy"]["specificity"] is found["privacy"]["composite"] is None
    assert {"specificity", "composite"} <= set(found["privacy"]["missing"])


def test_its_attacks_are_registered() -> None:
    assert set(BLACK_BOX + WHITE_BOX) <= set(ATTACKS)
