"""Keeping the cache within its size: whatever was used longest ago goes first.

An entry is a file of tensors (``KIND/SPACE/NAME.safetensors``) or the folder of a stage (``KIND/NAME``); the time of
its last use is its modification time. An entry goes by one rename and is deleted afterwards, so of two processes only
one removes it, and none ever finds half of one. Whoever has a file mapped into memory keeps what it has.
"""

from __future__ import annotations

import itertools
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from mllmu_med.caches.place import cache_folder, cache_size
from mllmu_med.locks import alone

log = logging.getLogger("mllmu_med")

TENSORS = ("features", "references")
"""The kinds whose entries are files of tensors; of all others they are folders."""

ABANDONED = 24 * 3600
"""Seconds after which a hidden file or folder counts as left behind by a process that was killed."""

_FREED = 10  # a tenth of the limit is freed at once, or every write would look through the whole cache again
_numbers = itertools.count()
_written: dict[Path, int] = {}


class Entry(NamedTuple):
    """One thing kept: where, how many bytes, and when it was last used (seconds since 1970)."""

    kind: str
    path: Path
    size: int
    used: float


def entries(root: Path) -> list[Entry]:
    """Everything kept. What vanishes while it is looked at is not there."""
    found = []
    for kind, path in _paths(root):
        if path.name.startswith("."):
            continue
        with suppress(OSError):
            state = path.stat()
            found.append(Entry(kind, path, _size(path) if path.is_dir() else state.st_size, state.st_mtime))
    return found


def _paths(root: Path) -> Iterator[tuple[str, Path]]:
    """Entries and what is hidden beside them, with their kind."""
    for kind in _inside(root):
        if not kind.is_dir() or kind.name.startswith("."):
            continue
        for path in _inside(kind):
            if kind.name in TENSORS and path.is_dir() and not path.name.startswith("."):
                yield from ((kind.name, file) for file in _inside(path))
            else:
                yield kind.name, path


def _inside(folder: Path) -> list[Path]:
    with suppress(OSError):
        return sorted(folder.iterdir())
    return []


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += 0 if path.is_dir() else path.lstat().st_size
    return total


def touch(path: Path) -> None:
    """Note that an entry was used."""
    with suppress(OSError):  # gone, or a read-only disk, on which nothing is removed either
        os.utime(path)


def remove(path: Path) -> bool:
    """Remove an entry; False if another process was faster or it cannot be removed."""
    gone = path.with_name(f".gone-{os.getpid()}-{next(_numbers)}-{path.name}")
    try:
        os.replace(path, gone)
    except OSError:
        return False
    _delete(gone)
    return True


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def wrote(size: int) -> None:
    """Say that ``size`` bytes were added; now and then this makes room."""
    root, limit = cache_folder(), cache_size()
    first = root not in _written
    _written[root] = _written.get(root, 0) + size
    if first or _written[root] > limit // (2 * _FREED):
        _written[root] = 0
        make_room(root, limit)


def make_room(root: Path, limit: int) -> int:
    """Remove what was used longest ago until at most ``limit`` bytes are left, and what killed processes left behind.

    Returns:
        the number of entries removed; 0 also where another process is at it.
    """
    with alone(root) as only:  # without locks several may do it: renames keep that right, only slower
        if not only:
            return 0
        _sweep(root)
        kept = sorted(entries(root), key=lambda entry: (entry.used, str(entry.path)))
        total = sum(entry.size for entry in kept)
        if total <= limit:
            return 0
        goal, removed = limit - limit // _FREED, 0
        for entry in kept:
            if total <= goal:
                break
            if remove(entry.path):
                removed += 1
            total -= entry.size
        log.info("cache: %d of %d entries of %s removed to stay within its size", removed, len(kept), root)
        return removed


def _sweep(root: Path) -> None:
    """Delete what processes that were killed have left half written or half removed, and folders without tensors."""
    before = time.time() - ABANDONED
    for _, path in _paths(root):
        with suppress(OSError):
            if path.name.startswith(".") and path.lstat().st_mtime < before:
                _delete(path)
    for kind in TENSORS:
        for space in _inside(root / kind):
            with suppress(OSError):
                if space.stat().st_mtime < before:
                    space.rmdir()  # fails where something lies in it
