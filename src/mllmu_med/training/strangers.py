"""What θ0 says of strangers: how likely it makes the private values of patients who never were.

Where a method holds θ0's behaviour on strangers, a forgotten patient must come to look like one of them, and not like
an answer that nobody is sure of.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean

import torch

from mllmu_med.benchmark.sample import Sample
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.training.examples import spans_of_tokens
from mllmu_med.training.teacher import TeacherOutputs, model_outputs

_Kind = tuple[str | None, str, int | None]
"""How the value is told (directly, leaked, by name), its class, and the token's number in it; None: any."""


def stranger_levels(vlm: VisionLanguageModel, strangers: Sequence[Sample]) -> dict[_Kind, float]:
    """Kind of a private token → mean log-probability, nats, that θ0 gives it; for each class also over all its tokens.

    By number, because some tokens are the format's (the dashes of a phone number): strangers have them as everybody.

    Args:
        vlm: θ0.
        strangers: samples of made-up patients (:func:`~mllmu_med.training.siblings.made_up_beside`).
    """
    asked = [Question(sample.image_id, sample.question, sample.answer) for sample in strangers]
    outputs = model_outputs(vlm, asked, title="θ0 about strangers")
    found: dict[_Kind, list[float]] = {}
    for sample, question in zip(strangers, asked, strict=True):
        logprobs = outputs.of([question]).target.tolist()
        for kind, logprob in zip(_kinds(vlm, sample), logprobs, strict=True):
            if kind is not None:
                found.setdefault(kind, []).append(logprob)
                found.setdefault((*kind[:2], None), []).append(logprob)
    return {kind: fmean(values) for kind, values in found.items()}


def with_strangers(
    outputs: TeacherOutputs,
    vlm: VisionLanguageModel,
    forget: Sequence[Sample],
    wordings: Mapping[str, Sequence[Question]],
    levels: Mapping[_Kind, float],
) -> TeacherOutputs:
    """The outputs with ``stranger``: the level of each private token's kind, or else of its class; +∞ for other tokens
    and unknown classes.

    Args:
        outputs: of an approximate oracle on the forget questions.
        forget: the forget samples.
        wordings: sample id → its questions (:func:`~mllmu_med.training.feeding.forget_questions`).
    """
    stranger = torch.full_like(outputs.tensors["target"], math.inf)
    for sample in forget:
        each = [
            math.inf if kind is None else levels.get(kind, levels.get((*kind[:2], None), math.inf))
            for kind in _kinds(vlm, sample)
        ]
        for question in wordings[sample.id]:
            stranger[outputs.place(question)] = stranger.new_tensor(each)
    return TeacherOutputs(outputs.questions, outputs.counts, {**outputs.tensors, "stranger": stranger})


def _kinds(vlm: VisionLanguageModel, sample: Sample) -> list[_Kind | None]:
    """The kind of each answer token; None where it is not private."""
    within: Counter[int] = Counter()
    kinds: list[_Kind | None] = []
    for which in spans_of_tokens(vlm.prompts, sample):
        kinds.append(None if which is None else (sample.form, sample.spans[which].phi_class, within[which]))
        if which is not None:
            within[which] += 1
    return kinds
