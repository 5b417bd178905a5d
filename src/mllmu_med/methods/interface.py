"""What a method is: a declaration of needs and a loss over answers. It knows no files, no models and no LoRA."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Flag, auto
from functools import cached_property
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor


class Needs(Flag):
    """What the loop must provide. Only this is computed; the rest of a batch is None."""

    NONE = 0
    RETAIN = auto()  # a batch of retain records
    REFERENCE_LOGPROB = auto()  # log p_θ0 of the forget answers
    RETAIN_REFERENCE = auto()  # θ0's logits on the retain answers
    REFUSALS = auto()  # the forget questions with a refusal as answer
    NORMALS = auto()  # the forget questions with random normal answers (answers to other questions)


@dataclass(frozen=True)
class Answers:
    """Model outputs on the answers of one group of records; N records, K answer tokens in all, V vocabulary.

    Attributes:
        logits: [K, V] float32, at answer tokens only: prompts, images and padding never occur.
        target: [K] the answer tokens.
        owner: [K] the record, 0…N-1, of each token.
        weight: [K] ≥ 0; 1 by default; for span weights 1 on the private span and 0 elsewhere in the answer.
        records: N.
        reference_logprob: [K] log p_θ0 of each answer token.
        reference_logits: [K, V] θ0's logits.
    """

    logits: Tensor
    target: Tensor
    owner: Tensor
    weight: Tensor
    records: int
    reference_logprob: Tensor | None = None
    reference_logits: Tensor | None = None

    @cached_property
    def token_logprob(self) -> Tensor:
        """[K] log p_θ(y_t | x, y_<t), ≤ 0."""
        return self.logits.log_softmax(-1).gather(-1, self.target[:, None])[:, 0]

    def per_record(self, values: Tensor) -> Tensor:
        """[N] weighted sums of token values [K] over each record's answer."""
        return torch.zeros(self.records, dtype=values.dtype, device=values.device).index_add(
            0, self.owner, values * self.weight.to(values.dtype)
        )

    @cached_property
    def length(self) -> Tensor:
        """[N] total token weight of each record, > 0 (the answer's length where all weights are 1)."""
        ones = torch.ones_like(self.weight)
        return self.per_record(ones).clamp(min=torch.finfo(ones.dtype).tiny)

    @property
    def logprob(self) -> Tensor:
        """[N] log p_θ(y | x), summed over the answer."""
        return self.per_record(self.token_logprob)

    @property
    def nll(self) -> Tensor:
        """[N] −log p_θ(y | x) / |y|: the mean over each answer's tokens, so that long answers do not dominate."""
        return -self.logprob / self.length

    @property
    def reference(self) -> Tensor:
        """[N] log p_θ0(y | x), summed over the answer."""
        assert self.reference_logprob is not None, "declare Needs.REFERENCE_LOGPROB"
        return self.per_record(self.reference_logprob)


class Batch(NamedTuple):
    """One step's answers; what a method does not declare is None."""

    forget: Answers
    retain: Answers | None = None
    refusals: Answers | None = None
    normals: Answers | None = None


class Loss(NamedTuple):
    """Scalars to minimise: ``total`` is differentiated, the parts are for the curves."""

    total: Tensor
    forget: Tensor
    retain: Tensor | None = None


class Method(Protocol):
    """A method is a frozen dataclass of its numbers with these class attributes and one function."""

    label: ClassVar[str]
    family: ClassVar[str]
    source: ClassVar[str]
    summary: ClassVar[str]
    needs: ClassVar[Needs]

    def loss(self, batch: Batch) -> Loss:
        """The objective on one batch; pure."""
        ...

    def diverged(self, forget: float) -> bool:
        """Whether training must stop at this value of the forget loss (checked between steps)."""
        ...


class Objective:
    """Defaults shared by the objectives: no stopping rule."""

    def diverged(self, forget: float) -> bool:
        """Never."""
        return False


def required(answers: Answers | None, what: str) -> Answers:
    """The answers a method declared; the loop breaks its promise if they are missing."""
    if answers is None:
        raise RuntimeError(f"the loop provided no {what}, which the method declares as a need")
    return answers
