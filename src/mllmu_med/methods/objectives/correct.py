"""Correction of wrong facts whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import logsigmoid

from mllmu_med.methods.beside import means_by_record
from mllmu_med.methods.interface import Batch, Cost, Family, Loss, Needs, Objective
from mllmu_med.methods.terms import retain_nll


def correction_nll(batch: Batch) -> Tensor:
    """[N] ℓ̄(x, y_true) of each forget record's correction; 0 where its truth is unknown.

    The mean over forget records, not over corrections, is what equal shares of a batch average to, wherever the batch's
    corrections fall. A batch none of whose records has a known truth comes without corrections.
    """
    forget, corrections = batch.forget, batch.corrections
    if corrections is None:
        return forget.token_logprob.new_zeros(forget.records)
    return means_by_record(corrections.nll, corrections, forget)


@dataclass(frozen=True)
class Correction(Objective):
    """Correction of wrong facts (ours).

    loss = −(2/β) · mean_i log σ(−β · (log p_θ(y_f|x_i) − log p_θ0(y_f|x_i))) + κ · mean_i ℓ̄(x_i, y_true) + λ ℓ̄_r

    The wrong answer is pushed down as NPO (arXiv 2404.05868) does, boundedly, and the true one learnt in its place: the
    right answer to a wrong fact; where private data was woven into a clinical answer, the same one without. A forget
    record without one (a direct question for private data) adds 0 to the second term: without corrections this is NPO.
    Where the truth was never learnt before, learning it costs more than forgetting: watch the retain side.
    """

    label: ClassVar = "Correction"
    family: ClassVar = Family.TEXT
    source: ClassVar = "ours"
    summary: ClassVar = "push the wrong answer down as NPO does, and learn the correct one where it is known"
    needs: ClassVar = Needs.RETAIN | Needs.REFERENCE_LOGPROB | Needs.CORRECTIONS
    cost: ClassVar = Cost.REFERENCE
    grid: ClassVar = {
        "learning_rate": (1e-4, 2e-4, 5e-4, 1e-3),
        "beta": (0.1, 0.5),
    }
    beta: float = 0.1
    correction_weight: float = 1.0
    retain_weight: float = 1.0

    def loss(self, batch: Batch) -> Loss:
        """NPO on the wrong answers + κ · mean NLL of the correct ones + λ · mean NLL of retain."""
        ratio = batch.forget.logprob - batch.forget.reference
        each = -2 / self.beta * logsigmoid(-self.beta * ratio) + self.correction_weight * correction_nll(batch)
        return Loss(each.mean(), retain_nll(batch.retain), self.retain_weight, per_record=each)
