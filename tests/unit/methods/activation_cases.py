"""Objectives on hidden states, as their tests make them: those that steer, and those that read."""

from __future__ import annotations

from mllmu_med.methods.interface import Objective
from mllmu_med.methods.objectives.head_projection import HeadProjection
from mllmu_med.methods.objectives.lens_entropy import LensMaxEntropy
from mllmu_med.methods.objectives.rmu import RMU, AdaptiveRMU

MADE: dict[str, Objective] = {
    "rmu": RMU(coefficient=3.0, retain_weight=2.0), "adaptive_rmu": AdaptiveRMU(scale=3.0, retain_weight=2.0),
    "head_projection": HeadProjection(rank=2, margin=0.3, erasure_weight=0.5), "lens_max_entropy": LensMaxEntropy(),
}  # fmt: skip
NAMES = tuple(MADE)
STEERING = ("rmu", "adaptive_rmu")
READING = ("head_projection", "lens_max_entropy")
