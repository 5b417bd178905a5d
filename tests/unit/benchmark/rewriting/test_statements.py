"""Where a text states an answer, and where it denies it."""

from __future__ import annotations

import pytest

from mllmu_med.benchmark.rewriting.statements import (
    fold,
    occurrences,
    occurrences_by_meaning,
    other_side_named,
    phrase_of,
    plain,
    taken_back,
    unsaid,
)


def stated(answer: str, text: str, language: str = "en") -> list[bool]:
    """For every statement whether it is denied."""
    return [one.denied for one in occurrences(answer, plain(text), language)]


@pytest.mark.parametrize(
    ("answer", "text", "expected"),
    [
        ("nodule", "A Nodule.", [False]),
        ("nodule", "nodules", []),
        ("a nodule", "the nodule", [False]),
        ("ray", "X-ray", []),
        ("2", "2.5 or 12 or 1.2 or 2", [False]),
        ("T2", "T2-weighted", [False]),
        ("left", "leftmost", []),
        ("Left  Lung", "the left\u00a0lung", [False]),
        ("ＣＴ", "a CT scan", [False]),
        ("nodule", "no nodule", [True]),
        ("nodule", "no mass, effusion or nodule", [True]),
        ("nodule", "no mass. A nodule", [False]),
        ("nodule", "no mass, but a nodule", [False]),
        ("nodule", "no doubt a nodule", [False]),
        ("nodule", "not only a nodule", [False]),
        ("nodule", "a nodule, not a mass", [False]),
        ("nodule", "a nodule is not seen", [True]),
        ("nodule", "a nodule, not seen", [True]),
        ("nodule", "a nodule isn't there", [True]),
        ("nodule", "nodule: absent", [True]),
        ("nodule", "nodule?", [True]),
        ("enhancing", "non-enhancing", []),
        ("enhancing", "non enhancing", [True]),
        ("nodule", "a nodule and no nodule", [False, True]),
        ("no", "No, not seen", [False]),
        ("no", "no", [False]),
        ("yes", "not yes", [True]),
        ("yes", "no, well, yes", [False]),
        ("No finding", "there is no finding", [False]),
        ("", "anything", []),
    ],
)
def test_english(answer: str, text: str, expected: list[bool]) -> None:
    assert stated(answer, text) == expected


@pytest.mark.parametrize(
    ("answer", "text", "expected"),
    [
        ("结节", "可见结节。", [False]),
        ("结节", "未见结节。", [True]),
        ("结节", "未见积液，可见结节。", [False]),
        ("结节", "毫无疑问是结节", [False]),
        ("结节", "结节已排除", [True]),
        ("肺", "肺炎", []),
        ("肺", "肺部", [False]),
        ("有", "没有", []),
        ("有", "患者有结节", []),
        ("有", "有。", [False]),
        ("是", "答案是：是", [False]),
        ("是", "这是肝脏", []),
        ("没有", "没有（病历）", [False]),
        ("没有", "【病历】没有", [False]),
        ("CT", "这是CT检查", [False]),
        ("CT", "不是CT", [True]),
    ],
)
def test_chinese(answer: str, text: str, expected: list[bool]) -> None:
    assert stated(answer, text, "zh") == expected


def test_by_meaning() -> None:
    def found(answer: str, text: str, language: str = "en") -> list[str]:
        return [text[one.start : one.end] for one in occurrences_by_meaning(answer, text, language)]

    assert found("lung", "Both lungs.") == ["lungs"]
    assert found("MRI", "magnetic resonance imaging of it") == ["magnetic resonance"]
    assert found("two", "I count 2") == ["2"]
    assert found("肺", "肺部", "zh") == ["肺"]
    assert found("lung", "the liver") == []
    assert occurrences_by_meaning("lung", "no lungs", "en")[0].denied


def test_a_yes_taken_back_by_a_denial_and_a_no_by_a_yes() -> None:
    assert unsaid("Yes", "\ue001, there is none", "en")
    assert not unsaid("Yes", "\ue001, no doubt", "en")
    assert unsaid("No", "\ue001? Yes", "en")
    assert not unsaid("No", "\ue001, there is none", "en")
    assert unsaid("有", "\ue001,但未见", "zh")
    assert not unsaid("nodule", "\ue001, not more", "en")


def test_answers_taken_back() -> None:
    assert taken_back("nodule", "That is wrong", "en")
    assert taken_back("nodule", "that is not true", "en")
    assert not taken_back("no", "that is not true", "en")
    assert taken_back("结节", "以上答案有误", "zh")
    assert not taken_back("nodule", "that is the finding", "en")


def test_other_sides() -> None:
    assert other_side_named("Left Lung", "on the right")
    assert not other_side_named("Left Lung", "brightly")
    assert not other_side_named("left and right", "right")
    assert other_side_named("左肺", "右侧")
    assert not other_side_named("lung", "right")


def test_folding_keeps_places() -> None:
    for text in ("Straße İstanbul ǅ ﬁ", "ABC 左", "ẞ"):
        assert len(fold(plain(text))) == len(plain(text))
    assert fold("ABC") == "abc"


def test_phrases() -> None:
    assert phrase_of("(The left) lung.") == "left) lung"
    assert phrase_of("...") == "..."
    assert phrase_of(" A ") == "a"
