"""The approximate oracle of a method: the base model after a few steps on what may be retained, asked once.

Only its outputs on the forget answers are kept, by content in the cache as trained stages are: the model is gone before
θ0 is loaded, and methods, seeds and trials that would train the same one share it.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from mllmu_med.benchmark.sample import Sample, Subset
from mllmu_med.folders import read_json, write_json
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.pipeline.cache import reuse_or_make
from mllmu_med.pipeline.keys import Keys
from mllmu_med.pipeline.requests import FORGET
from mllmu_med.pipeline.sequence import RequestWorkshop
from mllmu_med.pipeline.stage import Facts
from mllmu_med.pipeline.workshop import loop_settings
from mllmu_med.recipe import MethodSettings
from mllmu_med.training.backward import StepLoss
from mllmu_med.training.checkpoints import Checkpoints
from mllmu_med.training.cost import Counter
from mllmu_med.training.examples import learning_questions
from mllmu_med.training.feeding import UnlearnSettings, asked_in_training, usable_retain
from mllmu_med.training.learn import answer_loss
from mllmu_med.training.loop import forward_precision, optimise
from mllmu_med.training.sampling import balanced
from mllmu_med.training.siblings import made_up_beside
from mllmu_med.training.teacher import TeacherOutputs, model_outputs

_TENSORS, _COUNTS = "outputs.safetensors", "counts.json"


class Taught(NamedTuple):
    """An approximate oracle's outputs; answers and floating-point operations of its training."""

    outputs: TeacherOutputs
    records: int
    flops: float


def taught(
    workshop: RequestWorkshop,
    settings: MethodSettings,
    feeding: UnlearnSettings,
    rephrasings: bool | None,
    checkpoints: Checkpoints,
    folder: Path,
) -> Taught:
    """The outputs of the method's approximate oracle, from the cache or made now.

    Args:
        feeding: how the method is fed.
        rephrasings: which wordings of the forget samples it unlearns.
        checkpoints: from which its training is resumed.
        folder: of the method's stage; a folder in it is used and removed again.
    """
    from safetensors.torch import load_file, save_file

    forget, place = workshop.subset(*FORGET), folder / "teacher"
    asked = [question for sample in forget for question in asked_in_training(sample, feeding, rephrasings)]
    asked = list(dict.fromkeys(asked))
    place.mkdir()

    def make() -> Facts:
        vlm = workshop.load(workshop.output / "models" / "base")
        workshop.trainable(vlm)
        records, flops = train_teacher(vlm, workshop, settings, feeding, forget, checkpoints)
        half = forward_precision(vlm, loop_settings(settings, 1).precision) == "bf16"
        with torch.autocast(vlm.device.type, torch.bfloat16, enabled=half):  # as θ is computed while it learns from it
            outputs = model_outputs(vlm, asked)
        save_file({name: value.cpu() for name, value in outputs.tensors.items()}, place / _TENSORS)
        write_json(place / _COUNTS, outputs.counts)
        return {"records": records, "flops": flops}

    facts = reuse_or_make(
        Keys(workshop.recipe).teacher(settings, workshop.step.number, rephrasings), place, make, "teacher"
    )
    outputs = TeacherOutputs(asked, read_json(place / _COUNTS), load_file(place / _TENSORS))
    shutil.rmtree(place)
    return Taught(outputs, int(facts["records"]), float(facts["flops"]))


def train_teacher(
    vlm: VisionLanguageModel,
    workshop: RequestWorkshop,
    settings: MethodSettings,
    feeding: UnlearnSettings,
    forget: list[Sample],
    checkpoints: Checkpoints,
) -> tuple[int, float]:
    """Train the base for a few steps on usable retain samples, strata balanced.

    Where no patient may be used, made-up ones show the format instead: random values are what nobody can know.

    Returns:
        answers seen; floating-point operations.
    """
    seed = workshop.seed
    samples = usable_retain(workshop.subset(Subset.RETAIN), settings.retain_share, seed)
    if not any(sample.patient_id for sample in samples):
        samples += made_up_beside(forget, samples, settings.siblings, seed, earlier=workshop.earlier)
    strata: dict[str, list[int]] = {}
    questions: list[Question] = []
    for sample in samples:
        for question in learning_questions(
            [sample], phrasings=settings.phrasings, opener_share=0.0, replay=None, seed=seed
        ):
            strata.setdefault(sample.stratum, []).append(len(questions))
            questions.append(question)
    size = settings.forget_batch + settings.retain_batch
    draw = balanced([strata[name] for name in sorted(strata)], size, seed, "teacher")
    rate = settings.teacher_rate or workshop.recipe.learn.original.learning_rate
    steps = settings.teacher_steps
    loop = replace(loop_settings(settings, steps), learning_rate=rate, warmup=min(settings.warmup, steps // 4))

    def loss_of(chosen: list[int]) -> StepLoss:
        return {"loss": answer_loss(vlm, [questions[i] for i in chosen], settings.branches, settings.most_positions)}

    cost = Counter(vlm, recomputed=loop.gradient_checkpointing)
    optimise(
        vlm, loop, draw, loss_of, title="approximate oracle", seed=seed, checkpoints=checkpoints,
        images_of=lambda chosen: [questions[i].image for i in chosen], cost=cost,
    )  # fmt: skip
    return steps * size * settings.gradient_accumulation, cost.flops
