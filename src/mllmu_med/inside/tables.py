"""What was measured inside a model, on disk: parquet files from which every result is computed without the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mllmu_med.intact import intact

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Row = TypeVar("Row", bound="DataclassInstance")


def write_table(rows: Sequence[Row], kind: type[Row], path: Path) -> None:
    """Write rows of one flat dataclass (text, whole and floating-point numbers); equal rows give equal bytes."""
    import pyarrow
    from pyarrow import parquet

    kinds = {"str": pyarrow.string(), "int": pyarrow.int64(), "float": pyarrow.float64()}
    columns = {
        field.name: pyarrow.array([getattr(row, field.name) for row in rows], kinds[str(field.type)])
        for field in fields(kind)
    }
    parquet.write_table(pyarrow.table(columns), path, compression="zstd")


def read_table(kind: type[Row], path: Path) -> list[Row]:
    """Read what ``write_table`` wrote."""
    from pyarrow import parquet

    names = [field.name for field in fields(kind)]
    with intact(path):
        rows: list[dict[str, Any]] = parquet.read_table(path, columns=names).to_pylist()
    return [kind(**row) for row in rows]
