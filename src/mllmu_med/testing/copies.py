"""A model of one's own: copying a tiny one takes a twentieth of the time of loading it."""

from __future__ import annotations

import copy

from mllmu_med.models.vlm import VisionLanguageModel


def copied(first: VisionLanguageModel) -> VisionLanguageModel:
    """The model as it is, sharing nothing with it; it finds the same images and remembers none of them yet."""
    first.images.clear()
    return copy.deepcopy(first)
