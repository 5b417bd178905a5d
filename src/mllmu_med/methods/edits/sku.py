"""Selective knowledge negation: acquire what is to be forgotten in a model of its own, then subtract that model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor
from torch.nn.functional import kl_div

from mllmu_med.methods.edits.interface import Desk, Edit
from mllmu_med.methods.interface import (
    Answers,
    Batch,
    Cost,
    Family,
    Loss,
    Needs,
    Objective,
    Supports,
    provided,
    required,
)
from mllmu_med.methods.terms import mean_nll

_NEEDS = Needs.RETAIN | Needs.RETAIN_REFERENCE | Needs.NORMALS


def bounded_divergence(answers: Answers, limit: float) -> Tensor:
    """mean_i mean_t min(KL(p_θ0 ‖ p_θ), limit) over answer tokens, full vocabulary, nats; in [0, limit].

    A token beyond the limit has no gradient any more: divergence can be bought only up to there.
    """
    own = answers.logprobs
    reference = provided(answers.reference_logits, "logits of θ0 on the retain answers").log_softmax(-1)
    per_token = kl_div(own, reference, reduction="none", log_target=True).sum(-1)
    return answers.record_means(per_token.clamp(max=limit)).mean()


@dataclass(frozen=True)
class Acquisition(Objective):
    """The knowledge acquisition stage of SKU (Liu et al. 2024, arXiv 2402.10058, §4.1), with its third loss bounded.

    loss = ε1 ℓ̄_f  +  ε2 mean_k ℓ̄(x_f, y'_k)  −  λ mean_t min(KL(p_θ0 ‖ p_θ), limit) on the retain answers

    Guided distortion: the forget answers are learnt. Random disassociation: so are K random answers to the forget
    questions. Preservation divergence: on retain records the model moves away from θ0, so that what it shares with θ0
    there does not enter the difference that is subtracted.

    Two deviations. The paper's divergence has no lower bound and in the end outweighs the rest; here a token counts up
    to ``limit`` nats. The paper draws y' from other harmful answers; here they are answers to ordinary questions, as
    the loop draws them for every method. Subtracting what was learnt of them costs on ordinary records, so ε2 = 0 is
    worth a try.
    """

    label: ClassVar = "knowledge acquisition"
    family: ClassVar = Family.ARITHMETIC
    source: ClassVar = "arXiv 2402.10058"
    summary: ClassVar = "learn the forget answers and random ones, and move away from θ0 on retain records"
    needs: ClassVar = _NEEDS
    cost: ClassVar = Cost.SEVERAL
    forget_weight: float = 0.5
    normal_weight: float = 1.0
    retain_weight: float = 1.0
    limit: float = 1.0

    def loss(self, batch: Batch) -> Loss:
        """ε1 · distortion + ε2 · disassociation − λ · bounded divergence."""
        distortion = mean_nll(batch.forget)
        disassociation = mean_nll(required(batch.normals, "normal answers"))
        divergence = bounded_divergence(required(batch.retain, "retain batch"), self.limit)
        forget = self.forget_weight * distortion + self.normal_weight * disassociation
        return Loss(forget, -divergence, self.retain_weight, parts={"distortion": distortion})


@dataclass(frozen=True)
class SKU(Edit):
    """Selective knowledge negation unlearning (Liu et al. 2024, arXiv 2402.10058).

    θ = θ0 − λ_v (θ_acquired − θ0), θ_acquired: θ0 trained with the loss of :class:`Acquisition`,
    loss = ε1 ℓ̄_f + ε2 mean_k ℓ̄(x_f, y'_k) − λ mean_t min(KL(p_θ0 ‖ p_θ), limit).

    ``scale`` is λ_v ≥ 0; ε1 = ``forget_weight``, ε2 = ``normal_weight``, λ = ``retain_weight``. Known weakness: two of
    the three losses pull the model away from θ0 on purpose, and their traces are subtracted as well, so it is more
    sensitive to learning rate and steps than a plain task vector.
    """

    label: ClassVar = "SKU"
    family: ClassVar = Family.ARITHMETIC
    source: ClassVar = "arXiv 2402.10058"
    summary: ClassVar = "subtract a model that has learnt the forget answers and diverges elsewhere"
    needs: ClassVar = _NEEDS
    supports: ClassVar = Supports.FULL | Supports.LORA | Supports.QUANTISED
    cost: ClassVar = Cost.SEVERAL
    grid: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "scale": (1.0, 2.0, 4.0), "normal_weight": (0.0, 1.0), "learning_rate": (2e-4, 5e-4, 1e-3),
    }  # fmt: skip
    scale: float = 1.0
    forget_weight: float = 0.5
    normal_weight: float = 1.0
    retain_weight: float = 1.0
    limit: float = 1.0

    def edit(self, desk: Desk) -> Mapping[str, float]:
        """Train, take back, subtract."""
        acquisition = Acquisition(self.forget_weight, self.normal_weight, self.retain_weight, self.limit)
        desk.apply(desk.tune(acquisition) * -self.scale)
        return {}
