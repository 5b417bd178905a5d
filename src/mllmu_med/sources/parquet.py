"""The rows of a parquet file in bounded memory, and single values read again: images may lie inside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from mllmu_med.errors import DataError

BATCH = 16
"""Rows that are held at once."""

_BUFFER = 1 << 20  # bytes read ahead per column; without it, whole column chunks would be


class ParquetRows:
    """A parquet file's rows as dictionaries, in order.

    Args:
        path: how errors call the file; what is opened, too, unless ``opened`` is given.
        opened: opens the file for reading, where it is no local one.

    Attributes:
        columns: names, in order.
        schema: pyarrow's.

    Raises:
        DataError: missing, or not a parquet file.
    """

    def __init__(self, path: Path | str, opened: Callable[[], BinaryIO] | None = None) -> None:
        self.path = path
        self._open = opened or partial(Path(path).open, "rb")
        with self._file() as file:
            self.schema: Any = file.schema_arrow
            self.columns: tuple[str, ...] = tuple(self.schema.names)
            self._group_sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]

    def __len__(self) -> int:
        return sum(self._group_sizes)

    def rows(self, columns: Sequence[str] | None = None, start: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
        """Number (from 0) and values of each row from ``start`` on; of these columns only, if given.

        Raises:
            DataError: damaged, or text that is not UTF-8; names the rows.
        """
        group, number = self._group(start)
        groups = list(range(group, len(self._group_sizes)))
        with self._file() as file:
            batches = file.iter_batches(BATCH, row_groups=groups, columns=columns, use_threads=False)
            while True:
                with self._failures(f"rows {number} to {number + BATCH - 1}"):
                    batch = next(batches, None)
                    values = [] if batch is None or number + batch.num_rows <= start else batch.to_pylist()
                if batch is None:
                    return
                for offset, row in enumerate(values):
                    if number + offset >= start:
                        yield number + offset, row
                number += batch.num_rows

    def value(self, number: int, column: str) -> Any:
        """One row's value of one column, read anew.

        Raises:
            DataError: damaged, or there is no such row any more.
        """
        for _, row in self.rows([column], start=number):
            return row[column]
        raise DataError("no such row any more", file=self.path, record=f"row {number}", mend="Start again.")

    def _group(self, number: int) -> tuple[int, int]:
        """The row group that holds a row, and its first row."""
        first = 0
        for group, size in enumerate(self._group_sizes):
            if number < first + size:
                return group, first
            first += size
        return len(self._group_sizes), first

    @contextmanager
    def _file(self) -> Iterator[Any]:
        from pyarrow.parquet import ParquetFile

        with self._failures(None):
            source = self._open()
        with source:
            with self._failures(None):
                file = ParquetFile(source, pre_buffer=False, buffer_size=_BUFFER)
            yield file

    @contextmanager
    def _failures(self, record: str | None) -> Iterator[None]:
        """What can go wrong in reading, as one line."""
        from pyarrow import ArrowException

        try:
            yield
        except FileNotFoundError:
            raise DataError("no such file", file=self.path, mend="Check the path.") from None
        except UnicodeDecodeError as error:
            reason = f"text that is not UTF-8 ({error.reason})"
            raise DataError(reason, file=self.path, record=record, mend="Write the file anew.") from None
        except (ArrowException, OSError, ValueError) as error:
            reason = f"not a readable parquet file ({one_line(error)})"
            raise DataError(reason, file=self.path, record=record, mend="Check the download.") from None


def one_line(error: BaseException) -> str:
    """The first 160 characters of an error's text, on one line, for use inside another."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else f"{text[:159]}…"
