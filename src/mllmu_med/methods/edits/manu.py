"""Modality-aware neuron pruning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from mllmu_med.errors import UsageError
from mllmu_med.methods.edits.interface import Desk, Edit
from mllmu_med.methods.interface import Family, Needs

MODULE = "down_proj"
SMALLEST = 1e-5
"""Added to the importance on retain records, so that neurons which never act there have a score."""

Statistic = Literal["absolute", "frequency", "variance", "rms"]


class Sums(NamedTuple):
    """Sums over tokens of values [T, n] that describe how n neurons act: all [n] but ``tokens``."""

    tokens: int
    plain: Tensor
    absolute: Tensor
    square: Tensor
    active: Tensor

    @classmethod
    def of(cls, values: Tensor, threshold: float) -> Sums:
        """Of one batch of tokens, in double precision."""
        wide = values.double()
        active = (wide.abs() > threshold).double()
        return cls(len(wide), wide.sum(0), wide.abs().sum(0), wide.square().sum(0), active.sum(0))

    def plus(self, other: Sums) -> Sums:
        """Over the tokens of both."""
        return Sums(
            self.tokens + other.tokens, self.plain + other.plain, self.absolute + other.absolute,
            self.square + other.square, self.active + other.active,
        )  # fmt: skip

    def importance(self, statistic: Statistic) -> Tensor:
        """[n] ≥ 0: mean size, share of tokens above the threshold, standard deviation, or root mean square."""
        if statistic == "absolute":
            return self.absolute / self.tokens
        if statistic == "frequency":
            return self.active / self.tokens
        square = self.square / self.tokens
        if statistic == "rms":
            return square.sqrt()
        return (square - (self.plain / self.tokens).square()).clamp(min=0).sqrt()


def gathered(recorded: Iterable[Mapping[int, Tensor]], threshold: float) -> dict[int, Sums]:
    """Layer → sums over all that is recorded."""
    total: dict[int, Sums] = {}
    for chunk in recorded:
        for layer, values in chunk.items():
            own = Sums.of(values, threshold)
            total[layer] = total[layer].plus(own) if layer in total else own
    return total


def differences(
    pictured: Iterable[Mapping[int, Tensor]], text_only: Iterable[Mapping[int, Tensor]]
) -> Iterable[Mapping[int, Tensor]]:
    """What the image adds to the activations of the same tokens."""
    for seen, read in zip(pictured, text_only, strict=True):
        yield {layer: values - read[layer] for layer, values in seen.items()}


def scores(forget: Sums, retain: Sums, statistics: Iterable[Statistic]) -> Tensor:
    """[n] Σ_k I_k(D_f) / (I_k(D_r) + 1e-5): how much more a neuron matters to what is forgotten than to the rest."""
    ratios = [forget.importance(k) / (retain.importance(k) + SMALLEST) for k in statistics]
    return torch.stack(ratios).sum(0)


def pruned(found: Mapping[int, Tensor], share: float) -> dict[int, Tensor]:
    """Layer → indices of the neurons among the ``share`` with the highest scores [n] of all layers; at least one."""
    every = torch.cat(list(found.values()))
    chosen = torch.zeros(len(every), dtype=torch.bool, device=every.device)
    chosen[every.topk(max(1, int(share * len(every)))).indices] = True
    parts = torch.split(chosen, [len(own) for own in found.values()])
    return {layer: part.nonzero()[:, 0] for layer, part in zip(found, parts, strict=True) if part.any()}


@dataclass(frozen=True)
class MANU(Edit):
    """Modality-aware neuron unlearning (Liu et al. 2025, arXiv 2502.15910).

    The ``share`` (the paper's α) of all MLP neurons with the highest score Σ_k I_k(D_f) / (I_k(D_r) + 1e-5) is set to
    zero: their columns of ``down_proj``, which is the same as their rows of the gate or up projection. A neuron is an
    input of ``down_proj``; its importance I_k is, over answer tokens, the mean size (``absolute``), the share of tokens
    beyond ``threshold`` (``frequency``), the standard deviation (``variance``) or the root mean square (``rms``) of z.

    ``reading`` says what z is. ``difference``: the activation with the image minus the activation of the same token
    without it. ``separate``: the activations themselves, with and without image, whose two scores are added; this is
    how the authors' code has it. It also leaves out ``frequency`` (weight 0), as the default here does: where a neuron
    is never active on retain records its ratio drowns the others.

    Simplified: only the language model is pruned, not the vision tower, whose features all methods share; layers are
    not preselected. Questions that have no image at all take part in neither reading. Known weakness: neurons are
    shared by many facts, so what is close to the forgotten records goes with them, and pruned weights are a visible
    trace.
    """

    label: ClassVar = "MANU"
    family: ClassVar = Family.EDIT
    source: ClassVar = "arXiv 2502.15910"
    summary: ClassVar = "zero the MLP neurons that matter to forget records, with and without image, and not to others"
    needs: ClassVar = Needs.RETAIN
    grid: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "share": (0.02, 0.05, 0.1, 0.2), "reading": ("difference", "separate"),
    }  # fmt: skip
    share: float = 0.02
    reading: Literal["difference", "separate"] = "difference"
    statistics: tuple[Statistic, ...] = ("absolute", "variance", "rms")
    threshold: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise UsageError(f"manu: share={self.share} is no share; it must be above 0 and at most 1")
        if not self.statistics:
            raise UsageError("manu: statistics is empty; name one or more of absolute, frequency, variance, rms")

    def edit(self, desk: Desk) -> Mapping[str, float]:
        """Four passes: forget and retain questions about images, with the image and without it.

        Returns:
            neurons set to zero, of how many, in how many layers.
        """
        layers = range(desk.facts.layers)
        found: dict[int, Tensor] = {}
        for forget, retain in self._compared(desk, layers):
            for layer in layers:
                own = scores(forget[layer], retain[layer], self.statistics)
                found[layer] = found[layer] + own if layer in found else own
        chosen = pruned(found, self.share)
        weights = 0
        for layer, neurons in chosen.items():
            weight = desk.weight(MODULE, layer)
            weight[:, neurons] = 0
            weights += weight.shape[0] * len(neurons)
        return {
            "neurons": sum(map(len, chosen.values())), "of": sum(map(len, found.values())), "layers": len(chosen),
            "weights_changed": weights,
        }  # fmt: skip

    def _compared(self, desk: Desk, layers: range) -> list[tuple[dict[int, Sums], dict[int, Sums]]]:
        """Forget and retain, once by difference, or for each modality."""

        def of(group: str) -> Iterable[Mapping[int, Tensor]]:
            return desk.inputs(group, MODULE, layers)

        if self.reading == "separate":
            pairs = [("pictured", "retain_pictured"), ("text_only", "retain_text_only")]
            return [(gathered(of(f), self.threshold), gathered(of(r), self.threshold)) for f, r in pairs]
        forget = gathered(differences(of("pictured"), of("text_only")), self.threshold)
        retain = gathered(differences(of("retain_pictured"), of("retain_text_only")), self.threshold)
        return [(forget, retain)]
