"""Attempts on disk: one parquet file for each attack, from which every success is judged again without the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from mllmu_med.attacks.interface import Attempt


def write_attempts(attempts: Sequence[Attempt], path: Path) -> None:
    """Write a parquet file; equal attempts give equal bytes."""
    import pyarrow
    from pyarrow import parquet

    kinds = {
        "attack": pyarrow.string(),
        "variant": pyarrow.string(),
        "sample_id": pyarrow.string(),
        "question": pyarrow.string(),
        "candidates": pyarrow.list_(pyarrow.string()),
        "scores": pyarrow.list_(pyarrow.float64()),
        "rank": pyarrow.int64(),
        "value": pyarrow.float64(),
    }
    columns = {name: pyarrow.array([getattr(one, name) for one in attempts], kind) for name, kind in kinds.items()}
    parquet.write_table(pyarrow.table(columns), path, compression="zstd")


def read_attempts(path: Path) -> list[Attempt]:
    """Read what ``write_attempts`` wrote."""
    from pyarrow import parquet

    names = [field.name for field in fields(Attempt)]
    rows: list[dict[str, Any]] = parquet.read_table(path, columns=names).to_pylist()
    return [Attempt(**{**row, "candidates": tuple(row["candidates"]), "scores": tuple(row["scores"])}) for row in rows]
