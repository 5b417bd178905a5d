"""Cells of any type as fields of a record."""

from __future__ import annotations

import json
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from mllmu_med.errors import DataError, UsageError
from mllmu_med.sources import ImageRef
from mllmu_med.sources.fields import Fields
from mllmu_med.sources.table import FIELDS, Columns, plain

FILE = Path("t.csv")


def cells(columns: Columns | None = None, **values: Any) -> dict[str, Any]:
    """The cells of a row after conversion."""
    return dict((columns or Columns()).cells(values, FILE, "row 4").values)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("left", "left"), ("", None), (None, None), (float("nan"), None), (4, "4"), (4.0, "4"), (2.5, "2.5"),
        (1e-7, "1e-07"), (10**400, "1" + "0" * 400), (True, "true"), (False, "false"), (Decimal("1.50"), "1.50"),
        (date(2020, 1, 2), "2020-01-02"), (datetime(2020, 1, 2, 3, 4), "2020-01-02T03:04:00"), (time(3, 4), "03:04:00"),
    ],
)  # fmt: skip
def test_what_stands_for_text_becomes_text(cell: Any, text: str | None) -> None:
    assert cells(modality=cell) == {"modality": text}
    assert cells(answer=cell) == {"answer": text or ""}


@pytest.mark.parametrize(("cell", "name"), [(["a"], "a list"), (("a",), "a list"), ({"a": 1}, "an object")])
def test_what_is_no_text_is_an_error(cell: Any, name: str) -> None:
    with pytest.raises(DataError, match=rf"^t\.csv, record row 4: 'answer' holds {name}, expected text"):
        cells(answer=cell)


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        ("left|right", ["left", "right"]), ('["a|b", "c"]', ["a|b", "c"]), ([1, "b", None], ["1", "b", ""]),
        (("a", "b"), ["a", "b"]), ("", None), ("|", None), (None, None),
    ],
)  # fmt: skip
def test_options_are_a_list_or_text(cell: Any, options: list[str] | None) -> None:
    assert cells(options=cell) == {"options": options}


@pytest.mark.parametrize(
    ("cell", "levels"),
    [
        ('{"patient": 7}', {"patient": "7"}),
        ({"patient": "p7", "study": None}, {"patient": "p7"}),
        (" ", None),
        ({}, None),
    ],
)
def test_hierarchy_is_an_object_or_text(cell: Any, levels: dict[str, str] | None) -> None:
    assert cells(hierarchy=cell) == {"hierarchy": levels}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"options": '["a", '}, r"'options' is not JSON \(Expecting value.*Mend the cell"),
        ({"options": "[" * 100_000}, "'options' is not JSON"),
        ({"options": 5}, "'options' is neither a list nor text"),
        ({"hierarchy": "patient p7"}, "'hierarchy' is not JSON"),
        ({"hierarchy": "[1]"}, "'hierarchy' is not an object such as"),
        ({"hierarchy": '{"a": {"b": 1}}'}, "'hierarchy' holds an object, expected text"),
    ],
)
def test_a_cell_that_cannot_be_read_is_named(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(DataError, match=r"^t\.csv, record row 4: " + reason) as caught:
        cells(**values)
    assert "\n" not in str(caught.value)


def test_other_columns_are_kept_as_json_can_hold_them() -> None:
    values = {"day": date(2020, 1, 2), "n": 3, "x": float("inf"), "raw": b"\0", "deep": [{"a": (1, b"x")}], "id": 5}
    found = cells(**values)
    assert found == {"day": "2020-01-02", "n": 3, "x": None, "raw": None, "deep": [{"a": [1, None]}], "id": "5"}
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert plain(True) is True


def test_an_image_cell_that_is_no_text_is_left_to_the_source() -> None:
    assert cells(image={"bytes": b"x", "path": None}) == {}
    assert cells(image="a.jpg") == {"image": "a.jpg"}
    assert cells(image="") == {"image": None}
    assert Columns().image_name(Fields({"image": ""}, FILE, "row 4")) is None
    assert Columns({"image": "scan"}).image_name(Fields({"scan": "a.jpg"}, FILE, "row 4")) == "a.jpg"


def test_a_row_becomes_a_record_with_the_group_its_image_gives() -> None:
    columns = Columns({"question": "prompt", "hierarchy": "place"})
    fields = columns.cells({"prompt": "Q", "answer": 4.0, "place": {"study": 2}, "question": "own"}, FILE, "row 4")
    record = columns.record(fields, source="hf", image=ImageRef("k"))
    assert (record.id, record.question, record.answer, record.group) == ("row-4", "Q", "4", "k")
    assert (record.hierarchy, record.extra, record.source) == ({"study": "2"}, {"question": "own"}, "hf")
    assert columns.record(fields, source="hf", image=None).group == "row-4"


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_can_be_mapped(field: str) -> None:
    columns = Columns({field: "other"})
    assert columns.names[field] == "other"
    rest = {"question", "answer"} - {field}
    assert columns.missing({*rest, "other"}) is None
    reason, mend = columns.missing({*rest, "othr"}) or ("", "")
    assert reason == f"no field 'other', which stands for {field} (did you mean 'othr'?)"
    assert mend == "Check source.mapping."


def test_a_missing_column_is_told_with_the_nearest() -> None:
    assert Columns().missing(["Question", "answer"]) == (
        "no field 'question' (did you mean 'Question'?)", "If it has another name, say so in source.mapping.",
    )  # fmt: skip
    assert Columns().missing(["question", "answer", "x"]) is None


def test_a_wrong_mapping_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"mapping: no record field 'questoin' \(did you mean 'question'\?\)"):
        Columns({"questoin": "q"})
    with pytest.raises(UsageError, match="'answer' would stand for two fields"):
        Columns({"question": "answer"})
