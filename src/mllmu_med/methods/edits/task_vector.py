"""Task arithmetic: what a model learns on the forget set, subtracted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from mllmu_med.methods.edits.interface import Desk, Edit
from mllmu_med.methods.interface import Batch, Cost, Family, Loss, Objective, Supports
from mllmu_med.methods.terms import mean_nll


@dataclass(frozen=True)
class Overfit(Objective):
    """Further training on the forget set (arXiv 2212.04089, §3): the model whose difference to θ0 is subtracted.

    loss = ℓ̄_f
    """

    label: ClassVar = "further training"
    family: ClassVar = Family.ARITHMETIC
    source: ClassVar = "arXiv 2212.04089"
    summary: ClassVar = "learn the forget answers even better"
    cost: ClassVar = Cost.LIGHT

    def loss(self, batch: Batch) -> Loss:
        """Mean NLL of the forget answers."""
        return Loss(mean_nll(batch.forget))


@dataclass(frozen=True)
class TaskVector(Edit):
    """Negated task vector (Ilharco et al. 2022, arXiv 2212.04089, §4).

    θ = θ0 − λ (θ_overfit − θ0), θ_overfit: θ0 trained further on the forget answers with loss = ℓ̄_f.

    θ_overfit is trained for the steps and at the rate that the recipe gives the method; ``scale`` is λ ≥ 0. No retain
    record is used. Known weakness: what the forget set has in common with everything else (format, language, anatomy)
    lies in the same difference and is subtracted with it; a larger λ trades one for the other. Where θ0 already knows
    the forget answers by heart their loss has hardly a gradient, and the difference is more noise than direction.
    """

    label: ClassVar = "Task vector"
    family: ClassVar = Family.ARITHMETIC
    source: ClassVar = "arXiv 2212.04089"
    summary: ClassVar = "subtract what further training on the forget set adds"
    supports: ClassVar = Supports.FULL | Supports.LORA | Supports.QUANTISED
    cost: ClassVar = Cost.LIGHT
    grid: ClassVar[Mapping[str, tuple[Any, ...]]] = {"scale": (0.5, 1.0, 2.0, 4.0), "learning_rate": (2e-4, 5e-4, 1e-3)}
    scale: float = 1.0

    def edit(self, desk: Desk) -> Mapping[str, float]:
        """Train, take back, subtract."""
        desk.apply(desk.tune(Overfit()) * -self.scale)
        return {}
