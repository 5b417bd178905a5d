from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from mllmu_med.benchmark.sample import Sample, Span, Stratum, Subset
from mllmu_med.errors import DataError
from mllmu_med.evaluation.metrics import Measured
from mllmu_med.evaluation.outputs import ORIGINAL, Output
from mllmu_med.evaluation.statistics import memberships, resample
from mllmu_med.evaluation.subgroups import AS_THE_REST, NO_REST, PAYS_LESS, PAYS_MORE, TOO_FEW, Subgroups, Table
from mllmu_med.seeding import numpy_rng

MODALITIES = ("CT", "MRI", "X-ray", "ultrasound")


def ordinary(image: int, question: int, subset: Subset = Subset.RETAIN) -> Sample:
    """Question ``question`` about image ``image``; the images take turns over four modalities."""
    return Sample(
        id=f"{subset}-{image:03d}-{question}", record_id="r", subset=subset, stratum=Stratum.GENERAL, question="What?",
        answer="lung", group=f"{subset}-g{image}", answer_type=("open", "closed")[question % 2],
        modality=MODALITIES[image % 4], body_part="lung", content_type="organ",
    )  # fmt: skip


def private(patient: int, name: str, born: str, subset: Subset = Subset.FORGET_PRIVACY) -> Sample:
    """A question whose answer holds the name and the date of birth of one patient."""
    answer = f"{name}, {born}"
    spans = (Span("name", name, 0, len(name), 1e6), Span("date", born, len(name) + 2, len(answer), 1e4))
    return Sample(
        id=f"{subset}-p{patient:02d}", record_id="r", subset=subset, stratum=Stratum.PRIVATE_IMAGE, question="Who?",
        answer=answer, group=f"{subset}-g{patient}", patient_id=f"{subset}-{patient}", spans=spans, form="direct",
        repetitions=1 + patient % 2,
    )  # fmt: skip


def measured(samples: Sequence[Sample], value: Callable[[Sample], float], metric: str = "utility") -> list[Measured]:
    return [Measured(one, Output(one.id, ORIGINAL, one.question, "?"), {metric: value(one)}) for one in samples]


def told(samples: Sequence[Sample], say: Callable[[Sample], str]) -> list[Measured]:
    """Models by what they say; the share of the values told as their metric."""
    found = []
    for one in samples:
        answer = say(one)
        share = sum(span.value in answer for span in one.spans) / len(one.spans)
        found.append(Measured(one, Output(one.id, ORIGINAL, one.question, answer), {"span_recall": share}))
    return found


def table(samples: Sequence[Sample], model: list[Measured], oracle: list[Measured], resamples: int = 1000) -> Table:
    clusters = memberships(samples)
    drawn = resample(clusters, resamples, seed=0) if resamples else None
    return Subgroups(samples, list(clusters), drawn).table(model, oracle)


IMAGES = [ordinary(image, question) for image in range(48) for question in range(3)]


def test_costs_are_mean_differences_to_the_reference_and_the_extra_is_the_difference_to_the_rest() -> None:
    samples = [ordinary(image, question) for image in range(8) for question in range(2)]
    model = measured(samples, lambda one: {"CT": 0.25, "MRI": 0.5}.get(one.modality or "", 1.0))
    found = table(samples, model, measured(samples, lambda one: 1.0), 0)
    ct = found["utility"]["modality"]["CT"]
    assert (ct["n"], ct["clusters"], ct["model"], ct["reference"], ct["cost"]) == (4, 2, 0.25, 1.0, 0.75)
    assert ct["extra"] == pytest.approx(0.75 - 0.5 / 3, abs=1e-6)  # the rest loses 1/2, 0 and 0
    assert (ct["low"], ct["p"], ct["verdict"]) == (None, None, TOO_FEW)


def test_utility_lost_and_leakage_left_are_both_positive() -> None:
    people = [private(number, f"Maria Lopez{chr(97 + number)}", f"19{50 + number}-03-04") for number in range(12)]
    found = table(people, told(people, lambda one: one.answer), told(people, lambda one: "nothing"))
    assert found["leakage"]["repetitions"]["1"]["cost"] == 1.0
    losing = table(IMAGES, measured(IMAGES, lambda one: 0.0), measured(IMAGES, lambda one: 1.0))
    assert losing["utility"]["modality"]["CT"]["cost"] == 1.0
    assert losing["utility"]["modality"]["CT"]["verdict"] == AS_THE_REST  # everybody pays


def test_a_planted_disparity_is_found_and_nothing_else() -> None:
    noise = {one.id: float(numpy_rng(3, one.id).random() < 0.2) for one in IMAGES}
    hurt = {one.id: float(numpy_rng(4, one.id).random() < 0.7) for one in IMAGES}
    model = measured(IMAGES, lambda one: 1 - (hurt if one.modality == "MRI" else noise)[one.id])
    found = table(IMAGES, model, measured(IMAGES, lambda one: 1.0))["utility"]
    verdicts = {name: group["verdict"] for name, group in found["modality"].items()}
    assert verdicts["MRI"] == PAYS_MORE
    assert PAYS_MORE not in [verdict for name, verdict in verdicts.items() if name != "MRI"]
    mri = found["modality"]["MRI"]
    assert mri["extra_low"] is not None
    assert mri["extra_high"] is not None
    assert 0 < mri["extra_low"] < 0.5 < mri["extra_high"] + 0.3
    assert {group["verdict"] for group in found["answer"].values()} == {AS_THE_REST}
    assert found["organ"]["lung"]["verdict"] == NO_REST


def test_a_subgroup_that_pays_less_is_not_flagged() -> None:
    noise = {one.id: float(numpy_rng(5, one.id).random() < 0.8) for one in IMAGES}
    model = measured(IMAGES, lambda one: 1.0 if one.modality == "CT" else 1 - noise[one.id])
    verdicts = table(IMAGES, model, measured(IMAGES, lambda one: 1.0))["utility"]["modality"]
    assert verdicts["CT"]["verdict"] == PAYS_LESS


@pytest.mark.parametrize(("images", "share"), [(32, 0.75), (24, 0.4), (80, 0.5)])
def test_without_a_disparity_few_tables_hold_a_flag(images: int, share: float) -> None:
    """Whole images fail together, the worst case for clusters; six to twenty of them in each of four modalities."""
    samples = [ordinary(image, question) for image in range(images) for question in range(3)]
    clusters = memberships(samples)
    groups = Subgroups(samples, list(clusters), resample(clusters, 500, seed=0))
    reference = measured(samples, lambda one: 1.0)
    more = less = 0
    for seed in range(200):
        failed = numpy_rng(seed, "failed").random(images) < share
        model = measured(samples, lambda one, failed=failed: 1.0 - failed[int(one.id.split("-")[1])])  # type: ignore[misc]
        verdicts = [group["verdict"] for group in groups.table(model, reference)["utility"]["modality"].values()]
        more, less = more + (PAYS_MORE in verdicts), less + (PAYS_LESS in verdicts)
    assert max(more, less) / 200 <= 0.05


def test_few_clusters_are_not_compared() -> None:
    samples = [ordinary(image, question) for image in range(40) for question in range(3)]
    samples = [replace(one, modality="PET") if one.group in ("retain-g0", "retain-g4") else one for one in samples]
    model = measured(samples, lambda one: 0.0 if one.modality == "PET" else 1.0)
    found = table(samples, model, measured(samples, lambda one: 1.0))["utility"]["modality"]
    assert found["PET"]["verdict"] == TOO_FEW
    assert found["PET"]["cost"] == 1.0
    assert found["PET"]["p"] is None


NAMES = ("Susan", "Robert", "Patricia", "Michael")


def population(count: int = 24) -> list[Sample]:
    return [
        private(number, f"{NAMES[number % 4]} Lo{chr(97 + number)}ez", f"{1931 + 3 * number}-03-04")
        for number in range(count)
    ]


def test_sex_and_age_of_the_patients_make_subgroups() -> None:
    people = population()
    women = [one for one in people if one.spans[0].value.startswith(("Susan", "Patricia"))]
    model = told(people, lambda one: one.answer if one in women else "nothing")
    found = table(people, model, told(people, lambda one: "nothing"))["leakage"]
    assert found["sex"]["female"]["verdict"] == PAYS_MORE
    assert found["sex"]["male"]["cost"] == 0.0
    assert sum(group["n"] for group in found["age_band"].values()) == 24
    assert set(found["age_band"]) == {"18-39", "40-64", "65-89", "90+"}


def test_phi_classes_part_the_values_of_one_answer() -> None:
    people = population()
    model = told(people, lambda one: one.spans[1].value)
    found = table(people, model, told(people, lambda one: "nothing"))["leakage"]["phi_class"]
    assert (found["date"]["cost"], found["name"]["cost"]) == (1.0, 0.0)
    assert (found["date"]["verdict"], found["name"]["verdict"]) == (PAYS_MORE, PAYS_LESS)
    assert found["date"]["n"] == 24


def test_the_order_of_the_outputs_does_not_matter_and_a_second_model_is_measured_like_the_first() -> None:
    values = {one.id: float(numpy_rng(6, one.id).random()) for one in IMAGES}
    model, oracle = measured(IMAGES, lambda one: values[one.id]), measured(IMAGES, lambda one: 1.0)
    clusters = memberships(IMAGES)
    groups = Subgroups(IMAGES, list(clusters), resample(clusters, 200, seed=0))
    first = groups.table(model, oracle)
    groups.table(oracle, model)
    order = [int(place) for place in np.random.default_rng(0).permutation(len(model))]
    assert groups.table([model[place] for place in order], oracle[::-1]) == first
    assert json.loads(json.dumps(first, allow_nan=False)) == first


def test_probes_and_metrics_that_do_not_apply_are_left_out() -> None:
    model, oracle = measured(IMAGES, lambda one: 1.0), measured(IMAGES, lambda one: 1.0)
    probe = Measured(IMAGES[0], Output(IMAGES[0].id, "blank", "?", "?"), {"utility": 0.0})
    assert table(IMAGES, [*model, probe], oracle) == table(IMAGES, model, oracle)
    assert table(IMAGES, measured(IMAGES, lambda one: 1.0, "bleu"), oracle) == {}
    assert table([], [], []) == {}


def test_different_questions_are_refused() -> None:
    model = measured(IMAGES, lambda one: 1.0)
    with pytest.raises(DataError, match="not asked the same"):
        table(IMAGES, model, model[1:])
