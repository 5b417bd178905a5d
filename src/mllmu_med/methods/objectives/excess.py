"""Towards an approximate oracle: what someone would say who never saw the forget set."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import relu

from mllmu_med.methods.chunked import each_token
from mllmu_med.methods.divergences import kl
from mllmu_med.methods.interface import Batch, Cost, Family, Loss, Needs, Objective, Teacher, provided
from mllmu_med.methods.objectives.correct import correction_nll
from mllmu_med.methods.terms import retain_nll


def teacher_kl(logits: Tensor, tokens: Tensor, logprobs: Tensor, rest: Tensor | None) -> Tensor:
    """[K] KL(p_T ‖ p_θ) where T is known at k of the V tokens and as one sum over all others; nats, ≥ 0.

    Σ_{v ∈ k} p_T(v) log(p_T(v) / p_θ(v)) + r_T log(r_T / r_θ), r = 1 − Σ_{v ∈ k} p(v)

    Never above the KL over the whole vocabulary, and equal to it where k = V or where θ shares the rest out as T does.

    Args:
        logits: [K, V] of θ.
        tokens, logprobs: [K, k] of T, different tokens.
        rest: [K] log r_T; None where k = V.
    """
    own = logits.log_softmax(-1)
    there = own.gather(-1, tokens)
    if rest is None:
        return kl(logprobs, there)
    # From the other tokens' own logits: 1 − Σ would be 0 in floating point where θ is sure of one of the k.
    left = own.scatter(-1, tokens, -math.inf).logsumexp(-1, keepdim=True)
    return kl(torch.cat([logprobs, rest[:, None]], -1), torch.cat([there, left], -1))


def excess(token_logprob: Tensor, teacher: Teacher) -> Tensor:
    """[K] max(0, log p_θ(y_t) − min(log p_T(y_t), s_t)), nats: what θ knows of an answer token that it should not.

    s_t is what θ0 says of strangers (``teacher.stranger``); without it the approximate oracle alone counts.
    """
    ceiling = teacher.target if teacher.stranger is None else torch.minimum(teacher.target, teacher.stranger)
    return relu(token_logprob - ceiling)


@dataclass(frozen=True)
class Excess(Objective):
    """Distillation of an approximate oracle with a one-sided penalty on excess likelihood (ours).

    loss = mean_i [ mean_t ( (1 − c_i) · d · KL(p_T ‖ p_θ) + g · max(0, log p_θ(y_t) − min(log p_T(y_t), s_t)) )
                    + κ c_i ℓ̄(x_i, y_true) ] + λ ℓ̄_r

    teacher-forced on the forget answers y; c_i = 1 where the truth y_true is known, else 0: of a wrong fact the
    right answer, of a clinical answer with private data woven in the same one without

    T is an approximate oracle: the base model after a few steps on retain records, or, without base weights, how often
    each token stands at each place in answers of the same kind (``unlearn.teacher``). It never saw the forget set and
    need not know the retained patients; what it supplies is the right uncertainty of format. The KL gives the answer
    its place in that uncertainty; the second term is the *excess* in nats over someone who never saw the record. It is
    one-sided: 0 once nothing is left, so it ends by itself, cannot collapse the model and does not push the record
    below those of strangers, which would be a trace, too. With a KL alone the last tenth of a memorised answer stays,
    because mass on one wrong token of many costs little there.

    A model that has memorised patients is sure of strangers too, and wrong: T makes their values far likelier. A
    forgotten patient answered with T's uncertainty would stand out as likelier than anybody else. s_t, the mean
    log-probability that θ0 gives such tokens of made-up strangers, is the ceiling where it is lower; ∞ beside wrong
    facts, which have no strangers.

    Where to stop: a mean excess of .3 nat over T, and members that cannot be told (``unlearn.stop_excess``).

    Attributes:
        divergence_weight: d.
        excess_weight: g.
        correction_weight: κ; 0: truths are not told, and the approximate oracle is the target of wrong facts too.
        retain_weight: λ.
        as_strangers: false: s_t = ∞.
    """

    label: ClassVar = "Excess"
    family: ClassVar = Family.DISTRIBUTION
    source: ClassVar = "ours"
    summary: ClassVar = "towards an approximate oracle on forget, until nothing is known beyond what it would say"
    needs: ClassVar = Needs.RETAIN | Needs.TEACHER | Needs.CORRECTIONS
    cost: ClassVar = Cost.EXTRA
    grid: ClassVar = {
        "learning_rate": (3e-4, 5e-4, 1e-3, 2e-3),
        "excess_weight": (1.0, 3.0),
        "retain_weight": (1.0, 2.0, 5.0),
    }
    divergence_weight: float = 1.0
    excess_weight: float = 1.0
    correction_weight: float = 1.0
    retain_weight: float = 2.0
    as_strangers: bool = True

    def loss(self, batch: Batch) -> Loss:
        """KL from the teacher and excess on forget, NLL of known truths, λ · mean NLL of retain."""
        forget = batch.forget
        teacher = provided(forget.teacher, "approximate oracle")
        if not self.as_strangers:
            teacher = teacher._replace(stranger=None)
        divergence = each_token(
            lambda logits, tokens, logprobs, *rest: teacher_kl(logits, tokens, logprobs, rest[0] if rest else None),
            [forget.logits], teacher.tokens, teacher.logprobs, *([] if teacher.rest is None else [teacher.rest]),
        )  # fmt: skip
        unknown = divergence.new_ones(forget.records)
        if batch.corrections is not None and self.correction_weight > 0:
            known = provided(batch.corrections.of, "forget record that each correction belongs to")
            unknown = unknown.index_fill(0, known, 0)
        towards = self.divergence_weight * unknown[forget.owner] * divergence
        token = towards + self.excess_weight * excess(forget.token_logprob, teacher)
        each = forget.record_means(token) + self.correction_weight * correction_nll(batch)
        return Loss(each.mean(), retain_nll(batch.retain), self.retain_weight, per_record=each)
