"""What the steps of a training cost, counted while they run: from the shapes of what goes through the model.

Shapes are known on the host, so counting waits for nothing. A hook on a tensor counts the backward passes that reach
it, however many a gradient rule takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mllmu_med.errors import UsageError
from mllmu_med.evaluation.efficiency import Part, training_flops
from mllmu_med.models.anatomy import anatomy
from mllmu_med.models.groups import group_of
from mllmu_med.models.network import unwrap
from mllmu_med.models.quantised import quantised_weights
from mllmu_med.models.vlm import VisionLanguageModel


@dataclass
class Passed:
    """What went through one part.

    Attributes:
        forward, backward: tokens, in all passes.
        products: Σ over passes of tokens times keys, which the attention's cost is made of; forward only.
    """

    forward: int = 0
    backward: int = 0
    products: int = 0

    def count(self, tokens: int, keys: int, made: Tensor) -> None:
        """So many tokens with so many keys each; ``made`` tells when a backward pass comes by."""
        self.forward += tokens
        self.products += tokens * keys

        def returned(gradient: Tensor) -> None:
            self.backward += tokens

        if made.requires_grad:
            made.register_hook(returned)  # type: ignore[no-untyped-call]


class Watched(NamedTuple):
    """A part of the model, still without tokens; the module that computes it; what went through."""

    part: Part
    module: nn.Module
    passed: Passed


class Counter:
    """Counts what goes through decoder layers, output head, vision tower and projector, with gradients.

    Left out is what is computed without them: θ0's outputs, image features, measurements. How much of it there is
    depends on the caches that earlier stages have filled, and not on the training. Left out as well: the attention
    inside towers that take their images as one long sequence of patches, some per cent of theirs.

    Args:
        vlm: the model, frozen and adapted as it trains.
        recomputed: gradient checkpointing: the backward pass computes each layer once more.
    """

    def __init__(self, vlm: VisionLanguageModel, *, recomputed: bool = False) -> None:
        self.network, self.recomputed = vlm.network, recomputed
        *inner, last = anatomy(vlm.model).layers
        width = _attention_width(vlm)
        head = unwrap(vlm.model).get_output_embeddings()
        self.watched = [Watched(_part(layer, layers=1, width=width), layer, Passed()) for layer in inner]
        self.watched += [Watched(_part(head), head, Passed()), *_image_side(vlm)]
        self.last = _last_layer(last, width)

    @property
    def passed(self) -> list[Passed]:
        """What went through each part so far."""
        return [watched.passed for watched in (*self.watched, *self.last)]

    @property
    def parts(self) -> list[Part]:
        """The parts of the model with what went through them so far."""
        return [
            replace(
                part, tokens=passed.forward, context=passed.products / max(1, passed.forward), backward=passed.backward
            )
            for part, _, passed in (*self.watched, *self.last)
        ]

    @property
    def flops(self) -> float:
        """Floating-point operations so far."""
        # In a decoder or a tower: these are what gradient checkpointing computes again.
        layers = [part for part in self.parts if part.width]
        others = [part for part in self.parts if not part.width]
        return training_flops(layers, recomputed=self.recomputed) + training_flops(others)

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Within the block everything that goes through the model with gradients counts."""
        handles = [watched.module.register_forward_hook(_hook(watched.passed)) for watched in self.watched]
        # Not on the last layer: it takes a shorter way where nobody looks into it (``mllmu_med.models.lean``).
        handles.append(self.network.register_forward_hook(self._count_last))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _count_last(self, network: nn.Module, inputs: tuple[Any, ...], hidden: Tensor) -> None:
        if not torch.is_grad_enabled():
            return
        rows, length = inputs[0].input_ids.shape
        for part, module, passed in self.last:
            # On the shorter way this part is given the answer positions only, by a hook on it.
            short = not part.layers and len(module._forward_pre_hooks) > 0
            passed.count(len(hidden) if short else rows * length, length if part.layers else 0, hidden)

    def state(self) -> Tensor:
        """Int64 [parts, 3], for a checkpoint."""
        return torch.tensor([[p.forward, p.backward, p.products] for p in self.passed], dtype=torch.int64)

    def restore(self, state: Tensor) -> None:
        """Go on from what a checkpoint holds."""
        for passed, numbers in zip(self.passed, state.tolist(), strict=True):
            passed.forward, passed.backward, passed.products = numbers


def _hook(passed: Passed) -> Callable[..., None]:
    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        if not torch.is_grad_enabled():
            return
        made = output[0] if isinstance(output, tuple) else output
        # […, tokens, width], except that what a convolution gives has its channels second
        convolved = isinstance(module, nn.Conv2d | nn.Conv3d)
        tokens = made.shape[0] * made.shape[2:].numel() if convolved else made.shape[:-1].numel()
        passed.count(tokens, made.shape[1] if made.dim() == 3 else 0, made)

    return count


def _attention_width(vlm: VisionLanguageModel) -> int:
    text = unwrap(vlm.model).config.get_text_config()
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return int(text.num_attention_heads * size)


def _last_layer(layer: nn.Module, width: int) -> list[Watched]:
    """The parts that may be left out at some positions, and the rest of the layer with its attention."""
    inside = dict(layer.named_modules())
    short = [inside[name] for name in ("self_attn.q_proj", "self_attn.o_proj", "mlp") if name in inside]
    parts = [_part(module, width=width) for module in short]
    whole = _part(layer, layers=1, width=width)
    rest = replace(
        whole,
        parameters=whole.parameters - sum(part.parameters for part in parts),
        trained=whole.trained - sum(part.trained for part in parts),
    )
    return [
        Watched(rest, layer, Passed()),
        *(Watched(part, module, Passed()) for part, module in zip(parts, short, strict=True)),
    ]


def _image_side(vlm: VisionLanguageModel) -> list[Watched]:
    """Layers of the tower as wholes, and every other linear layer or convolution in front of the decoder."""
    model = unwrap(vlm.model)
    vision = getattr(model.config, "vision_config", None)
    width = int(getattr(vision, "hidden_size", 0)) or 1
    found: list[Watched] = []
    inside: tuple[str, ...] = ()
    for name, module in model.named_modules():
        if name.startswith(inside) or not _before_the_decoder(name):
            continue
        if isinstance(module, nn.ModuleList) and group_of(name) == "vision":
            found += [Watched(_part(layer, layers=1, width=width), layer, Passed()) for layer in module]
            inside = (*inside, f"{name}.")
        elif isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d):
            found.append(Watched(_part(module), module, Passed()))
    return found


def _before_the_decoder(name: str) -> bool:
    try:
        return group_of(name) != "language"
    except UsageError:  # the model itself and its containers
        return False


def _part(module: nn.Module, **sizes: int) -> Part:
    """A part without tokens: the weights of its matrix products, and those of them that train."""
    weights = [parameter for parameter in module.parameters() if parameter.dim() > 1]
    quantised = sum(quantised_weights(module).values())
    trained = sum(parameter.numel() for parameter in weights if parameter.requires_grad)
    return Part(sum(parameter.numel() for parameter in weights) + quantised, trained, 0, **sizes)
