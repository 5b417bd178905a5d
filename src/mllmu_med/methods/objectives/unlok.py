"""Defences of UnLOK-VQA that act on the answer's text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from mllmu_med.methods.beside import means_by_record
from mllmu_med.methods.interface import Answers, Batch, Family, Loss, Needs, Objective, required
from mllmu_med.methods.terms import retain_nll

GRID: Mapping[str, tuple[Any, ...]] = {
    "learning_rate": (1e-4, 2e-4, 5e-4, 1e-3),
    "retain_weight": (0.3, 1.0, 3.0),
}


def answer_probability(answers: Answers) -> Tensor:
    """[N] mean_t p_θ(y_t | x, y_<t) of each answer, 0…1."""
    return answers.record_means(answers.token_logprob.exp())


@dataclass(frozen=True)
class FactErasure(Objective):
    """Fact erasure (UnLOK-VQA, arXiv 2505.01456; Patil et al. 2023, arXiv 2309.17410).

    loss = mean_i mean_t p_θ(y_t | x_i, y_<t) + λ ℓ̄_r

    The papers minimise p(y|x) of answers of about one token. Of a longer answer that product vanishes as soon as one of
    its tokens is improbable, and the others keep their likelihood; the mean over tokens, which is the same for one
    token, takes each of them down. Bounded by 0, unlike ascent. The papers edit one fact at a time and have no retain
    term; λ = 0 gives theirs. Only a record's own wording is seen: other wordings are ``input_rephrasing``'s. The
    gradient, p (1 − p), is small for an answer that θ0 is certain of.
    """

    label: ClassVar = "Fact erasure"
    family: ClassVar = Family.TEXT
    source: ClassVar = "arXiv 2505.01456"
    summary: ClassVar = "lower the probability of the forget answers, in their own wording only"
    needs: ClassVar = Needs.RETAIN
    grid: ClassVar = GRID
    rephrasings: ClassVar[bool | None] = False
    retain_weight: float = 1.0

    def loss(self, batch: Batch) -> Loss:
        """Mean probability of the forget tokens + λ · mean NLL of retain."""
        each = answer_probability(batch.forget)
        return Loss(each.mean(), retain_nll(batch.retain), self.retain_weight, per_record=each)


@dataclass(frozen=True)
class InputRephrasing(FactErasure):
    """Fact erasure over rephrased inputs (UnLOK-VQA, arXiv 2505.01456).

    loss = mean_i mean_t p_θ(y_t | x_i, y_<t) + λ ℓ̄_r, over all wordings of each forget question

    As ``fact_erasure``, but a record's further wordings are forget records too, whatever the recipe's ``phrasings``
    says. It covers paraphrases like those it sees; the steps are shared among more questions.
    """

    label: ClassVar = "Input rephrasing"
    summary: ClassVar = "lower the probability of the forget answers in all wordings of the question"
    rephrasings: ClassVar[bool | None] = True


@dataclass(frozen=True)
class EmptyResponse(Objective):
    """Empty response (UnLOK-VQA, arXiv 2505.01456; Patil et al. 2023, arXiv 2309.17410).

    loss = ℓ̄(x_f, y_idk) + λ ℓ̄_r, y_idk a refusal to the question in its own wording

    The loss of ``idk``, which however is trained on all wordings that the recipe grants. The private answer's own
    likelihood falls only as far as the refusal takes its place: what lies behind stays in the hidden states.
    """

    label: ClassVar = "Empty response"
    family: ClassVar = Family.TEXT
    source: ClassVar = "arXiv 2505.01456"
    summary: ClassVar = "answer the forget questions, in their own wording only, with a refusal"
    needs: ClassVar = Needs.RETAIN | Needs.REFUSALS
    grid: ClassVar = GRID
    rephrasings: ClassVar[bool | None] = False
    retain_weight: float = 1.0

    def loss(self, batch: Batch) -> Loss:
        """Mean NLL of the refusals + λ · mean NLL of retain."""
        refusals = required(batch.refusals, "refusals")
        each = means_by_record(refusals.nll, refusals, batch.forget)
        return Loss(each.mean(), retain_nll(batch.retain), self.retain_weight, per_record=each)


@dataclass(frozen=True)
class ErrorInjection(Objective):
    """Error injection (UnLOK-VQA, arXiv 2505.01456; Patil et al. 2023, arXiv 2309.17410).

    loss = mean_k ℓ̄(x_f, y_false,k) + λ ℓ̄_r, y_false plausible false answers sampled from θ0

    The mean runs over the alternates of each record (``alternates: 1`` in the recipe gives the papers' single one).
    Nothing shows that something was forgotten. But the model now states a falsehood, which is no answer for wrong
    medical facts: those are to be corrected (``correct``).
    """

    label: ClassVar = "Error injection"
    family: ClassVar = Family.TEXT
    source: ClassVar = "arXiv 2505.01456"
    summary: ClassVar = "answer the forget questions with plausible false answers"
    needs: ClassVar = Needs.RETAIN | Needs.ALTERNATES
    grid: ClassVar = GRID
    rephrasings: ClassVar[bool | None] = False
    retain_weight: float = 1.0

    def loss(self, batch: Batch) -> Loss:
        """Mean NLL of the alternates + λ · mean NLL of retain."""
        alternates = required(batch.alternates, "alternates")
        each = means_by_record(alternates.nll, alternates, batch.forget)
        return Loss(each.mean(), retain_nll(batch.retain), self.retain_weight, per_record=each)
