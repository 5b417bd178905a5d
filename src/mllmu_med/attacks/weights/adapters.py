"""Adapters: what was unlearnt in an adapter alone is there again without it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

from mllmu_med.attacks.interface import Subject, Tampering
from mllmu_med.errors import UsageError
from mllmu_med.models.groups import has_adapter
from mllmu_med.models.vlm import VisionLanguageModel


def _adapted_layers(vlm: VisionLanguageModel) -> list[Any]:
    from peft.tuners.lora.layer import LoraLayer

    return [module for module in vlm.model.modules() if isinstance(module, LoraLayer)]


@contextmanager
def _scaled(vlm: VisionLanguageModel, factor: float) -> Iterator[None]:
    """A block in which all adapters add ``factor`` times what they add otherwise."""
    layers = _adapted_layers(vlm)
    before = [dict(layer.scaling) for layer in layers]
    try:
        for layer in layers:
            layer.scaling.update({name: scale * factor for name, scale in layer.scaling.items()})
        yield
    finally:
        for layer, scaling in zip(layers, before, strict=True):
            layer.scaling.update(scaling)


def _named(factor: float) -> str:
    return "removed" if factor == 0 else "halved" if factor == 0.5 else f"times-{factor:g}"


@dataclass(frozen=True)
class AdapterScaling(Tampering):
    """Remove, weaken or merge the adapters that a model carries apart from its weights.

    y = x · Wᵀ + f · (α / r) · (x · Aᵀ) · Bᵀ with the factor f; merged: y = x · (W + (α / r) · B · A)ᵀ, which differs
    from f = 1 by rounding alone. Only the adapters of the last training are apart; W is the model they stand on. Does
    not apply to models that were trained without: no attempts, and a note.

    θ0 and the oracle are asked as they are at every variant. Their adapters hold what was learnt, not what was
    unlearnt: without them θ0 would not know what it is to be compared for, and no variant would measure anything.

    Attributes:
        factors: f; 0 = removed.
        merge: whether merging is tried too; not possible, which is noted, where the adapters stand on quantised
            weights.
    """

    label: ClassVar = "Adapter removed or weakened"
    source: ClassVar = "ours"
    summary: ClassVar = "removing, halving or merging the adapters of the model"
    cost: ClassVar = "1 answer for each factor"
    apart: ClassVar = True

    factors: tuple[float, ...] = (0.0, 0.5)
    merge: bool = True
    budget: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        for factor in self.factors:
            if not 0 <= factor <= 1:
                raise UsageError(f"factors: {factor} is not between 0 (removed) and 1 (as it is)")

    def tampered(self, subject: Subject) -> Iterator[str]:
        """One factor after the other, then merged."""
        vlm, notes = subject.vlm, subject.notes
        if subject.reference:
            notes["asked as it is"] = "nothing has been unlearnt in its adapters"
            yield from (_named(factor) for factor in self.factors)
            if self.merge and not vlm.quantised:
                yield "merged"
            return
        if not has_adapter(vlm):
            notes["does not apply"] = "the model as loaded carries no adapter apart from its weights"
            return
        notes["adapted layers"] = len(_adapted_layers(vlm))
        for factor in self.factors:
            with _scaled(vlm, factor):
                yield _named(factor)
        if not self.merge:
            return
        if vlm.quantised:
            notes["not merged"] = f"adapters cannot be merged into {vlm.quantised} weights"
            return
        vlm.model.merge_adapter()
        yield "merged"
