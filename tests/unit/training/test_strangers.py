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
STRANGERS = [
    replace(NAMED, id="a"),
    replace(NAMED, id="b", question="And who is it?"),
    replace(NAMED, id="c", form="direct"),
    FORGET[1],
]


def test_a_level_is_the_mean_over_private_tokens_of_one_kind(llava: VisionLanguageModel) -> None:
    found = stranger_levels(llava, STRANGERS)
    assert set(found) == {("leak", "name"), ("direct", "name"), (None, "mrn")}
    expected = []
    for sample in STRANGERS[:2]:
        question = Question(sample.image_id, sample.question, sample.answer)
        weights = span_weights(llava.prompts, sample)
        assert weights is not None
        target = model_outputs(llava, [question]).of([question]).target
        expected += [float(value) for value, weight in zip(target, weights, strict=True) if weight]
    assert found["leak", "name"] == pytest.approx(fmean(expected), rel=1e-5)


def test_it_stands_at_private_tokens_of_a_known_kind_and_nowhere_else(llava: VisionLanguageModel) -> None:
    """In every wording; a wrong fact, a clinical part and a value that no stranger has are without."""
    forget = [NAMED, FORGET[1], FORGET[3]]
    wordings = forget_questions(llava, forget, UnlearnSettings())
    asked = [question for sample in forget for question in wordings[sample.id]]
    assert len(asked) == 6
    outputs = with_strangers(model_outputs(llava, asked), llava, forget, wordings, {("leak", "name"): -3.5})
    for sample in forget:
        for question in wordings[sample.id]:
            stranger = outputs.of([question]).stranger
            assert stranger is not None
            private = question.weights if sample is NAMED and question.weights else (0.0,) * len(stranger)
            assert stranger.tolist() == [-3.5 if weight else math.inf for weight in private]
    bare = model_outputs(llava, asked).of(asked)
    assert bare.stranger is None
    assert torch.equal(bare.target, outputs.of(asked).target)
