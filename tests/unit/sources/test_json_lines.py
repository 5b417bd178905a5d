"""JSON lists and JSON Lines, told apart by how they begin."""

from __future__ import annotations

from pathlib import Path

import pytest

from mllmu_med.errors import DataError
from mllmu_med.sources.json_lines import stream_json, stream_lines


def write(folder: Path, data: bytes) -> Path:
    """A file with these bytes."""
    file = folder / "data.json"
    file.write_bytes(data)
    return file


def test_lines_are_numbered_and_empty_ones_left_out(tmp_path: Path) -> None:
    file = write(tmp_path, b'\xef\xbb\xbf{"a": 1}\n\n  \r\n{"a": "\xe8\x82\xba"}\n[2]')
    assert list(stream_lines(file)) == [(1, {"a": 1}), (4, {"a": "肺"}), (5, [2])]


@pytest.mark.parametrize(
    ("data", "values"),
    [
        (b'[{"a": 1},\n {"a": 2}]', [(1, {"a": 1}), (2, {"a": 2})]),
        (b'\n \xef{"a": 1}', None),
        (b'\xef\xbb\xbf \n[{"a": 1}]', [(2, {"a": 1})]),
        (b'\xef\xbb\xbf{"a": 1}\n{"a": 2}', [(1, {"a": 1}), (2, {"a": 2})]),
        (b'\n\n{"a": 1}\n', [(3, {"a": 1})]),
    ],
)
def test_a_list_and_lines_give_the_same(tmp_path: Path, data: bytes, values: object) -> None:
    file = write(tmp_path, data)
    if values is None:
        with pytest.raises(DataError, match="not UTF-8"):
            list(stream_json(file))
    else:
        assert list(stream_json(file)) == values


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"a": 1}\n{"a" 1}', r"data\.json, record line 2: malformed JSON at column 6"),
        (b'{"a": 1}\n{"a": 1, "a": 2}', "record line 2: key 'a' occurs twice"),
        (b'{"a": NaN}', "record line 1: NaN is not JSON"),
        (b'{"a": 1}\n{"a": "\xff"}', "record line 2: not UTF-8 at byte 7 of the line. Save"),
        (b'{"a": ' + b"[" * 200_000, "record line 1: nested too deeply"),
        (b"", r"data\.json: expected a list of records, found nothing"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, data: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        list(stream_json(write(tmp_path, data)))
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.json: no such file"):
        list(stream_json(tmp_path / "absent.json"))
    with pytest.raises(DataError, match="cannot be read"):
        list(stream_json(tmp_path))
