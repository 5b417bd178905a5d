"""Unlearning by Jensen-Shannon divergences."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from mllmu_med.methods.beside import means_by_record
from mllmu_med.methods.divergences import js
from mllmu_med.methods.interface import Batch, Cost, Family, Loss, Needs, Objective, provided, required
from mllmu_med.methods.terms import record_mean


def js_to_token(token_logprob: Tensor) -> Tensor:
    """JSD(p ‖ onehot(y)) = ln 2 + ½ (p_y ln p_y − (1 + p_y) ln(1 + p_y)), from log p_y; in 0…ln 2, 0 at p_y = 1.

    With one side one-hot the sum over the vocabulary has this closed form: only the token's own probability enters.
    """
    chance = token_logprob.exp()
    return math.log(2) + (chance * token_logprob - (1 + chance) * chance.log1p()) / 2


@dataclass(frozen=True)
class JensUn(Objective):
    """JensUn (Singh et al. 2025, arXiv 2509.02820).

    loss = λ_F · mean_t JSD(p_θ ‖ onehot(y_neutral,t)) + λ · mean_t JSD(p_θ ‖ p_θ0) on the retain answers

    y_neutral is a refusal to the forget question, teacher-forced: each of its tokens is the target of its own position.
    (The public code puts the tokens of its neutral string, all at once, at every position.) Both terms lie in 0…ln 2,
    and no gradient explodes. The other side of this: dJSD/d log p_y = ½ p_y ln(p_y / (1 + p_y)) vanishes with p_y, so
    a refusal that θ0 finds next to impossible is hardly pulled up at first.
    """

    label: ClassVar = "JensUn"
    family: ClassVar = Family.DISTRIBUTION
    source: ClassVar = "arXiv 2509.02820"
    summary: ClassVar = "bounded divergence towards a refusal on forget, towards θ0 on the retain records"
    needs: ClassVar = Needs.RETAIN | Needs.RETAIN_REFERENCE | Needs.REFUSALS
    cost: ClassVar = Cost.REFERENCE
    grid: ClassVar = {
        "learning_rate": (5e-4, 1e-3, 3e-3),
        "retain_weight": (0.3, 1.0, 3.0),
    }
    forget_weight: float = 1.0
    retain_weight: float = 1.0

    def loss(self, batch: Batch) -> Loss:
        """λ_F · JSD to the refusals' tokens + λ · JSD to θ0 on retain."""
        refusals, retain = required(batch.refusals, "refusals"), required(batch.retain, "retain batch")
        each = means_by_record(refusals.record_means(js_to_token(refusals.token_logprob)), refusals, batch.forget)
        each = self.forget_weight * each
        theta0 = provided(retain.reference_logits, "logits of θ0 on the retain answers").detach().log_softmax(-1)
        kept = record_mean(retain.record_means(js(retain.logprobs, theta0)))
        return Loss(each.mean(), kept, self.retain_weight, per_record=each)
