"""Our two ways of taking a step: the fast path, and the plain path that it must equal.

Both go through the package's public functions, so what is timed is what a run does.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import nn

from benchmarks.speed import machine
from benchmarks.speed.objectives import NORMALS, objective
from benchmarks.speed.records import Workload
from benchmarks.speed.sizes import SIZES, Size, build, make_trainable
from mllmu_med.methods.interface import Needs
from mllmu_med.models.fast_linear import FastLinear
from mllmu_med.models.references import ReferenceCache
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.training.answers import References, answer_batch
from mllmu_med.training.feeding import Feeder, StepQuestions, UnlearnSettings, pair_questions
from mllmu_med.training.learn import LearnSettings, learn
from mllmu_med.training.loop import forward_precision, trainable_parameters
from mllmu_med.training.settings import LoopSettings
from mllmu_med.training.unlearn import unlearn


@dataclass(frozen=True)
class Task:
    """What is timed: one step holds all records of the workload.

    Attributes:
        size: of the model, by name.
        method: of the objectives.
        device: ``cpu`` or ``cuda``.
        seed: of weights, adapters, pairing.
        recompute: gradient checkpointing: less memory, a third more time.
        layers: of the decoder, in place of the size's own number; None: as the size has it.
    """

    size: str
    method: str
    device: str = "cpu"
    seed: int = 0
    recompute: bool = False
    layers: int | None = None

    @property
    def numbers(self) -> Size:
        """The model's sizes."""
        size = SIZES[self.size]
        if self.layers is None:
            return size
        width, inner, _, heads, groups = size.text
        return replace(size, text=(width, inner, self.layers, heads, groups))

    def loop(self, steps: int, *, every: int | None = None) -> LoopSettings:
        """Small steps at a constant rate; the curve has an entry ``every`` so many of them."""
        return LoopSettings(
            steps=steps, learning_rate=1e-5, warmup=0, final_share=1.0, log_every=every or steps, checkpoint_every=0,
            gradient_checkpointing=self.recompute,
        )  # fmt: skip


def settings_of(work: Workload, size: Size) -> UnlearnSettings:
    """Batches that hold every record of the workload, in rows that suit the model."""
    return UnlearnSettings(
        forget_batch=len(work.forget), retain_batch=len(work.retain), branches=size.branches, phrasings=0,
        normals=NORMALS,
    )  # fmt: skip


class Way(Protocol):
    """A way of taking steps, from θ0 on."""

    def losses(self, steps: int) -> list[float]:
        """The loss of each of the next steps."""

    def seconds(self, steps: int) -> float:
        """Seconds of one of the next steps, mean over ``steps``."""


def new_model(task: Task, work: Workload) -> VisionLanguageModel:
    """θ0 with the workload's images, nothing trainable yet."""
    vlm = build(task.numbers, work.texts, seed=task.seed, device=task.device)
    vlm.attach_images(work.loader)
    return vlm


def another(vlm: VisionLanguageModel, *, own_product: bool) -> VisionLanguageModel:
    """A second model with the same weights and images.

    Args:
        own_product: keep the product that this package takes on the CPU; False: PyTorch's own, as the peers have it.
    """
    model = copy.deepcopy(vlm.model)
    if not own_product:
        for module in model.modules():
            if type(module) is FastLinear:
                module.__class__ = nn.Linear
    twin = VisionLanguageModel(model, vlm.prompts, vlm.images, packed=vlm.packed)
    twin.model.eval()
    return twin


class Fast:
    """The fast path, as :func:`~mllmu_med.training.unlearn.unlearn` takes it: packed rows, cached features, cached θ0.

    ``filling`` is what the last call took besides its steps: pairing, and θ0's outputs on every record.
    """

    def __init__(self, task: Task, work: Workload, vlm: VisionLanguageModel) -> None:
        self.task, self.work, self.vlm, self.filling = task, work, vlm, 0.0
        make_trainable(vlm, task.numbers, seed=task.seed)
        vlm.cache_features(True)

    def _run(self, steps: int, every: int) -> Any:
        began = time.perf_counter()
        log = unlearn(
            self.vlm, objective(self.task.method), self.work.forget, self.work.retain,
            self.task.loop(steps, every=every), settings_of(self.work, self.task.numbers), seed=self.task.seed,
        )  # fmt: skip
        machine.wait_for(self.task.device)
        self.filling = time.perf_counter() - began - log.seconds
        return log

    def losses(self, steps: int) -> list[float]:
        """See :class:`Way`."""
        return [entry["loss"] for entry in self._run(steps, 1).curve]

    def seconds(self, steps: int) -> float:
        """See :class:`Way`."""
        return float(self._run(steps, steps).seconds) / steps


class FineTune:
    """Plain fine-tuning on the same records in packed rows: what memory is compared with."""

    def __init__(self, task: Task, work: Workload, vlm: VisionLanguageModel) -> None:
        self.task, self.work, self.vlm = task, work, vlm
        make_trainable(vlm, task.numbers, seed=task.seed)
        vlm.cache_features(True)

    def _run(self, steps: int, every: int) -> Any:
        questions, settings = self.work.questions(), settings_of(self.work, self.task.numbers)
        return learn(
            self.vlm, questions, self.task.loop(steps, every=every),
            LearnSettings(batch=len(questions), branches=settings.branches), seed=self.task.seed,
        )  # fmt: skip

    def losses(self, steps: int) -> list[float]:
        """See :class:`Way`."""
        return [entry["loss"] for entry in self._run(steps, 1).curve]

    def seconds(self, steps: int) -> float:
        """See :class:`Way`."""
        return float(self._run(steps, steps).seconds) / steps


class Loop:
    """Steps of AdamW on what ``gradients`` leaves behind, as the package's loop takes them: same rate, same clipping.

    Attributes:
        feeder: the questions of a step: those that the package's own loop draws.
    """

    def __init__(self, task: Task, work: Workload, vlm: VisionLanguageModel) -> None:
        self.task, self.vlm, self.method = task, vlm, objective(task.method)
        self.settings = settings_of(work, task.numbers)
        self.loop = task.loop(1)
        self.pairs = pair_questions(vlm, work.forget, work.retain, self.method.needs, self.settings, task.seed)
        self.feeder = Feeder(self.pairs, self.settings, task.seed)
        make_trainable(vlm, task.numbers, seed=task.seed)
        self.parameters = list(trainable_parameters(vlm).values())
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=self.loop.learning_rate, betas=self.loop.betas, weight_decay=0.0, fused=True
        )
        self.half = forward_precision(vlm, self.loop.precision) == "bf16"
        self.taken = 0

    def autocast(self) -> Any:
        """As the package's loop forwards frozen half-precision weights with float32 adapters."""
        return torch.autocast(self.vlm.device.type, torch.bfloat16, enabled=self.half)

    def gradients(self, step: StepQuestions) -> torch.Tensor:
        """Fill ``.grad``; the step's loss."""
        raise NotImplementedError

    def _step(self) -> torch.Tensor:
        self.vlm.model.train()
        loss = self.gradients(self.feeder(self.taken))
        torch.nn.utils.clip_grad_norm_(self.parameters, self.loop.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.taken += 1
        return loss.detach()

    def losses(self, steps: int) -> list[float]:
        """See :class:`Way`."""
        return [float(self._step()) for _ in range(steps)]

    def seconds(self, steps: int) -> float:
        """See :class:`Way`."""
        machine.wait_for(self.task.device)
        began = time.perf_counter()
        for _ in range(steps):
            self._step()
        machine.wait_for(self.task.device)
        return (time.perf_counter() - began) / steps


class Plain(Loop):
    """The plain path: one question a row, images encoded in every step, θ0 (a second model) asked in every step."""

    def __init__(self, task: Task, work: Workload, vlm: VisionLanguageModel) -> None:
        vlm.packed = False
        self.theta0 = another(vlm, own_product=True)
        self.theta0.packed = False
        super().__init__(task, work, vlm)

    def _references(self, step: StepQuestions) -> References:
        cache, needs = ReferenceCache(self.theta0, branches=1), self.method.needs
        if Needs.REFERENCE_LOGPROB in needs:
            cache.fill(step.forget, hidden=False)
        if Needs.RETAIN_REFERENCE in needs:
            cache.fill(step.retain, hidden=True)
        return References(cache)

    def gradients(self, step: StepQuestions) -> torch.Tensor:
        """One forward pass of all rows, one backward pass."""
        with self.autocast():
            references = self._references(step)
            batch = answer_batch(self.vlm, step, self.method.needs, references, 1, pairs=self.pairs)
            loss = self.method.loss(batch).total
        loss.backward()
        return loss


def needed(task: Task, work: Workload, vlm: VisionLanguageModel) -> list[Question]:
    """The answers that one step's loss is made of: refusals and random answers where the objective asks for them."""
    method, settings = objective(task.method), settings_of(work, task.numbers)
    pairs = pair_questions(vlm, work.forget, work.retain, method.needs, settings, task.seed)
    step = Feeder(pairs, settings, task.seed)(0)
    forget = [] if task.method == "idk" else step.forget
    return [*forget, *step.refusals, *step.normals, *step.retain]


def sequence_tokens(vlm: VisionLanguageModel, questions: Sequence[Question]) -> int:
    """Tokens of the questions as one sequence each, image included: the same work whatever way it is done."""
    total = 0
    for question in questions:
        branch = vlm.branch(question)
        total += len(vlm.prefix(question.image)) + len(branch.prompt) + len(branch.answer) - 1
    return total


def packed_tokens(vlm: VisionLanguageModel, questions: Sequence[Question], most: int) -> int:
    """Tokens of the same questions in packed rows."""
    rows, _ = vlm.rows(questions, most)
    layout = vlm.layout(rows)
    return int((layout.segment >= 0).sum())
