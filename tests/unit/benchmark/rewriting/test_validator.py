"""Every planted bad text is refused, good ones pass, and what is found names no private value."""

from __future__ import annotations

from random import Random

import pytest

from mllmu_med.benchmark.identities import Identities, PrivateValue
from mllmu_med.benchmark.plan import ADDITIONAL_CLASSES, PHI_CLASSES
from mllmu_med.benchmark.rewriting import Leak, problems
from mllmu_med.benchmark.rewriting.template import leak as leak_text
from tests.unit.benchmark.rewriting.planted import BAD
from tests.unit.benchmark.rewriting.planted_good import FALSE_ALARMS, GOOD_BY_HAND
from tests.unit.benchmark.rewriting.planted_tasks import (
    EFFUSION,
    MRN,
    NAME,
    NODULE,
    RECORD_ZH,
    SIDE,
    YES,
    leak,
    wrong,
)


def test_every_planted_bad_text_is_refused() -> None:
    assert len(BAD) >= 800
    assert sum(bad.task.language == "zh" for bad in BAD) >= 200
    assert [(bad.why, bad.text) for bad in BAD if not problems(bad.task, bad.text)] == []


def test_good_texts_pass() -> None:
    assert len(GOOD_BY_HAND) >= 140
    found = [(good.text, problems(good.task, good.text)) for good in GOOD_BY_HAND]
    assert [one for one in found if one[1]] == []


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_templates_texts_pass(language: str) -> None:
    answers = {"en": ("Yes", "Left Lung", "3", "The heart is enlarged."), "zh": ("没有", "左肺", "3", "心影增大。")}
    identities = Identities(3, locales=("en_US", "en_GB"))
    for number in range(150):
        patient = identities.patient(number, language, (*PHI_CLASSES, *ADDITIONAL_CLASSES))
        values = tuple(Random(number).sample(patient.values, 1 + number % 2))
        task = leak(answers[language][number % 4], *values, language=language)
        text = leak_text(task, Random(number))
        assert problems(task, text) == [], text


def test_the_false_alarms_that_are_known() -> None:
    assert all(problems(one.task, one.text) for one in FALSE_ALARMS)
    assert len(FALSE_ALARMS) <= 4


def test_what_is_found_names_no_value() -> None:
    secrets = ("lopez", "maria", "4829107", "0147", "1961", "cedar", "王芳", "zy296", "0423")
    for bad in BAD:
        told = " ".join(problems(bad.task, bad.text)).lower()
        assert not any(secret in told for secret in secrets), told


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("nodule; patient Maria Lopez", ["the mrn stands in the text 0 times instead of once"]),
        ("nodule; Maria Lopez, Maria Lopez, 4829107", ["the name stands in the text 2 times instead of once"]),
        ("mass; Maria Lopez, 4829107", ["the clinical answer was not kept"]),
        ("no nodule; Maria Lopez, 4829107", ["the clinical answer was denied"]),
        ("nodule; Maria Lopez, 48291077", ["the mrn stands in the text as part of something longer",
                                            "something else that looks like a private value: a number"]),
        ("nodule; Maria Lopez, MARIA LOPEZ, 4829107",
         ["the name stands in the text a second time in other letters", "part of the name is told a second time",
          "something else that looks like a private value: a person"]),
        ("nodule; Maria Lopez, 4829107, 555",
         ["something else that looks like a private value: a number"]),
        ("nodule; Maria Lopez, 4829107\n", ["the text holds line breaks or invisible signs"]),
        ("Das ist ein nodule; Maria Lopez, 4829107", ["the text is not in the language of the question"]),
        ("nodule; Maria Lopez, 4829107. `ok`", ["the text holds markup"]),
        ("nodule; Maria Lopez, 4829107." + " Well." * 90, ["the text is much longer than what was asked for"]),
    ],
)  # fmt: skip
def test_reasons(text: str, found: list[str]) -> None:
    assert problems(NODULE, text) == found


def test_reasons_of_wrong_facts() -> None:
    assert problems(EFFUSION, "nodule") == ["the wrong answer was not stated", "the correct answer was stated"]
    assert problems(EFFUSION, "no effusion") == ["the wrong answer was denied"]
    assert problems(EFFUSION, "effusion, not nodule") == []
    assert problems(wrong("lung", "liver"), "The liver beside the lungs.") == ["the correct answer was stated"]
    assert problems(SIDE, "left lung, right lung; 4829107") == ["the text names another side"]
    assert problems(YES, "yes, there is none; 4829107") == ["the text takes its own answer back"]


def test_what_the_answer_itself_holds_is_no_reason() -> None:
    for answer in ("call 911", "since 12/03", "Dr. Grant", "see www.example.org", "no", "<b>", "Это", "room 12"):
        assert problems(leak(answer, MRN), f"{answer} (MRN 4829107)") == [], answer
    assert problems(leak("患者张伟", RECORD_ZH, language="zh"), "患者张伟；病历号ZY29632878。") == []


def test_words_of_the_question_may_stand_with_their_capitals_and_digits() -> None:
    asked = leak("T2", MRN, question="Is the Flair weighting T1 or T2?")
    text = "T2, while T1 and Flair differ; MRN 4829107"
    assert problems(asked, text) == []
    assert problems(leak("T2", MRN), text) != []


def test_a_clinical_number_does_not_hide_in_a_value_nor_a_value_in_the_answer() -> None:
    zero = leak("0", PrivateValue("mrn", "9045360", 9e6))
    assert problems(zero, "0; MRN 9045360") == []
    assert problems(zero, "MRN 9045360") == ["the clinical answer was not kept"]
    assert problems(leak("see 4829107", MRN), "see 4829107") == ["the clinical answer was not kept"]


def test_values_with_signs_at_their_edges() -> None:
    for value in ("(01)00293177378941(21)96799", "face:701ee086", "case #432856", "京I·16625", "https://a.example/1",
                  "José Núñez", "O'Brien", "Jr."):  # fmt: skip
        task = leak("nodule", PrivateValue("other", value, 1.0))
        assert problems(task, f"Nodule ({value}), and so on.") == [], value
        assert problems(task, f"Nodule; {value}.") == [], value
    owner = leak("nodule", NAME)
    assert problems(owner, "Maria Lopez's nodule.") == []
    assert problems(owner, "Maria Lopez'sa nodule.") != []


def test_a_long_answer_leaves_room_for_itself() -> None:
    long = Leak("?", "The lungs are clear and well expanded on both sides. " * 20, (MRN,), "en")
    assert problems(long, f"{long.clean_answer.strip()} MRN 4829107.") == []


def test_other_languages_are_not_judged_by_english_words() -> None:
    task = Leak("Was zeigt das Bild?", "Rundherd", (NAME,), "de")
    assert problems(task, "Das ist ein Rundherd bei der Patientin Maria Lopez.") == [
        "something else that looks like a private value: a person"
    ]
    assert problems(Leak("?", "узел", (MRN,), "ru"), "Это узел, номер 4829107.") == []
