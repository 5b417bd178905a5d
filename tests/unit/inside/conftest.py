"""Samples with facts of every kind, and pairs of tiny models of which one has learnt them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from mllmu_med.benchmark.sample import Sample, Subset
from mllmu_med.inside.telling import Told, told
from mllmu_med.models.vlm import VisionLanguageModel
from mllmu_med.testing.records import FORGET
from mllmu_med.training.learn import LearnSettings, learn
from mllmu_med.training.settings import LoopSettings

HOLDOUT = tuple(
    replace(
        sample, id=f"h{number}", subset=Subset.HOLDOUT, image_id=f"holdout-{number}", patient_id=f"stranger-{number}"
    )
    for number, sample in enumerate(FORGET[:2])
)
SAMPLES = (*FORGET, *HOLDOUT)


def teach(vlm: VisionLanguageModel, asked: list[Told], steps: int = 25) -> None:
    """Let the model learn the trained answers that are to be forgotten."""
    questions = [one.question._replace(weights=None) for one in asked if one.forgotten and one.which == "trained"]
    learn(vlm, questions, LoopSettings(steps, 1e-2, warmup=0), LearnSettings(batch=len(questions)), seed=0)
    vlm.model.eval()


@pytest.fixture
def samples() -> list[Sample]:
    return list(SAMPLES)


@pytest.fixture
def asking(samples: list[Sample]) -> Callable[[VisionLanguageModel], list[Told]]:
    return lambda vlm: told(vlm.prompts, samples, seed=0)
