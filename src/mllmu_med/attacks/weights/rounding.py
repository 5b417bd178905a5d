"""Quantisation: rounding to fewer bits undoes small changes of weights, and with them, at times, the forgetting."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mllmu_med.attacks.interface import Subject, Tampering
from mllmu_med.attacks.weights.layers import changed_linears, merge_in_place
from mllmu_med.errors import UsageError
from mllmu_med.models.quantised import FORMATS, GROUP, QuantisedLinear
from mllmu_med.registry import did_you_mean

Rounding = Callable[[Tensor], Tensor]


def _in_tree(kind: str, weight: Tensor) -> Tensor:
    """[out, in] what the codes of a format of ours stand for."""
    quantise, dequantise = FORMATS[kind]
    return dequantise(quantise(weight), torch.float32)


def _library(name: str) -> Any:
    """A module of the extra ``quant``.

    Raises:
        UsageError: it is not installed, or does not work here.
    """
    try:
        return import_module(name)
    except (ImportError, OSError, RuntimeError) as error:
        package = name.partition(".")[0]
        raise UsageError(
            f"this number format needs {package}, which cannot be imported ({str(error).splitlines()[0]}): "
            "pip install 'mllmu-med[quant]'"
        ) from None


def _torchao(bits: int, weight: Tensor) -> Tensor:
    """torchao's rounding: 8 bits symmetric per output channel, 4 bits asymmetric (0…15) per group.

    The groups have 128 weights, or fewer where a row cannot be divided by that: the largest power of two that divides
    both.
    """
    primitives = _library("torchao.quantization.quant_primitives")
    kind = primitives.MappingType
    columns = weight.shape[1]
    if bits == 8:
        mapping, block, target, low, high = kind.SYMMETRIC, (1, columns), torch.int8, -128, 127
    else:
        mapping, block, target, low, high = kind.ASYMMETRIC, (1, math.gcd(columns, GROUP)), torch.uint8, 0, 15
    values = weight.detach().float()
    scale, zero = primitives.choose_qparams_affine(values, mapping, block, target, low, high)
    codes = primitives.quantize_affine(values, block, scale, zero, target, low, high)
    made: Tensor = primitives.dequantize_affine(
        codes, block, scale, zero, target, low, high, output_dtype=torch.float32
    )  # fmt: skip
    return made


def _bitsandbytes(bits: int, weight: Tensor) -> Tensor:
    """bitsandbytes' rounding: 8 bits per output channel (of float16 weights), NF4 in blocks of 64."""
    functional = _library("bitsandbytes.functional")
    values = weight.detach().contiguous()
    if bits == 8:
        codes, scale, _ = functional.int8_vectorwise_quant(values.half())
        made: Tensor = functional.int8_vectorwise_dequant(codes, scale)
    else:
        codes, state = functional.quantize_4bit(values.float(), blocksize=64, quant_type="nf4")
        made = functional.dequantize_4bit(codes, state)
    return made.float()


ROUNDINGS: dict[str, Rounding] = {
    **{kind: partial(_in_tree, kind) for kind in FORMATS},
    "torchao-int8": partial(_torchao, 8),
    "torchao-int4": partial(_torchao, 4),
    "bitsandbytes-int8": partial(_bitsandbytes, 8),
    "bitsandbytes-nf4": partial(_bitsandbytes, 4),
}
"""Number format → weights [out, in] to the float32 values that its codes stand for."""


@dataclass(frozen=True)
class Quantisation(Tampering):
    """Round the linear layers of the language model's decoder to fewer bits.

    The weights are replaced by the values that their codes stand for. For formats that quantise weights alone this is
    exact: they compute with these values, y = x · dequantised(W)ᵀ. It does not show what formats add that round
    activations too (LLM.int8's 8-bit products). Head, embeddings and norms stay as they are. A layer that is held in
    the format already stays as it is; one held in another is rounded from there. An adapter on plain weights is merged
    before.

    Attributes:
        formats: ``int8`` (per output channel), ``int4`` (symmetric, groups of 128) and ``nf4`` (blocks of 64), each
            rounded to the nearest value, in this package; ``torchao-int8``, ``torchao-int4``, ``bitsandbytes-int8`` and
            ``bitsandbytes-nf4`` round as these libraries do, and need the extra ``quant``.
    """

    label: ClassVar = "Quantisation"
    source: ClassVar = "arXiv 2410.16454"
    summary: ClassVar = "rounding the language model's weights to 8 or 4 bits"
    cost: ClassVar = "1 answer for each number format"
    touches: ClassVar = ("language",)

    formats: tuple[str, ...] = ("int8", "int4", "nf4")
    budget: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        for name in self.formats:
            if name not in ROUNDINGS:
                known = list(ROUNDINGS)
                raise UsageError(f"formats: unknown '{name}'{did_you_mean(name, known)}; known: {', '.join(known)}")

    def tampered(self, subject: Subject) -> Iterator[str]:
        """One format after the other, each from the weights as they are."""
        vlm = subject.vlm
        for kind in self.formats:  # what does not work here is noticed before anything has been asked
            _try(kind, vlm.device)
        merge_in_place(vlm)
        for kind in self.formats:
            with changed_linears(vlm, partial(_rounded, kind)):
                yield kind


def _try(kind: str, device: torch.device) -> None:
    try:
        ROUNDINGS[kind](torch.ones(2, GROUP, device=device))
    except (RuntimeError, NotImplementedError, AttributeError, TypeError) as error:
        raise UsageError(f"formats: {kind} does not work on {device.type} here: {error}") from None


def _rounded(kind: str, linear: nn.Linear) -> Tensor | None:
    if isinstance(linear, QuantisedLinear) and linear.kind == kind:
        return None
    return ROUNDINGS[kind](linear.weight)
