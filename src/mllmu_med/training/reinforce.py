"""θ0 trained further on the forget set, for methods that learn from what it would say then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from mllmu_med.models.references import ReferenceCache
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.training.checkpoints import TrainableParameters
from mllmu_med.training.feeding import UnlearnSettings
from mllmu_med.training.learn import LearnSettings, learn
from mllmu_med.training.settings import LoopSettings


def reinforced_outputs(
    vlm: VisionLanguageModel,
    parameters: TrainableParameters,
    forget: Sequence[Question],
    settings: UnlearnSettings,
    loop: LoopSettings,
    seed: int,
) -> ReferenceCache:
    """Train on the forget questions, keep the outputs on them, and take the weights back, bit by bit.

    Whole answers are learnt, whatever the token weights are. At most a quarter of the steps is warm-up, however long
    that of the unlearning is.

    Args:
        vlm: θ0; it is θ0 again afterwards, also where the training fails.
        parameters: all that trains.
        forget: the forget questions.
        settings: steps and learning rate, and the batch: as many questions as a step of unlearning has.
        loop: how to optimise otherwise.
        seed: of batches and dropout.
    """
    before = {name: p.detach().clone() for name, p in parameters.items()}
    whole = [question._replace(weights=None) for question in forget]
    steps = settings.reinforce_steps
    further = replace(
        loop, steps=steps, learning_rate=settings.reinforce_rate, warmup=min(loop.warmup, steps // 4), accumulation=1,
        checkpoint_every=0,
    )  # fmt: skip
    batch = LearnSettings(
        settings.forget_batch + settings.retain_batch, settings.branches, most_positions=settings.most_positions
    )
    was_training = vlm.model.training
    try:
        learn(vlm, whole, further, batch, seed=seed, title="reinforce")
        cache = ReferenceCache(vlm, branches=max(8, settings.branches), adapted=True)
        cache.fill(forget, hidden=True)
    finally:
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(before[name])
        torch.clear_autocast_cache()
        vlm.model.train(was_training)
    return cache
