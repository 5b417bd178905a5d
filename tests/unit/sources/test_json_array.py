"""Arrays of any size, read piece by piece exactly as if they were read at once."""

from __future__ import annotations

import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mllmu_med.errors import DataError
from mllmu_med.sources import json_array
from mllmu_med.sources.json_array import Element, stream_array, stream_arrays

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the JSON of a test goes."""
    return tmp_path / "list.json"


def read(file: Path, content: str | bytes) -> list[tuple[int, Any]]:
    """The elements of a file with this content."""
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(stream_array(file))


@settings(deadline=None, max_examples=150)
@given(st.lists(VALUES, max_size=6), st.sampled_from([None, 0, 3]), st.booleans(), st.integers(1, 40))
def test_any_list_in_blocks_of_any_size_is_what_json_loads(
    tmp_path_factory: pytest.TempPathFactory, values: list[Any], indent: int | None, ascii_only: bool, block: int
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.json"
    file.write_text(json.dumps(values, indent=indent, ensure_ascii=ascii_only), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_array, "BLOCK", block)
        found = list(stream_array(file))
    assert [value for _, value in found] == values
    assert [type(value) for _, value in found] == [type(value) for value in values]


@pytest.mark.parametrize("block", [1, 2, 3, 4, 5])
def test_numbers_are_not_cut_where_a_block_ends(file: Path, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_array, "BLOCK", block)
    numbers = [0.0, 12, -1.5, 1e-300, -2.5e300, 0, 123456789012345678901234567890, 1e22]
    assert [value for _, value in read(file, json.dumps(numbers))] == numbers
    assert [value for _, value in read(file, "[1E5,1e+05,-0.0e-1]")] == [1e5, 1e5, -0.0]
    with pytest.raises(DataError, match=r"column 3: expected '\]'"):
        read(file, "[1e]")


@pytest.mark.parametrize("block", [1, 2, 3, 7, 65_536])
def test_lines_are_where_elements_start(file: Path, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_array, "BLOCK", block)
    text = '\n[\n {"a":\n "肺"},\n\n  {"b": 12345}, 678\n,\r\n"x"]\n\n'
    assert read(file, text) == [(3, {"a": "肺"}), (6, {"b": 12345}), (6, 678), (8, "x")]


@pytest.mark.parametrize("block", [1, 4, 65_536])
def test_the_lists_of_an_object_follow_each_other(file: Path, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_array, "BLOCK", block)
    text = '{"train": [{"a": 1},\n{"a": 2}], "empty": [],\n "test" : [{"a": 3}]}'
    assert read(file, text) == [(1, {"a": 1}), (2, {"a": 2}), (3, {"a": 3})]
    assert [(one.key, one.line) for one in stream_arrays(file)] == [("train", 1), ("train", 2), ("test", 3)]
    assert next(stream_arrays(file)) == Element("train", 1, {"a": 1})


def test_an_empty_list_and_a_byte_order_mark_are_no_errors(file: Path) -> None:
    assert read(file, "[ ]") == []
    assert read(file, b"\xef\xbb\xbf[1]") == [(1, 1)]


@pytest.mark.parametrize("block", [1, 5, 65_536])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('[{"qid": 1},\n {"img_id" 2}]', "malformed JSON at line 2, column 12: Expecting ':' delimiter. Mend the line"),
        ('[{"a": 1}\n{"a": 2}]', r"malformed JSON at line 2, column 1: expected '\]'"),
        ('[{"a": 1},\n\n]', "malformed JSON at line 3, column 1: Expecting value"),
        ('[{"a": 1}, {"a":\n "open', "malformed JSON at line 2, column 2: Unterminated string"),
        ('[{"a": 1}', r"malformed JSON at line 1, column 10: expected '\]'"),
        ('[{"a": 1', "malformed JSON at line 1, column 9: Expecting ',' delimiter"),
        ('[{"a": tru}]', "malformed JSON at line 1, column 8: Expecting value"),
        ('[{"a": "x\ny"}]', "malformed JSON at line 1, column 10: Invalid control character"),
        ("[1]\n 2", "malformed JSON at line 2, column 2: something follows the end of the list"),
        ('[\n{"a": 1, "a": 2}]', "record line 2: key 'a' occurs twice"),
        ('[\n\n{"a": NaN}]', "record line 3: NaN is not JSON"),
        ("[-Infinity]", "record line 1: -Infinity is not JSON"),
        ("", "expected a list of records, found nothing"),
        (" \n", "expected a list of records, found nothing"),
        ('"text"', "expected a list of records, found something else"),
        ('{"a": [1],\n "n": 5}', "record line 2: expected a list of records, found an object whose 'n' is no list"),
        ('{"a": [], "a": []}', "key 'a' occurs twice"),
        ('{"a": [],}', "malformed JSON at line 1, column 10: expected a name in double quotes"),
        ('{"a" []}', "malformed JSON at line 1, column 6: expected ':'"),
        ('{"a": []', "malformed JSON at line 1, column 9: expected '}'"),
        ('[1,\n "é"]'.encode("latin-1"), r"not UTF-8 at byte 6 \(line 2\)\. Save the file as UTF-8"),
        (b"\xef\xbb\xbf[\xff]", r"not UTF-8 at byte 4 \(line 1\)"),
        ('["肺"]'.encode()[:-3], r"not UTF-8 at byte 2 \(line 1\)"),
        ("[1]".encode("utf-16"), r"not UTF-8 at byte 0 \(line 1\)"),
    ],
)
def test_what_is_wrong_is_one_line_that_says_where(
    file: Path, content: str | bytes, reason: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_array, "BLOCK", block)
    with pytest.raises(DataError, match=reason) as caught:
        read(file, content)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


def test_deep_nesting_is_an_error_not_a_traceback(file: Path) -> None:
    with pytest.raises(DataError, match="record line 2: nested too deeply"):
        read(file, "[\n" + "[" * 100_000)


def test_a_long_number_is_an_error_not_a_traceback(file: Path) -> None:
    with pytest.raises(DataError, match="record line 2: Exceeds the limit"):
        read(file, "[1,\n" + "9" * 5_000 + "]")


def test_a_missing_file_or_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.json: no such file\. Check the path"):
        list(stream_array(tmp_path / "absent.json"))
    with pytest.raises(DataError, match="cannot be read"):
        list(stream_array(tmp_path))


def test_elements_come_before_a_later_mistake_is_met(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_array, "BLOCK", 8)
    file.write_text('[{"a": 1}, {"a": 2},                {"a" 3}]')
    elements = stream_array(file)
    assert [next(elements)[1]["a"], next(elements)[1]["a"]] == [1, 2]
    with pytest.raises(DataError, match="column 42"):
        next(elements)


def test_an_element_above_the_limit_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_array, "BLOCK", 16)
    monkeypatch.setattr(json_array, "LARGEST_ELEMENT", 100)
    assert len(read(file, json.dumps(["x" * 60] * 9))) == 9
    with pytest.raises(DataError, match=r"record line 2: an element has more than 100 characters\. Is this the right"):
        read(file, '["a",\n"' + "x" * 500 + '"]')


def test_a_mistake_is_reported_without_reading_the_rest(tmp_path: Path) -> None:
    class Counting(io.BytesIO):
        taken = 0

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            self.taken += len(data)
            return data

    file = Counting(b'[{"a" 1}, ' + b'{"a": 1},' * 200_000 + b"1]")
    window = json_array._Window(file, tmp_path)
    window.take("[")
    with pytest.raises(DataError, match="column 7"):
        window.value()
    assert file.taken <= 2 * json_array.BLOCK


def test_memory_does_not_grow_with_the_file(file: Path) -> None:
    row = json.dumps({"id": "x" * 50, "conversations": [{"from": "human", "value": "y" * 200}] * 2})
    file.write_text("[" + ",\n".join([row] * 20_000) + "]")
    assert file.stat().st_size > 10_000_000
    tracemalloc.start()
    assert sum(1 for _ in stream_array(file)) == 20_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000
