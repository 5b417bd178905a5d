"""Hierarchical dual-strategy unlearning, rebuilt from its description."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import kl_div

from mllmu_med.errors import UsageError
from mllmu_med.methods.addons.dual import Dual
from mllmu_med.methods.addons.interface import Addon
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
    provided,
    required,
)
from mllmu_med.methods.terms import mean_nll, record_mean

PRESERVED = 2
"""Levels up to this one (basic, general clinical) are preserved by distribution."""


def bounded_ascent(logprob: Tensor, power: float) -> Tensor:
    """φ = (p^a − 1) / a of log-probabilities ≤ 0; in −1/a…0, token by token.

    ∂φ/∂log p = p^a: ascent whose pull on a token vanishes as the token is forgotten (the weight of WGA,
    arXiv 2502.19301). Tends to ascent, φ = log p, as a → 0.
    """
    return torch.expm1(power * logprob) / power


def preserved_kl(answers: Answers, most: int) -> Tensor:
    """1/N · Σ over records of level ≤ ``most`` of mean_t KL(p_θ0 ‖ p_θ); N counts all records, so that equal shares
    of a batch average to the batch."""
    reference = provided(answers.reference_logits, "θ0's logits on the retain answers").log_softmax(-1)
    level = provided(answers.level, "levels of the retain records")
    per_token = kl_div(answers.logprobs, reference, reduction="none", log_target=True).sum(-1)
    return record_mean(answers.record_means(per_token) * (level <= most))


@dataclass(frozen=True)
class DUO(Objective):
    """Hierarchical dual-strategy unlearning (arXiv 2511.19498), **our reconstruction**: the paper's code is not public.

    loss = mean_i ω_i · mean_t φ(log p_t) + β · 1/N_r Σ_{levels 1–2} mean_t KL(p_θ0 ‖ p_θ) + γ ℓ̄_r,
    φ = (p^a − 1)/a, with the forget gradient off the main directions of whitened retain gradients (see ``Dual``)

    Tokens to be unlearned are the forget records' (their private spans where weights say so), with ω by the record's
    level in the hierarchy, 1 at the target; those of retain records of levels 1 and 2 are preserved by distribution,
    those of level 3 by the retain term γ = ``retain_weight`` alone. Only ``modules`` in the last ``depth`` of the
    decoder layers train: with adapters of rank 16 that is below 0.1 % of a 7B model. ``clip_norm`` and
    ``noise_multiplier`` make the forget gradients differentially private, which bounds what the unlearning steps give
    away, not what the model knew before. So few weights can hide a fact better than erase it.
    """

    label: ClassVar = "DUO (reconstruction)"
    family: ClassVar = Family.OPTIMISER
    source: ClassVar = "arXiv 2511.19498"
    summary: ClassVar = "our reconstruction: bounded ascent by level of a hierarchy, off the retained directions"
    needs: ClassVar = Needs.RETAIN | Needs.RETAIN_REFERENCE | Needs.HIERARCHY | Needs.GRADIENT_STATISTICS
    cost: ClassVar = Cost.EXTRA
    grid: ClassVar = {"learning_rate": (5e-4, 1e-3, 2e-3, 5e-3), "energy": (0.8, 0.95)}
    power: float = 1.0
    level_weights: tuple[float, float, float, float] = (0.0, 0.1, 0.4, 1.0)
    preserve_weight: float = 1.0
    retain_weight: float = 1.0
    energy: float = 0.95
    history: int = 16
    damping: float = 0.1
    modules: tuple[str, ...] = ("down_proj",)
    depth: float = 0.5
    clip_norm: float | None = None
    noise_multiplier: float = 0.0
    delta: float = 1e-5

    def __post_init__(self) -> None:
        if self.power <= 0 or len(self.level_weights) != 4 or not 0 < self.depth <= 1:
            raise UsageError(f"duo: power={self.power} must be above 0, level_weights={self.level_weights} be four "
                             f"numbers, depth={self.depth} lie in 0…1")  # fmt: skip
        self.addons()

    def loss(self, batch: Batch) -> Loss:
        """Bounded ascent on forget + β · KL on levels 1 and 2 + γ · mean NLL of retain."""
        forget, retain = batch.forget, required(batch.retain, "retain batch")
        level = provided(forget.level, "levels of the forget records")
        ascent = forget.record_means(bounded_ascent(forget.token_logprob, self.power))
        # Not looked up in a table: that would have to be brought to the device in every step.
        shares = [(level == place).to(ascent.dtype) * share for place, share in enumerate(self.level_weights, 1)]
        per_record = torch.stack(shares).sum(0) * ascent
        preserved = preserved_kl(retain, PRESERVED)
        return Loss(
            per_record.mean(),
            mean_nll(retain),
            self.retain_weight,
            added=self.preserve_weight * preserved,
            parts={"preserved": preserved},
            per_record=per_record,
        )

    def addons(self) -> tuple[Addon, ...]:
        """The projection, and differential privacy if asked for."""
        return (Dual(self.energy, self.history, self.damping, self.clip_norm, self.noise_multiplier, self.delta),)

    def focus(self, model: ModelFacts) -> Focus:
        """``modules`` in the last ``depth`` of the decoder layers, at least one."""
        count = max(1, round(self.depth * model.layers))
        return Focus(tuple(range(model.layers - count, model.layers)), tuple(self.modules))
