"""Geometric unlearning: the forget step leaves the retain loss as it is, to first order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from mllmu_med.errors import UsageError
from mllmu_med.methods.addons.interface import (
    GradientRule,
    Gradients,
    GradientStep,
    ParameterView,
    added,
    dot,
    inverse,
    scaled,
)
from mllmu_med.methods.interface import Cost, Family, Needs, State

INDEPENDENT = 1e-4
"""A vector of which less than this share is left behind the others lies in their span, as far as float32 can tell."""


def without(vector: Gradients, basis: Sequence[Gradients], scale: Gradients) -> Gradients:
    """v − Σ_i ⟨v, b_i⟩_P b_i for a P-orthonormal basis, with ⟨a, b⟩_P = Σ a · P · b."""
    for one in basis:
        along = dot(vector, {name: scale[name] * one[name] for name in scale})
        vector = {name: vector[name] - along * one[name] for name in vector}
    return vector


def orthonormal(vectors: Sequence[Gradients], scale: Gradients) -> list[Gradients]:
    """Gram–Schmidt in the inner product ⟨a, b⟩_P, twice over; vectors in the span of earlier ones become zero."""
    basis: list[Gradients] = []
    for vector in vectors:
        rest = without(without(vector, basis, scale), basis, scale)
        before, left = (dot(v, {name: scale[name] * v[name] for name in scale}).sqrt() for v in (vector, rest))
        basis.append(scaled(rest, torch.where(left > INDEPENDENT * before, inverse(left), 0)))
    return basis


@dataclass(frozen=True)
class GeometricUnlearning(GradientRule):
    """Geometric-disentanglement unlearning (arXiv 2511.17100).

    g = g_f − Π g_f + g_r, Π the projection onto span{g_r of the last ``history`` steps} in ⟨a, b⟩_P = Σ a · P · b

    P = 1 / (√v̂ + ε) is Adam's step size by coordinate. Behind the projection ⟨g, P g_r⟩ = 0: the forget part of the
    step P g changes the retain loss by nothing, to first order in the step and on those records. Momentum mixes in
    earlier steps, and what the retain records of these batches do not speak for is not protected. Memory: ``history``
    gradients.
    """

    label: ClassVar = "GU"
    family: ClassVar = Family.OPTIMISER
    source: ClassVar = "arXiv 2511.17100"
    summary: ClassVar = "take from the forget gradient what would change the retain loss"
    needs: ClassVar = Needs.RETAIN
    cost: ClassVar = Cost.PAIR
    grid: ClassVar = {"history": (1, 4)}
    two_sided: ClassVar = True
    history: int = 4

    def __post_init__(self) -> None:
        if self.history < 1:
            raise UsageError(f"gu: history={self.history}; at least the current retain gradient is needed, 1")

    def start(self, view: ParameterView) -> State:
        """Room for the last retain gradients, [history, …] by parameter."""
        return {f"retain/{name}": torch.zeros(self.history, *shape) for name, shape in view.shapes.items()}

    def combine(self, step: GradientStep) -> tuple[Gradients, State]:
        """The forget gradient off the span of the retain gradients, plus the retain gradient.

        Raises:
            UsageError: the objective has no retain term.
        """
        if not step.retain:
            raise UsageError("gu keeps the retain loss, but the method has no retain term; take one that has, e.g. npo")
        place, held = step.step % self.history, {}
        for name, gradient in step.retain.items():
            held[name] = step.state[f"retain/{name}"].clone()
            held[name][place] = gradient
        # The current gradient first: it is projected off exactly, the earlier ones as far as they differ from it.
        order = [(place - back) % self.history for back in range(self.history)]
        scale = step.scale()
        basis = orthonormal([{name: rows[index] for name, rows in held.items()} for index in order], scale)
        forget = without(without(step.forget, basis, scale), basis, scale)
        return added(forget, step.retain), {f"retain/{name}": rows for name, rows in held.items()}
