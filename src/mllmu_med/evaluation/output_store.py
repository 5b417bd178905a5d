"""Per-sample outputs on disk: one parquet file a model, from which every metric is recomputed without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from mllmu_med.evaluation.outputs import Output

FILE = "outputs.parquet"


def write_outputs(outputs: Sequence[Output], folder: Path) -> None:
    """Write ``outputs.parquet``; equal outputs give equal bytes."""
    import pyarrow
    from pyarrow import parquet

    floats = pyarrow.list_(pyarrow.float32())
    kinds = {
        "sample_id": pyarrow.string(),
        "probe": pyarrow.string(),
        "question": pyarrow.string(),
        "generated": pyarrow.string(),
        "truncated": pyarrow.bool_(),
        "logprobs": floats,
        "greedy": pyarrow.list_(pyarrow.bool_()),
        "correct_logprobs": floats,
        "wrong_logprobs": floats,
        "confidence": pyarrow.float32(),
        "blind_logprobs": floats,
        "expected": floats,
        "deviation": floats,
        "head_gradient": pyarrow.float32(),
        "cells": pyarrow.list_(floats),
    }
    columns = {name: pyarrow.array([getattr(o, name) for o in outputs], kind) for name, kind in kinds.items()}
    parquet.write_table(pyarrow.table(columns), folder / FILE, compression="zstd")


def read_outputs(folder: Path) -> list[Output]:
    """Read what ``write_outputs`` wrote."""
    from pyarrow import parquet

    names = [field.name for field in fields(Output)]
    rows: list[dict[str, Any]] = parquet.read_table(folder / FILE, columns=names).to_pylist()
    for row in rows:
        row.update({name: _tuples(value) for name, value in row.items() if isinstance(value, list)})
    return [Output(**row) for row in rows]


def _tuples(values: list[Any]) -> tuple[Any, ...]:
    return tuple(_tuples(value) if isinstance(value, list) else value for value in values)
