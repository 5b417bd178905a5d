"""The highest memory use of one stage: processes and devices carry out several stages, one after another."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def forget_peak() -> None:
    """Begin a new measurement, so that what earlier stages used is not counted again.

    On Linux and CUDA; elsewhere the peak stays that of the whole process.
    """
    gc.collect()
    with suppress(OSError, AttributeError, TypeError):  # another C library than glibc has no such function
        ctypes.CDLL(None).malloc_trim(0)  # what earlier stages freed goes back, or it would count as used by this one
    with suppress(OSError):  # no such file: not Linux; not permitted: a sandbox
        _CLEAR.write_text("5")  # 5: reset the peak resident set size (proc(5))
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()


def peak_memory_mb(device: torch.device) -> float:
    """Highest memory use since :func:`forget_peak`, in MiB: of the CUDA device, or of this process."""
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device) / 2**20
    return process_peak_mb()


def process_peak_mb() -> float:
    """Highest memory use of this process since :func:`forget_peak`, in MiB.

    Where the system does not tell it, that of the process's whole life: on Linux ``ru_maxrss`` would begin at the peak
    of whoever started it.
    """
    with suppress(OSError, StopIteration, ValueError):
        lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith("VmHWM:"))) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
