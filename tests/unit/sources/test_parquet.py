"""Rows of parquet files, from the start or from the middle, and damaged files."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mllmu_med.errors import DataError
from mllmu_med.sources.parquet import BATCH, ParquetRows, one_line


def write(file: Path, rows: int, group: int = 20, **columns: Any) -> Path:
    """A file of numbered rows in row groups of this size."""
    values = {"n": list(range(rows)), "data": [b"%d" % number * 50 for number in range(rows)], **columns}
    pq.write_table(pa.table(values), file, row_group_size=group)
    return file


@pytest.mark.parametrize("rows", [0, 1, BATCH - 1, BATCH, 20, 21, 73])
def test_every_row_comes_once_and_in_order(tmp_path: Path, rows: int) -> None:
    file = ParquetRows(write(tmp_path / "a.parquet", rows, n=pa.array(range(rows), pa.int64())))
    assert [(number, row["n"]) for number, row in file.rows()] == [(number, number) for number in range(rows)]
    assert len(file) == rows
    assert file.columns == ("n", "data")


@pytest.mark.parametrize("start", [0, 1, 15, 16, 19, 20, 40, 72, 73, 1000])
def test_reading_from_the_middle_gives_the_same_rows(tmp_path: Path, start: int) -> None:
    file = ParquetRows(write(tmp_path / "a.parquet", 73))
    assert list(file.rows(start=start)) == list(file.rows())[start:]


def test_only_the_columns_asked_for_are_read(tmp_path: Path) -> None:
    assert next(ParquetRows(write(tmp_path / "a.parquet", 3)).rows(["n"])) == (0, {"n": 0})


def test_a_value_is_read_again(tmp_path: Path) -> None:
    file = ParquetRows(write(tmp_path / "a.parquet", 73))
    assert [file.value(number, "data") for number in (72, 0, 37)] == [b"72" * 50, b"0" * 50, b"37" * 50]
    with pytest.raises(DataError, match=r"a\.parquet, record row 73: no such row any more"):
        file.value(73, "data")


def test_the_file_is_not_kept_open(tmp_path: Path) -> None:
    opened = []

    def opener() -> Any:
        opened.append(path.open("rb"))
        return opened[-1]

    path = write(tmp_path / "a.parquet", 3)
    file = ParquetRows("elsewhere", opener)
    assert len(list(file.rows())) == 3
    assert len(opened) == 2
    assert all(handle.closed for handle in opened)


def test_large_row_groups_are_not_held(tmp_path: Path) -> None:
    """One row group of 64 MiB is read in a fraction of that."""
    side = 1 << 16
    table = pa.table({"data": [bytes([number % 251]) * side for number in range(1024)]})
    # A page is held as a whole; its writer looks at its size once per write batch.
    pq.write_table(
        table,
        tmp_path / "a.parquet",
        row_group_size=1024,
        use_dictionary=False,
        compression="none",
        write_batch_size=16,
    )
    del table
    before, largest = pa.total_allocated_bytes(), 0
    tracemalloc.start()  # what Arrow has read through Python's file is not in its own count
    try:
        for number, row in ParquetRows(tmp_path / "a.parquet").rows():
            assert row["data"][:1] == bytes([number % 251])
            largest = max(largest, pa.total_allocated_bytes() - before)
        _, read_at_once = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert largest + read_at_once < 16 << 20


@pytest.mark.parametrize("damage", ["short", "head", "middle", "text"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    file = write(tmp_path / "a.parquet", 200, group=200)
    data = bytearray(file.read_bytes())
    if damage == "short":
        del data[len(data) // 2 :]
    elif damage == "head":
        data[:4] = b"JUNK"
        data[-4:] = b"JUNK"
    elif damage == "middle":
        data[4:400] = b"\xff" * 396
    else:
        data = bytearray(b"hello")
    file.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.parquet.*not a readable parquet file \(.*Check the download") as caught:
        list(ParquetRows(file).rows())
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.parquet: no such file\. Check the path"):
        ParquetRows(tmp_path / "a.parquet")
    with pytest.raises(DataError, match="not a readable parquet file"):
        ParquetRows(tmp_path)


def test_text_in_another_encoding_is_named(tmp_path: Path) -> None:
    wrong = pa.array([b"fine", b"na\xefve"]).cast(pa.binary())
    column = pa.StringArray.from_buffers(2, wrong.buffers()[1], wrong.buffers()[2])
    pq.write_table(pa.table({"text": column}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet, record rows 0 to 15: text that is not UTF-8"):
        list(ParquetRows(tmp_path / "a.parquet").rows())


def test_an_errors_text_becomes_one_short_line() -> None:
    assert one_line(ValueError("a\n b\tc")) == "a b c"
    assert one_line(ValueError()) == "ValueError"
    assert len(one_line(ValueError("x" * 1000))) == 160
