"""Attempts on disk: one parquet file for each attack, from which every success is judged again without the model.

Beside ``ATTACK.parquet`` stands ``ATTACK.json`` with the key of what the attempts were made from: equal ones are made
once. The folder of a finished stage holds such pairs, and so does what an interrupted one leaves.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypedDict

from mllmu_med.attacks.interface import Attempt
from mllmu_med.errors import DataError
from mllmu_med.folders import file_digest, read_json, verify_file, write_json
from mllmu_med.intact import intact

log = logging.getLogger("mllmu_med")


class Carried(TypedDict):
    """What is noted of an attack that was carried out.

    Attributes:
        key: hash of everything its attempts depend on.
        sha256: of the file of attempts (hex).
        seconds: it took.
        notes: facts it left for the report; None where it left none.
        peak_memory_mb: highest memory use from the beginning of its stage to its own end, in MiB.
    """

    key: str
    sha256: str
    seconds: float
    notes: dict[str, Any] | None
    peak_memory_mb: float


def keep(
    folder: Path,
    name: str,
    attempts: Sequence[Attempt],
    *,
    key: str,
    seconds: float,
    notes: dict[str, Any] | None,
    peak_memory_mb: float,
) -> None:
    """Write an attack that was carried out; see :class:`Carried`. The note comes last: with it the attack is whole."""
    path = folder / f"{name}.parquet"
    write_attempts(attempts, path)
    found = file_digest(path)
    noted = Carried(key=key, sha256=found, seconds=seconds, notes=notes, peak_memory_mb=peak_memory_mb)
    write_json(folder / f"{name}.json", noted)


def carried(folder: Path, name: str, key: str) -> Carried | None:
    """What is noted of an attack, if ``folder`` holds its attempts under this key, whole and unchanged; else None."""
    attempts, note = folder / f"{name}.parquet", folder / f"{name}.json"
    if not attempts.is_file() or not note.is_file():
        return None
    try:
        found: Carried = read_json(note)
    except DataError as error:
        log.warning("%s; the attack is carried out again", error)
        return None
    if not isinstance(found, dict) or found.keys() != Carried.__annotations__.keys() or found["key"] != key:
        return None
    if found["sha256"] != file_digest(attempts):
        log.warning("%s has changed since it was written; the attack is carried out again", attempts)
        return None
    return found


def take_over(source: Path, folder: Path, name: str) -> None:
    """Copy attempts and note of an attack from one folder into another."""
    for file in (f"{name}.parquet", f"{name}.json"):
        shutil.copyfile(source / file, folder / file)


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
    verify_file(path)
    with intact(path):
        rows: list[dict[str, Any]] = parquet.read_table(path, columns=names).to_pylist()
    return [Attempt(**{**row, "candidates": tuple(row["candidates"]), "scores": tuple(row["scores"])}) for row in rows]
