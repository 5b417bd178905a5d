"""Trained stages, made once and kept by content: equal keys reuse the same bytes, in whatever run."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from mllmu_med.caches.place import cache_folder as cache_folder
from mllmu_med.caches.place import cache_size, private_folder
from mllmu_med.caches.room import remove, touch, wrote
from mllmu_med.errors import DataError, IntegrityError
from mllmu_med.folders import MANIFEST, contents, digest, file_digest, read_manifest, staged
from mllmu_med.pipeline.stage import Facts

log = logging.getLogger("mllmu_med")


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


def reuse_or_make(key: str, folder: Path, make: Callable[[], Facts], kind: str = "base") -> Facts:
    """Fill ``folder`` from the cache entry of this key, or make it and keep a copy.

    What is copied is compared with the entry's manifest. An entry that does not match its own manifest is dropped and
    made again; so is one that another process removes meanwhile to make room.

    Args:
        key: hash of everything the stage depends on.
        folder: to be filled; empty.
        make: writes into ``folder`` and returns facts.
        kind: which stage it is, e.g. ``theta0``.

    Returns:
        the facts; of a stage that was taken from the cache those of its making, its ``seconds`` among them, and
        ``cached: true``.
    """
    entry = cache_folder() / kind / key[:32]
    found = _taken(entry, key, folder) if cache_size() else None
    if found is not None:
        log.info("%s: taken from %s", kind, entry)
        return {**found, "cached": True}
    began = time.perf_counter()
    facts = make()
    _keep(entry, key, folder, {**facts, "seconds": round(time.perf_counter() - began, 3)})
    return facts


def _taken(entry: Path, key: str, folder: Path) -> Facts | None:
    """Copy an entry into ``folder``; None, and nothing copied, where there is none or it is not what it was."""
    try:
        manifest = read_manifest(entry)
        promised: dict[str, str] = manifest["files"]
        found = {str(path.relative_to(entry)) for path in contents(entry)}
        if manifest["key"] != key or found != promised.keys() or not isinstance(manifest["facts"], dict):
            raise IntegrityError("its files are not those of its manifest")
        for name, wanted in promised.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(entry / name, folder / name)
            if file_digest(folder / name) != wanted:
                raise IntegrityError(f"{name} has changed")
    except (DataError, IntegrityError, KeyError, OSError) as error:
        if entry.exists():
            log.warning("cache: %s is dropped and made again: %s", entry, error)
            remove(entry)
        _clear(folder)
        return None
    touch(entry)
    facts: Facts = manifest["facts"]
    return facts


def _clear(folder: Path) -> None:
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _keep(entry: Path, key: str, folder: Path, facts: Facts) -> None:
    """Keep a copy, if it fits; a full or read-only disk costs time later, never the run."""
    size = sum(path.stat().st_size for path in contents(folder))
    if size > cache_size():
        if cache_size():
            log.info("%s is larger than the whole cache may be, and is not kept", folder.name)
        return
    try:
        private_folder(entry.parent)
        with staged(entry, {"facts": facts, "key": key}) as stage:
            shutil.copytree(folder, stage, dirs_exist_ok=True)
    except OSError as error:
        if not (entry / MANIFEST).is_file():  # else another process was faster with the same bytes
            log.warning("the model could not be kept in %s: %s", entry.parent, error.strerror)
        return
    wrote(size)
