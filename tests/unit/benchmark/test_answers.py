from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mllmu_med.benchmark.answers import (
    contradicts,
    fits_choice,
    flipped,
    is_yes_no_question,
    items,
    normalise,
    number,
    opposite_size,
    other_side,
    same_word,
    severity,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" The  Left Lung. ", "left lung"),
        ("ＣＴ", "ct"),
        ("“yes”", "“yes”"),
        ("是的。", "是的"),
        ("A nodule!", "nodule"),
    ],
)
def test_normalise(text: str, expected: str) -> None:
    assert normalise(text) == expected


@pytest.mark.parametrize(
    ("answer", "language", "expected"),
    [
        ("yes", "en", "no"), ("No", "en", "Yes"), ("YES.", "en", "NO"), ("present", "en", "absent"),
        ("Absent", "en", "Present"), ("Normal", "en", "Abnormal"), ("包含", "zh", "不包含"), ("不包含", "zh", "包含"),
        ("没有", "zh", "有"), ("无", "zh", "有"), ("不是", "zh", "是的"), ("是的", "zh", "不是"),
        ("不可以", "zh", "可以"),
        ("异常", "zh", "正常"), ("不存在", "zh", "存在"), ("lung", "en", None), ("肺", "zh", None), ("yes", "de", "no"),
    ],
)  # fmt: skip
def test_a_yes_or_no_is_flipped_in_its_own_form(answer: str, language: str, expected: str | None) -> None:
    assert flipped(answer, language) == expected


@pytest.mark.parametrize(
    ("answer", "language", "expected"),
    [
        ("Lower Left Lung", "en", "Lower Right Lung"), ("RIGHT", "en", "LEFT"), ("left-sided", "en", "right-sided"),
        ("Right Lung, Left", "en", None), ("bright area", "en", None), ("cleft", "en", None), ("Center", "en", None),
        ("左下肺", "zh", "右下肺"), ("右侧", "zh", "左侧"), ("左肺, 右侧", "zh", None),
    ],
)  # fmt: skip
def test_a_side_is_exchanged_only_where_exactly_one_is_named(answer: str, language: str, expected: str | None) -> None:
    assert other_side(answer, language) == expected


@given(st.text(alphabet="abc LeftRigh,-", max_size=30))
def test_exchanging_the_side_twice_gives_the_answer_back(answer: str) -> None:
    other = other_side(answer, "en")
    if other is not None:
        back = other_side(other, "en")
        assert back is not None
        assert back.lower() == answer.lower()
        assert contradicts(other, answer)


@given(st.text(max_size=40))
def test_no_answer_contradicts_itself(answer: str) -> None:
    assert not contradicts(answer, answer)


@pytest.mark.parametrize(
    ("wrong", "right", "expected"),
    [
        ("Right Lung", "Left Lung", True),
        ("Lung", "Left Lung", False),  # less exact, not false
        ("Left Lung", "Lung", False),
        ("Heart, Liver", "Lung, Heart", False),  # half right
        ("Spleen", "Lung, Heart", True),
        ("Brian Edema", "Brain Edema", False),  # a misspelling
        ("MR", "MRI", False),
        ("核磁共振", "MRI", False),
        ("X光", "CT", True),
        ("右肺", "肺", False),
        ("脾脏", "肺", True),
        ("没有", "有", True),
        ("not visible", "visible", True),
        ("2", "two", False),
        ("", "two", False),
        ("hyperdense", "hypodense", True),
    ],
)
def test_contradiction(wrong: str, right: str, expected: bool) -> None:
    assert contradicts(wrong, right) is expected


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("brain", "brian", True), ("kidnyes", "kidneys", True), ("lung", "lungs", True), ("tumor", "tumour", True),
        ("liver", "lover", True), ("ct", "mt", False), ("t1", "t2", False), ("left", "right", False),
        ("hypodense", "hyperdense", False), ("brain", "brain", True), ("abcd", "dcba", False), ("1234", "1235", False),
    ],
)  # fmt: skip
def test_words_one_slip_apart(one: str, other: str, expected: bool) -> None:
    assert same_word(one, other) is same_word(other, one) is expected


@pytest.mark.parametrize(
    ("question", "right", "wrong", "expected"),
    [
        ("Which is bigger, liver or spleen?", "Liver", "Spleen", True),
        ("Which is bigger, liver or spleen?", "Liver", "Colon", False),
        ("What is the largest organ?", "Liver", "Colon", True),
        ("肝脏和脾脏哪个更大?", "肝脏", "心脏", False),
        ("肝脏还是脾脏更大?", "肝脏", "脾脏", True),
    ],
)
def test_a_wrong_answer_keeps_to_the_choice_that_a_question_offers(
    question: str, right: str, wrong: str, expected: bool
) -> None:
    assert fits_choice(question, right, wrong) is expected


@pytest.mark.parametrize(
    ("question", "expected"),
    [("Is there a mass?", True), ("Which organ is shown?", False), ("图中有肺吗?", True), ("图中是什么器官?", False)],
)
def test_yes_no_questions(question: str, expected: bool) -> None:
    assert is_yes_no_question(question) is expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("2", 2), ("Two", 2), ("none", 0), ("两个", 2), ("三", 3), ("many", None), ("1.5", None), ("-1", None)],
)
def test_number(answer: str, expected: int | None) -> None:
    assert number(answer) == expected


def test_items_are_compared_by_meaning() -> None:
    assert items("Lungs and Heart") == items("heart, lung")


def test_sizes_and_severity() -> None:
    assert opposite_size("Small", "en") == "Large"
    assert opposite_size("lung", "en") is None
    assert severity("laterality", "left", "right") == "high"
    assert severity("count", "2", "3") == "low"
    assert severity("count", "one", "three") == "medium"
    assert severity("modality", "CT", "MRI") == "medium"
