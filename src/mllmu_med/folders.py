"""Folders that are whole or absent: staged, hashed into a manifest, then renamed into place."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mllmu_med.errors import DataError, IntegrityError, UsageError
from mllmu_med.locks import lock

MANIFEST = "manifest.json"
_STAGING, _REPLACED = ".staging-", ".replaced-"
_YOUNG = 60
"""Seconds for which nobody but its maker touches a staging folder."""
_OF_THE_SYSTEM = (".DS_Store", "Thumbs.db", "desktop.ini")
"""What looking into a folder leaves there."""


def canonical_json(value: object) -> str:
    """JSON with sorted keys and no spaces; refuses NaN. Equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: object) -> str:
    """SHA-256 (hex) of a JSON-able value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_constant(name: str) -> None:
    """``parse_constant`` of strict JSON: NaN and Infinity are errors (``ValueError``)."""
    raise ValueError(f"{name} is not JSON")


def refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """``object_pairs_hook`` of strict JSON: a repeated key is an error (``ValueError``)."""
    seen: dict[str, Any] = {}
    for key, value in pairs:
        if key in seen:
            raise ValueError(f"key '{key}' occurs twice")
        seen[key] = value
    return seen


def parse_json(text: str) -> Any:
    """Strict JSON: NaN, Infinity and repeated keys are errors (``ValueError``)."""
    return json.loads(text, parse_constant=refuse_constant, object_pairs_hook=refuse_duplicates)


def read_json(path: Path) -> Any:
    """Strict JSON from a file.

    Raises:
        DataError: missing, not UTF-8, or malformed; the message names the line.
    """
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError("no such file", file=path, mend="Check the path.") from None
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 at byte {error.start}", file=path, mend="Save the file as UTF-8.") from None
    except json.JSONDecodeError as error:
        raise DataError(
            f"malformed JSON at line {error.lineno}, column {error.colno}: {error.msg}",
            file=path,
            mend="Mend the line.",
        ) from None
    except ValueError as error:
        raise DataError(str(error), file=path) from None
    except RecursionError:
        raise DataError("nested too deeply", file=path) from None


def write_json(path: Path, value: object) -> None:
    """Indented JSON, replaced in one rename."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def contents(folder: Path) -> list[Path]:
    """Every file below ``folder`` except its manifest, in sorted order."""
    return sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / MANIFEST)


@contextmanager
def staged(target: Path, manifest: Mapping[str, Any] | None = None) -> Iterator[Path]:
    """A folder to write into, which becomes ``target`` only if the block ends without an exception.

    On success every file is synced and hashed, ``manifest.json`` is written with ``manifest`` plus ``files`` (relative
    path → SHA-256), and the folder is renamed; an earlier ``target`` is replaced. On any exception nothing is left
    behind, and what a killed process has left is removed. The mapping is read when the block ends, so the block may
    still add counts to it.

    Raises:
        UsageError: ``target`` holds something else than an earlier output.
    """
    refuse_foreign(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target)
    stage = target.parent / f"{_STAGING}{target.name}-{os.getpid()}"
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir()
    at_work = os.open(stage, os.O_RDONLY)
    lock(at_work)
    try:
        yield stage
        files = {str(p.relative_to(stage)): file_digest(p) for p in contents(stage)}
        write_json(stage / MANIFEST, {**(manifest or {}), "files": files})
        for path in [*contents(stage), stage / MANIFEST]:
            _sync(path)
        if target.exists():
            old = target.parent / f"{_REPLACED}{target.name}-{os.getpid()}"
            os.replace(target, old)
            os.replace(stage, target)
            shutil.rmtree(old)
        else:
            os.replace(stage, target)
        _sync(target.parent)
    finally:
        os.close(at_work)
        shutil.rmtree(stage, ignore_errors=True)


def refuse_foreign(target: Path) -> None:
    """Nothing is replaced, and so deleted, that this package has not written.

    Raises:
        UsageError: ``target`` is no folder, or holds a file that no manifest of its own lists.
    """
    if not os.path.lexists(target):
        return
    if not target.is_dir():
        raise UsageError(f"{target}: is a file where a folder is to be written; choose another output folder")
    listed: set[str] = set()
    if (target / MANIFEST).is_file():
        files = read_manifest(target).get("files")
        listed = {MANIFEST, *files} if isinstance(files, dict) else set()
    found = (path for path in sorted(target.rglob("*")) if path.is_file() and path.name not in _OF_THE_SYSTEM)
    foreign = next((name for path in found if (name := str(path.relative_to(target))) not in listed), None)
    if foreign is not None:
        raise UsageError(
            f"{target}: holds '{foreign}', which is no output of mllmu-med and would be lost; move it away, or choose "
            "another output folder"
        )


def _sweep(target: Path) -> None:
    """Remove what killed processes have left of the same target: half-written and half-removed folders."""
    for path in target.parent.iterdir():
        if path.name.startswith((f"{_STAGING}{target.name}-", f"{_REPLACED}{target.name}-")):
            with suppress(OSError):  # gone meanwhile
                if time.time() - path.stat().st_mtime < _YOUNG:
                    continue  # perhaps made just now, and not locked yet
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    if lock(descriptor, without=False):
                        shutil.rmtree(path, ignore_errors=True)
                finally:
                    os.close(descriptor)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a finished folder; DataError if there is none."""
    if not (folder / MANIFEST).is_file():
        raise DataError(
            "no manifest.json: not a finished folder", file=folder, mend="Run the stage that writes it again."
        )
    manifest = read_json(folder / MANIFEST)
    if not isinstance(manifest, dict):
        raise DataError("not a manifest", file=folder / MANIFEST)
    return manifest


def verify(folder: Path) -> dict[str, Any]:
    """Compare every file with the manifest and return the manifest.

    Raises:
        IntegrityError: a file is missing, changed or not listed; all of them are named.
    """
    manifest = read_manifest(folder)
    promised = manifest.get("files", {})
    if not isinstance(promised, dict):
        raise DataError("its 'files' is no list of hashes by name", file=folder / MANIFEST, mend="Make it again.")
    found = {str(p.relative_to(folder)): p for p in contents(folder)}
    problems = [f"{name} is missing" for name in sorted(promised.keys() - found.keys())]
    problems += [f"{name} is not in the manifest" for name in sorted(found.keys() - promised.keys())]
    problems += [
        f"{name} has changed"
        for name in sorted(promised.keys() & found.keys())
        if file_digest(found[name]) != promised[name]
    ]
    if problems:
        raise IntegrityError(f"{folder}: {'; '.join(problems)}. Delete the folder and run the stage again.")
    return manifest


def verify_file(path: Path) -> None:
    """Compare one file with the manifest beside it, if there is one that lists it.

    Raises:
        IntegrityError: it has changed: a flipped bit would be read as another value.
    """
    if not path.is_file() or not (path.parent / MANIFEST).is_file():
        return
    promised = read_manifest(path.parent).get("files")
    stated = promised.get(path.name) if isinstance(promised, dict) else None
    if stated is not None and stated != file_digest(path):
        raise IntegrityError(f"{path}: has changed since it was written. Delete its folder and run the stage again.")
