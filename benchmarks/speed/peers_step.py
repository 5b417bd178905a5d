"""The peers' step, re-created as a loop from what their public code does.

open-unlearning (locuslab, ``src/trainer/unlearn``, ``src/trainer/utils.py``) and MLLMU-Bench (franciscoliu,
``baselines/``), which MMUnlearner (Z1zs) follows, have in common: a batch of 4 records; one question a sequence, padded
on the right, its image with it, so that the tower runs for every question in every step; forget batch and retain batch
through the model one after the other; a second model for θ0, asked in every step; logits of every position, and the
loss from ``labels`` that are -100 where nothing is to be learnt. Nothing of theirs is copied.

Kinder than they are, so that losses are equal: micro-batches of 4 are accumulated to the same optimiser steps; AdamW is
fused; pixels are preprocessed once, where MLLMU-Bench's collate function does it in every batch; the labels leave out
the prompt, which MLLMU-Bench trains too; and its base model stays in the precision it was loaded in, where
``prepare_model_for_kbit_training`` casts it to float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax, logsigmoid

from benchmarks.speed.records import Workload
from benchmarks.speed.ways import Loop, Task, another
from mllmu_med.models.network import unwrap
from mllmu_med.models.vlm import Question, VisionLanguageModel, forward_arguments
from mllmu_med.training.feeding import StepQuestions

BATCH = 4
IGNORED = -100


class Sequences(NamedTuple):
    """A batch as a collate function makes it: model inputs, and labels that are -100 outside the answers."""

    inputs: dict[str, Tensor]
    labels: Tensor


def collate(vlm: VisionLanguageModel, questions: Sequence[Question]) -> Sequences:
    """One sequence a question, padded on the right, each with its image; all with an image, or none."""
    ids, labels = [], []
    for question in questions:
        branch = vlm.branch(question)
        before = (*vlm.prefix(question.image), *branch.prompt)
        ids.append(torch.tensor([*before, *branch.answer]))
        labels.append(torch.tensor([*[IGNORED] * len(before), *branch.answer]))
    padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=vlm.pad_token_id)
    lengths = torch.tensor([len(row) for row in ids])
    inputs = {
        "input_ids": padded.to(vlm.device),
        "attention_mask": (torch.arange(padded.shape[1]) < lengths[:, None]).long().to(vlm.device),
    }
    if questions[0].image is not None:
        inputs |= vlm.pixel_inputs([vlm.images.get(str(question.image)) for question in questions])
        if "mm_token_type_ids" in forward_arguments(type(unwrap(vlm.model))):
            inputs["mm_token_type_ids"] = (inputs["input_ids"] == vlm.prompts.image_token_id).long()
    target = torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=IGNORED)
    return Sequences(inputs, target.to(vlm.device))


def token_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """[B, T-1] negative log-likelihoods over the logits of all positions, 0 where the label is ignored."""
    shifted, wanted = logits[:, :-1].float(), labels[:, 1:]
    flat = cross_entropy(shifted.reshape(-1, shifted.shape[-1]), wanted.reshape(-1), reduction="none")
    return flat.view(wanted.shape)


class PeersLoop(Loop):
    """Their step, in micro-batches of 4.

    Args:
        vlm: θ0; its model becomes the policy.
        own_product: take this package's matrix product on the CPU instead of PyTorch's: what is left of the difference
            is then the way alone.
        released: two of the kindnesses less: pixels are preprocessed in every batch, and a policy in half precision is
            cast to float32.
    """

    def __init__(
        self, task: Task, work: Workload, vlm: VisionLanguageModel, *, own_product: bool = False, released: bool = False
    ) -> None:
        self.released = released
        policy = another(vlm, own_product=own_product)
        if released:
            policy.model.float()
        self.theta0 = another(vlm, own_product=own_product)
        for parameter in self.theta0.model.parameters():
            parameter.requires_grad_(False)
        super().__init__(task, work, policy)
        self._batches: dict[tuple[Question, ...], Sequences] = {}

    def _collated(self, questions: Sequence[Question]) -> Sequences:
        key = tuple(questions)
        if self.released:
            self.vlm.images.clear()
            return collate(self.vlm, questions)
        if key not in self._batches:
            self._batches[key] = collate(self.vlm, questions)
        return self._batches[key]

    def _logits(self, vlm: VisionLanguageModel, batch: Sequences) -> Tensor:
        dtype = unwrap(vlm.model).dtype
        inputs = {name: value.to(dtype) if value.is_floating_point() else value for name, value in batch.inputs.items()}
        logits: Tensor = vlm.model(**inputs).logits
        return logits

    @torch.no_grad()
    def _reference_logits(self, batch: Sequences) -> Tensor:
        return self._logits(self.theta0, batch)

    def _means(self, batch: Sequences) -> Tensor:
        """[B] mean negative log-likelihood of each answer."""
        losses = token_losses(self._logits(self.vlm, batch), batch.labels)
        return losses.sum(-1) / (batch.labels[:, 1:] != IGNORED).sum(-1)

    def _npo(self, batch: Sequences, beta: float) -> Tensor:
        """[B] −(2/β) log σ(−β (log p_θ − log p_θ0)), sums over the answers."""
        own = token_losses(self._logits(self.vlm, batch), batch.labels).sum(-1)
        reference = token_losses(self._reference_logits(batch), batch.labels).sum(-1)
        return -2 / beta * logsigmoid(beta * (own - reference))

    def _kl(self, batch: Sequences) -> Tensor:
        """[B] mean over each answer's tokens of KL(p_θ0 ‖ p_θ), from the distributions at every position."""
        own = log_softmax(self._logits(self.vlm, batch)[:, :-1].float(), -1)
        reference = log_softmax(self._reference_logits(batch)[:, :-1].float(), -1)
        counted = batch.labels[:, 1:] != IGNORED
        everywhere = kl_div(own, reference, reduction="none", log_target=True).sum(-1)
        return (everywhere * counted).sum(-1) / counted.sum(-1)

    def _retain(self, batch: Sequences) -> Tensor:
        return self._kl(batch) if self.task.method in ("kl_min", "llmu", "npo_kl") else self._means(batch)

    def _terms(self, step: StepQuestions) -> Iterator[tuple[Sequence[Question], float, Any]]:
        """Groups of records with their weight and the function that gives each record's loss."""
        method = self.method.objective
        retain_weight = float(getattr(method, "retain_weight", 1.0))
        if self.task.method in ("grad_diff", "kl_min"):
            yield step.forget, -1.0, self._means
        elif self.task.method in ("npo", "npo_kl"):
            beta = float(getattr(method, "beta", 0.1))
            yield step.forget, 1.0, lambda batch: self._npo(batch, beta)
        elif self.task.method == "idk":
            yield step.refusals, 1.0, self._means
        elif self.task.method == "llmu":
            yield step.forget, -float(getattr(method, "forget_weight", 0.5)), self._means
            yield step.normals, float(getattr(method, "normal_weight", 1.0)), self._means
        yield step.retain, retain_weight, self._retain

    def gradients(self, step: StepQuestions) -> Tensor:
        """Batch after batch: forward of θ, forward of θ0 where the objective asks for it, backward."""
        total = torch.zeros((), device=self.vlm.device)
        for questions, weight, losses_of in self._terms(step):
            for start in range(0, len(questions), BATCH):
                batch = self._collated(questions[start : start + BATCH])
                with self.autocast():
                    loss = weight * losses_of(batch).sum() / len(questions)
                loss.backward()
                total += loss.detach()
        return total


@torch.no_grad()
def labels_loss_difference(loop: PeersLoop, questions: Sequence[Question]) -> float:
    """How far our reading of ``labels`` is from transformers' own loss, the token mean of a batch; relative."""
    batch = collate(loop.vlm, questions)
    loop.vlm.model.eval()
    with loop.autocast():
        theirs = float(loop.vlm.model(**batch.inputs, labels=batch.labels).loss)
        losses = token_losses(loop._logits(loop.vlm, batch), batch.labels)
    ours = float(losses.sum() / (batch.labels[:, 1:] != IGNORED).sum())
    return abs(ours - theirs) / max(1.0, abs(theirs))
