"""What θ0 says of strangers, class by class, and at which tokens of the forget answers it counts."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import fmean

import pytest
import torch

from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.training.examples import span_weights
from mllmu_med.training.feeding import UnlearnSettings, forget_questions
from mllmu_med.training.strangers import stranger_levels, with_strangers
from mllmu_med.training.teacher import model_outputs
from tests.invariant.jobs import FORGET

NAMED = replace(FORGET[0], spans=(replace(FORGET[0].spans[0], phi_class="name"),), form="leak")
LEVELS: dict[tuple[str | None, str, int | None], float] = {("leak", "name", 0): -1.5, ("leak", "name", None): -3.5}
STRANGERS = [
    replace(NAMED, id="a"),
    replace(NAMED, id="b", question="And who is it?"),
    replace(NAMED, id="c", form="direct"),
    FORGET[1],
]


def test_a_level_is_the_mean_over_the_tokens_of_one_number_and_over_the_class(llava: VisionLanguageModel) -> None:
    found = stranger_levels(llava, STRANGERS)
    assert {kind[:2] for kind in found} == {("leak", "name"), ("direct", "name"), (None, "mrn")}
    values: list[list[float]] = []
    for sample in STRANGERS[:2]:
        question = Question(sample.image_id, sample.question, sample.answer)
        weights = span_weights(llava.prompts, sample)
        assert weights is not None
        target = model_outputs(llava, [question]).of([question]).target
        values.append([float(value) for value, weight in zip(target, weights, strict=True) if weight])
    for number, pair in enumerate(zip(*values, strict=True)):
        assert found["leak", "name", number] == pytest.approx(fmean(pair), rel=1e-5)
    assert found["leak", "name", None] == pytest.approx(fmean([*values[0], *values[1]]), rel=1e-5)
    assert ("leak", "name", len(values[0])) not in found


def test_it_stands_at_private_tokens_of_a_known_kind_and_nowhere_else(llava: VisionLanguageModel) -> None:
    """In every wording; a wrong fact, a clinical part and a value that no stranger has are without. A number that no
    stranger has takes the level of its class."""
    forget = [NAMED, FORGET[1], FORGET[3]]
    wordings = forget_questions(llava, forget, UnlearnSettings())
    asked = [question for sample in forget for question in wordings[sample.id]]
    assert len(asked) == 6
    outputs = with_strangers(model_outputs(llava, asked), llava, forget, wordings, LEVELS)
    for sample in forget:
        for question in wordings[sample.id]:
            stranger = outputs.of([question]).stranger
            assert stranger is not None
            private = question.weights if sample is NAMED and question.weights else (0.0,) * len(stranger)
            levels = iter([-1.5, *[-3.5] * len(private)])
            assert stranger.tolist() == [next(levels) if weight else math.inf for weight in private]
    bare = model_outputs(llava, asked).of(asked)
    assert bare.stranger is None
    assert torch.equal(bare.target, outputs.of(asked).target)
