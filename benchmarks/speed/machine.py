"""What a timing was taken on: machine, versions, load, and how fast its matrix product is."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch


def processor_name() -> str:
    """The processor as the system names it."""
    place = Path("/proc/cpuinfo")
    if place.is_file():
        for line in place.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def describe(device: str) -> dict[str, Any]:
    """Machine, versions and present load; part of every output."""
    import transformers

    import mllmu_med
    from mllmu_med.models.fast_linear import onednn_pays

    told: dict[str, Any] = {
        "processor": processor_name(), "cores": os.cpu_count(), "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None, "system": platform.platform(),
        "python": platform.python_version(), "torch": torch.__version__, "transformers": transformers.__version__,
        "mllmu_med": mllmu_med.__version__, "onednn_product": onednn_pays(), "device": device,
    }  # fmt: skip
    if device.startswith("cuda"):
        facts = torch.cuda.get_device_properties(device)
        told |= {"gpu": facts.name, "gpu_gib": round(facts.total_memory / 2**30, 1), "cuda": torch.version.cuda}
    return told


def in_words(told: dict[str, Any]) -> str:
    """One line for a table's foot."""
    gpu = f", {told['gpu']} ({told['gpu_gib']} GiB, CUDA {told['cuda']})" if "gpu" in told else ""
    product = "with" if told["onednn_product"] else "without"
    busy = " The machine was busy: the ratios hold better than the seconds." if (told["load"] or 0) > 1.2 else ""
    return (
        f"{told['processor']}, {told['threads']} of {told['cores']} cores{gpu}; Python {told['python']}, torch "
        f"{told['torch']}, transformers {told['transformers']}, {product} the oneDNN product; load {told['load']} at "
        f"the start.{busy}"
    )


def environment() -> dict[str, str]:
    """This process's environment, for another one."""
    return dict(os.environ)


def wait_for(device: str) -> None:
    """Return once the device has done all it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


@torch.no_grad()
def product_peak(device: str, dtype: torch.dtype, *, side: int | None = None, repeats: int = 5) -> float:
    """FLOP/s of the fastest matrix product that PyTorch offers here, measured: square matrices, median of ``repeats``.

    On the CPU the better of its own product and of oneDNN's; on a GPU ``torch.mm`` (cuBLAS).
    """
    from mllmu_med.models.fast_linear import onednn_pays, product

    side = side or (8192 if device.startswith("cuda") else 1536)
    left = torch.ones(side, side, device=device, dtype=dtype)
    ways = [lambda: left @ left.t()]
    if device == "cpu" and dtype == torch.float32 and onednn_pays():
        ways.append(lambda: product(left, left))
    best = 0.0
    for way in ways:
        for _ in range(2):
            way()
        times = []
        for _ in range(repeats):
            wait_for(device)
            began = time.perf_counter()
            way()
            wait_for(device)
            times.append(time.perf_counter() - began)
        best = max(best, 2.0 * side**3 / median(times))
    return best
