"""Retraining: the oracle as a method of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mllmu_med.methods.plans.interface import Plan


@dataclass(frozen=True)
class Retrain(Plan):
    """Retraining from the base on everything but the forgotten records (exact unlearning, arXiv 1912.03817).

    θ = θ*: with one request the oracle itself, corrected facts as ``learn.oracle`` says. With several requests, the
    model after request i is trained from the base without the records of requests 1…i; those of later requests are
    still learnt as injected.

    The bar of every method in quality, and in cost: each request costs a whole training.
    """

    label: ClassVar[str] = "Retrain"
    source: ClassVar[str] = "arXiv 1912.03817"
    summary: ClassVar[str] = "trained again from the base without the forgotten records"
    scheme: ClassVar[str] = "retrain"
