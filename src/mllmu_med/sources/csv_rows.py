"""Rows of a CSV file: strict, streamed, and with errors that name the line."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from mllmu_med.errors import DataError
from mllmu_med.sources.lines import text_lines

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
"""What may stand between the cells of a row → how messages call it; the earlier one is preferred."""


class Row(NamedTuple):
    """A row: the line on which it starts (from 1), and its cells by column, as they stand in the file."""

    line: int
    cells: dict[str, str]


class Table:
    """A CSV file with a header line (RFC 4180: double quotes around cells, doubled inside them).

    Args:
        file: UTF-8.
        separator: one of SEPARATORS; None = the one that makes the most columns of the first line.
        unnamed: name of the first column where the header leaves it empty, as pandas writes an index; None = an error.

    Attributes:
        columns: names of the columns, in order.
        separator: what stands between the cells.

    Raises:
        DataError: the file is missing, not UTF-8 or empty, or a column has no name or the name of another one.
    """

    def __init__(self, file: Path, separator: str | None = None, unnamed: str | None = None) -> None:
        self.file = file
        lines = text_lines(file)
        first = next(lines, None)
        if first is None:
            raise DataError("the file is empty", file=file, mend="The first line must name the columns.")
        self.separator = separator or _most_columns(first[1])
        self._cells = self._read(chain([first], lines))
        header = next(self._cells, None)
        names = [name.strip() for name in header[1]] if header else []
        if names and not names[0] and unnamed is not None:
            names[0] = unnamed
        self.columns = names
        self._check_header(header[0] if header else 1)

    @property
    def described(self) -> str:
        """The columns, for messages: ``a, b (separated by commas)``."""
        return f"{', '.join(self.columns)} (separated by {SEPARATORS[self.separator]})"

    def rows(self) -> Iterator[Row]:
        """The rows below the header, once. Empty lines and rows of empty cells are left out.

        Raises:
            DataError: a row has more or fewer cells than the header, a quote is wrong, or a cell is too long.
        """
        for line, cells in self._cells:
            if not any(cells):
                continue
            if len(cells) != len(self.columns):
                name = SEPARATORS[self.separator]
                raise DataError(
                    f"the header has {len(self.columns)} cells, this row {len(cells)}, separated by {name}",
                    file=self.file, record=f"line {line}", mend=f"Put double quotes around texts that hold {name}.",
                )  # fmt: skip
            yield Row(line, dict(zip(self.columns, cells, strict=True)))

    def _read(self, lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, list[str]]]:
        """Start line and cells of each row, header included."""
        reader = csv.reader((text for _, text in lines), delimiter=self.separator, strict=True)
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                reason, mend = _explained(str(error), self.separator)
                raise DataError(reason, file=self.file, record=f"line {line}", mend=mend) from None
            yield line, cells

    def _check_header(self, line: int) -> None:
        mend = "The first line must name every column, each differently."
        if not any(self.columns):
            raise DataError("the first line is empty", file=self.file, mend=mend)
        for place, name in enumerate(self.columns, start=1):
            if not name:
                reason = f"column {place} has no name; columns: {self.described}"
                raise DataError(reason, file=self.file, record=f"line {line}", mend=mend)
        name, times = Counter(self.columns).most_common(1)[0]
        if times > 1:
            raise DataError(f"column '{name}' occurs twice", file=self.file, record=f"line {line}", mend=mend)


def _explained(error: str, separator: str) -> tuple[str, str]:
    """What Python's csv module says, in words that help: reason and mend."""
    if "unexpected end of data" in error:
        return "a double quote is opened and never closed", "Close it, or double it where it belongs to the text."
    if "field larger than field limit" in error:
        reason = f"a cell is longer than {csv.field_size_limit():,} characters"
        return reason, "Is a double quote left open? Double those that belong to a text."
    if "expected after" in error:
        reason = f"text follows a closing double quote (cells are separated by {SEPARATORS[separator]})"
        return reason, "Double the quotes that belong to the text."
    if "new-line character" in error:
        return "a carriage return that ends no line", "Save the file with usual line ends."
    return error, "Mend the line."


def _most_columns(header: str) -> str:
    counts = {separator: len(next(csv.reader([header], delimiter=separator), [])) for separator in SEPARATORS}
    return max(counts, key=lambda separator: counts[separator])
