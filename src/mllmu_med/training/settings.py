"""Numbers of one training stage, and the learning-rate schedule they give."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class LoopSettings:
    """How to optimise.

    Attributes:
        steps: optimiser steps; budgets are steps, never seconds.
        learning_rate: peak.
        weight_decay: AdamW's, decoupled.
        betas: AdamW's.
        warmup: linear warm-up steps.
        final_share: the cosine ends at this share of the peak; 1 = constant after warm-up.
        clip: largest gradient norm.
        accumulation: batches per optimiser step.
        precision: ``no`` (as the weights are) or ``bf16`` (autocast).
        gradient_checkpointing: keep each layer's input only and compute the layer again in the backward pass: a third
            more work, memory of one layer instead of all.
        checkpoint_every: steps between resumable checkpoints (rounded up to the next entry of the curve); 0 = none.
        log_every: steps between entries of the curve.
    """

    steps: int
    learning_rate: float
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.98)
    warmup: int = 40
    final_share: float = 0.02
    clip: float = 1.0
    accumulation: int = 1
    precision: str = "no"
    gradient_checkpointing: bool = False
    checkpoint_every: int = 500
    log_every: int = 10

    def rate(self, step: int) -> float:
        """Learning rate of a step (0-based): linear warm-up, then cosine to ``final_share`` of the peak."""
        warm = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        cosine = 0.5 * (1 + math.cos(math.pi * step / max(1, self.steps)))
        return self.learning_rate * warm * (self.final_share + (1 - self.final_share) * cosine)

    def checkpoint_due(self, step: int) -> bool:
        """Whether a checkpoint falls between the last entry of the curve and this one."""
        every = self.checkpoint_every
        return bool(every) and step // every > (step - self.log_every) // every
