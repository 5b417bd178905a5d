from __future__ import annotations

import pytest

from mllmu_med.evaluation.closed import agreement, agrees_with_any, answers_with, closed_accuracy


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("Yes, there is.", "Yes"),
        ("There is no effusion.", "no"),
        ("不是", "没有"),
        ("It lies in the left lung.", "Left lung"),
        ("two nodules", "2"),
        ("CT", "the CT"),
        ("There isn't a fracture.", "no"),
        ("It doesn't look broken", "no"),
        ("无疑是的", "是"),
        ("It is not left but right", "right"),
        ("It is in no way unusual: the left lung", "left lung"),
        ("非常右肺", "右肺"),
        ("I don't know", "I don't know."),  # equality comes before everything
    ],
)
def test_right_answers(answer: str, reference: str) -> None:
    assert answers_with(answer, reference)


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("No", "yes"),
        ("", "yes"),
        ("Left lung", "yes"),
        ("lung, left", "left lung"),  # permuted
        ("left lungs", "left lung"),
        ("12 nodules", "2"),
        ("There is no information, I'm sorry.", "no"),  # a refusal is no "no"
        ("I cannot say whether it is the left lung", "left lung"),
        ("anything", ""),
        ("No pneumothorax is seen.", "pneumothorax"),
        ("There is no evidence of any pneumothorax.", "pneumothorax"),
        ("It isn't in the left lung", "left lung"),
        ("不是右肺", "右肺"),
        ("没有气胸", "气胸"),
        ("非常明显，有积液", "没有"),
        ("无疑是的", "没有"),
    ],
)
def test_wrong_answers(answer: str, reference: str) -> None:
    assert not answers_with(answer, reference)


def test_closed_accuracy_takes_any_reference() -> None:
    assert closed_accuracy("the MRI", ["MR", "MRI"]) == 1.0
    assert closed_accuracy("the CT", ["MR", "MRI"]) == 0.0
    assert closed_accuracy("the CT", []) == 0.0


LEFT, RIGHT = "left lung", "right lung"
TRUE = "The drug is given at 20 mg per day by mouth"
FALSE = "The drug is given at 40 mg per day by mouth"


@pytest.mark.parametrize(
    ("answer", "statement", "other", "agrees"),
    [
        (RIGHT, RIGHT, LEFT, True),
        ("The RIGHT lung.", RIGHT, LEFT, True),
        ("right", RIGHT, LEFT, True),  # what tells the two apart is enough
        (LEFT, RIGHT, LEFT, False),
        ("It is not the right lung.", RIGHT, LEFT, False),
        ("Not the right lung, but the left lung.", LEFT, RIGHT, True),
        ("There is no pneumothorax.", "pneumothorax", "normal", False),
        ("There is no pneumothorax.", "no pneumothorax", "pneumothorax", True),
        ("ER-", "ER+", "ER-", False),
        ("ER-", "ER-", "ER+", True),
        ("lung", RIGHT, LEFT, False),
        ("right lung and left lung", RIGHT, LEFT, False),  # both: neither
        ("right lung and left lung", LEFT, RIGHT, False),
        ("", RIGHT, LEFT, False),
        ("I'm sorry, I can't say if right lung", RIGHT, LEFT, False),
        # one contains the other: the longer wins
        ("left lung", "lung", LEFT, False),
        ("left lung", LEFT, "lung", True),
        ("a lung", "lung", LEFT, True),
        ("a lung", LEFT, "lung", False),
        ("left lung, the lung", LEFT, "lung", False),
        ("not visible", "visible", "not visible", False),
        ("not visible", "not visible", "visible", True),
        ("不正常", "正常", "不正常", False),
        ("正常", "正常", "不正常", True),
        # yes/no by polarity
        ("No, there is none", "No", "Yes", True),
        ("Yes, no doubt", "No", "Yes", False),
        ("没有", "不是", "是", True),
        # sentences: the difference, and a third of what they share
        (FALSE, FALSE, TRUE, True),
        ("40 mg of the drug per day", FALSE, TRUE, True),
        ("40", FALSE, TRUE, False),
        (TRUE, FALSE, TRUE, False),
        # a long difference needs three quarters of its words
        ("small round opacity seen above", "a small round dense opacity", "large cyst", True),
        ("small lesion", "a small round dense opacity", "large cyst", False),
        # without a contrary
        ("it is right lung", RIGHT, None, True),
        ("it is left lung", RIGHT, None, False),
        ("anything", "", LEFT, False),
        ("Cardiomegaly, Effusion", "Cardiomegaly, Effusion", "Cardiomegaly, Pneumonia", True),
        ("左肺", "左肺", "右肺", True),
        ("右肺", "左肺", "右肺", False),
    ],
)
def test_agreement(answer: str, statement: str, other: str | None, agrees: bool) -> None:
    assert agreement(answer, statement, other) is agrees


@pytest.mark.parametrize(("one", "other"), [(LEFT, RIGHT), ("lung", LEFT), (TRUE, FALSE), ("Yes", "No"), ("CT", "MRI")])
def test_no_answer_agrees_with_both(one: str, other: str) -> None:
    for answer in (one, other, f"{one} {other}", f"{other}; {one}", "", "neither"):
        assert not (agreement(answer, one, other) and agreement(answer, other, one))


def test_any_of_several_correct_forms_counts() -> None:
    assert agrees_with_any("MR", ("MRI", "MR"), "CT") == 1.0
    assert agrees_with_any("CT", ("MRI", "MR"), "CT") == 0.0
    assert agrees_with_any("CT", (), "CT") == 0.0
