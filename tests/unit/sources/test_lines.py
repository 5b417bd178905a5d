"""Lines of a file that may be anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from mllmu_med.errors import DataError
from mllmu_med.sources import lines
from mllmu_med.sources.lines import text_lines


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the bytes of a test go."""
    return tmp_path / "lines.txt"


def test_lines_keep_their_ends_and_count_from_one(file: Path) -> None:
    file.write_bytes("\ufeffa\r\n\n肺\rb\u2028c\nlast".encode())
    assert list(text_lines(file)) == [(1, "a\r\n"), (2, "\n"), (3, "肺\rb\u2028c\n"), (4, "last")]


def test_an_empty_file_has_no_lines(file: Path) -> None:
    file.write_bytes(b"")
    assert list(text_lines(file)) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a\nb\xe4c\n", r"lines\.txt, record line 2: not UTF-8 at byte 1 of the line\. Save the file as UTF-8"),
        ("a\n".encode("utf-16"), r"lines\.txt: not UTF-8 but UTF-16\. Save the file as UTF-8"),
        ("a\n".encode("utf-16-le"), r"line 1: a null character at column 2\. Save"),
        (b"a\nb\0c\n", r"lines\.txt, record line 2: a null character at column 2"),
    ],
)
def test_what_is_no_text_is_named(file: Path, content: bytes, reason: str) -> None:
    file.write_bytes(content)
    with pytest.raises(DataError, match=reason) as caught:
        list(text_lines(file))
    assert "\n" not in str(caught.value)
    assert "\0" not in str(caught.value)


def test_a_line_above_the_limit_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 10)
    file.write_bytes(b"123456789\n12345\n")
    assert len(list(text_lines(file))) == 2
    file.write_bytes(b"a\n1234567890\n")
    with pytest.raises(DataError, match="record line 2: longer than 10 bytes"):
        list(text_lines(file))


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent: no such file\. Check source\.path"):
        list(text_lines(tmp_path / "absent"))
    with pytest.raises(DataError, match=r"cannot be read .*Check source\.path"):
        list(text_lines(tmp_path))
