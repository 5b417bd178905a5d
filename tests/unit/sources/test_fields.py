"""Strict types and clear errors for single fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mllmu_med.errors import DataError
from mllmu_med.sources.fields import Fields, clean


def fields(**values: Any) -> Fields:
    """Fields that stand in line 3 of f.json."""
    return Fields(values, Path("f.json"), "line 3")


@given(st.text())
def test_clean_text_has_single_spaces_and_the_same_words(text: str) -> None:
    cleaned = clean(text)
    assert cleaned.split() == text.split()
    assert cleaned == cleaned.strip()
    assert "  " not in cleaned
    assert clean(cleaned) == cleaned


def test_wide_spaces_and_tabs_count_as_white_space() -> None:
    assert clean("　肺\t 部 \n") == "肺 部"


@pytest.mark.parametrize(("value", "name"), [(5, "a whole number"), (2.5, "a number")])
def test_a_number_for_a_text_is_mended_by_quotes(value: object, name: str) -> None:
    with pytest.raises(DataError, match=rf"^f\.json, record line 3: 'a' is {name}, expected text\. Put it in quotes\."):
        fields(a=value).text("a")


def test_true_is_not_a_number() -> None:
    with pytest.raises(DataError, match="'a' is true/false, expected a whole number"):
        fields(a=True).required("a", int)


def test_null_is_absent_for_an_optional_field_only() -> None:
    assert fields(a=None).optional_text("a") is None
    assert fields().optional_text("a") is None
    assert fields(a=" ").optional_text("a") is None
    with pytest.raises(DataError, match="'a' is null, expected text"):
        fields(a=None).text("a")
    with pytest.raises(DataError, match="no field 'a'"):
        fields().text("a")


@pytest.mark.parametrize(("published", "expected"), [("CLOSED ", "closed"), ("Open", "open"), ("", None), (None, None)])
def test_answer_types_in_any_case(published: str | None, expected: str | None) -> None:
    assert fields(a=published).answer_type("a") == expected


def test_an_unknown_answer_type_or_split_is_an_error() -> None:
    with pytest.raises(DataError, match="'a' is 'ajar', expected open or closed"):
        fields(a="ajar").answer_type("a")
    with pytest.raises(DataError, match="'a' is 'trane', expected train, validation or test"):
        fields(a="trane").split("a")


@pytest.mark.parametrize(
    ("published", "expected"), [("VAL", "validation"), ("train", "train"), ("testing", "test"), (None, None)]
)
def test_usual_names_of_splits(published: str | None, expected: str | None) -> None:
    assert fields(a=published).split("a") == expected


@pytest.mark.parametrize(("value", "name"), [([1], "a list"), ("x", "text"), (None, "null"), (1.5, "a number")])
def test_a_record_must_be_an_object(value: object, name: str) -> None:
    with pytest.raises(DataError, match=f"expected an object with named fields, found {name}"):
        Fields.of(value, Path("f.json"), "line 3")


def test_half_a_character_is_refused() -> None:
    fields = Fields.of({"answer": "a\ud800"}, Path("f.json"), "3")
    with pytest.raises(DataError, match=r"f\.json, record 3: 'answer' holds half of a character"):
        fields.text("answer")
