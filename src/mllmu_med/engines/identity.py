"""What the answers of a loaded model depend on, as a digest of what is in memory at the moment of asking."""

from __future__ import annotations

import logging
from typing import Any

from mllmu_med import __version__
from mllmu_med.caches.tensors import tensor_digest
from mllmu_med.folders import digest
from mllmu_med.models.digests import (
    arithmetic,
    image_digest,
    modules_digest,
    processor_digest,
    unreadable,
    weights_digest,
)
from mllmu_med.models.vlm import VisionLanguageModel

__all__ = ["guard_digest", "image_digest", "model_identity", "tensor_digest"]

log = logging.getLogger("mllmu_med")

FORMAT = 1
"""Raised whenever equal inputs would be answered otherwise than before."""


def model_identity(vlm: VisionLanguageModel) -> str | None:
    """Digest of weights, adapters, guard, processor and arithmetic; None where not all that acts can be read.

    Equal digests give equal answers: of weights and buffers every byte counts, of modules their class and plain
    attributes (an adapter's scale and whether it is switched on among them), of the guard its numbers and tensors, of
    tokenizer and image processor all their settings and their back end, of the arithmetic its precision, device,
    threads and the versions of what computes.
    """
    if reason := unreadable(vlm.model):
        log.warning("%s: answers are not kept", reason)
        return None
    return digest(
        {
            "format": FORMAT,
            "package": __version__,
            "weights": weights_digest(vlm.model),
            "modules": modules_digest(vlm),
            "guard": guard_digest(vlm),
            "processor": processor_digest(vlm),
            "arithmetic": arithmetic(vlm),
        }
    )


def guard_digest(vlm: VisionLanguageModel) -> str | None:
    """Digest of the guard's class, numbers, memory and seed; None where there is no guard."""
    active = vlm.guard
    if active is None:
        return None
    guard: Any = active.guard
    kind = type(guard)
    return digest(
        {
            "kind": f"{kind.__module__}.{kind.__qualname__}",
            "numbers": repr(sorted(vars(guard).items())),
            "tensors": {name: tensor_digest(tensor) for name, tensor in active.memory.tensors.items()},
            "settings": dict(active.memory.settings),
            "seed": active.seed,
        }
    )
