"""Representation misdirection: hidden states of the forget answers are steered to a random direction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mllmu_med.methods.depth import layer_at, reference_states_of, states_of
from mllmu_med.methods.interface import (
    Answers,
    Batch,
    Cost,
    Family,
    Focus,
    Loss,
    ModelFacts,
    Needs,
    Objective,
    State,
    provided,
    required,
)
from mllmu_med.methods.terms import record_mean

DIRECTION = "direction"


def random_direction(width: int, generator: torch.Generator) -> Tensor:
    """u [H]: entries uniform in 0…1, then normalised to length 1, as in the paper."""
    return normalize(torch.rand(width, generator=generator), dim=0)


def down_projections(layer: int) -> Focus:
    """``down_proj`` of the layer and of the two below it, as far as there are any."""
    return Focus(tuple(range(max(0, layer - 2), layer + 1)), ("down_proj",))


def distance(answers: Answers, targets: Mapping[int, Tensor]) -> Tensor:
    """[N] mean_t ‖h_l − target_l‖² / H of each record, mean over layers (RMU has one); targets [K, H] or [H]."""
    found = [
        answers.record_means((states - targets[layer].to(states.dtype)).square().mean(-1))
        for layer, states in states_of(answers).items()
    ]
    return torch.stack(found).mean(0)


def retain_distance(retain: Answers | None) -> Tensor:
    """How far the hidden states of the retain answers are from θ0's, squared, over the width; 0 at θ0."""
    retain = required(retain, "retain batch")
    return record_mean(distance(retain, reference_states_of(retain)))


@dataclass(frozen=True)
class RMU(Objective):
    """Representation misdirection for unlearning (Li et al. 2024, arXiv 2403.03218).

    loss = mean_t ‖h_l(x_f) − c · u‖² / H + λ · mean_t ‖h_l(x_r) − h_l^θ0(x_r)‖² / H

    h_l: hidden states behind layer l at the positions that predict the answers; u: a random unit vector, drawn once;
    only ``down_proj`` of layers l − 2…l trains. Squares are means over the width H, as in the public code (the paper
    writes the squared norm: H times both terms).

    The defaults are those of 7B models. Elsewhere: c counts in norms of h_l, and works from about the mean norm upwards
    (``adaptive_rmu`` measures it for each token); λ must keep the retain term, which starts at 0, comparable to the
    forget term, about c²/H. Steering is shallow: layers behind l still hold the answer, and answers elicited past the
    steered positions come back.

    Attributes:
        coefficient: c, the length to which states are steered.
        depth: l as a share of the depth, 0…1; the paper's layer 7 of 32 by default.
    """

    label: ClassVar = "RMU"
    family: ClassVar = Family.ACTIVATION
    source: ClassVar = "arXiv 2403.03218"
    summary: ClassVar = "steer a layer's states of the forget answers to a random direction, hold those of retain"
    needs: ClassVar = Needs.RETAIN | Needs.LAYERS | Needs.REFERENCE_LAYERS
    cost: ClassVar = Cost.REFERENCE
    grid: ClassVar = {
        "learning_rate": (1e-3, 5e-3),
        "coefficient": (6.5, 60.0, 200.0),
        "retain_weight": (1.0, 30.0, 1200.0),
    }
    coefficient: float = 6.5
    depth: float = 0.22
    retain_weight: float = 1200.0

    def start(self, model: ModelFacts, generator: torch.Generator) -> State:
        """u."""
        return {DIRECTION: random_direction(model.width, generator)}

    def layers(self, model: ModelFacts) -> tuple[int, ...]:
        """l."""
        return (layer_at(self.depth, model.layers),)

    def focus(self, model: ModelFacts) -> Focus:
        """``down_proj`` of l − 2…l."""
        return down_projections(layer_at(self.depth, model.layers))

    def loss(self, batch: Batch) -> Loss:
        """Distance to c · u on forget + λ · distance to θ0's states on retain."""
        target = self.coefficient * provided(batch.state.get(DIRECTION), "direction of `start`")
        each = distance(batch.forget, dict.fromkeys(states_of(batch.forget), target))
        return Loss(each.mean(), retain_distance(batch.retain), self.retain_weight, per_record=each)


@dataclass(frozen=True)
class AdaptiveRMU(Objective):
    """Adaptive RMU (Dang et al. 2024, arXiv 2408.06223).

    loss = mean_t ‖h_l(x_f) − β ‖h_l^θ0(x_f)‖ · u‖² / H + λ · mean_t ‖h_l(x_r) − h_l^θ0(x_r)‖² / H

    As ``rmu``, with each token's own norm at θ0 as the unit of length, so that one β suits all layers and models, also
    the deeper layers where a fixed c is lost among large norms. Its weakness is RMU's: steering is shallow.

    Attributes:
        scale: β, the length to which states are steered, in norms of θ0's.
        depth: l as a share of the depth, 0…1.
    """

    label: ClassVar = "Adaptive RMU"
    family: ClassVar = Family.ACTIVATION
    source: ClassVar = "arXiv 2408.06223"
    summary: ClassVar = "RMU with each token's own norm at θ0 as the unit of length"
    needs: ClassVar = Needs.RETAIN | Needs.LAYERS | Needs.REFERENCE_LAYERS
    cost: ClassVar = Cost.REFERENCE
    grid: ClassVar = {
        "learning_rate": (1e-3, 5e-3),
        "scale": (1.0, 2.0, 5.0),
        "retain_weight": (1.0, 30.0, 1200.0),
    }
    scale: float = 5.0
    depth: float = 0.22
    retain_weight: float = 1200.0

    def start(self, model: ModelFacts, generator: torch.Generator) -> State:
        """u."""
        return {DIRECTION: random_direction(model.width, generator)}

    def layers(self, model: ModelFacts) -> tuple[int, ...]:
        """l."""
        return (layer_at(self.depth, model.layers),)

    def focus(self, model: ModelFacts) -> Focus:
        """``down_proj`` of l − 2…l."""
        return down_projections(layer_at(self.depth, model.layers))

    def loss(self, batch: Batch) -> Loss:
        """Distance to β ‖h_θ0‖ · u on forget + λ · distance to θ0's states on retain."""
        direction = provided(batch.state.get(DIRECTION), "direction of `start`")
        targets = {
            layer: self.scale * torch.linalg.vector_norm(states, dim=-1, keepdim=True) * direction.to(states.dtype)
            for layer, states in reference_states_of(batch.forget).items()
        }
        each = distance(batch.forget, targets)
        return Loss(each.mean(), retain_distance(batch.retain), self.retain_weight, per_record=each)
