"""Which weights take part in forgetting: those that matter more for the forget records than for the retain records."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mllmu_med.errors import UsageError
from mllmu_med.methods.addons.interface import (
    GradientRule,
    Gradients,
    GradientStep,
    ParameterView,
    Statistics,
    added,
)
from mllmu_med.methods.interface import Cost, Family, Needs, State

log = logging.getLogger("mllmu_med")

SIDES = {"vision": "visual", "projector": "visual", "language": "language"}
"""Module group → the side whose threshold holds for it."""


def saliency_masks(
    statistics: Statistics, groups: Mapping[str, str], *, visual: float, language: float, epsilon: float
) -> dict[str, Tensor]:
    """m = 1[F_forget / (F_retain + ε) ≥ β] by parameter, as booleans; β is ``visual`` or ``language`` by group.

    A weight of which neither side says anything (both 0) is not salient.
    """
    beta = {"visual": visual, "language": language}
    return {
        name: forget / (statistics.retain[name] + epsilon) >= beta[SIDES[groups[name]]]
        for name, forget in statistics.forget.items()
    }


@dataclass(frozen=True)
class Saliency(GradientRule):
    """Saliency masks (the rule of MMUnlearner, arXiv 2502.11051).

    g = m ⊙ g_f + g_r, m = 1[F_forget / (F_retain + ε) ≥ β]

    F: mean squared gradients per record at θ0. One threshold β for vision tower and projector, one for the language
    model. The masks are made once; what is masked still moves by the retain side.
    """

    label: ClassVar = "saliency"
    family: ClassVar = Family.LOCALISATION
    source: ClassVar = "arXiv 2502.11051"
    summary: ClassVar = "only weights that matter more for the forget than for the retain records move to forget"
    needs: ClassVar = Needs.RETAIN | Needs.GRADIENT_STATISTICS
    cost: ClassVar = Cost.PAIR
    visual_threshold: float = 1.0
    language_threshold: float = 1.0
    epsilon: float = 1e-20

    def __post_init__(self) -> None:
        if min(self.visual_threshold, self.language_threshold) <= 0 or self.epsilon <= 0:
            raise UsageError("saliency thresholds and epsilon must be above 0: at 0 every weight is salient")

    def start(self, view: ParameterView) -> State:
        """The masks.

        Raises:
            UsageError: no weight is salient, or all are: the method would do nothing of its own.
        """
        if view.statistics is None:
            raise RuntimeError("the loop provided no gradient statistics, which the method declares as a need")
        masks = saliency_masks(
            view.statistics, view.groups, visual=self.visual_threshold, language=self.language_threshold,
            epsilon=self.epsilon,
        )  # fmt: skip
        if view.statistics.retain and not any(bool(value.any()) for value in view.statistics.retain.values()):
            raise UsageError("no retain records to compare with: every weight would be salient; raise retain_share")
        salient, every = 0, 0
        for side, beta in (("visual", self.visual_threshold), ("language", self.language_threshold)):
            own = [name for name in masks if SIDES[view.groups[name]] == side]
            if own:  # of the weights that have a gradient: one factor of a fresh adapter has none
                found = sum(int(masks[name].sum()) for name in own)
                size = sum(int((view.statistics.forget[name] > 0).sum()) for name in own)
                log.info("saliency: %.1f %% of the %s weights at beta %g", 100 * found / max(1, size), side, beta)
                salient, every = salient + found, every + size
        thresholds = f"visual_threshold={self.visual_threshold}, language_threshold={self.language_threshold}"
        if salient == 0:
            raise UsageError(f"no weight is salient at beta ({thresholds}), so nothing would be forgotten; lower them")
        if salient == every:
            raise UsageError(f"every weight is salient at beta ({thresholds}), so the mask does nothing; raise them")
        return {f"mask/{name}": mask for name, mask in masks.items()}

    def combine(self, step: GradientStep) -> tuple[Gradients, State]:
        """The masked forget gradient, plus the retain gradient."""
        masked = {name: torch.where(step.state[f"mask/{name}"], gradient, 0) for name, gradient in step.forget.items()}
        return added(masked, step.retain), {}
