"""A look at the machine: what is there, what is missing, and how to mend it."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from mllmu_med.caches.place import FOLDER, SIZE, cache_folder, cache_size
from mllmu_med.caches.room import entries
from mllmu_med.cores import cores, thread_limit
from mllmu_med.errors import UsageError

Level = Literal["ok", "warning", "problem"]

_LIBRARIES = (
    "torch", "transformers", "peft", "accelerate", "datasets", "pyarrow", "safetensors", "tokenizers", "pydantic",
    "numpy", "scipy", "pillow", "Faker", "rouge-score", "sacrebleu", "Jinja2", "matplotlib",
)  # fmt: skip
_MEMORY_NEEDED = 4.0
_DISK_NEEDED = 2.0
_GIB = 2**30


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; ``mend`` is empty when it is ok.

    ``warning``: a run works, with a limit; ``problem``: a run will fail.
    """

    what: str
    level: Level
    found: str
    mend: str = ""


def examine(folder: Path) -> list[Finding]:
    """Everything a run depends on; ``folder`` is where runs would be written."""
    checks: tuple[Callable[[], list[Finding]], ...] = (
        _python, _libraries, _processor, _accelerator, _image_backend, _memory, lambda: _disk(folder), _cache, _offline,
        _data,
    )  # fmt: skip
    return [finding for check in checks for finding in check()]


def _python() -> list[Finding]:
    # pip refuses to install this package on a Python that is too old, so there is nothing to judge.
    return [Finding("Python", "ok", f"{platform.python_version()} on {platform.platform(terse=True)}")]


def _libraries() -> list[Finding]:
    findings = []
    for name in _LIBRARIES:
        try:
            findings.append(Finding(name, "ok", version(name)))
        except PackageNotFoundError:
            findings.append(Finding(name, "problem", "not installed", "pip install -c constraints.txt -e ."))
    return findings


def _processor() -> list[Finding]:
    count, limit = cores(), thread_limit()
    found = f"{count}" + (f", OMP_NUM_THREADS={limit}" if limit else "")
    if limit is not None and (not limit.isdecimal() or not 0 < int(limit) <= count):
        return [Finding("cores", "warning", found, f"Set OMP_NUM_THREADS={count} at most.")]
    return [Finding("cores", "ok", found)]


def _accelerator() -> list[Finding]:
    if find_spec("torch") is None:
        return []
    import torch

    findings = [Finding("torch threads", "ok", str(torch.get_num_threads()))]
    if not torch.cuda.is_available():
        return [*findings, Finding("GPU", "ok", "none; the embedded model needs none, real checkpoints do")]
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        findings.append(Finding("GPU", "ok", f"{card.name}, {card.total_memory / _GIB:.0f} GiB"))
    return findings


def _image_backend() -> list[Finding]:
    # The two back ends give different pixels, so runs made with one are not compared with runs made with the other.
    backend = "torchvision" if find_spec("torchvision") else "PIL"
    return [Finding("image back end", "ok", backend)]


def _memory() -> list[Finding]:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
    except (AttributeError, ValueError, OSError):  # not told by this system
        return [Finding("memory", "ok", "unknown")]
    if size < _MEMORY_NEEDED:
        return [
            Finding("memory", "warning", f"{size:.1f} GiB", f"The embedded example wants {_MEMORY_NEEDED:.0f} GiB.")
        ]
    return [Finding("memory", "ok", f"{size:.1f} GiB")]


def _disk(folder: Path) -> list[Finding]:
    free = shutil.disk_usage(folder).free / _GIB
    found = f"{free:.1f} GiB free in {folder}"
    if not os.access(folder, os.W_OK):
        return [Finding("disk", "problem", f"{folder} cannot be written", "Choose a folder with -o.")]
    if free < _DISK_NEEDED:
        return [Finding("disk", "warning", found, f"A run of the embedded example wants {_DISK_NEEDED:.0f} GiB.")]
    return [Finding("disk", "ok", found)]


def _cache() -> list[Finding]:
    place = cache_folder()
    try:
        limit = cache_size()
    except UsageError as error:
        return [Finding("cache", "problem", str(error), f"Correct {SIZE}.")]
    if limit == 0:
        return [Finding("cache", "ok", f"nothing is kept ({SIZE}=0)")]
    nearest = next(path for path in (place, *place.parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        return [Finding("cache", "warning", f"{place} cannot be written", f"Set {FOLDER}, or work is repeated.")]
    kept = entries(place)
    held = sum(entry.size for entry in kept) / _GIB
    return [Finding("cache", "ok", f"{held:.1f} of {limit / _GIB:.1f} GiB in {len(kept)} entries, {place}")]


def _offline() -> list[Finding]:
    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"}
    return [Finding("model hub", "ok", "offline (HF_HUB_OFFLINE)" if offline else "online; only asked for Hub ids")]


def _data() -> list[Finding]:
    place = os.environ.get("MLLMU_MED_DATA")
    if not place:
        return [Finding("MLLMU_MED_DATA", "ok", "not set; tests on real data are skipped")]
    if not Path(place).is_dir():
        return [
            Finding("MLLMU_MED_DATA", "warning", f"{place} is no folder", "Point it at the folder of the datasets.")
        ]
    return [Finding("MLLMU_MED_DATA", "ok", place)]
