"""Procedural biomedical pictures with known ground truth: the embedded default source, any size, seeded."""

from __future__ import annotations

from mllmu_med.sources.phantom.drawing import Picture, Pictures, draw, draw_many
from mllmu_med.sources.phantom.questions import MANAGEMENT, PHRASINGS, TRAINING_WORDINGS
from mllmu_med.sources.phantom.source import PhantomSource
from mllmu_med.sources.phantom.truth import ATTRIBUTES, MODALITIES, Truth, random_truth

__all__ = [
    "ATTRIBUTES",
    "MANAGEMENT",
    "MODALITIES",
    "PHRASINGS",
    "TRAINING_WORDINGS",
    "PhantomSource",
    "Picture",
    "Pictures",
    "Truth",
    "draw",
    "draw_many",
    "random_truth",
]
