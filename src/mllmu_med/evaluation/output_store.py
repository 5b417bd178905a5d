"""Per-sample outputs on disk: one parquet file a model, from which every metric is recomputed without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from itertools import repeat
from pathlib import Path
from typing import Any

from mllmu_med.evaluation.outputs import Output
from mllmu_med.folders import verify_file
from mllmu_med.intact import intact

FILE = "outputs.parquet"
_TEXTS = ("sample_id", "probe", "question", "generated", "truncated")


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


def read_outputs(folder: Path, *, texts_only: bool = False) -> list[Output]:
    """Read what ``write_outputs`` wrote; ``texts_only``: who was asked what and said what, without any likelihood.

    Raises:
        IntegrityError: it is not what the folder's manifest promises.
        DataError: it cannot be read, or is of another version.
    """
    from pyarrow import parquet

    names = [field.name for field in fields(Output)]
    wanted = list(_TEXTS) if texts_only else names
    verify_file(folder / FILE)
    with intact(folder / FILE):
        table = parquet.read_table(folder / FILE, columns=wanted)
        columns = [_values(table.column(name)) if name in wanted else repeat(None, len(table)) for name in names]
        return list(map(Output, *columns))


def _values(column: Any) -> list[Any]:
    """A column as Python values, its lists as tuples: all numbers are converted at once, then cut."""
    import pyarrow

    whole = column.combine_chunks() if isinstance(column, pyarrow.ChunkedArray) else column
    if not pyarrow.types.is_list(whole.type):
        return list(whole.to_pylist())
    flat = _values(whole.flatten())
    made: list[Any] = []
    done = 0
    for length in whole.value_lengths().to_pylist():
        if length is None:
            made.append(None)
            continue
        made.append(tuple(flat[done : done + length]))
        done += length
    return made
