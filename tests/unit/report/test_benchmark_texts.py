"""Marks where private values stand; nothing of them where they are real."""

from __future__ import annotations

from mllmu_med.benchmark.sample import Sample, Span
from mllmu_med.report.benchmark_census import take_census
from mllmu_med.report.benchmark_filters import EVERYTHING
from mllmu_med.report.benchmark_texts import Texts, texts_of
from tests.unit.report.fake_benchmark import NAMES, NUMBERS, FakeBenchmark, make_benchmark, sample, spans

VALUES = {"p1": {"Ann Lee": "name", "MRN-77": "mrn", "Lee": "name", "Lee Road 5": "geography"}, "p2": {"Bo Li": "name"}}


def of(patient: str | None = "p1", answer: str = "", **values: str) -> Sample:
    return sample("a", patient_id=patient, answer=answer, spans=spans(answer, **values))


def test_values_of_the_patient_are_marked_with_their_class() -> None:
    texts = Texts(VALUES, hide=False)
    assert texts.pieces("Is MRN-77 of Ann Lee?", of()) == ["Is ", ["MRN-77", "mrn"], " of ", ["Ann Lee", "name"], "?"]
    assert texts.pieces("Is MRN-77 of Ann Lee?", of("p2")) == "Is MRN-77 of Ann Lee?"
    assert texts.pieces("Bo Li is at Lee Road 5", of()) == ["Bo Li is at ", ["Lee Road 5", "geography"], ""]
    assert texts.plain("Ask Ann Lee", of()) == "Ask Ann Lee"


def test_values_that_overlap_are_marked_as_one() -> None:
    pieces = Texts(VALUES, hide=True).pieces("at Ann Lee Road 5.", of())
    assert pieces == ["at ", ["[name]"], "."]


def test_a_text_that_is_nothing_but_a_value_is_marked_whoever_it_belongs_to() -> None:
    assert Texts(VALUES, hide=False).pieces("Bo Li", of("p1")) == ["", ["Bo Li", "name"], ""]


def test_spans_mark_the_answer_by_place() -> None:
    texts = Texts({}, hide=False)
    answer = "about 77 and 77"
    twice = sample("a", answer=answer, spans=(Span("mrn", "77", 13, 15, 9.0),))
    assert texts.pieces(answer, twice) == ["about 77 and ", ["77", "mrn"], ""]
    assert texts.pieces("about 77", twice) == "about 77"


def test_spans_out_of_place_do_no_harm() -> None:
    wild = sample("a", answer="short", spans=(Span("mrn", "x", 3, 400, 1.0), Span("ssn", "y", 4, 2, 1.0)))
    assert Texts({}, hide=False).pieces("short", wild) == ["sho", ["rt", "mrn"], ""]
    beyond = sample("a", answer="short", spans=(Span("mrn", "x", 90, 95, 1.0),))
    assert Texts({}, hide=False).plain("short", beyond) == "short"


def test_hidden_values_give_way_to_their_class_however_spelt() -> None:
    texts = Texts(VALUES, hide=True)
    assert texts.pieces("Ann Lee, mrn 77.", of()) == [
        "", ["[name]"], ", ", ["[mrn]"], "."
    ]  # fmt: skip
    assert texts.plain("LEE, Ann", of()) == "[name]"
    assert texts.plain("at Lee Road 5", of()) == "at [geography]"


def test_clipping_hides_no_value() -> None:
    texts = Texts(VALUES, hide=False)
    text = "x" * 50 + " Ann Lee " + "y" * 50
    assert texts.pieces(text, of(), 20) == [
        "x" * 20 + "… [31 more characters] ",
        ["Ann Lee", "name"],
        "… [51 more characters]",
    ]
    assert texts.pieces(text, of(), 54) == ["x" * 50 + " ", ["Ann Lee", "name"], "… [51 more characters]"]
    assert len(texts.plain("z" * 10**6, of(), 100)) < 140


def test_a_thousand_values_are_counted_not_shown() -> None:
    pieces = Texts(VALUES, hide=False).pieces("MRN-77 " * 1000, of(), 10**6)
    assert isinstance(pieces, list)
    assert sum(isinstance(piece, list) for piece in pieces) == 60
    assert pieces[-1] == " … [940 more values]"


def test_nothing_invisible_is_left() -> None:
    texts = Texts({"p1": {"A\u202enn": "na\x00me"}}, hide=False)
    assert texts.pieces("\u2066A\u202enn\x07", of()) == ["⟨U+2066⟩", ["A⟨U+202E⟩nn", "na␀me"], "␇"]


def test_real_values_are_hidden_in_every_text() -> None:
    benchmark = make_benchmark(plan={"private_values": "request"})
    ledger = benchmark.ledger()
    ledger[0]["values"].append("Only Told Here")
    ledger[0]["phi_classes"].append("other")
    benchmark.ledger = lambda: ledger  # type: ignore[method-assign]
    texts = texts_of(benchmark, take_census(benchmark, EVERYTHING, limit=1))
    everyone = " / ".join([*NAMES.values(), *NUMBERS.values(), "Only Told Here"])
    assert texts.plain(everyone) == "[name] / [name] / [name] / [mrn] / [mrn] / [mrn] / [other]"
    assert texts.plain("\u0130\u0130 LENA OKAFOR'S") == "\u0130\u0130 [name]'S"  # these grow when made small
    assert texts.hide


def test_invented_values_are_shown_unless_asked_otherwise() -> None:
    benchmark = make_benchmark()
    census = take_census(benchmark, EVERYTHING, limit=1)
    leak = benchmark.everything[0]
    assert NAMES["p1"] in texts_of(benchmark, census).plain(leak.answer, leak)
    assert NAMES["p1"] not in texts_of(benchmark, census, hide=True).plain(leak.answer, leak)
    assert texts_of(benchmark, census, hide=True).plain(NAMES["p2"] + " came", leak) == NAMES["p2"] + " came"


def test_a_benchmark_without_values_has_nothing_to_hide() -> None:
    benchmark = FakeBenchmark([sample("a")], {}, plan={"private_values": "request"})
    assert texts_of(benchmark, take_census(benchmark, EVERYTHING, limit=1)).plain("liver") == "liver"
