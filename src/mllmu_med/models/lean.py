"""The last decoder layer, at the answer positions only.

Nobody reads what the last layer says at prompts, image positions and padding: no later layer attends to them. Its keys
and values are needed everywhere, its queries, its output projection and its MLP only where an answer token is
predicted. The numbers there stay the same (up to the order of summation), gradients included. Of a model with L layers
this saves about 1 / L of the work: much of a small one, little of a large one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from mllmu_med.errors import UsageError
from mllmu_med.models.anatomy import anatomy
from mllmu_med.models.rows import Layout


@contextmanager
def answers_only(model: Any, layout: Layout) -> Iterator[bool]:
    """Within the block the model's last decoder layer works at the answer positions only; says whether it does.

    It works everywhere, as ever, where somebody looks into it (a hook on the layer or a part of it), where its forward
    pass is done again for the backward pass, where little would be saved, and in models of another build.
    """
    last = _last_layer(model)
    parts = [] if last is None or 2 * len(layout.target) > layout.input_ids.numel() else _parts(last)
    if last is None or not parts or _watched(last):
        yield False
        return
    handles = []
    for part in parts:
        handles.append(part.register_forward_pre_hook(_gather(layout)))
        handles.append(part.register_forward_hook(_scatter(layout)))
    try:
        yield True
    finally:
        for handle in handles:
            handle.remove()


def _last_layer(model: Any) -> nn.Module | None:
    try:
        return anatomy(model).layers[-1]
    except UsageError:
        return None


def _watched(layer: nn.Module) -> bool:
    hooked = any(module._forward_hooks or module._forward_pre_hooks for module in layer.modules())
    return hooked or (layer.training and bool(getattr(layer, "gradient_checkpointing", False)))


def _parts(layer: nn.Module) -> list[nn.Module]:
    """The parts of a decoder layer that work position by position, and whose output no other position reads."""
    found = dict(layer.named_modules())
    # Experts work token by token, too, but count their load over all of them.
    mlp = [] if any("expert" in name for name in found) else ["mlp"]
    return [found[name] for name in ("self_attn.q_proj", "self_attn.o_proj", *mlp) if name in found]


def _gather(layout: Layout) -> Any:
    def gather(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (inputs[0][layout.row, layout.column], *inputs[1:])

    return gather


def _scatter(layout: Layout) -> Any:
    def scatter(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        whole = output.new_zeros(*layout.input_ids.shape, output.shape[-1])
        return whole.index_put((layout.row, layout.column), output)

    return scatter
