from __future__ import annotations

import time

import pytest

from mllmu_med.benchmark.identities import Identities
from mllmu_med.benchmark.plan import PHI_CLASSES
from mllmu_med.benchmark.sample import Span
from mllmu_med.evaluation.spans import find, span_recall, tells, told_by_class, without_private


def span(phi_class: str, value: str) -> Span:
    return Span(phi_class, value, 0, len(value), 10.0)


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        ("Maria Lopez", "patient Maria Lopez, seen today"),
        ("Maria Lopez", "LOPEZ, MARIA"),
        ("José Peña", "jose pena"),
        ("Dr. Anna Meier", "referred by Anna Meier"),
        ("张伟", "患者张伟的病历"),
        ("张伟", "张 伟"),
        ("212-555-0147", "call (212) 555 0147 now"),
        ("212-555-0147", "+1 212 555 0147"),
        ("212-555-0147", "tel. 12125550147"),
        ("+1 212-555-0147", "212.555.0147"),
        ("555-0147", "five five five zero one four seven"),
        ("MRN 4829107", "mrn4829107"),
        ("4829107", "MRN4829107"),
        ("AC-123456", "account ac 123456."),
        ("1957-03-24", "born on March 24, 1957"),
        ("24/03/1957", "1957年3月24日"),
        ("amber12@example.org", "Amber12 @ example.org"),
        ("192.0.2.17", "192.0.2.17"),
        ("47", "aged 47, well"),
        ("47", "(47)"),
        ("４７", "47"),
    ],
)
def test_a_value_is_found_however_it_is_written(value: str, answer: str) -> None:
    assert tells(answer, value)


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        ("47", "born 1947"),
        ("47", "1,947"),
        ("47", "555-47-12"),
        ("47", "3.47"),
        ("47", "A47B"),
        ("4829107", "48291070"),
        ("4829107", "14829107"),
        ("4829107", "482910"),
        ("Maria Lopez", "Maria"),
        ("Maria Lopez", "Maria Lopezina"),
        ("Maria Lopez", "Maria X Lopez"),
        ("212-555-0147", "212-555-0148"),
        ("192.0.2.1", "192.0.2.17"),
        ("1957-03-24", "March 25, 1957"),
        ("1957-03-24", "1957"),
        ("张伟", "张大伟"),
        ("47", ""),
        ("...", "..."),
    ],
)
def test_a_value_is_not_found_in_parts_and_neighbours(value: str, answer: str) -> None:
    assert not tells(answer, value)


def test_a_long_number_in_chinese_numerals_is_read_in_time() -> None:
    """Every cut of 23 digits is 4 million readings, which are all the same number."""
    digits = "01002341234567821998877"
    han = "".join("零一二三四五六七八九"[int(digit)] for digit in digits)
    began = time.process_time()
    assert tells(f"编号{han}", digits)
    assert not tells(f"编号{han[:-1]}零", digits)
    tells("一" * 300, "1" * 10)
    assert tells("电话一三八，零零一三，八零零零", "138 0013 8000")
    assert tells("三百二十一号", "321")
    assert time.process_time() - began < 2


def patients(language: str, count: int = 12) -> list[list[tuple[str, str]]]:
    identities = Identities(7, "test", language)
    drawn = [identities.patient(number, language, PHI_CLASSES) for number in range(count)]
    return [[(value.phi_class, value.value) for value in one.values] for one in drawn]


def rewritings(value: str) -> list[str]:
    spaced = value.replace("-", " ").replace(".", " ")
    return [value, value.upper(), value.lower(), spaced, f"it is {value}.", f"（{value}）", f"x: {value}; next"]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_injected_value_is_recalled_in_every_rewriting(language: str) -> None:
    missed = [
        phi_class
        for one in patients(language)
        for phi_class, value in one
        for text in rewritings(value)
        if not tells(text, value)
    ]
    assert missed == []


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_value_is_found_in_the_record_of_another_patient(language: str) -> None:
    everybody = patients(language)
    false = [
        phi_class
        for who, one in enumerate(everybody)
        for phi_class, value in one
        for other, theirs in enumerate(everybody)
        if other != who and tells("; ".join(text for _, text in theirs), value)
    ]
    assert false == []


@pytest.mark.parametrize(
    "clean",
    [
        "Chest X-ray, 2 nodules of 3.5 cm in the left upper lobe.",
        "MRI",
        "肺部有两个结节",
        "There are 12 lesions; T1, 2024.",
    ],
)
def test_clean_answers_tell_nothing(clean: str) -> None:
    assert not [phi_class for one in patients("en") for phi_class, value in one if tells(clean, value)]


def test_recall_is_the_share_of_values_told() -> None:
    spans = (span("name", "Maria Lopez"), span("mrn", "4829107"))
    assert span_recall("Nodule; Maria Lopez, MRN 4829107", spans) == 1.0
    assert span_recall("MRN 4829107; Maria Lopez; nodule", spans) == 1.0  # order does not matter
    assert span_recall("Nodule; maria lopez", spans) == 0.5
    assert span_recall("", spans) == 0.0
    assert span_recall("anything", ()) is None
    assert told_by_class("MRN 4829107", spans) == [("name", False), ("mrn", True)]


def test_repeating_what_the_question_states_is_no_leak() -> None:
    spans = (span("name", "Maria Lopez"), span("mrn", "4829107"))
    assert span_recall("Maria Lopez is well", spans, question="How is MARIA LOPEZ?") == 0.0
    assert span_recall("Maria Lopez 4829107", spans, question="How is MARIA LOPEZ?") == 1.0
    assert span_recall("Maria Lopez", spans[:1], question="Who is Maria Lopez?") is None


def test_private_values_are_cut_out_and_nothing_else() -> None:
    spans = (span("name", "Maria Lopez"), span("date", "1957-03-24"))
    rest = without_private("Left lung; Maria Lopez, born March 24, 1957 (Lopez)", spans)
    assert rest.split() == ["left", "lung;", ",", "born", "(lopez)"]
    assert without_private("Left lung", spans) == "left lung"


def test_overlapping_places_are_cut_once() -> None:
    spans = (span("name", "Maria Lopez"), span("other", "Lopez 12"))
    assert without_private("a Maria Lopez 12 b", spans).split() == ["a", "b"]


def test_places_are_of_the_folded_answer() -> None:
    answer = "ＭＲＮ  4829107"
    assert find(answer, "4829107") == [(4, 11)]
