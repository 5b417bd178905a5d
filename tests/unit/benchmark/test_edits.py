from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mllmu_med.benchmark.answers import contradicts, normalise
from mllmu_med.benchmark.edits import AnswerPools, Edit, edit, error_types
from mllmu_med.sources.record import Record
from tests.unit.benchmark.fake_source import entry, record

ANSWERS = {
    "modality": ("CT", "MRI", "X-Ray"),
    "organ": ("Lung", "Liver", "Left Kidney", "Lung, Heart"),
    "finding": ("nodule", "pneumothorax", "cardiomegaly", "Lung"),
    "count": ("1", "2", "3", "one"),
    "size": ("small", "large", "Lung"),
    "laterality": ("left", "right"),
    "location": ("Chest", "Abdomen", "Upper Left"),
}


def pools(**more: str) -> AnswerPools:
    found = [
        entry(f"{kind}-{number}-{copy}", answer=answer, content_type=kind, question=f"{kind}?")
        for kind, answers in ANSWERS.items()
        for number, answer in enumerate(answers)
        for copy in range(3 if answer == "Lung" and kind == "organ" else 1)
    ]
    found += [entry(kind, answer=answer, content_type=kind, question="more?") for kind, answer in more.items()]
    return AnswerPools(found)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"answer": "yes", "question": "Is there a mass?", "content_type": "organ"}, ("presence",)),
        ({"answer": "No", "question": "What disease?", "answer_type": "open"}, ("finding",)),
        ({"answer": "Left Kidney", "content_type": "organ"}, ("laterality", "organ")),
        ({"answer": "left", "content_type": "laterality"}, ("laterality",)),
        ({"answer": "2", "content_type": "quantity"}, ("count",)),
        ({"answer": "2", "content_type": None}, ("count",)),
        ({"answer": "black", "content_type": "color"}, ()),
        ({"answer": "one large nodule on the left side of it", "content_type": "description"}, ()),
        ({"answer": "left lower lobe", "content_type": None}, ("laterality",)),
        ({"answer": "statin", "content_type": "drug", "image": None}, ("drug",)),
        ({"answer": "air", "content_type": "physiology", "image": None}, ("knowledge",)),
        ({"answer": "没有", "language": "zh", "question": "图中有肺吗?"}, ("presence",)),
    ],
)
def test_kinds_of_error_that_fit_a_record(changes: dict[str, object], expected: tuple[str, ...]) -> None:
    assert error_types(record(**changes)) == expected


@pytest.mark.parametrize(
    ("kind", "answer", "question", "expected"),
    [
        ("laterality", "Left", "Where?", {"Right"}),
        ("presence", "Yes", "Is it there?", {"No"}),
        ("modality", "CT", "modality?", {"MRI", "X-Ray"}),
        ("organ", "Liver", "organ?", {"Lung", "Left Kidney", "Lung, Heart"}),
        ("organ", "Lung", "organ?", {"Liver", "Left Kidney"}),  # "Lung, Heart" is half right
        ("finding", "nodule", "finding?", {"pneumothorax", "cardiomegaly"}),  # "Lung" is mostly an organ
        ("count", "2", "count?", {"1", "3"}),  # in digits, like the answer
        ("size", "large", "size?", {"small"}),
        ("location", "Chest", "location?", {"Abdomen", "Upper Left"}),
    ],
)
def test_every_kind_draws_a_plausible_answer_of_its_own_kind(
    kind: str, answer: str, question: str, expected: set[str]
) -> None:
    asked = record(answer=answer, question=question, content_type=kind, answer_type=None, modality=None)
    found = {edit(asked, kind, pools(), {normalise(answer)}, Random(seed)) for seed in range(60)}
    assert {made.wrong for made in found if made is not None} == expected
    assert {made.error_type for made in found if made is not None} == {kind}


def test_an_accepted_answer_is_never_wrong() -> None:
    asked = record(answer="CT", question="modality?", content_type="modality", modality=None)
    found = {edit(asked, "modality", pools(), {"ct", "mri"}, Random(seed)) for seed in range(30)}
    assert found == {Edit("modality", "X-Ray", "medium")}
    assert edit(asked, "modality", pools(), {"ct", "mri", "x-ray"}, Random(0)) is None


def test_a_wrong_modality_is_not_the_images_own_under_another_name() -> None:
    asked = record(answer="T1", question="Which weighting?", content_type="modality", modality="MRI")
    assert {getattr(edit(asked, "modality", pools(), {"t1"}, Random(s)), "wrong", None) for s in range(30)} == {
        "CT", "X-Ray",
    }  # fmt: skip


def test_the_same_question_in_the_same_modality_comes_first() -> None:
    near = [entry("a", answer="effusion", question="What is wrong with the lung?", modality="X-Ray")]
    far = [entry(str(n), answer="glioma", question="What is wrong with the brain?", modality="MRI") for n in range(9)]
    asked = record(answer="pneumothorax", question="What is wrong with the lung?", modality="X-Ray")
    both = AnswerPools([*near, *far])
    assert {both.draw(asked, "finding", {"pneumothorax"}, Random(seed)) for seed in range(20)} == {"effusion"}
    only_far = AnswerPools(far)
    assert only_far.draw(asked, "finding", {"pneumothorax"}, Random(0)) == "glioma"
    assert only_far.draw(asked, "finding", {"pneumothorax"}, Random(0), same_modality=True) is None


def test_options_bound_the_wrong_answer() -> None:
    asked = record(answer="nodule", options=("nodule", "mass", "cyst", "nodules"))
    asked_kinds = {getattr(edit(asked, "finding", pools(finding="cyst"), {"nodule"}, Random(s)), "wrong", None)
                   for s in range(30)}  # fmt: skip
    assert asked_kinds == {"cyst"}  # a mass is too close to a nodule, and "nodules" is the same
    sided = record(answer="left", options=("left", "both"), content_type="laterality")
    assert edit(sided, "laterality", pools(), {"left"}, Random(0)) is None


def test_no_finding_is_turned_into_its_absence() -> None:
    asked = record(answer="nodule", question="What is it?")
    common = [entry(str(number), answer="Normal", question="What is it?") for number in range(9)]
    assert AnswerPools(common).draw(asked, "finding", {"nodule"}, Random(0)) is None
    few = AnswerPools([*common, entry("x", answer="effusion", question="What is it?")])
    assert few.draw(asked, "finding", {"nodule"}, Random(0)) == "effusion"


def test_nothing_is_made_of_an_answer_that_names_nothing_or_of_another_kind() -> None:
    assert edit(record(answer="none"), "finding", pools(), {"none"}, Random(0)) is None
    assert edit(record(answer="nodule"), "laterality", pools(), {"nodule"}, Random(0)) is None


@given(
    answer=st.sampled_from([answer for answers in ANSWERS.values() for answer in answers] + ["yes", "No", "none"]),
    content_type=st.sampled_from([*ANSWERS, "color", None]),
    accepted=st.sets(st.sampled_from(["ct", "lung", "2", "left", "small", "no"]), max_size=4),
    seed=st.integers(0, 200),
)
def test_an_edit_is_never_right(answer: str, content_type: str | None, accepted: set[str], seed: int) -> None:
    asked: Record = record(answer=answer, content_type=content_type, question="Is it?", modality=None)
    for kind in error_types(asked):
        made = edit(asked, kind, pools(), {normalise(answer), *accepted}, Random(seed))
        if made is not None:
            assert normalise(made.wrong) not in {normalise(answer), *accepted}
            assert contradicts(made.wrong, answer)
            assert made.severity in ("low", "medium", "high")
