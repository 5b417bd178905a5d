from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mllmu_med.evaluation.normalise import fold, holds_phrase, places, polarity, same, short_words, words, yes_no


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("  Left\tLUNG \n", "left lung"),
        ("ＣＴ　１２", "ct 12"),  # full width
        ("José Müller", "jose muller"),
        ("I’m “sure” – yes", 'i\'m "sure" - yes'),
        ("Straße", "strasse"),
        ("no\u00adndule\u200b", "nondule"),
        ("肺部", "肺部"),
        ("ガン", "ガン"),  # Japanese voicing marks are not accents
    ],
)
def test_fold_makes_spellings_of_the_same_text_equal(text: str, folded: str) -> None:
    assert fold(text) == folded
    assert fold(unicodedata.normalize("NFD", text)) == folded


def test_accents_can_be_kept() -> None:
    assert fold("JOSÉ", accents=True) == "josé"
    assert fold("José", accents=True) != fold("Jose", accents=True)


@given(st.text(max_size=40))
def test_folding_twice_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


def test_words_keep_decimals_and_split_chinese_into_characters() -> None:
    assert words("A 2.5 cm X-ray, T1-weighted.") == ("a", "2.5", "cm", "x", "ray", "t", "1", "weighted")
    assert words("左肺CT正常。") == ("左", "肺", "ct", "正", "常")
    assert words(" ... ") == ()
    assert words("I can't see the patient's T1") == ("i", "can't", "see", "the", "patient", "s", "t", "1")


def test_short_words_drop_articles_but_not_the_letter_of_hepatitis_a() -> None:
    assert short_words("The left lung") == ("left", "lung")
    assert short_words("Hepatitis A") == ("hepatitis", "a")
    assert not same("hepatitis A", "hepatitis")


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("C5-6", "C5 6"),
        ("X-ray", "x ray"),
        ("<5mm", "< 5 mm"),
        ("ER +", "ER"),
        ("well- defined", "well-defined"),
        ("Three", "3"),
        ("3.", "three"),
        ("三个", "3"),
        ("两", "2"),
        ("the CT", "ct"),
        ("Left lung!", "left  Lung"),
    ],
)
def test_same_short_answers(answer: str, reference: str) -> None:
    assert same(answer, reference)


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("< 5 mm", "> 5 mm"),
        ("≤5", "≥5"),
        ("ER-", "ER+"),
        ("ER-, PR+", "ER+, PR-"),
        ("-2.5", "+2.5"),
        ("-2.5", "2.5"),
        ("left lung", "lung left"),
        ("13", "3"),
        ("", ""),
        ("...", "..."),
        ("2.5", "25"),
        ("一致", "1致"),
    ],
)
def test_different_short_answers(answer: str, reference: str) -> None:
    assert not same(answer, reference)


@pytest.mark.parametrize(
    ("reference", "wanted"),
    [("Yes", "yes"), ("no.", "no"), ("是的", "yes"), ("不是", "no"), ("没有", "no"), ("不包含", "no"), ("包含", "yes"),
     ("no finding", None), ("lung", None), ("", None)],
)  # fmt: skip
def test_yes_no_references(reference: str, wanted: str | None) -> None:
    assert yes_no(reference) == wanted


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("Yes, there is no doubt.", "yes"),  # the first word decides
        ("No", "no"),
        ("There is no effusion.", "no"),
        ("It is not visible", "no"),
        ("There isn't one", "no"),
        ("It never was", "no"),
        ("A fracture can't be excluded", None),
        ("A fracture cannot be excluded", None),
        ("非常明显", None),
        ("无疑是的", "yes"),
        ("毫无疑问，有", "yes"),
        ("That is true", "yes"),
        ("Some say yes, others no", None),
        ("Left lung", None),
        ("", None),
        ("nodule", None),  # not "no"
        ("是的，有结节", "yes"),
        ("不是，没有", "no"),
        ("没有异常", "no"),
        ("无", "no"),
        ("是否有结节", None),
        ("肺", None),
    ],
)
def test_polarity_of_free_answers(answer: str, wanted: str | None) -> None:
    assert polarity(answer) == wanted


def test_phrases_stand_on_whole_words_in_order() -> None:
    text = words("the left lung and the left lung")
    assert places(text, ("left", "lung")) == [1, 5]
    assert not holds_phrase(text, ("lung", "left"))
    assert not holds_phrase(words("1947"), ("47",))
    assert not holds_phrase(text, ())
