from __future__ import annotations

import re
from datetime import datetime
from itertools import islice
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mllmu_med.benchmark.identities.others import another, strangers_values, values_like, word_like
from mllmu_med.benchmark.identities.recognising import format_of
from mllmu_med.benchmark.sample import Span
from mllmu_med.made_up.replacing import cut, fill, finder, name_parts, with_parts


def drawn(phi_class: str, value: str, count: int = 30, *, language: str = "en", **more: object) -> list[str]:
    return list(islice(strangers_values(phi_class, value, language, 0.0, Random(5), **more), count))  # type: ignore[arg-type]


def test_another_value_is_never_the_same_and_reaches_all_others() -> None:
    value = "222-555-0143"
    kind = format_of("phone", value)
    assert kind is not None
    found = {another("phone", value, "en", kind.size, Random(number)) for number in range(300)}
    assert value not in found
    assert len(found) > 290
    assert another("ward", "17", "en", 0.0, Random(0)) is None


@pytest.mark.parametrize("value", ["9123689", "00-4711-X", "5"])
def test_values_like_it_come_once_each(value: str) -> None:
    found = list(islice(values_like("mrn", value, "en", 0.0, Random(0)), 500))
    assert len(found) == len(set(found)) == (0 if value == "5" else 500)


@pytest.mark.parametrize(
    ("phi_class", "value", "shape"),
    [
        ("mrn", "9123689", r"[1-9]\d{6}"),
        ("mrn", "00-4711-X", r"\d\d-[1-9]\d{3}-X"),
        ("other", "ACC-2024-00017", r"[A-Z]{3}-[1-9]\d{3}-\d{5}"),
        ("geography", "1234 Main St, Springfield", r"[1-9]\d{3} [A-Z][a-z]{3} [A-Z][a-z], [A-Z][a-z]{10}"),
        ("geography", "Müllerstraße 12, 80331 München", r"[A-Z][a-z]{11} [1-9]\d, [1-9]\d{4} [A-Z][a-z]{6}"),
        ("email", "maria.lopez1987@hospital.org", r"[a-z]{5}\.[a-z]{5}[1-9]\d{3}@[a-z]{8}\.org"),
        ("url", "https://pacs.clinic.net/lopez/2211", r"https://[a-z]{4}\.[a-z]{6}\.net/[a-z]{5}/[1-9]\d{3}"),
        ("name", "DOE JANE", r"[A-Z]+ [A-Z]+"),
        ("name", "Wilhelmina van der Broekhuizen", r"[A-Z]\S+ [A-Z]\S+"),
        ("name", "王小明", r"[一-鿿]{2,4}"),
        ("name", "やまだたろう", r"[\u3040-\u30ff一-鿿]+ [\u3040-\u30ff一-鿿]+"),
    ],
)
def test_strangers_have_the_format_and_nothing_of_the_value(phi_class: str, value: str, shape: str) -> None:
    found = drawn(phi_class, value)
    assert len(found) == len(set(found)) == 30
    real = {run.casefold() for run in re.findall(r"[^\W\d_]{2,}", value)} - {"https", "org", "net"}
    for other in found:
        assert re.fullmatch(shape, other), other
        assert not real & {run.casefold() for run in re.findall(r"[^\W\d_]{2,}", other)}


@pytest.mark.parametrize(
    ("phi_class", "value"), [("geography", "Somewhere"), ("ward", "B 12"), ("geography", "北京市海淀区100号")]
)
def test_what_cannot_be_made_up_is_not(phi_class: str, value: str) -> None:
    assert drawn(phi_class, value, language="zh") == []


def test_what_several_values_share_is_format() -> None:
    assert all(re.fullmatch(r"ACC-\d{4}-[a-z]{3}", other) for other in drawn("other", "ACC-2024-xyz", shared={"acc"}))
    assert not any(other.startswith("ACC") for other in drawn("other", "ACC-2024-xyz"))


@pytest.mark.parametrize(
    ("phi_class", "value", "written"),
    [
        ("date", "2024-02-29", "%Y-%m-%d"), ("date", "20240105", "%Y%m%d"), ("date", "29.02.2024", "%d.%m.%Y"),
        ("admission", "2024-01-05 11:35:02", "%Y-%m-%d %H:%M:%S"),
    ],
)  # fmt: skip
def test_days_of_no_known_format_become_near_days(phi_class: str, value: str, written: str) -> None:
    assert format_of(phi_class, value) is None
    found = drawn(phi_class, value, 5000)
    assert len(found) == 3652, "five years to either side, and not the day itself"
    days = {datetime.strptime(other, written).date() for other in found}
    own = datetime.strptime(value, written).date()
    assert len(days) == 3652
    assert own not in days
    assert max(abs((day - own).days) for day in days) == 1826


@pytest.mark.parametrize(
    ("word", "shape"),
    [("Lumhalol", "CvccvcvC"), ("GLYBURIDE", "ccvcvcvcv"), ("Yarvy", "cvccv"), ("Müller-Ä", "cvccvc-v"), ("T4", "c4")],
)
def test_words_keep_their_shape(word: str, shape: str) -> None:
    for number in range(50):
        made = word_like(word, Random(number))
        assert made is not None
        for old, new, kind in zip(word, made, shape, strict=True):
            assert new.isupper() == old.isupper()
            if kind in "cvC":
                assert new != old
                assert (new.lower() in "aeiou") == (kind == "v")
            else:
                assert new == old


@pytest.mark.parametrize("word", ["", "12-3", "阿莫西林", "Вера"])
def test_words_of_other_scripts_are_not_made_up(word: str) -> None:
    assert word_like(word, Random(0)) is None


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("Dr. Edgar J. Huber", ("Edgar", "Huber")),
        ("HUBER-MEYER, EDGAR", ("HUBER", "MEYER", "EDGAR")),
        ("Wilhelmina van der Broek", ("Wilhelmina", "Broek")),
        ("Bo Li", ("Bo", "Li")), ("王小明", ("小明",)), ("王明", ()), ("夕凪 太郎", ("夕凪", "太郎")),
    ],
)  # fmt: skip
def test_parts_of_names(name: str, parts: tuple[str, ...]) -> None:
    assert name_parts(name) == parts


def replaced(text: str, phi_class: str, old: str, new: str, *spans: Span) -> str:
    known = with_parts([(phi_class, old, new)])
    filled = fill(cut(text, finder(one.old for one in known.values()), spans), known)
    assert filled is not None
    assert all(filled.text[span.start : span.end] == span.value for span in filled.spans)
    assert len(filled.spans) == len(spans)
    return filled.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What is Edgar Huber's MRN?", "What is Anna Kowal's MRN?"),
        ("Mr Huber's MRN, and Edgar's?", "Mr Kowal's MRN, and Anna's?"),
        ("HUBER, EDGAR: phone", "KOWAL, ANNA: phone"),
        ("edgar huber", "anna kowal"),
        ("Hubert and Edgardo are others", "Hubert and Edgardo are others"),
        ("EdgarHuber", "EdgarHuber"),
        ("the Huber-Meyer sign, Huber's sign", "the Kowal-Meyer sign, Kowal's sign"),
    ],
)
def test_names_are_replaced_in_whole_and_in_part(text: str, expected: str) -> None:
    assert replaced(text, "name", "Edgar Huber", "Anna Kowal") == expected


def test_numbers_are_replaced_between_other_signs_only() -> None:
    assert replaced("MRN4711, 47110, 4711.", "mrn", "4711", "9302") == "MRN9302, 47110, 9302."
    assert replaced("患者王小明的电话，小明", "name", "王小明", "李大海") == "患者李大海的电话，大海"


def test_spans_move_with_their_values_and_the_longest_of_those_that_overlap_is_kept() -> None:
    text = "For Edgar Huber (Huber): Edgar Huber"
    outer = Span("name", "Edgar Huber", 4, 15, 7.0)
    assert replaced(text, "name", "Edgar Huber", "Bo Li", outer) == "For Bo Li (Li): Bo Li"
    inner = Span("name", "Huber", 10, 15, 7.0)
    known = with_parts([("name", "Edgar Huber", "Bo Li")])
    filled = fill(cut(text, finder(one.old for one in known.values()), [inner, outer]), known)
    assert filled is not None
    assert [(span.value, span.start, span.space) for span in filled.spans] == [("Bo Li", 4, 7.0)]


def test_nothing_is_filled_where_a_value_is_missing() -> None:
    span = Span("ward", "B 12", 3, 7, 0.0)
    assert fill(cut("in B 12", finder([]), [span]), {}) is None


@given(st.text(alphabet="abYÄé-12 ", max_size=12), st.integers(0, 1000))
def test_made_up_words_have_the_length_of_the_word(word: str, seed: int) -> None:
    made = word_like(word, Random(seed))
    assert made is None or (len(made) == len(word) and made != word)


@pytest.mark.parametrize("value", ["9999-12-31", "31.12.9999", "99991231"])
def test_an_open_end_has_near_days_before_it_alone(value: str) -> None:
    """Hospital systems write the last day there is for "no end"."""
    found = drawn("date", value, 5000)
    assert len(found) == len(set(found)) == 1826
    assert value not in found
