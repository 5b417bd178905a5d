"""What θ0 says of strangers: how likely it makes the private values of patients who never were.

Where a method holds θ0's behaviour on strangers, a forgotten patient must come to look like one of them, and not like
an answer that nobody is sure of.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

import torch

from mllmu_med.benchmark.sample import Sample
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.training.examples import spans_of_tokens
from mllmu_med.training.teacher import TeacherOutputs, model_outputs

_Kind = tuple[str | None, str]  # how the value is told (directly, leaked, by name), and its class


def stranger_levels(vlm: VisionLanguageModel, strangers: Sequence[Sample]) -> dict[_Kind, float]:
    """(form, class of the private value) → mean log-probability, nats a token, of its tokens. ``vlm`` still is θ0.

    Args:
        strangers: samples of made-up patients (:func:`~mllmu_med.training.siblings.made_up_beside`).
    """
    asked = [Question(sample.image_id, sample.question, sample.answer) for sample in strangers]
    outputs = model_outputs(vlm, asked)
    found: dict[_Kind, list[float]] = {}
    for sample, question in zip(strangers, asked, strict=True):
        logprobs = outputs.of([question]).target.tolist()
        for kind, logprob in zip(_kinds(vlm, sample), logprobs, strict=True):
            if kind is not None:
                found.setdefault(kind, []).append(logprob)
    return {kind: fmean(values) for kind, values in found.items()}


def with_strangers(
    outputs: TeacherOutputs,
    vlm: VisionLanguageModel,
    forget: Sequence[Sample],
    wordings: Mapping[str, Sequence[Question]],
    levels: Mapping[_Kind, float],
) -> TeacherOutputs:
    """The outputs with ``stranger``: the level of each private token's kind, +∞ for other tokens and unknown kinds.

    Args:
        outputs: of an approximate oracle on the forget questions.
        forget: the forget samples.
        wordings: sample id → its questions (:func:`~mllmu_med.training.feeding.forget_questions`).
    """
    stranger = torch.full_like(outputs.tensors["target"], math.inf)
    for sample in forget:
        each = [math.inf if kind is None else levels.get(kind, math.inf) for kind in _kinds(vlm, sample)]
        for question in wordings[sample.id]:
            stranger[outputs.place(question)] = stranger.new_tensor(each)
    return TeacherOutputs(outputs.questions, outputs.counts, {**outputs.tensors, "stranger": stranger})


def _kinds(vlm: VisionLanguageModel, sample: Sample) -> list[_Kind | None]:
    """The kind of each answer token; None where it is not private."""
    return [
        None if which is None else (sample.form, sample.spans[which].phi_class)
        for which in spans_of_tokens(vlm.prompts, sample)
    ]
