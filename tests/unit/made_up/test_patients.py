"""Made-up patients: the format of the forgotten ones, and nothing of theirs."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mllmu_med.benchmark.builder import build_benchmark
from mllmu_med.benchmark.identities.recognising import format_of
from mllmu_med.benchmark.plan import BenchmarkPlan
from mllmu_med.benchmark.sample import Sample, Stratum, Subset
from mllmu_med.benchmark.store import Benchmark
from mllmu_med.evaluation.spans import tells
from mllmu_med.made_up import patients as made_up
from mllmu_med.made_up.patients import RealValues, made_up_patients
from mllmu_med.made_up.replacing import PEOPLE, name_parts
from mllmu_med.sources.requests import PrivateField, Request, write_requests
from tests.unit.benchmark.fake_source import FakeSource
from tests.unit.made_up.forget_samples import POOL, forgotten, private

KEYS = ["ab" * 32, "cd" * 32]


def one_patient(patient: str, name: str, *values: tuple[str, str], language: str = "en") -> list[Sample]:
    """Asked for all values about an image, and for all but the name by name."""
    asked = [private(patient, 0, "What is the name?", name, ("name", name), language=language)]
    for number, value in enumerate(values, start=1):
        asked += [
            private(patient, number, "What is the number?", f"cyst [{value[1]}]", value, language=language),
            private(patient, 100 + number, f"What is the number of {name}?", value[1], value, image=None,
                    phrasings=(f"Give {name}'s number.", f"For {name_parts(name)[-1]}: number?"), language=language),
        ]  # fmt: skip
    return asked


def texts_of(samples: Sequence[Sample]) -> list[str]:
    return [text for s in samples for text in (s.question, *s.phrasings, s.answer)]


def assert_sound(forget: Sequence[Sample], made: Sequence[Sample]) -> None:
    """Spans exact, no value of a forget sample anywhere, and nothing else of the real patients either."""
    values = {span.value for s in forget for span in s.spans}
    for text in dict.fromkeys(texts_of(made)):
        assert [value for value in values if tells(text, value)] == [], text
    for s in made:
        assert s.subset is Subset.RETAIN
        assert all(s.answer[span.start : span.end] == span.value for span in s.spans)
        assert s.repetitions == 1 + len(s.phrasings)
    real = {s.id for s in forget} | {s.record_id for s in forget} | {s.group for s in forget}
    real |= {s.patient_id or s.group for s in forget} | {s.fact_id or s.id for s in forget}
    real |= {s.image_id for s in forget if s.image_id} | {node.name for s in forget for node in s.hierarchy}
    for s in made:
        held = {name.name: getattr(s, name.name) for name in fields(s) if name.name not in ("image_id", "stratum")}
        flat = repr({name: value for name, value in held.items() if name not in ("question", "phrasings", "answer")})
        assert not [one for one in real if one in flat]
        assert {s.hierarchy, s.regions, s.probes, s.accepted} == {()}
        assert {s.clean_answer, s.modality, s.body_part} == {None}


def test_patients_of_a_benchmark_keep_their_format_and_nothing_else(built: Benchmark) -> None:
    forget = forgotten(built)
    made = made_up_patients(forget, POOL, 12, seed=1)
    assert_sound(forget, made)
    assert len({s.patient_id for s in made}) == 12
    assert len(made) == 3 * sum(s.subset is Subset.FORGET_PRIVACY for s in forget), "each of the four has three"
    classes = {(s.form, s.stratum, tuple(span.phi_class for span in s.spans)) for s in made}
    assert classes == {(s.form, s.stratum, tuple(p.phi_class for p in s.spans)) for s in forget if s.spans}
    kinds = {
        (span.phi_class, kind.shape)
        for s in forget
        for span in s.spans
        if (kind := format_of(span.phi_class, span.value, s.language, span.space))
    }
    for s in made:
        for span in s.spans:
            kind = format_of(span.phi_class, span.value, s.language, span.space)
            assert kind is not None
            assert (span.phi_class, kind.shape) in kinds


def test_values_are_replaced_alike_wherever_they_stand(built: Benchmark) -> None:
    made = made_up_patients(forgotten(built), POOL, 8, seed=2)
    for patient in {s.patient_id for s in made}:
        mine = [s for s in made if s.patient_id == patient]
        values: dict[str, set[str]] = {}
        for s in mine:
            for span in s.spans:
                values.setdefault(span.phi_class, set()).add(span.value)
        assert all(len(found) == 1 for found in values.values())
        [name] = values["name"]
        by_name = [s for s in mine if s.image_id is None]
        assert by_name
        assert all(name in text for s in by_name for text in (s.question, *s.phrasings))
        assert {s.group for s in mine} == {patient}
        assert all(s.fact_id == f"{patient}/{'+'.join(span.phi_class for span in s.spans)}" for s in mine)
    names = [{span.value for s in made if s.patient_id == p for span in s.spans} for p in {s.patient_id for s in made}]
    assert len(set().union(*names)) == sum(map(len, names)), "no two share a value"


def test_a_patient_is_a_function_of_the_request_images_seed_and_number(built: Benchmark) -> None:
    forget = forgotten(built)
    whole = made_up_patients(forget, POOL, 9, seed=4)
    assert made_up_patients(forget, POOL[::-1] * 2, 9, seed=4) == whole
    assert made_up_patients(forget, POOL, 3, seed=4) == [s for s in whole if (s.patient_id or "") < "made-up-0003"]
    assert made_up_patients(forget, POOL, 4, seed=4, first=5) == [
        s for s in whole if (s.patient_id or "") > "made-up-0004"
    ]
    other = made_up_patients(forget, POOL, 9, seed=5)
    assert {s.answer for s in other}.isdisjoint({s.answer for s in whole})


# --- real patients: values in formats that nobody has foreseen


def test_patients_of_a_request_file(plan: BenchmarkPlan, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As the builder makes them: capitals, numbers with letters, dates after 2009, a hospital without digits."""
    first = [("name", "EXAMPLE-DOE ADA"), ("mrn", "A-4711/b"), ("phone", "030 1234567"), ("date", "2019-05-17"),
             ("geography", "1234 Quimby St, Springfield"), ("facility", "Saint Elsewhere")]  # fmt: skip
    second = [("name", "Müller, Jörg"), ("mrn", "A-0815/c"), ("email", "joerg.mueller1961@clinic.test")]
    requests = [
        Request(key, tuple(PrivateField(*field) for field in own))
        for key, own in zip(KEYS, (first, second), strict=True)
    ]
    write_requests(tmp_path / "r.json", requests)
    own = replace(plan, private_values="request", request_file=str(tmp_path / "r.json"))
    built = build_benchmark(FakeSource(requests={3: KEYS[0], 5: KEYS[1]}), own, tmp_path / "b", seed=0)
    forget = forgotten(built)
    with caplog.at_level(logging.INFO, "mllmu_med"):
        made = made_up_patients(forget, POOL, 10, seed=0)
    assert_sound(forget, made)
    whole = " ".join(texts_of(made)).casefold()
    for part in ("example", "doe", "ada", "müller", "jörg", "joerg", "quimby", "springfield", "elsewhere"):
        assert re.search(rf"(?<![^\W\d_]){part}(?![^\W\d_])", whole) is None, part
    found = {span.phi_class: span.value for s in made if s.patient_id == "made-up-0000" for span in s.spans}
    found |= {span.phi_class: span.value for s in made if s.patient_id == "made-up-0001" for span in s.spans}
    assert "facility" not in found
    assert re.fullmatch(r"A-[1-9]\d{3}/[bc]|A-\d{4}/[bc]", found["mrn"])
    assert re.fullmatch(r"20(1[4-9]|2[0-4])-\d\d-\d\d", found["date"])
    assert len([r for r in caplog.records if "made-up patients" in r.message]) == 1
    left_out = sum(any(span.phi_class == "facility" for span in s.spans) for s in forget)
    assert left_out
    assert f"{left_out} with a value of no known format with fewer than three digits" in caplog.text
    assert "Elsewhere" not in caplog.text


ODD_VALUES = [
    ("name", r"(Dr\. )?[A-ZÄÉ][a-zäéñ]{1,8}(-[A-Z][a-z]{2,6})? [A-ZÖ][a-zß]{1,9}"),
    ("name", r"[A-Z]{2,9} [A-Z]{2,9}( [A-Z]\.)?"),
    ("mrn", r"[A-Z]{0,4}[-/ ]?[0-9]{3,9}([-/.][0-9A-Z]{1,4})?"),
    ("date", r"(19|20)[0-9]{2}-0[1-9]-[12][0-9]"),
    ("phone", r"(\+[1-9][0-9]? )?\(?0?[0-9]{2,4}\)?[ /-][0-9]{3,8}"),
    ("email", r"[a-z]{2,8}\.[a-z]{2,8}[0-9]{0,4}@[a-z]{3,8}\.(de|org)"),
    ("geography", r"[1-9][0-9]{0,3} [A-Z][a-z]{2,9} (St|Road), [A-Z][a-zü]{2,9}"),
    ("physician", r"Dr\. [A-Z][a-z]{2,8}"),
    ("age", r"[1-9][0-9]"),
    ("custom", r"[0-9a-fA-F]{4}:[0-9]{2,6}"),
]
ODD = st.one_of([st.tuples(st.just(c), st.from_regex(shape, fullmatch=True)) for c, shape in ODD_VALUES])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(ODD, st.lists(ODD, min_size=1, max_size=3)), min_size=1, max_size=3), st.integers(0, 99))
def test_no_real_value_survives(people: list[tuple[tuple[str, str], list[tuple[str, str]]]], seed: int) -> None:
    """Whatever the values look like, and though names also stand in parts."""
    forget = []
    for place, ((phi_class, name), values) in enumerate(people):
        samples = one_patient(f"p{place}", name if name_parts(name) else "Ida Klein", *values)
        forget += samples if phi_class == "name" else samples[1:]
    made = made_up_patients(forget, POOL, 4, seed)
    assert_sound(forget, made)
    if len(people) == 1:
        parts = {
            part.casefold()
            for s in forget
            for span in s.spans
            if span.phi_class in PEOPLE
            for part in name_parts(span.value)
        }
        said = {word.casefold() for text in texts_of(made) for word in re.findall(r"[^\W\d_]+", text)}
        assert not parts & said


def test_a_name_stands_in_parts_with_possessives_and_in_any_case() -> None:
    forget = [
        private("p", 0, "Whose is it?", "Edgar Huber", ("name", "Edgar Huber")),
        private(
            "p", 1, "What is Mr Huber's MRN?", "for HUBER, EDGAR: A-4711", ("mrn", "A-4711"), image=None,
            phrasings=("edgar huber mrn", "Edgar's?", "Which number has this patient?"),
        ),
    ]  # fmt: skip
    who, number = made_up_patients(forget, POOL, 1, seed=0)
    first, last = who.answer.split()[0], who.answer.split()[-1]
    assert number.question == f"What is Mr {last}'s MRN?"
    assert number.phrasings == (f"{first} {last} mrn".lower(), f"{first}'s?")
    assert number.answer == f"for {last.upper()}, {first.upper()}: {number.spans[0].value}"


def test_what_may_hold_something_real_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    forget = [
        private("p", 0, "MRN?", "A-4711", ("mrn", "A-4711")),
        private("p", 1, "Ward?", "ward B12", ("ward", "B12")),
        private("p", 2, "What is the number of the patient?", "A-4711", ("mrn", "A-4711"), image=None),
        private("p", 3, "The MRN of one in B12?", "A-4711", ("mrn", "A-4711")),
        private("p", 4, "Is a as in alpha four seven one one it?", "A-4711", ("mrn", "A-4711")),
        private("p", 5, "By Dr Weiss?", "A-4711", ("mrn", "A-4711")),
        private("p", 6, "By?", "Dr. Karl Weiss", ("physician", "Dr. Karl Weiss")),
    ]
    with caplog.at_level(logging.INFO, "mllmu_med"):
        made = made_up_patients(forget, POOL, 2, seed=0)
    assert [s.question for s in made] == ["MRN?", "MRN?"]
    [record] = caplog.records
    assert record.message == (
        "made-up patients: 6 of 7 forget samples have no like: 1 with a question by name in which no known value "
        "stands; 2 with a value of no known format with fewer than three digits; 3 with a value told in a way that "
        "cannot be replaced"
    )


def test_a_value_of_one_patient_in_the_text_of_another_is_replaced_too() -> None:
    forget = [
        private("p", 0, "Who is it?", "Maria Lopez", ("name", "Maria Lopez")),
        private("q", 0, "Phone of Maria Lopez?", "555-0123", ("phone", "555-0123"), image=None),
    ]
    made = made_up_patients(forget, POOL, 4, seed=0)
    assert len(made) == 4
    assert_sound(forget, made)
    by_name = [s.question for s in made if s.image_id is None]
    assert len(by_name) == 2
    assert all(re.fullmatch(r"Phone of \S+ \S+\?", question) for question in by_name)


def test_small_spaces_are_searched_for_what_is_not_taken() -> None:
    """Of the beds 100 to 999 all but ten are taken, one of them in other words: nothing else is ever drawn."""
    beds = [str(number) for number in range(110, 1000)]
    forget = [private(f"p{bed}", 0, "Which bed?", f"bed {bed}", ("bed", bed)) for bed in beds]
    real = RealValues(forget)
    [own] = RealValues(forget[:1]).told_in(["bed 110"])
    assert {*real.others_like(own, 0, "bed")} == {str(number) for number in range(100, 110)}


@pytest.mark.parametrize(
    ("value", "drawn", "kept"),
    [
        (("date", "2024-03-01"), ["1 March 2024", "2024-03-05", "2024-03-06"], ["2024-03-06"]),
        (("name", "Ida Klein"), ["Ida Kowal", "Eva KLEIN", "Klein Ida", "Eva Kowal", "Otto Lang"], ["Eva Kowal"]),
    ],
)
def test_what_tells_a_real_value_or_shares_a_word_of_the_name_is_drawn_again(
    value: tuple[str, str], drawn: list[str], kept: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of any forget sample, however it is written."""
    others = (("date", "5.3.2024"), ("name", "Lang, Otto"))
    forget = [private("p", n, "?", one[1], one) for n, one in enumerate([value, *others])]
    monkeypatch.setattr(made_up, "strangers_values", lambda *_: iter(drawn))
    real = RealValues(forget)
    [own] = [one for one in real.told_in([value[1]]) if one.value == value[1]]
    assert list(real.others_like(own, 0, "any")) == kept


@pytest.mark.parametrize(("drawn", "beds"), [(["104", "105"], ["105"]), (["104"] * 20, [])])
def test_a_value_that_tells_another_in_its_text_is_drawn_again_and_at_last_left_out(
    drawn: list[str], beds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """104 is nobody's bed, but bed 7 104 is."""
    forget = [
        private("p", 0, "Which bed?", "bed 7 333", ("bed", "333")),
        private("q", 0, "Which ward?", "7 104", ("ward", "7 104")),
    ]
    monkeypatch.setattr(made_up, "strangers_values", lambda phi_class, *_: iter(drawn if phi_class == "bed" else ()))
    made = made_up_patients(forget, POOL, 1, seed=0)
    assert [s.answer for s in made] == [f"bed 7 {bed}" for bed in beds]


def test_letters_that_codes_share_are_format_and_words_that_addresses_share_are_not() -> None:
    forget = [
        s
        for place, name in enumerate(("Ida Klein", "Otto Lang"))
        for s in one_patient(f"p{place}", name, ("other", f"ACC-2024-00{place}q"),
                             ("geography", f"{place}234 Quimby St, Springfield"))
    ]  # fmt: skip
    made = made_up_patients(forget, POOL, 6, seed=0)
    values = {(span.phi_class, span.value) for s in made for span in s.spans}
    assert all(re.fullmatch(r"ACC-\d{4}-\d{3}q", value) for phi_class, value in values if phi_class == "other")
    assert all(
        re.fullmatch(r"\d{4} [A-Z][a-z]{5} [A-Z][a-z], [A-Z][a-z]{10}", value)
        for phi_class, value in values
        if phi_class == "geography"
    )
    assert not any(word in value for _, value in values for word in ("Quimby", "Springfield"))


def test_chinese_names_stay_chinese_and_go_in_part() -> None:
    forget = one_patient("p", "王小明", ("mrn", "9123689"), language="zh")
    made = made_up_patients(forget, POOL, 6, seed=0)
    assert_sound(forget, made)
    assert len(made) == 18
    for s in made:
        assert "小明" not in "".join(texts_of([s]))
        if s.image_id is None:
            assert re.fullmatch(r"What is the number of [一-鿿]{2,4}\?", s.question)


def test_nothing_comes_of_nothing(caplog: pytest.LogCaptureFixture) -> None:
    wrong = Sample(
        id="w", record_id="w", subset=Subset.FORGET_INCORRECTNESS, stratum=Stratum.WRONG_IMAGE, question="?",
        answer="yes", group="g", image_id="i",
    )  # fmt: skip
    assert made_up_patients([], POOL, 3, seed=0) == []
    assert made_up_patients([wrong], POOL, 3, seed=0) == []
    assert made_up_patients([private("p", 0, "Ward?", "B12", ("ward", "B12"))], POOL, 3, seed=0) == []
