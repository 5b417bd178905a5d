"""Where the cache lies and how large it may become."""

from __future__ import annotations

import os
import re
from pathlib import Path

from mllmu_med.errors import UsageError

FOLDER, SIZE = "MLLMU_MED_CACHE", "MLLMU_MED_CACHE_SIZE"
DEFAULT_SIZE = 20 << 30
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:I?B)?", re.IGNORECASE)


def cache_folder() -> Path:
    """``MLLMU_MED_CACHE``, else ``mllmu-med`` below ``XDG_CACHE_HOME`` (``~/.cache``)."""
    if named := os.environ.get(FOLDER):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "mllmu-med"


def cache_size() -> int:
    """Most bytes the cache may hold: ``MLLMU_MED_CACHE_SIZE``, e.g. ``500M`` or ``200G`` (powers of 1024); 0: no cache.

    Raises:
        UsageError: the variable is no size.
    """
    text = os.environ.get(SIZE, "").strip()
    if not text:
        return DEFAULT_SIZE
    found = _SIZE.fullmatch(text)
    if found is None:
        raise UsageError(f"{SIZE}={text} is no size; write e.g. 500M or 200G, or 0 for none")
    return int(float(found[1]) * (1 << _UNITS[found[2].upper()]))


def private_folder(folder: Path) -> Path:
    """Make a folder of the cache, readable by its owner alone: what is kept may tell of patients.

    Raises:
        OSError: it cannot be made.
    """
    root = cache_folder()
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
