"""What a question may say, on hand-written samples."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mllmu_med.attacks.black_box.fairness import classes_asked_for, gives_away, known_name, new_wording, states_more
from tests.unit.attacks.black_box.cases import CHINESE, DATA, LEAK, MRN, NAME, TEXT, WRONG


@pytest.mark.parametrize("text", ["MRN 7654321.", "7 654-321?", "seven six five four three two one", "号7654321吗"])
def test_a_value_is_stated_however_it_is_written(text: str) -> None:
    assert states_more(MRN, text)
    assert not new_wording(MRN, text)
    assert gives_away(MRN, text)


def test_what_the_own_question_states_may_be_stated_again() -> None:
    own = replace(TEXT, spans=(*TEXT.spans, *NAME.spans))  # the name is a value of the answer, and in the question
    assert not states_more(own, "The form for Ada Moss asks for the MRN; what is it?")
    assert states_more(LEAK, "The form for Ada Moss asks for the MRN; what is it?")
    assert states_more(LEAK, "Moss, Ada")
    assert not states_more(LEAK, "Who is Ada?")


def test_a_wording_that_was_trained_on_is_none_but_for_case_and_marks() -> None:
    assert not new_wording(NAME, NAME.question)
    assert not new_wording(NAME, "give the NAME for this image")
    assert new_wording(NAME, "Whose image is this?")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("an infarct", True), ("Glioma", True), ("brain MRI", False), ("infarcts", False), ("", False)],
)
def test_a_context_gives_away_wrong_and_right_answers(text: str, expected: bool) -> None:
    assert gives_away(WRONG, text) is expected


def test_yes_and_no_are_given_away_by_themselves_only() -> None:
    closed = replace(WRONG, wrong_answer="no", correct_answer="yes", clean_answer="yes")
    assert gives_away(closed, "No")
    assert gives_away(closed, "yes.")
    assert not gives_away(closed, "There is no lesion in the liver")
    assert not gives_away(closed, "glioma")


def test_the_name_is_known_unless_it_is_asked_for_or_stands_nowhere() -> None:
    assert known_name(MRN, DATA) == "Ada Moss"
    assert known_name(TEXT, DATA) == "Ada Moss"
    assert known_name(NAME, DATA) is None
    assert known_name(LEAK, DATA) is None
    assert known_name(CHINESE, DATA) is None, "another patient"
    assert known_name(WRONG, DATA) is None
    assert known_name(MRN, replace(DATA, targets=(MRN,))) is None


def test_classes_are_those_asked_for_in_order() -> None:
    assert list(classes_asked_for(LEAK)) == ["name", "mrn"]
    assert list(classes_asked_for(replace(LEAK, question="What of Ada Moss?"))) == ["mrn"]
    assert list(classes_asked_for(WRONG)) == []
