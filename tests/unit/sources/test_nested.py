"""Lists and objects in cells, as such or as JSON in a text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mllmu_med.errors import DataError
from mllmu_med.sources.fields import Fields
from mllmu_med.sources.nested import identifier, image_bytes, nested, objects


def fields(**values: Any) -> Fields:
    """Fields of row 3 of f.parquet."""
    return Fields(values, Path("f.parquet"), "row 3")


@pytest.mark.parametrize(
    ("cell", "value"),
    [([1], [1]), ("[1]", [1]), ({"a": 1}, {"a": 1}), ('{"a": 1}', {"a": 1}), (" ", None), (None, None)],
)
def test_text_is_parsed_and_the_rest_is_as_it_is(cell: object, value: object) -> None:
    assert nested(fields(x=cell), "x") == value
    assert nested(fields(), "x") is None


@pytest.mark.parametrize("text", ["{'a': 1}", '{"a": 1, "a": 2}', "[NaN]", "[" * 200_000])
def test_malformed_json_is_named(text: str) -> None:
    with pytest.raises(DataError, match=r"f\.parquet, record row 3: 'x' is malformed JSON"):
        nested(fields(x=text), "x")


def test_objects_are_named_by_their_place() -> None:
    assert [entry.record for entry in objects(fields(), "x", [{}, {}])] == ["row 3, x 0", "row 3, x 1"]
    assert list(objects(fields(), "x", None)) == []
    with pytest.raises(DataError, match="row 3, x 1: expected an object with named fields, found text"):
        list(objects(fields(), "x", [{}, "y"]))
    with pytest.raises(DataError, match="row 3: 'x' is not a list of questions"):
        list(objects(fields(), "x", {"a": 1}))


def test_identifiers_may_be_numbers() -> None:
    assert [identifier(fields(x=value), "x") for value in (7, "7", " a ")] == ["7", "7", "a"]
    for value, reason in ((" ", "'x' is empty"), (None, "'x' is null"), (1.5, "is a number"), (True, "true/false")):
        with pytest.raises(DataError, match=reason):
            identifier(fields(x=value), "x")


@pytest.mark.parametrize(
    ("cell", "data"),
    [
        (b"x", b"x"),
        ({"bytes": b"x", "path": None}, b"x"),
        ({"path": "x"}, None),
        (b"", None),
        ("x", None),
        (None, None),
    ],
)
def test_image_cells(cell: object, data: bytes | None) -> None:
    assert image_bytes(cell) == data
