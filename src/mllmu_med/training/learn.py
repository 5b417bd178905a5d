"""Learning: ordinary fine-tuning on questions and answers, in packed rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from mllmu_med.methods.chunked import each_token
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.training.backward import StepLoss
from mllmu_med.training.checkpoints import Checkpoints
from mllmu_med.training.cost import Counter
from mllmu_med.training.forward import answer_logits, answer_states, placed, refuse_parts
from mllmu_med.training.loop import TrainingLog, optimise
from mllmu_med.training.sampling import EpochBatches
from mllmu_med.training.settings import LoopSettings


@dataclass(frozen=True)
class LearnSettings:
    """Batches of learning.

    Attributes:
        batch: questions per step.
        branches: most questions of one image in a packed row.
        most_positions: most positions of one forward pass (:mod:`mllmu_med.training.forward`); None = no bound.
    """

    batch: int = 16
    branches: int = 4
    most_positions: int | None = None


def record_mean(values: Tensor, weight: Tensor, owner: Tensor, records: int) -> Tensor:
    """Mean over each record's answer tokens [K], then over the N records: no record dominates by its length.

    Args:
        values, weight: [K] of each token.
        owner: [K] the record, 0…N-1, of each token.
        records: N.
    """
    zeros = torch.zeros(records, dtype=values.dtype, device=values.device)
    total = zeros.index_add(0, owner, values * weight)
    length = zeros.index_add(0, owner, weight)
    return (total / length).mean()


def token_loss(logits: Tensor, target: Tensor) -> Tensor:
    """[K] −log p of the tokens [K], from logits [K, V]."""
    return cross_entropy(logits, target, reduction="none")


def answer_loss(
    vlm: VisionLanguageModel, questions: Sequence[Question], most: int, most_positions: int | None = None
) -> Tensor:
    """Mean over records of the mean negative log-likelihood of their answer tokens (prompt and image never count).

    Args:
        most: most questions of one image in a packed row.
        most_positions: most positions of one forward pass; None = no bound.
    """
    states = answer_states(vlm, questions, most, most_positions=most_positions)
    logits = answer_logits(vlm, states.hidden, states.counts)
    owner = placed([record for record, count in enumerate(states.counts) for _ in range(count)], states.target.device)
    losses = each_token(token_loss, [logits], states.target)
    return record_mean(losses, states.weight, owner, len(states.counts))


def learn(
    vlm: VisionLanguageModel,
    questions: Sequence[Question],
    loop: LoopSettings,
    settings: LearnSettings,
    *,
    seed: int,
    title: str = "learn",
    checkpoints: Checkpoints | None = None,
) -> TrainingLog:
    """Fine-tune what has ``requires_grad`` on the questions; same seed, same bytes."""
    batches = EpochBatches(questions, batch=settings.batch, most=settings.branches, seed=seed)

    def batch_of(step: int) -> list[Question]:
        return [questions[i] for i in batches(step)]

    refuse_parts(vlm, settings.most_positions)

    def loss_of(batch: list[Question]) -> StepLoss:
        return {"loss": answer_loss(vlm, batch, settings.branches, settings.most_positions)}

    return optimise(
        vlm, loop, batch_of, loss_of, title=title, seed=seed, checkpoints=checkpoints,
        images_of=lambda batch: [question.image for question in batch],
        cost=Counter(vlm, recomputed=loop.gradient_checkpointing),
    )  # fmt: skip
