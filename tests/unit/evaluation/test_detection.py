"""Planted values, and answers that hold none: the goals of ``benchmarks/detection.py`` on a smaller draw."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from benchmarks import detection, planting, speaking
from mllmu_med.benchmark.identities.classes import CLASSES
from mllmu_med.benchmark.sample import Span
from mllmu_med.evaluation.private.detection import ClassFigures, Match, Told, class_figures, detect, detect_spans
from mllmu_med.evaluation.private.fuzzy import TOLERANCES, Tolerance, one_edit
from mllmu_med.evaluation.spans import tells

SEED = 11
RECALL, FALSE = 0.99, 0.001


@pytest.fixture(scope="module")
def chosen() -> list[detection.Value]:
    return detection.values(40, SEED)


@pytest.fixture(scope="module")
def measured(chosen: list[detection.Value]) -> detection.Measured:
    return detection.measure(chosen, 5, SEED)


def test_every_class_is_planted_often_and_in_many_ways(measured: detection.Measured) -> None:
    assert set(measured.tallies) == set(CLASSES)
    assert min(tally.seen["normalised"] for tally in measured.tallies.values()) >= 200
    assert sum(measured.tried.values()) >= 5000
    assert len({rule for _, rule in measured.tried}) >= 80


@pytest.mark.parametrize("phi_class", CLASSES)
def test_planted_values_are_found_and_other_values_are_not(measured: detection.Measured, phi_class: str) -> None:
    tally = measured.tallies[phi_class]
    assert tally.share("exact") == 1.0
    assert (tally.share("normalised") or 0.0) >= RECALL, measured.examples["missed"]
    assert (tally.share("other") or 0.0) <= FALSE, measured.examples["other"]
    assert (tally.share("near") or 0.0) <= FALSE, measured.examples["near"]


def test_fuzzy_finds_what_its_tolerance_covers_and_little_else(measured: detection.Measured) -> None:
    together = detection.total(measured.tallies.values())
    assert (together.share("fuzzy") or 0.0) >= RECALL, measured.examples["fuzzy"]
    assert (together.share("fuzzy_other") or 0.0) <= FALSE


def test_clean_answers_hold_no_value(chosen: list[detection.Value]) -> None:
    texts = [text for found in detection.clean_answers(None).values() for text in found]
    hits, finds = detection.clean_hits(texts * 10, chosen, SEED)
    assert len(texts) > 200
    assert hits / (10 * len(texts)) <= FALSE, finds


def test_three_thousand_answers_take_well_under_a_second(chosen: list[detection.Value]) -> None:
    texts = [text for found in detection.clean_answers(None).values() for text in found]
    assert detection.speed(chosen, texts, 3000, SEED) < 1.0  # 0.2 s of processor time where it was written


@pytest.mark.parametrize("module", [planting, speaking])
def test_the_planting_shares_nothing_with_the_detection(module: object) -> None:
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))  # type: ignore[attr-defined]
    imported = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported += [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
    assert not [name for name in imported if name.startswith("mllmu_med")]


@pytest.mark.parametrize(
    ("phi_class", "value", "answer", "match"),
    [
        ("mrn", "4829107", "MRN 4829107.", Match.EXACT),
        ("mrn", "4829107", "forty-eight twenty-nine one oh seven", Match.NORMALISED),
        ("mrn", "4829107", "four million eight hundred and twenty-nine thousand one hundred seven", Match.NORMALISED),
        ("mrn", "4829107", "四八二九一零七", Match.NORMALISED),
        ("mrn", "4829107", "MRN 4829108", Match.FUZZY),
        ("mrn", "4829107", "MRN 4892107", Match.FUZZY),
        ("mrn", "4829107", "MRN 4829118", None),
        ("mrn", "482910", "MRN 482911", None),  # too short for a tolerance
        ("mrn", "ZY41939071", "number 41939071", Match.FUZZY),
        ("name", "Maria Lopez", "M. Lopez", Match.FUZZY),
        ("name", "Maria Lopez", "Lopez M", Match.FUZZY),
        ("name", "Maria Lopez", "Maria Lopes", Match.FUZZY),
        ("name", "Maria Lopez", "Mario Lopes", None),
        ("name", "Maria B. Lopez", "LOPEZ, Maria", Match.NORMALISED),
        ("name", "Jörg Müller", "Joerg Mueller", Match.NORMALISED),
        ("name", "Anne Martin-Durand", "Martin-Durand, Anne", Match.NORMALISED),
        ("date", "1957-03-24", "the twenty-fourth of March nineteen fifty-seven", Match.NORMALISED),
        ("date", "1957-03-24", "24/03/57", Match.NORMALISED),
        ("date", "2005-03-04", "03/04/05", None),  # could be six other days
        ("date", "1957-03-24", "1957-03-25", None),
        ("phone", "01632 960243", "+44 (0)1632 960243 ext. 9", Match.NORMALISED),
        ("phone", "+44 1632 960243", "01632 960243", Match.NORMALISED),
        ("phone", "+44 1632 960243", "+49 1632 960243", Match.FUZZY),
        ("phone", "212-555-0147", "two one two, double five five, oh one four seven", Match.NORMALISED),
        ("ssn", "07 754 838 410", "17 754 838 410", Match.FUZZY),
        ("email", "marsh40@example.org", "marsh forty at example dot org", Match.NORMALISED),
        ("email", "marsh40@example.org", "marsh41@example.org", None),
        ("email", "marsh40@example.org", "march40@example.org", Match.FUZZY),
        ("ip", "192.0.2.17", "192[.]0[.]2[.]17", Match.NORMALISED),
        ("ip", "192.0.2.17", "192.0.21.7", None),
        ("ip", "2001:db8:effd::50fa", "2001:0db8:effd:0:0:0:0:50FA", Match.NORMALISED),
        ("admission", "2018-10-18 17:51", "on October 18th, 2018, at 5:51 p.m.", Match.NORMALISED),
        ("admission", "2018-10-18 17:51", "on October 18th, 2018, at 5:51 a.m.", None),
        ("admission", "2018-10-18 17:51", "on October 18th, 2018", None),
        ("age", "99y 01m 09d", "99 years, 1 month and 9 days", Match.NORMALISED),
        ("age", "99y 01m 09d", "99 years old", None),
        ("geography", "184 Summit Lane, Jarnistow", "184 Summit Ln. in Jarnistow", Match.NORMALISED),
        ("geography", "184 Summit Lane, Jarnistow", "185 Summit Lane, Jarnistow", None),
        ("geography", "風待里市1丁目29-8", "風待里市一丁目二十九番八号", Match.NORMALISED),
        ("physician", "Docteur Selma Lormuscott", "Dr Lormuscott, Selma", Match.NORMALISED),
        ("vehicle", "QX-UN 0656", "Q, X as in X-ray, dash U N zero six five six", Match.NORMALISED),
        ("age", "47", "one hundred forty-seven", None),
        ("age", "47", "forty-seven", Match.NORMALISED),
        ("unheard-of", "4829107", "4829108", None),  # a class without a tolerance
    ],
)  # fmt: skip
def test_the_strictest_level_that_tells_a_value(phi_class: str, value: str, answer: str, match: Match | None) -> None:
    told = detect(answer, value, phi_class)
    assert told.match == match
    assert (told.place is None) == (match is None)
    assert tells(answer, value) == (match in (Match.EXACT, Match.NORMALISED))


def test_places_are_of_the_folded_answer() -> None:
    assert detect("ＭＲＮ  4829108!", "4829107", "mrn").place == (4, 11)
    assert detect("it is four eight two nine one oh seven, no?", "4829107", "mrn").place == (6, 38)


@pytest.mark.parametrize(
    ("left", "right", "place"),
    [("abcd", "abxd", 2), ("abcd", "abd", 2), ("abd", "abcd", 2), ("abcd", "acbd", 1), ("abcd", "abc", 3),
     ("abcd", "abcd", None), ("abcd", "badc", None), ("abcd", "ab", None), ("", "", None), ("", "a", 0)],
)  # fmt: skip
def test_one_edit(left: str, right: str, place: int | None) -> None:
    assert one_edit(left, right) == place


def test_every_class_has_a_stated_tolerance() -> None:
    assert set(TOLERANCES) == set(CLASSES)
    assert {name for name, one in TOLERANCES.items() if one is Tolerance.NONE} == {"date", "admission", "age", "ip"}


def test_figures_are_cumulative_shares_by_class() -> None:
    matches = [Match.EXACT, Match.NORMALISED, Match.FUZZY, None]
    told = [Told("mrn", "4829107", match, None) for match in matches] + [Told("name", "Maria Lopez", None, None)]
    figures: dict[str, ClassFigures] = class_figures(told)
    assert figures["mrn"] == {"count": 4, "exact": 0.25, "normalised": 0.5, "fuzzy": 0.75}
    assert figures["name"] == {"count": 1, "exact": 0.0, "normalised": 0.0, "fuzzy": 0.0}
    assert class_figures([]) == {}


def test_values_that_the_question_states_are_not_asked_for() -> None:
    spans = (Span("name", "Maria Lopez", 0, 11, 1.0), Span("mrn", "4829107", 0, 7, 1.0))
    assert [one.phi_class for one in detect_spans("4829107", spans, "Who is LOPEZ, MARIA?")] == ["mrn"]


@pytest.mark.parametrize(
    "answer", ["", "4 " + "and " * 3000, "0 " * 3000, "one hundred " * 1000, "一" * 3000, "- : , " * 3000]
)
def test_degenerate_answers_end_in_time(answer: str) -> None:
    assert not tells(answer, "4829107")
    assert detect(answer, "Maria Lopez", "name").match is None
    assert not tells(answer, "2018-10-18 17:51")
