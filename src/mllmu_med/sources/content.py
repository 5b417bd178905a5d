"""What files hold, as one digest: read once, then known by their sizes and times of change."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from itertools import islice
from pathlib import Path

from mllmu_med.caches.place import cache_folder, cache_size, private_folder
from mllmu_med.caches.room import touch, wrote
from mllmu_med.errors import DataError
from mllmu_med.folders import file_digest, read_json, write_json
from mllmu_med.progress import Bar, bar
from mllmu_med.sources.compact import CompactMap, short_hash

log = logging.getLogger("mllmu_med")

TOGETHER = 1000
"""Files whose digests are remembered together: what was read before an interruption need not be read again."""

_KIND = "contents"  # of the cache
_READERS = 8  # of network disks one waits, not calculates
_ABSENT = "absent"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_known: dict[str, str] = {}


def content_digest(paths: Iterable[Path]) -> str:
    """Digest of the files' names and contents, each once, in the given order; a missing file counts as such.

    A copy of the files, on another disk or with other times, has the same digest, so what was made of them is theirs,
    too. Where the same paths have the sizes and times of change that they had before, nothing is read: the cache
    (:mod:`mllmu_med.caches`) knows the digest.

    Args:
        paths: consumed once, and not held.
    """
    seen, listed = hashlib.sha256(), CompactMap()
    rest = (path for path in paths if listed.add(short_hash(str(path))))
    with ExitStack() as stack:
        progress: Bar | None = None
        while part := list(islice(rest, TOGETHER)):
            stamp = _stamp(part)
            found = _recalled(stamp)
            if found is None:
                progress = progress or stack.enter_context(bar("Reading the source's files", None))
                found = _read(part, stamp, progress)
            seen.update(bytes.fromhex(found))
    return seen.hexdigest()


def _stamp(paths: Iterable[Path]) -> str:
    """Digest of where the files lie, their sizes and their times of change."""
    seen = hashlib.sha256()
    for path in paths:
        try:
            status = path.stat()
            told = f"{status.st_size}\0{status.st_mtime_ns}"
        except (OSError, ValueError):  # a null character in the name is a ValueError
            told = _ABSENT
        seen.update(_bytes(f"{path.absolute()}\0{told}\n"))
    return seen.hexdigest()


def _read(paths: list[Path], stamp: str, progress: Bar) -> str:
    seen, whole = hashlib.sha256(), True
    with ThreadPoolExecutor(_READERS) as readers:
        for path, told in zip(paths, readers.map(_digest, paths), strict=True):
            whole = whole and told != _ABSENT
            seen.update(_bytes(f"{path.parent.name}/{path.name}\0{told}\n"))
            progress.advance()
    found = seen.hexdigest()
    if whole:  # what could not be read may be there the next time, with the same stamp
        _remember(stamp, found)
    return found


def _digest(path: Path) -> str:
    try:
        return file_digest(path)
    except (OSError, ValueError):
        return _ABSENT


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _entry(stamp: str) -> Path:
    return cache_folder() / _KIND / f"{stamp}.json"


def _recalled(stamp: str) -> str | None:
    if stamp in _known:
        return _known[stamp]
    if cache_size():
        with suppress(OSError, DataError, KeyError, TypeError):  # damaged: it is read again
            entry = _entry(stamp)
            found = read_json(entry)["sha256"]
            if _DIGEST.fullmatch(found):
                touch(entry)
                return _known.setdefault(stamp, found)
    return None


def _remember(stamp: str, found: str) -> None:
    _known[stamp] = found
    if cache_size():
        try:
            private_folder(cache_folder() / _KIND)
            write_json(_entry(stamp), {"sha256": found})
        except OSError as error:  # it is read again the next time
            log.info("cache: digests of files are not kept: %s", error.strerror)
        else:
            wrote(len(found))
