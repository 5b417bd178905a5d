"""Frozen quantised linear layers, on which adapters train (as in QLoRA), and the number formats they hold.

The formats are pure functions, of use without a model too: quantising a model that has unlearnt is an attack on it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad

from mllmu_med.errors import UsageError
from mllmu_med.models.anatomy import anatomy
from mllmu_med.models.fast_linear import FastLinear
from mllmu_med.models.vlm import VisionLanguageModel

log = logging.getLogger("mllmu_med")

BLOCK = 64
"""Weights that share one absolute maximum in ``nf4``."""

GROUP = 128
"""Weights of one row that share one step size in ``int4``; the last group of a row may be smaller."""

NF4_VALUES = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
"""The 16 values of 4-bit NormalFloat (arXiv 2305.14314, appendix E): quantiles of a normal distribution, scaled to
[−1, 1], with an exact zero."""


class Codes(NamedTuple):
    """A quantised weight matrix.

    Attributes:
        codes: ``int8``: int8 [out, in]; ``nf4``: uint8 [⌈out · in / 64⌉ · 32], two codes a byte, the earlier one high;
            ``int4``: uint8 [out, ⌈in / 2⌉], likewise, each code + 8.
        scale: float32; ``int8``: [out, 1] and ``int4``: [out, ⌈in / 128⌉], the size of one step; ``nf4``: [blocks], the
            absolute maximum of each block.
        shape: (out, in).
    """

    codes: Tensor
    scale: Tensor
    shape: tuple[int, int]


def quantise_int8(weight: Tensor) -> Codes:
    """Round a matrix [out, in] to 8 bits, symmetrically, with one step size an output channel.

    step = max |w| / 127, code = round(w / step), in −127…127; half a step is the largest error.

    Raises:
        ValueError: not a matrix, or a weight is not finite.
    """
    values = _finite(weight)
    step = values.abs().amax(1, keepdim=True) / 127
    codes = (values / _divisor(step)).round().clamp(-127, 127).to(torch.int8)
    return Codes(codes, step, _shape(weight))


def dequantise_int8(stored: Codes, dtype: torch.dtype = torch.float32) -> Tensor:
    """[out, in] code · step, computed in float32 and then rounded to ``dtype``."""
    return (stored.codes.float() * stored.scale).to(dtype)


def quantise_int4(weight: Tensor) -> Codes:
    """Round a matrix [out, in] to 4 bits, symmetrically, with one step size for every 128 weights of an output channel.

    step = max |w| / 7 over the group, code = round(w / step), in −7…7 (−8 is not used, so that zero stays the middle);
    half a step is the largest error.

    Raises:
        ValueError: not a matrix, or a weight is not finite.
    """
    values, (rows, columns) = _finite(weight), _shape(weight)
    groups = pad(values, (0, -columns % GROUP)).view(rows, -1, GROUP)
    step = groups.abs().amax(2) / 7
    codes = (groups / _divisor(step)[..., None]).round().clamp(-7, 7).view(rows, -1)[:, :columns]
    pairs = pad((codes + 8).to(torch.uint8), (0, columns % 2)).view(rows, -1, 2)
    return Codes(pairs[..., 0] << 4 | pairs[..., 1], step, (rows, columns))


def dequantise_int4(stored: Codes, dtype: torch.dtype = torch.float32) -> Tensor:
    """[out, in] code · step of its group, computed in float32 and then rounded to ``dtype``."""
    rows, columns = stored.shape
    codes = torch.stack([stored.codes >> 4, stored.codes & 15], 2).view(rows, -1)[:, :columns].float() - 8
    return (codes * stored.scale.repeat_interleave(GROUP, 1)[:, :columns]).to(dtype)


def quantise_nf4(weight: Tensor) -> Codes:
    """Round a matrix [out, in] to 4-bit NormalFloat, in blocks of 64 weights (row after row, across rows).

    Each block is divided by its absolute maximum and every weight becomes the code of the nearest of ``NF4_VALUES``
    (of two equally near ones the lower). The last block is filled up with zeros. The maxima stay in float32: double
    quantisation (8-bit maxima) is not implemented.

    Raises:
        ValueError: not a matrix, or a weight is not finite.
    """
    flat = _finite(weight).flatten()
    blocks = pad(flat, (0, -len(flat) % BLOCK)).view(-1, BLOCK)
    scale = blocks.abs().amax(1)
    values = torch.tensor(NF4_VALUES, device=weight.device)
    nearest = torch.bucketize(blocks / _divisor(scale)[:, None], (values[1:] + values[:-1]) / 2).to(torch.uint8)
    pairs = nearest.view(-1, 2)
    return Codes(pairs[:, 0] << 4 | pairs[:, 1], scale, _shape(weight))


def dequantise_nf4(stored: Codes, dtype: torch.dtype = torch.float32) -> Tensor:
    """[out, in] value of the code · maximum of its block, computed in float32 and then rounded to ``dtype``."""
    codes = torch.stack([stored.codes >> 4, stored.codes & 15], 1).view(-1, BLOCK)
    values = torch.tensor(NF4_VALUES, device=codes.device)[codes.int()] * stored.scale[:, None]
    return values.flatten()[: math.prod(stored.shape)].view(stored.shape).to(dtype)


class Format(NamedTuple):
    """A number format: weights → codes, and back."""

    quantise: Callable[[Tensor], Codes]
    dequantise: Callable[[Codes, torch.dtype], Tensor]


FORMATS = {
    "int8": Format(quantise_int8, dequantise_int8),
    "int4": Format(quantise_int4, dequantise_int4),
    "nf4": Format(quantise_nf4, dequantise_nf4),
}


def _finite(weight: Tensor) -> Tensor:
    if weight.dim() != 2:
        raise ValueError(f"only matrices are quantised, and this has shape {tuple(weight.shape)}")
    values = weight.detach().float()
    if not bool(values.isfinite().all()):
        raise ValueError("a weight is not finite and has no code")
    return values


def _shape(weight: Tensor) -> tuple[int, int]:
    return weight.shape[0], weight.shape[1]


def _divisor(scale: Tensor) -> Tensor:
    """Where all weights are 0 so is the scale, and the codes must be those of 0."""
    return torch.where(scale > 0, scale, torch.ones_like(scale))


class _FrozenLinear(torch.autograd.Function):
    """x Wᵀ whose backward pass makes W again from its codes.

    An ordinary ``linear`` would keep the dequantised W of every layer until the backward pass, and with them all the
    memory that quantising saves.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, codes: Tensor, scale: Tensor, layer: QuantisedLinear) -> Tensor:
        ctx.save_for_backward(codes, scale)
        ctx.layer = layer
        return linear(x, layer.dequantised(codes, scale, x.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        [gradient] = gradients
        codes, scale = ctx.saved_tensors
        return gradient @ ctx.layer.dequantised(codes, scale, gradient.dtype), None, None, None


class QuantisedLinear(nn.Linear):
    """A frozen linear layer that holds codes instead of weights.

    Its place in the class tree is what PEFT asks of a layer it adapts. ``weight`` is made anew at each access, so it
    can be read and never changed; the bias is an ordinary frozen parameter. Computes in the input's dtype, or in that
    of autocast.

    Args:
        source: the layer whose weights are quantised.
        kind: one of :data:`FORMATS`.
    """

    def __init__(self, source: nn.Linear, kind: str) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features, self.kind = source.in_features, source.out_features, kind
        self.dtype = source.weight.dtype
        stored = FORMATS[kind].quantise(source.weight)
        self.register_buffer("codes", stored.codes)
        self.register_buffer("scale", stored.scale)
        self.register_parameter("bias", source.bias)
        if source.bias is not None:
            source.bias.requires_grad_(False)
        self.training = source.training

    def dequantised(self, codes: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
        """[out, in] the weights of these codes."""
        return FORMATS[self.kind].dequantise(Codes(codes, scale, (self.out_features, self.in_features)), dtype)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """[out, in] a fresh copy of the weights in the precision of the layer that was quantised."""
        return self.dequantised(self.get_buffer("codes"), self.get_buffer("scale"), self.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """[…, in] → […, out]; gradients reach the input and nothing else."""
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        apply: Callable[..., Tensor] = _FrozenLinear.apply
        made = apply(x.to(dtype), self.get_buffer("codes"), self.get_buffer("scale"), self)
        return made if self.bias is None else made + self.bias.to(dtype)

    def extra_repr(self) -> str:
        """As a linear layer, with the number format."""
        return f"{super().extra_repr()}, kind={self.kind}"


def quantise_language(vlm: VisionLanguageModel, kind: str) -> VisionLanguageModel:
    """Replace the linear layers of the language model's decoder by frozen quantised ones, in place.

    Head, embeddings, norms, vision tower and projector stay as they are. ``vlm.quantised`` says so afterwards.

    Raises:
        UsageError: an unknown format, adapters or quantised layers already, or nothing to quantise.
    """
    if kind not in FORMATS:
        raise UsageError(f"quantise={kind} is not one of {', '.join(FORMATS)}")
    if vlm.quantised or hasattr(vlm.model, "get_base_model"):
        raise UsageError("only a plain model can be quantised: merge its adapters first")
    before, after, layers = 0, 0, anatomy(vlm.model).layers
    chosen = [(name, module) for name, module in layers.named_modules() if type(module) in (nn.Linear, FastLinear)]
    if not chosen:
        raise UsageError(f"{type(vlm.model).__name__}: its decoder has no plain linear layers to quantise")
    for name, module in chosen:
        parent, _, last = name.rpartition(".")
        try:
            held = QuantisedLinear(module, kind)
        except ValueError as error:
            raise UsageError(f"decoder layer {name}: {error}") from None
        before += module.weight.nbytes
        after += sum(buffer.nbytes for buffer in held.buffers())
        setattr(layers.get_submodule(parent), last, held)
    vlm.quantised = kind
    log.info("quantised %d linear layers to %s: %.1f MiB became %.1f MiB", len(chosen), kind, before / 2**20,
             after / 2**20)  # fmt: skip
    return vlm


def quantised_weights(module: nn.Module) -> dict[str, int]:
    """Name of each quantised layer → how many weights its codes stand for."""
    return {
        name: layer.in_features * layer.out_features
        for name, layer in module.named_modules()
        if isinstance(layer, QuantisedLinear)
    }
