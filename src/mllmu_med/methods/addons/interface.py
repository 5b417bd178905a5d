"""Add-ons: what composes with any objective, as in ``npo+gu`` or ``alt_po+sam+prompt_decouple``.

Three kinds. A :class:`GradientRule` turns the gradients of forget side and retain side into one step. A
:class:`RetainTerm` adds a term to the retain side. A :class:`Parameterisation` lets something else than the weights
train.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from mllmu_med.methods.interface import Batch, Component, State

Gradients = dict[str, Tensor]
"""Name of a trained parameter → its gradient."""


@dataclass(frozen=True)
class Statistics:
    """Mean squared per-record gradients at θ0 (diagonal Fisher information), by parameter, on forget and on retain."""

    forget: Gradients
    retain: Gradients


@dataclass(frozen=True)
class ParameterView:
    """What a rule may know of the parameters that train, before the first step.

    Attributes:
        shapes: name → shape.
        groups: name → ``vision``, ``projector`` or ``language``.
        statistics: where the rule declares GRADIENT_STATISTICS.
        generator: seeded by the run.
        taken: name → [k, in] orthonormal rows: directions that adapters of earlier requests use.
    """

    shapes: Mapping[str, torch.Size]
    groups: Mapping[str, str]
    statistics: Statistics | None
    generator: torch.Generator
    taken: Mapping[str, Tensor]


@dataclass(frozen=True)
class GradientStep:
    """The gradients of one optimiser step, and ways to ask for more. All means over the step's records, in float32.

    Attributes:
        forget: of the forget side (weights included).
        retain: of the retain side (weights included); empty where there is none.
        state: the rule's own.
        step: from 0 on.
        scale: asked for, Adam's per-coordinate step size 1 / (√v̂ + ε), as it will be if the step is taken along the
            sum of both sides: the geometry in which the optimiser moves.
        forget_at: offsets of the parameters → gradient of the forget side there, on the same records, with the same
            dropout; the weights are as before afterwards.
        forget_each: gradients of the forget side of each record in turn (their mean is ``forget``), made one at a time.
            RuntimeError where the objective does not give its loss by record.
    """

    forget: Gradients
    retain: Gradients
    state: State
    step: int
    scale: Callable[[], Gradients]
    forget_at: Callable[[Gradients], Gradients]
    forget_each: Callable[[], Iterator[Gradients]]


class Addon(Component):
    """Base of all add-ons."""

    grid: ClassVar[Mapping[str, tuple[Any, ...]]] = {}


class GradientRule(Addon):
    """How the gradients of the two sides become one. Clipping, schedule and AdamW come after.

    Attributes:
        two_sided: whether there must be a retain side; without one the rule is refused when it is composed.
    """

    two_sided: ClassVar[bool] = False

    def start(self, view: ParameterView) -> State:
        """The state before the first step (masks, buffers); saved with every checkpoint."""
        return {}

    def combine(self, step: GradientStep) -> tuple[Gradients, State]:
        """The gradient to step along, for every parameter, and what of the state changes. Pure."""
        raise NotImplementedError

    def confine(self, weights: Mapping[str, Tensor], state: State) -> Gradients:
        """For rules that hold weights to a set: those that must be set anew after the optimiser's step. Pure."""
        return {}

    def account(self, draws: Sequence[Sequence[int]]) -> Mapping[str, float]:
        """Numbers for the record at the end, e.g. a privacy budget. ``draws``: the forget records of each step."""
        return {}


class RetainTerm(Addon):
    """A further term on the retain side."""

    def term(self, batch: Batch) -> Tensor:
        """The term, its weight included; pure."""
        raise NotImplementedError


class Parameterisation(Addon):
    """Weights as a function of frozen weights and of free parameters that start at 0 and train in their place."""

    def weight(self, frozen: Tensor, free: Tensor) -> Tensor:
        """[out, in] the effective weights; ``weight(W, 0) == W`` exactly."""
        raise NotImplementedError


def dot(left: Gradients, right: Gradients) -> Tensor:
    """Σ over all parameters of the elementwise product, as a scalar."""
    return torch.stack([(left[name] * right[name]).sum() for name in left]).sum()


def norm(gradients: Gradients) -> Tensor:
    """Euclidean norm over all parameters, as a scalar."""
    return dot(gradients, gradients).sqrt()


def inverse(value: Tensor) -> Tensor:
    """1 / value, and 0 where the value is 0: what is divided by its own norm of 0 stays 0."""
    return torch.where(value == 0, 0, 1 / torch.where(value == 0, 1, value))


def scaled(gradients: Gradients, factor: Tensor | float) -> Gradients:
    """Every gradient times a scalar."""
    return {name: gradient * factor for name, gradient in gradients.items()}


def added(forget: Gradients, retain: Gradients) -> Gradients:
    """The sum of both sides; the first alone where the second is empty."""
    return {name: gradient + retain[name] for name, gradient in forget.items()} if retain else dict(forget)
