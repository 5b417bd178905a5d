"""The stages that train: base, θ0, the oracle, the controls and the methods."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mllmu_med.benchmark.sample import Sample, Subset
from mllmu_med.benchmark.training_sets import TrainingSet, oracle_set, training_set
from mllmu_med.cores import cores
from mllmu_med.methods.addons.orthogonal import Orthogonal, off
from mllmu_med.methods.composition import Composite
from mllmu_med.methods.edits.interface import Edit
from mllmu_med.methods.guards.interface import Guard
from mllmu_med.methods.interface import Needs
from mllmu_med.methods.objectives.ascent import GradientAscent
from mllmu_med.models.embedded import architecture, build_embedded
from mllmu_med.models.store import save_trained
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.pipeline.requests import FORGET
from mllmu_med.pipeline.sequence import RequestWorkshop
from mllmu_med.pipeline.stage import Facts
from mllmu_med.pipeline.workshop import Workshop, loop_settings, training_facts
from mllmu_med.recipe import MethodSettings, StageSettings, UnlearnSettings, make_method
from mllmu_med.seeding import permutation
from mllmu_med.training.backward import StepLoss
from mllmu_med.training.budget import BudgetSettings
from mllmu_med.training.checkpoints import Checkpoints
from mllmu_med.training.cost import Counter
from mllmu_med.training.examples import corpus, learning_questions
from mllmu_med.training.feeding import UnlearnSettings as Feeding
from mllmu_med.training.feeding import usable_retain
from mllmu_med.training.learn import LearnSettings, answer_loss, learn
from mllmu_med.training.loop import optimise
from mllmu_med.training.sampling import balanced
from mllmu_med.training.settings import LoopSettings
from mllmu_med.training.stopping import StopSettings
from mllmu_med.training.tower import Pictures, TowerSettings, warm_up_tower
from mllmu_med.training.unlearn import unlearn

if TYPE_CHECKING:
    from mllmu_med.pipeline.teaching import Taught


def checkpoints(workshop: Workshop, name: str, key: str) -> Checkpoints:
    """Where a training stage keeps its resumable state."""
    return Checkpoints(workshop.output / "models" / f".checkpoint-{name}", key)


def make_base(workshop: Workshop, key: str, folder: Path) -> Facts:
    """The model before it has seen anything it must forget."""
    recipe = workshop.recipe
    settings = recipe.learn.base
    if recipe.model.path == "embedded":
        vlm = workshop.with_images(embedded_model(workshop, key))
    else:
        vlm = workshop.load(recipe.model.path)
    facts = learn_samples(workshop, vlm, training_set(workshop.samples, TrainingSet.BASE), settings, "base", key)
    save_trained(vlm, folder, parent_of_base(recipe.model.path))
    return facts


def parent_of_base(path: str) -> str:
    """The checkpoint as the base names it: a folder absolutely, because the run may be continued from elsewhere."""
    return str(Path(path).resolve()) if Path(path).is_dir() else path


def embedded_model(workshop: Workshop, key: str) -> VisionLanguageModel:
    """The embedded model with a tokenizer for the benchmark and a tower that has learnt to see."""
    from mllmu_med.sources.phantom import ATTRIBUTES, draw_many

    recipe = workshop.recipe
    embedded = recipe.model.embedded
    train = workshop.subset(Subset.RETAIN, *FORGET)
    sizes = architecture(embedded.image_size, embedded.hidden, embedded.layers)
    vlm = build_embedded(corpus(train, recipe.seed), sizes, recipe.seed)
    # The tower knows nothing of the benchmark: its pictures have keys that no source draws.
    drawn = draw_many(embedded.tower_images, embedded.image_size, "tower", recipe.seed, jobs=cores())
    pixels = torch.from_numpy(drawn.pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    labels = torch.stack([torch.from_numpy(drawn.attributes[name]) for name in ATTRIBUTES], 1)
    pictures = Pictures(pixels.contiguous(), labels, tuple(len(names) for names in ATTRIBUTES.values()))
    settings = TowerSettings(
        steps=embedded.tower_steps, batch=embedded.tower_batch,
        learning_rate=embedded.tower_learning_rate,
    )  # fmt: skip
    where = checkpoints(workshop, "tower", key)
    warm_up_tower(vlm, pictures, settings, seed=recipe.seed, checkpoints=where)
    return vlm


def make_learnt(
    workshop: Workshop,
    which: TrainingSet,
    settings: StageSettings,
    name: str,
    key: str,
    folder: Path,
    *,
    seed: int,
) -> Facts:
    """A model that goes on from the base with another training set: θ0 or an oracle."""
    vlm = workshop.load(workshop.output / "models" / "base")
    facts = learn_samples(workshop, vlm, training_set(workshop.samples, which), settings, name, key, seed=seed)
    save_trained(vlm, folder, "base")
    return facts


def learn_samples(
    workshop: Workshop,
    vlm: VisionLanguageModel,
    samples: Sequence[Sample],
    settings: StageSettings,
    name: str,
    key: str,
    *,
    seed: int | None = None,
) -> Facts:
    """Freeze, adapt and train the model in place on these samples, as a stage's settings say.

    Args:
        name: of the stage, for its checkpoints and the progress bar.
        seed: of adapters, replay, openers and batches; the recipe's unless given.
    """
    counts = workshop.trainable(vlm, settings.trainable, seed=seed)
    seed = workshop.recipe.seed if seed is None else seed
    questions = learning_questions(
        samples,
        phrasings=settings.phrasings,
        opener_share=settings.opener_share,
        replay=settings.replay,
        seed=seed,
    )
    per_step = settings.batch * settings.gradient_accumulation
    passes = math.inf if settings.epochs is None else settings.epochs * len(questions)
    loop = loop_settings(settings, math.ceil(min(settings.steps, passes / per_step)))
    where = checkpoints(workshop, name, key)
    log = learn(
        vlm, questions, loop, LearnSettings(settings.batch, settings.branches, settings.most_positions), seed=seed,
        title=f"learn {name}", checkpoints=where,
    )  # fmt: skip
    return {**training_facts(log, counts, log.steps * per_step, vlm), "questions": len(questions)}


def make_truncated_retrain(workshop: Workshop, settings: UnlearnSettings, name: str, key: str, folder: Path) -> Facts:
    """Retraining from the base on the oracle's data, stopped after as many records as a method processes.

    The strata are balanced as they are for the methods, so that the few retained patients are seen at all.
    """
    recipe = workshop.recipe
    vlm = workshop.load(workshop.output / "models" / "base")
    counts = workshop.trainable(vlm)
    samples = training_set(workshop.samples, oracle_set(corrected=recipe.learn.oracle.corrected))
    strata: dict[str, list[int]] = {}
    questions: list[Question] = []
    for sample in samples:
        for question in learning_questions(
            [sample], phrasings=settings.phrasings, opener_share=0.0, replay=None, seed=recipe.seed
        ):
            strata.setdefault(sample.stratum, []).append(len(questions))
            questions.append(question)
    size = settings.forget_batch + settings.retain_batch
    draw = balanced([strata[k] for k in sorted(strata)], size, recipe.seed, "truncated retrain")
    # The rate is that of learning: the methods' rates are for small corrections, this starts from nothing learnt.
    loop = replace(loop_settings(settings, settings.steps), learning_rate=recipe.learn.original.learning_rate)

    def loss_of(chosen: list[int]) -> StepLoss:
        return {"loss": answer_loss(vlm, [questions[i] for i in chosen], settings.branches, settings.most_positions)}

    where = checkpoints(workshop, name, key)
    log = optimise(
        vlm, loop, draw, loss_of, title=name, seed=recipe.seed, checkpoints=where,
        images_of=lambda chosen: [questions[i].image for i in chosen],
        cost=Counter(vlm, recomputed=loop.gradient_checkpointing),
    )  # fmt: skip
    save_trained(vlm, folder, "base")
    return training_facts(log, counts, log.steps * size * settings.gradient_accumulation, vlm)


def make_collapse(workshop: Workshop, name: str, key: str, folder: Path) -> Facts:
    """A destroyed model: gradient ascent without mercy."""
    collapse = workshop.recipe.controls.collapse
    # Whatever keeps a method from going too far would keep this from getting anywhere.
    base = workshop.recipe.unlearn.model_copy(update={"retain_budget": None, "stop_excess": None})
    loop = LoopSettings(collapse.steps, collapse.learning_rate, warmup=0, final_share=1.0, clip=base.clip, log_every=5)
    return _unlearn(workshop, Composite(GradientAscent()), base, loop, name, key, folder)


def make_method_model(workshop: RequestWorkshop, settings: MethodSettings, key: str, folder: Path) -> Facts:
    """θ: the model a request starts from (θ0 for the first one), after one method has carried the request out."""
    method = make_method(settings)
    if isinstance(method, Composite):
        loop = loop_settings(settings, settings.steps, log_every=5)
        taken = workshop.taken() if isinstance(method.rule, Orthogonal) else None
        teacher = _teacher(workshop, method, settings, key, folder)
        before = workshop.earlier
        return _unlearn(workshop, method, settings, loop, workshop.step.name, key, folder, taken, teacher, before)
    if isinstance(method, Edit):
        from mllmu_med.pipeline.editing import make_edited

        return make_edited(workshop, method, settings, key, folder)
    if isinstance(method, Guard):
        from mllmu_med.pipeline.guarding import make_guarded

        return make_guarded(workshop, method, settings, key, folder)
    from mllmu_med.pipeline.planning import make_planned

    return make_planned(workshop, method, settings, key, folder)


def needs_base(method: Composite, settings: MethodSettings) -> bool:
    """Whether the base's weights are used beside θ0's: for an approximate oracle."""
    return settings.teacher == "base" and (Needs.TEACHER in method.needs or settings.stop_excess is not None)


def _teacher(
    workshop: RequestWorkshop, method: Composite, settings: MethodSettings, key: str, folder: Path
) -> Taught | None:
    """The approximate oracle that the method learns from, or by which it stops, where base weights are used for it."""
    from mllmu_med.pipeline.teaching import taught

    if not needs_base(method, settings):
        return None
    where = checkpoints(workshop, f"{workshop.step.name}/teacher", key)  # goes with the stage's own
    return taught(workshop, settings, feeding_of(settings), method.objective.rephrasings, where, folder)


def feeding_of(settings: UnlearnSettings) -> Feeding:
    """A recipe's block as training takes it."""
    names = {field.name for field in fields(Feeding)}
    return Feeding(**{name: value for name, value in settings if name in names})


def _unlearn(
    workshop: Workshop,
    method: Composite,
    settings: UnlearnSettings,
    loop: LoopSettings,
    name: str,
    key: str,
    folder: Path,
    taken: Mapping[str, Tensor] | None = None,
    teacher: Taught | None = None,
    earlier: Sequence[Sample] = (),
) -> Facts:
    vlm = workshop.load(workshop.output / "models" / workshop.start)
    counts = workshop.trainable(vlm)
    keep_off(vlm, taken or {})
    budget = None
    if settings.retain_budget is not None:
        budget = BudgetSettings(settings.retain_budget, settings.retain_budget_measure, settings.retain_budget_every)
    stop = None
    if settings.stop_excess is not None:
        stop = StopSettings(settings.stop_excess, settings.stop_band, settings.stop_every)
    log = unlearn(
        vlm, method, workshop.subset(*FORGET), workshop.subset(Subset.RETAIN), loop, feeding_of(settings),
        seed=workshop.seed, title=f"unlearn: {name}", checkpoints=checkpoints(workshop, name, key), budget=budget,
        validation=validation_questions(workshop, settings.retain_share) if budget else (), taken=taken,
        teacher=None if teacher is None else teacher.outputs, stop=stop, earlier=earlier,
    )  # fmt: skip
    save_trained(vlm, folder, workshop.start)
    if teacher is not None:
        log.answers += teacher.records
        log.flops = None if log.flops is None else log.flops + teacher.flops
    return training_facts(log, counts, log.answers, vlm)


@torch.no_grad()
def keep_off(vlm: VisionLanguageModel, taken: Mapping[str, Tensor]) -> None:
    """Bring a fresh adapter off the directions that adapters of earlier requests read (name → [k, in] rows)."""
    for name, parameter in vlm.model.named_parameters():
        if name in taken:
            parameter.copy_(off(parameter, taken[name]))


VALIDATED = 96
"""Most validation questions of each kind that a retain budget is measured on."""


def validation_questions(workshop: Workshop, retain_share: float = 1.0) -> list[Question]:
    """What a retain budget is measured on: validation samples, and usable retained patients in their own words."""
    seed = workshop.recipe.seed
    usable = usable_retain(workshop.subset(Subset.RETAIN), retain_share, workshop.seed)
    patients = [s for s in usable if s.patient_id is not None]
    chosen = []
    for kind, samples in (("ordinary", workshop.subset(Subset.VALIDATION)), ("patients", patients)):
        order = permutation(len(samples), seed, "validation", kind)
        chosen += [samples[i] for i in order[:VALIDATED]]
    return [Question(s.image_id, s.question, s.answer) for s in chosen]
