"""Base models, trained once and kept by content: equal benchmark, model and settings reuse the same bytes."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from mllmu_med.errors import DataError, IntegrityError
from mllmu_med.folders import MANIFEST, digest, staged, verify
from mllmu_med.pipeline.stage import Facts

log = logging.getLogger("mllmu_med")


def cache_folder() -> Path:
    """``MLLMU_MED_CACHE``, else ``mllmu-med`` below ``XDG_CACHE_HOME`` (``~/.cache``)."""
    if named := os.environ.get("MLLMU_MED_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "mllmu-med"


def checkpoint_fingerprint(folder: Path) -> str | None:
    """Digest of a checkpoint's files, so that another model under the same path is another model; None for a Hub id.

    Of weights, which may be many gigabytes, the size and 64 blocks are read: training changes every tensor (an edit of
    a few single numbers could escape).
    """
    if not folder.is_dir():
        return None
    found = {}
    for path in sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")):
        size, block = path.stat().st_size, 1 << 16
        places = range(0, size, block) if size <= 64 * block else (size * i // 64 for i in range(64))
        content = sha256(str(size).encode())
        with path.open("rb") as file:
            for place in places:
                file.seek(place)
                content.update(file.read(block))
        found[path.name] = content.hexdigest()
    return digest(found)


def reuse_or_make(key: str, folder: Path, make: Callable[[], Facts]) -> Facts:
    """Fill ``folder`` from the cache entry of this key, or make it and keep a copy.

    An entry that does not match its own manifest is dropped and made again.
    """
    entry = cache_folder() / "base" / key[:32]
    try:
        stored = verify(entry)
    except (DataError, IntegrityError):
        shutil.rmtree(entry, ignore_errors=True)
        facts = make()
        try:
            with staged(entry, {"facts": facts, "key": key}) as stage:
                shutil.copytree(folder, stage, dirs_exist_ok=True)
        except OSError as error:  # a full or read-only cache costs time later, never the run
            log.warning("the base model could not be kept in %s: %s", entry.parent, error.strerror)
        return facts
    log.info("base: taken from %s", entry)
    for path in entry.iterdir():
        if path.name == MANIFEST:
            continue
        copy = shutil.copytree if path.is_dir() else shutil.copy2
        copy(path, folder / path.name)
    return {**stored["facts"], "cached": True}
