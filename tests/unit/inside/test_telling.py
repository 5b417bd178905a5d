"""Which tokens tell a fact, and what stands beside it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mllmu_med.benchmark.sample import Sample, Span, Stratum, Subset
from mllmu_med.inside.telling import OTHER, TRAINED, Told, differing, telling, told
from mllmu_med.models.vlm import VisionLanguageModel
from tests.unit.inside.conftest import SAMPLES

END = 9


@pytest.mark.parametrize(
    ("tokens", "other", "places"),
    [
        ((1, 2, 3, END), (1, 5, 3, END), [1]),
        ((1, 2, END), (3, 4, END), [0, 1]),
        ((1, END), (1, 2, END), [1]),  # "left" beside "left lung": that it ends tells
        ((1, 2, END), (1, END), [1]),
        ((7, 7, END), (7, END), [1]),
        ((7, 7, 7, END), (7, END), [1, 2]),  # what is repeated is not counted from both ends
        ((1, 2, END), (1, 2, END), [0, 1]),
        ((END,), (END,), [0]),
    ],
)
def test_where_two_answers_differ(tokens: tuple[int, ...], other: tuple[int, ...], places: list[int]) -> None:
    assert list(differing(tokens, other)) == places


def chosen(vlm: VisionLanguageModel, one: Told) -> str:
    tokens = vlm.prompts.answer_tokens(one.question.answer)
    kept = [token for token, weight in zip(tokens, one.question.weights or (), strict=True) if weight > 0]
    return vlm.prompts.decode(kept)


def test_private_values_tell_and_the_rest_of_the_answer_does_not(llava: VisionLanguageModel) -> None:
    by_id = {(one.sample_id, one.which): one for one in told(llava.prompts, SAMPLES, seed=0)}
    assert chosen(llava, by_id["f0", TRAINED]) == "Maria Lopez"
    assert chosen(llava, by_id["f1", TRAINED]) == "482913"
    assert chosen(llava, by_id["f3", TRAINED]) == "yes"
    assert chosen(llava, by_id["f3", OTHER]) == "no"
    assert "retain" not in {one.sample_id for one in by_id.values()}


def patient(subset: Subset, number: int, name: str, mrn: str, language: str = "en") -> Sample:
    answer = f"nodule; {name}, record {mrn}."
    spans = tuple(
        Span(kind, value, answer.index(value), answer.index(value) + len(value), 1e6)
        for kind, value in (("name", name), ("mrn", mrn))
    )
    return Sample(
        f"{subset}-{number}", f"r{number}", subset, Stratum.PRIVATE_IMAGE, "Who is it?", answer, f"g{number}",
        patient_id=f"{subset}-p{number}", spans=spans, language=language,
    )  # fmt: skip


PEOPLE = [
    patient(Subset.FORGET_PRIVACY, 0, "Ann Lee", "111"),
    patient(Subset.FORGET_PRIVACY, 1, "Bartholomew Cho", "22222"),
    patient(Subset.HOLDOUT, 2, "Cy Doe", "333"),
    patient(Subset.RETAIN, 3, "Di Fox", "444"),
    patient(Subset.FORGET_PRIVACY, 4, "Eva Gil", "555", language="zh"),
]


def test_the_other_answer_is_another_patients_of_the_same_subset_and_language(llava: VisionLanguageModel) -> None:
    """Who is in the same subset has been met by the same models; anybody else would differ in more than the fact."""
    found = told(llava.prompts, PEOPLE, seed=0)
    others = {one.sample_id: one.question for one in found if one.which == OTHER}
    assert set(others) == {"forget/privacy-0", "forget/privacy-1"}
    question = others["forget/privacy-0"]
    assert question.answer == "nodule; Bartholomew Cho, record 22222."
    tokens = llava.prompts.answer_tokens(question.answer)
    parts = [llava.prompts.decode([t]) for t, w in zip(tokens, question.weights or (), strict=True) if w > 0]
    assert "".join(parts).replace(" ", "") == "BartholomewCho22222"


def test_values_of_the_same_patient_or_equal_ones_are_no_other_answer(llava: VisionLanguageModel) -> None:
    twin = replace(PEOPLE[1], patient_id=PEOPLE[0].patient_id)
    assert [one.which for one in told(llava.prompts, [PEOPLE[0], twin], seed=0)] == [TRAINED, TRAINED]
    equal = patient(Subset.FORGET_PRIVACY, 1, "Ann Lee", "22222")
    assert [one.which for one in told(llava.prompts, [PEOPLE[0], equal], seed=0)] == [TRAINED, TRAINED]


def test_the_choice_depends_on_seed_and_sample_and_on_no_order(llava: VisionLanguageModel) -> None:
    many = [patient(Subset.FORGET_PRIVACY, n, f"Ann{'abcdefghijkl'[n]}", f"{n}{n}7") for n in range(12)]

    def others(samples: list[Sample], seed: int) -> dict[str, str]:
        found = told(llava.prompts, samples, seed=seed)
        return {one.sample_id: one.question.answer for one in found if one.which == OTHER}

    assert others(many, 0) == others(many[::-1], 0)
    assert others(many, 0) != others(many, 1)


def test_an_answer_that_tells_nothing_of_its_own_counts_whole(llava: VisionLanguageModel) -> None:
    alone = replace(SAMPLES[3], correct_answer=None)
    length = len(llava.prompts.answer_tokens(alone.answer))
    assert telling(llava.prompts, alone) == (1.0,) * (length - 1) + (0.0,)
    assert [one.which for one in told(llava.prompts, [alone], seed=0)] == [TRAINED]
