"""A method on a tiny model: trained by the loop, or looked at for one batch at weights that are θ0's no longer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import cache

import torch
from PIL import Image
from torch import Tensor

from mllmu_med.benchmark.images.blends import is_blend
from mllmu_med.benchmark.sample import Sample
from mllmu_med.methods.addons.interface import ParameterView
from mllmu_med.methods.composition import Composite
from mllmu_med.methods.interface import Batch, Component, Loss, Needs, Supports
from mllmu_med.models.anatomy import model_facts
from mllmu_med.models.embedded import Architecture, build_embedded
from mllmu_med.models.groups import Lora, group_of, plain_name, set_trainable
from mllmu_med.models.quantised import quantise_language
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.seeding import torch_rng
from mllmu_med.testing.copies import copied
from mllmu_med.testing.naming import made
from mllmu_med.testing.pictures import picture
from mllmu_med.testing.records import FEEDING, FORGET, RETAIN
from mllmu_med.testing.tiny_models import TEXTS
from mllmu_med.training.answers import answer_batch
from mllmu_med.training.backward import RuledBackward
from mllmu_med.training.checkpoints import Checkpoints, TrainableParameters
from mllmu_med.training.feeding import Feeder, StepQuestions, pair_questions
from mllmu_med.training.learn import LearnSettings, learn
from mllmu_med.training.loop import TrainingLog, trainable_parameters
from mllmu_med.training.settings import LoopSettings
from mllmu_med.training.statistics import gradient_statistics
from mllmu_med.training.unlearn import made_teacher, make_references, unlearn

SIZES = Architecture(
    image_size=32, vision_hidden=16, vision_intermediate=32, vision_layers=1, vision_heads=2, hidden=32,
    intermediate=48, layers=4, heads=2, vocabulary=300,
)  # fmt: skip
SEED = 5
LOOP = LoopSettings(4, 5e-4, warmup=0, final_share=1.0, checkpoint_every=2, log_every=1)
MODES = {Supports.FULL: "full", Supports.LORA: "lora", Supports.QUANTISED: "quantised"}
LORA = Lora(rank=2, alpha=4, dropout=0.1)


@cache
def _prototype() -> VisionLanguageModel:
    """θ0: it has half learnt the suite's records, so that there is something to forget and to keep."""
    vlm = build_embedded(TEXTS, SIZES, SEED)
    vlm.attach_images(picture)
    set_trainable(vlm, {"language": "full", "projector": "full"})
    questions = [Question(s.image_id, s.question, s.answer) for s in (*FORGET, *RETAIN)]
    loop = LoopSettings(60, 5e-3, warmup=5, checkpoint_every=0)
    learn(vlm, questions, loop, LearnSettings(len(questions), 4), seed=SEED, title="learn")
    return vlm


def fresh_model() -> VisionLanguageModel:
    """A tiny LLaVA, always the same, that finds the pictures and is nobody else's."""
    return copied(_prototype())


@cache
def _ready(mode: str, dropout: float) -> VisionLanguageModel:
    vlm = fresh_model()
    if mode == "quantised":
        quantise_language(vlm, "int8")
    set_trainable(
        vlm,
        {"language": "full" if mode == "full" else "lora", "projector": "full"},
        Lora(LORA.rank, LORA.alpha, dropout),
        seed=SEED,
    )
    return vlm


def trainable_model(mode: str, *, dropout: float = 0.0) -> VisionLanguageModel:
    """A fresh model whose projector trains in full, and whose language model trains as ``mode`` says.

    ``full``; ``lora``: by adapters; ``quantised``: by adapters on weights of 8 bits.
    """
    return copied(_ready(mode, dropout))


def modes_of(method: Composite | type[Component]) -> list[str]:
    """How the method says that the weights may be held, of ``full``, ``lora`` and ``quantised``."""
    return [mode for kind, mode in MODES.items() if kind in method.supports]


def other_pictures(side: str) -> Callable[[str], Image.Image]:
    """Pictures as always, except those of one side's records, ``forget`` or ``retain``: these are others.

    Blends stay: they are no record's picture, but made-up patients'.
    """

    def shown(image_id: str) -> Image.Image:
        return picture(f"{image_id}-changed" if image_id.startswith(side) and not is_blend(image_id) else image_id)

    return shown


def move(parameters: TrainableParameters) -> None:
    """A small random step, so that θ is no longer θ0."""
    noise = torch_rng(SEED, "bench")
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=noise))


def train(
    method: Composite, vlm: VisionLanguageModel, *, forget: Sequence[Sample] = FORGET,
    loop: LoopSettings = LOOP, checkpoints: Checkpoints | None = None,
) -> TrainingLog:  # fmt: skip
    """A few steps of unlearning on the suite's records."""
    return unlearn(vlm, method, forget, RETAIN, loop, FEEDING, seed=SEED, checkpoints=checkpoints)


def weights(vlm: VisionLanguageModel) -> dict[str, Tensor]:
    """A copy of every parameter and buffer."""
    return {name: value.detach().clone() for name, value in vlm.model.state_dict().items()}


class Bench:
    """One batch of a method on a tiny model that has moved away from θ0.

    Args:
        name: of the method, with its add-ons.
        forget, retain: the records.
        prepare: changes θ0 before anything is computed with it.

    Attributes:
        theta0: a copy of the model before it moved.
    """

    def __init__(
        self, name: str, *, forget: Sequence[Sample] = FORGET, retain: Sequence[Sample] = RETAIN,
        prepare: Callable[[VisionLanguageModel], None] | None = None,
    ) -> None:  # fmt: skip
        self.method = made(name)
        self.vlm = trainable_model(modes_of(self.method)[0])
        if prepare is not None:
            prepare(self.vlm)
        needs, facts = self.method.needs, model_facts(self.vlm)
        self.layers = self.method.layers(facts) if Needs.LAYERS in needs else ()
        self.parameters = trainable_parameters(self.vlm)
        self.pairs = pair_questions(
            self.vlm, forget, retain, needs, FEEDING, SEED, self.method.objective.rephrasings
        )  # fmt: skip
        self.feeder = Feeder(self.pairs, FEEDING, SEED)
        self.references = make_references(
            self.vlm, self.method, self.pairs, self.feeder, LOOP, FEEDING, self.parameters, SEED
        )
        if Needs.TEACHER in needs:
            teacher = made_teacher(self.vlm, self.method, forget, retain, FEEDING, SEED)
            self.references = replace(self.references, teacher=teacher)
        self.state = self.method.start(facts, torch_rng(SEED, "method"))
        self.rule_state = {} if self.method.rule is None else self.method.rule.start(self._view())
        self.theta0 = copy.deepcopy(self.vlm.model)
        move(self.parameters)

    def batch(self, step: StepQuestions | None = None, *, number: int = 0) -> Batch:
        """The answers of a step (by default the first), as the loop hands them to the method."""
        return answer_batch(
            self.vlm, self.feeder(number) if step is None else step, self.method.needs, self.references,
            FEEDING.branches, pairs=self.pairs, number=number, state=self.state,
        )  # fmt: skip

    def loss(self, step: StepQuestions | None = None, *, number: int = 0) -> Loss:
        """The method's loss on the answers of a step."""
        return self.method.loss(self.batch(step, number=number))

    def gradients(self, step: StepQuestions | None = None) -> dict[str, Tensor]:
        """What the optimiser is given on the first step: gradients of the total, or what the rule makes of them."""
        self.vlm.model.zero_grad(set_to_none=True)
        step = self.feeder(0) if step is None else step
        if self.method.rule is None:
            self.loss(step).total.backward()  # type: ignore[no-untyped-call]
        else:
            optimiser = torch.optim.AdamW(self.parameters.values())
            RuledBackward(self.method.rule, self.parameters, self.loss, dict(self.rule_state), nullcontext)(
                [step], optimiser, 0
            )
        found = {name: p.grad.clone() for name, p in self.parameters.items() if p.grad is not None}
        self.vlm.model.zero_grad(set_to_none=True)
        return found

    @contextmanager
    def pictures_changed(self, side: str) -> Iterator[None]:
        """Within the block the pictures of one side's records, ``forget`` or ``retain``, are others."""
        self.vlm.attach_images(other_pictures(side))
        try:
            yield
        finally:
            self.vlm.attach_images(picture)

    @contextmanager
    def unpacked(self) -> Iterator[None]:
        """Within the block every question is a row of its own."""
        self.vlm.packed = False
        try:
            yield
        finally:
            self.vlm.packed = True

    def _view(self) -> ParameterView:
        statistics = None
        if Needs.GRADIENT_STATISTICS in self.method.needs:
            statistics = gradient_statistics(
                self.vlm, self.parameters, self.pairs.every_forget, self.pairs.every_retain,
                most=FEEDING.statistics_records, seed=SEED,
            )  # fmt: skip
        return ParameterView(
            {name: p.shape for name, p in self.parameters.items()},
            {name: group_of(plain_name(name)) for name in self.parameters},
            statistics,
            torch_rng(SEED, "rule"),
            {},
        )


@cache
def bench(name: str) -> Bench:
    """The bench of a method on the suite's records; whoever changes it changes it back."""
    return Bench(name)
