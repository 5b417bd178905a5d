"""Which operations would make the host wait for the device, on a machine that has none.

Everything that lies in the memory of a parameter, of a laid-out row or of pixels, and whatever is computed from it,
counts as being on the device. Reading such a value back, or an operation whose result has as many entries as its values
say, stops the host until the device has done all that was asked of it before.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mllmu_med.models.rows import Layout
from mllmu_med.models.vlm import VisionLanguageModel
from mllmu_med.training import forward, loop

# Operators that end in a number or in a shape that depends on values.
WAITING = (
    "_local_scalar_dense", "item", "is_nonzero", "equal", "nonzero", "masked_select", "_unique", "_unique2",
    "unique_dim", "unique_consecutive", "bincount", "histc", "repeat_interleave", "_linalg_check_errors",
)  # fmt: skip
# What Python may ask of a tensor without an operator that could be seen; ``new_tensor`` copies to the device and waits.
READING = (Tensor.tolist, Tensor.cpu, Tensor.numpy, Tensor.__array__, Tensor.new_tensor)


class HostReads:
    """What the host has read back so far: the operation and the lines of code that led to it."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.paused = False
        self._device: dict[int, Any] = {}

    def place(self, *tensors: Tensor) -> None:
        """Say that these lie on the device. Their memory is held, so that none of it is taken for something else's."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            self._device[storage._cdata] = storage

    def placed(self, *values: Any) -> bool:
        """Whether any of the tensors in these is on the device."""
        return any(t.untyped_storage()._cdata in self._device for t in tree_leaves(values) if isinstance(t, Tensor))

    def note(self, name: str) -> None:
        """One more."""
        frames = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in traceback.extract_stack()]
        mine = [frame for frame in frames if not frame.startswith(("host_reads", "_", "module"))]
        self.found.append(f"{name} at {' < '.join(reversed(mine[-6:]))}")


class _Functions(TorchFunctionMode):
    def __init__(self, reads: HostReads) -> None:
        super().__init__()
        self.reads = reads

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in READING and not self.reads.paused and self.reads.placed(args[0]):
            self.reads.note(func.__name__)
        return func(*args, **(kwargs or {}))


class _Operators(TorchDispatchMode):
    def __init__(self, reads: HostReads) -> None:
        super().__init__()
        self.reads = reads

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        reads, placed = self.reads, self.reads.placed(args, kwargs)
        name = func.overloadpacket.__name__
        if placed and not reads.paused and (name in WAITING or (name.startswith("index") and _by_mask(args))):
            reads.note(name)
        result = func(*args, **(kwargs or {}))
        if placed:
            reads.place(*(made for made in tree_leaves(result) if isinstance(made, Tensor)))
        return result


def _by_mask(args: Any) -> bool:
    """Whether something is picked by a mask: how much there is depends on its values."""
    return any(isinstance(t, Tensor) and t.dtype in (torch.bool, torch.uint8) for t in tree_leaves(args[1:2]))


@contextmanager
def watched(vlm: VisionLanguageModel) -> Iterator[HostReads]:
    """Within the block every wait is noted, except where the loop sums up what it has done since the last time."""
    reads = HostReads()
    reads.place(*vlm.model.parameters(), *vlm.model.buffers())
    with pytest.MonkeyPatch.context() as patch:
        laid_out, pixels, placed, summary = Layout.to, vlm.pixel_inputs, forward.placed, loop._summary

        def to_device(layout: Layout, device: torch.device) -> Layout:
            moved = laid_out(layout, device)
            reads.place(*(value for value in vars(moved).values() if isinstance(value, Tensor)))
            return moved

        def to_device_too(*arguments: Any) -> dict[str, Any]:
            inputs = pixels(*arguments)
            reads.place(*inputs.values())
            return inputs

        def numbers(*arguments: Any) -> Tensor:
            made = placed(*arguments)
            reads.place(made)
            return made

        def summed_up(*arguments: Any) -> dict[str, float]:
            reads.paused = True
            try:
                return summary(*arguments)
            finally:
                reads.paused = False

        patch.setattr(Layout, "to", to_device)
        patch.setattr(vlm, "pixel_inputs", to_device_too)
        for module in ("answers", "learn"):
            patch.setattr(f"mllmu_med.training.{module}.placed", numbers)
        patch.setattr(loop, "_summary", summed_up)
        with _Functions(reads), _Operators(reads):
            yield reads
