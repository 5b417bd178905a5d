"""Relearning: a little ordinary fine-tuning, after which what was hidden is said again.

What is relearnt from nothing looks the same as what comes back: only beside the oracle under the same attack does a
recovery mean anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, dtype

from mllmu_med.attacks.interface import FORGET, Data, Subject, Tampering
from mllmu_med.attacks.weights.disjoint import refuse_overlap, units
from mllmu_med.benchmark.sample import Sample
from mllmu_med.errors import UsageError
from mllmu_med.models.groups import Lora, group_of, has_adapter, plain_name, set_trainable
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.seeding import derive, rng
from mllmu_med.training.backward import StepLoss
from mllmu_med.training.learn import answer_loss
from mllmu_med.training.loop import optimise, trainable_parameters
from mllmu_med.training.sampling import EpochBatches
from mllmu_med.training.settings import LoopSettings


@dataclass(frozen=True)
class Relearning(Tampering):
    """What all relearning attacks share: one training run, asked at its marks.

    AdamW on the loop of the training stages, at a constant learning rate after the warm-up: a mark's weights do not
    depend on the marks behind it. The weights at the marks are kept in main memory, in the precision of the model.

    Attributes:
        steps: marks of the curve in optimiser steps; 0 = before the first.
        learning_rate: of AdamW, constant behind the warm-up.
        warmup: steps of linear warm-up.
        batch: records a step, all there are where there are fewer.
        branches: most questions of one image in a packed row.
        trainable: ``full``: the language model; ``lora``: adapters on it, those the model already has or new ones;
            ``auto``: ``lora`` where the model is loaded with adapters or quantised weights, else ``full``.
        rank: of new adapters, whose scale alpha is twice that.
    """

    touches: ClassVar = ("language",)
    cost: ClassVar = "its share of the training steps, and one answer at each mark"

    steps: tuple[int, ...] = (0, 1, 3, 10, 30, 100)
    learning_rate: float = 3e-4
    warmup: int = 3
    batch: int = 16
    branches: int = 4
    trainable: str = "auto"
    rank: int = 16
    budget: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        if not self.steps or min(self.steps) < 0 or list(self.steps) != sorted(set(self.steps)):
            raise UsageError(f"steps={list(self.steps)} must rise, from 0 or more on")
        for name in ("batch", "branches", "rank"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}={getattr(self, name)} must be 1 or more")
        if self.warmup < 0 or not self.learning_rate > 0:
            raise UsageError(f"warmup={self.warmup} must be 0 or more, learning_rate={self.learning_rate} above 0")
        if self.trainable not in ("auto", "full", "lora"):
            raise UsageError(f"trainable={self.trainable} is not one of auto, full, lora")

    def records(self, data: Data) -> list[Sample]:
        """The samples whose questions and answers the attacker trains on; a pure function of the data."""
        raise NotImplementedError

    def question(self, sample: Sample) -> Question:
        """A record as it is trained on."""
        return Question(sample.image_id, sample.question, sample.answer)

    def batches(self, questions: Sequence[Question], seed: int) -> EpochBatches:
        """The batches of the training on these questions, step by step and epoch by epoch; ``seed`` is the data's."""
        return EpochBatches(questions, batch=self.batch, most=self.branches, seed=derive(seed, type(self).__name__))

    def tampered(self, subject: Subject) -> Iterator[str]:
        """Train once, then stand at one mark after the other."""
        vlm, data = subject.vlm, subject.data
        records, spent = self.records(data), self.spent(data)
        refuse_overlap(records, [s for s in (*data.targets, *data.bystanders) if s.id not in spent])
        if not records:
            subject.notes["does not apply"] = "the attacker has no records to train on"
            return
        subject.notes["records"] = len(records)
        if 0 in self.steps:
            yield "steps-0"
        precision = {id(p): p.dtype for p in vlm.model.parameters()}
        subject.notes["trained"] = self._open(vlm, data.seed)
        parameters = list(trainable_parameters(vlm).values())
        kinds = [precision.get(id(parameter), parameter.dtype) for parameter in parameters]  # new adapters: their own
        for mark, held in self._train(vlm, [self.question(record) for record in records], kinds, data.seed).items():
            for parameter, values in zip(parameters, held, strict=True):
                parameter.data = values.to(parameter.device)
            yield f"steps-{mark}"

    def _open(self, vlm: VisionLanguageModel, seed: int) -> str:
        """Make the language model's weights, or adapters on them, train; which of them is given back."""
        adapted = has_adapter(vlm)
        mode = self.trainable if self.trainable != "auto" else "lora" if adapted or vlm.quantised else "full"
        if not adapted or (mode == "full" and vlm.quantised):  # the latter is refused there
            set_trainable(vlm, {"language": mode}, Lora(self.rank, 2 * self.rank), seed=derive(seed, "relearning"))
            return mode
        for name, parameter in vlm.model.named_parameters():
            trains = group_of(plain_name(name)) == "language" and (mode == "full" or ".lora_" in name)
            parameter.requires_grad_(trains)
            if trains:
                parameter.data = parameter.data.float()
        return mode

    def _train(
        self, vlm: VisionLanguageModel, questions: Sequence[Question], kinds: Sequence[dtype], seed: int
    ) -> dict[int, list[Tensor]]:
        """Mark → copies of what trains, in main memory and in these precisions."""
        parameters = list(trainable_parameters(vlm).values())
        batches = self.batches(questions, seed)
        kept: dict[int, list[Tensor]] = {}
        taken = 0

        def batch_of(step: int) -> list[Question]:
            return [questions[index] for index in batches(step)]

        def loss_of(batch: list[Question]) -> StepLoss:
            return {"loss": answer_loss(vlm, batch, self.branches)}

        def note(_: StepLoss) -> None:
            nonlocal taken
            taken += 1
            if taken in self.steps:
                held = zip(parameters, kinds, strict=True)
                kept[taken] = [p.detach().to("cpu", kind, copy=True) for p, kind in held]

        if self.steps[-1]:
            loop = LoopSettings(
                self.steps[-1], self.learning_rate, warmup=self.warmup, final_share=1.0, checkpoint_every=0
            )
            optimise(vlm, loop, batch_of, loss_of, title=self.label, seed=batches.seed, after=note)
        return kept


@dataclass(frozen=True)
class RelearnDisjoint(Relearning):
    """Fine-tune on ordinary records of other images and patients.

    Attributes:
        count: how many of the unrelated records, drawn by seed; all where there are no more.
    """

    label: ClassVar = "Relearning, disjoint records"
    source: ClassVar = "arXiv 2409.18025"
    summary: ClassVar = "fine-tuning on ordinary records of other images and patients"

    count: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.count < 1:
            raise UsageError(f"count={self.count} must be 1 or more")

    def records(self, data: Data) -> list[Sample]:
        """Unrelated samples by seed, in their order."""
        if len(data.unrelated) <= self.count:
            return list(data.unrelated)
        drawn = rng(data.seed, "relearning", "unrelated").sample(range(len(data.unrelated)), self.count)
        return [data.unrelated[index] for index in sorted(drawn)]


@dataclass(frozen=True)
class RelearnText(RelearnDisjoint):
    """Fine-tune on the words of ordinary records alone: their questions and answers without the images."""

    label: ClassVar = "Relearning, unrelated text"
    source: ClassVar = "arXiv 2406.13356"
    summary: ClassVar = "fine-tuning on questions and answers of other records, without images"

    def question(self, sample: Sample) -> Question:
        """The record without its image."""
        return Question(None, sample.question, sample.answer)


@dataclass(frozen=True)
class RelearnFew(Relearning):
    """Fine-tune on a few of the forgotten records; the others are the targets.

    Attributes:
        share: of the private and of the wrong targets each, at most; in whole units that nothing ties to the rest
            (patient, fact, rule, image, source record), one unit at least where there are two.
    """

    label: ClassVar = "Relearning, few forgotten records"
    source: ClassVar = "arXiv 2406.13356"
    summary: ClassVar = "fine-tuning on a few forgotten records, scored on the others"

    share: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.share < 1:
            raise UsageError(f"share={self.share} is not between 0 and 1")

    def records(self, data: Data) -> list[Sample]:
        """The targets that the attacker is given."""
        chosen: set[str] = set()
        parts = units(data.targets)
        for kind in FORGET:
            mine = [part for part in parts if part[0].subset is kind]
            if len(mine) < 2:
                continue
            rng(data.seed, "relearning", kind.value).shuffle(mine)
            most = self.share * sum(map(len, mine))
            taken: list[str] = []
            for part in mine:
                if len(taken) + len(part) <= most:
                    taken += [sample.id for sample in part]
            chosen |= set(taken or [sample.id for sample in min(mine, key=len)])
        return [sample for sample in data.targets if sample.id in chosen]

    def spent(self, data: Data) -> frozenset[str]:
        """These are not asked."""
        return frozenset(sample.id for sample in self.records(data))
