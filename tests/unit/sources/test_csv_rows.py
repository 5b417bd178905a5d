"""Rows of a CSV file and everything that can be wrong with one."""

from __future__ import annotations

import csv
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mllmu_med.errors import DataError
from mllmu_med.sources.csv_rows import SEPARATORS, Row, Table

TEXTS = st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]), max_size=8)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the rows of a test go."""
    return tmp_path / "rows.csv"


def read(file: Path, content: str | bytes, separator: str | None = None, unnamed: str | None = None) -> list[Row]:
    """The rows of a file with this content."""
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(Table(file, separator, unnamed).rows())


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=6), st.sampled_from(list(SEPARATORS)))
def test_what_csv_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], separator: str
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.csv"
    with file.open("w", newline="", encoding="utf-8") as output:
        csv.writer(output, delimiter=separator).writerows([("a", "b"), *rows])
    found = [tuple(row.cells.values()) for row in Table(file).rows()]
    assert found == [row for row in rows if any(row)]


def test_rows_know_their_lines_past_cells_with_line_feeds(file: Path) -> None:
    content = '\ufeffa,b\r\n1,"x\ny ""z"", w"\r\n\r\n,\r\n2,"肺"'
    assert read(file, content) == [Row(2, {"a": "1", "b": 'x\ny "z", w'}), Row(6, {"a": "2", "b": "肺"})]


@pytest.mark.parametrize(
    ("header", "separator"),
    [
        ("a;b,c;d", ";"), ("a\tb\tc, d", "\t"), ("a,b;c", ","), ("alone", ","), ('"a;b;c",d', ","),
        ("a,b;c,d;e", ","),
    ],
)  # fmt: skip
def test_the_separator_is_that_of_the_most_columns(file: Path, header: str, separator: str) -> None:
    file.write_text(header + "\n")
    assert Table(file).separator == separator


def test_a_given_separator_is_not_guessed(file: Path) -> None:
    assert read(file, "a;b,c;d\n1;2,3;4\n", separator=",") == [Row(2, {"a;b": "1;2", "c;d": "3;4"})]


def test_a_first_column_without_a_name_can_be_named(file: Path) -> None:
    assert read(file, ",a\n0,x\n", unnamed="index") == [Row(2, {"index": "0", "a": "x"})]
    with pytest.raises(DataError, match="column 'index' occurs twice"):
        read(file, ",index\n0,x\n", unnamed="index")
    with pytest.raises(DataError, match="column 2 has no name"):
        read(file, ",,a\n0,1,x\n", unnamed="index")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", r"rows\.csv: the file is empty\. The first line must name the columns"),
        ("\na,b\n", r"rows\.csv: the first line is empty\. The first line must name every column"),
        ("a,,c\n", r"record line 1: column 2 has no name; columns: a, , c \(separated by commas\)\. The first line"),
        ("a,b,a\n", "record line 1: column 'a' occurs twice"),
        ("a,b, a \n", "record line 1: column 'a' occurs twice"),
        (
            "a,b\n1,2\n1\n",
            r"record line 3: the header has 2 cells, this row 1, separated by commas\. Put double quotes",
        ),
        (
            "a;b\n1;2\n1;2;3\n",
            r"record line 3: the header has 2 cells, this row 3, separated by semicolons\. .*semicolons",
        ),
        ('a,b\n1,"2\n3\n4,5\n', "record line 2: a double quote is opened and never closed. Close it, or double it"),
        ('a,b\n1,"2" 3\n', r"record line 2: text follows a closing double quote \(cells are separated by commas\)"),
        ("a,b\n1,x\ry\n", "record line 2: a carriage return that ends no line"),
        ("a,b\n1,2\n1,\0\n", "record line 3: a null character at column 3"),
        ("a,b\n1,2\n1,é\n".encode("latin-1"), r"record line 3: not UTF-8 at byte 2 of the line\. Save"),
        ("a,b\n1,2\n".encode("utf-16"), "not UTF-8 but UTF-16"),
        ("a,b\n\n1," + "x" * 131_073 + "\n", "record line 3: a cell is longer than 131,072 characters"),
        ('a,b\n1,"\n' + "x,y\n" * 50_000, "record line 2: a cell is longer than 131,072 characters. Is a double quote"),
    ],
)
def test_what_is_wrong_is_one_line_that_says_where(file: Path, content: str | bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        read(file, content)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


def test_a_quote_that_is_left_open_does_not_take_the_file_into_memory(file: Path) -> None:
    file.write_text('a,b\n1,"\n' + "x,y\n" * 1_000_000)
    tracemalloc.start()
    with pytest.raises(DataError, match="record line 2"):
        list(Table(file).rows())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.csv: no such file"):
        Table(tmp_path / "absent.csv")
