"""The folder itself: its format, its files, their columns, its card and its Croissant metadata."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mllmu_med.benchmark.check.findings import Finding, error
from mllmu_med.benchmark.croissant import FILE as CROISSANT
from mllmu_med.benchmark.sample import Subset
from mllmu_med.benchmark.schemas import FORMAT, image_schema, ledger_schema, sample_schema
from mllmu_med.errors import DataError
from mllmu_med.folders import MANIFEST, read_json, read_manifest

if TYPE_CHECKING:
    import pyarrow

CARD = "README.md"
_FORMAT = re.compile(r"(.+/)(\d+)")
_SAMPLES = re.compile(r"samples/(.+)-\d{5}\.parquet")
_IMAGES = re.compile(r"images/images-\d{5}\.parquet")
_LEDGER = "ledger.parquet"
_SHAPE = {"counts": dict, "plan": dict, "rules": list, "images": int, "files": dict}
_OF_A_RULE = {"id", "finding", "wrong", "records", "unseen"}


def check_format(path: Path) -> dict[str, Any]:
    """The manifest of a folder of the format that this version reads.

    Raises:
        DataError: not a benchmark, or of an older or newer format (says which version of the package wrote it), or
            with a malformed manifest.
    """
    manifest = read_manifest(path)
    found, known = str(manifest.get("format")), _FORMAT.fullmatch(FORMAT)
    if found == FORMAT:
        _require_shape(path, manifest)
        return manifest
    match = _FORMAT.fullmatch(found)
    if match is None or known is None or match[1] != known[1]:
        raise DataError(f"the format is {found!r}, not '{FORMAT}'", file=path, mend="Give the folder of a benchmark.")
    newer = int(match[2]) > int(known[2])
    mend = "Update mllmu-med." if newer else "Build the benchmark again, or read it with that version."
    raise DataError(
        f"the format is '{found}', {'newer' if newer else 'older'} than '{FORMAT}'; written by MLLMU-Med "
        f"{manifest.get('package', 'of an unknown version')}",
        file=path, mend=mend,
    )  # fmt: skip


def _require_shape(path: Path, manifest: Mapping[str, Any]) -> None:
    """Refuse a manifest that the checks could not read."""
    for name, kind in _SHAPE.items():
        if not isinstance(manifest.get(name), kind) or isinstance(manifest.get(name), bool):
            mend = "Build the benchmark again."
            raise DataError(f"its '{name}' is missing or malformed", file=path / MANIFEST, mend=mend)
    if not all(isinstance(rule, dict) and rule.keys() >= _OF_A_RULE for rule in manifest["rules"]):
        raise DataError("one of its 'rules' is malformed", file=path / MANIFEST, mend="Build the benchmark again.")


def columns(path: Path) -> Iterator[Finding]:
    """Whether every parquet file can be opened and has the columns of its kind."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = sorted(str(file.relative_to(path)) for file in path.rglob("*.parquet"))
    for name in found:
        expected = _schema(name)
        if expected is None:
            yield error("files", None, f"{name} is not a file of a benchmark")
            continue
        try:
            schema = pq.read_schema(path / name)
        except (pa.ArrowInvalid, OSError):
            yield error("files", None, f"{name} cannot be read as parquet")
            continue
        yield from _differences(name, schema, expected)
    if _LEDGER not in found:
        yield error("files", None, f"{_LEDGER} is missing")


def _schema(name: str) -> pyarrow.Schema | None:
    if name == _LEDGER:
        return ledger_schema()
    if _IMAGES.fullmatch(name):
        return image_schema()
    match = _SAMPLES.fullmatch(name)
    return sample_schema() if match and match[1] in {subset.file_name for subset in Subset} else None


def _differences(name: str, schema: pyarrow.Schema, expected: pyarrow.Schema) -> Iterator[Finding]:
    for column in expected:
        if column.name not in schema.names:
            yield error("columns", None, f"{name} has no column '{column.name}'")
        elif schema.field(column.name).type != column.type:
            kind = schema.field(column.name).type
            yield error("columns", None, f"{name}: column '{column.name}' is {kind} instead of {column.type}")
    for unknown in sorted(set(schema.names) - set(expected.names)):
        yield error("columns", None, f"{name} has a column '{unknown}' that no benchmark has")


def descriptions(path: Path, manifest: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether the card and the Croissant metadata are there, and whether the latter names every file as it is."""
    if not (path / CARD).is_file():
        yield error("descriptions", None, f"there is no dataset card, {CARD}")
    if not (path / CROISSANT).is_file():
        yield error("descriptions", None, f"there is no {CROISSANT}")
        return
    try:
        described = read_json(path / CROISSANT)
        objects = {part["@id"]: part["sha256"] for part in described["distribution"] if "sha256" in part}
    except (DataError, KeyError, TypeError):
        yield error("descriptions", None, f"{CROISSANT} is not Croissant metadata")
        return
    files = {name: sha for name, sha in manifest.get("files", {}).items() if name != CROISSANT}
    for name in sorted(files.keys() | objects.keys()):
        if objects.get(name) != files.get(name):
            yield error("descriptions", None, f"{CROISSANT} and the manifest differ about {name}")
