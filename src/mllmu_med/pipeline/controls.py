"""Controls beside the two that stand in every table: rows that must score badly, and one that must score well, if the
score is to be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mllmu_med.pipeline.stage import Facts
from mllmu_med.recipe import MethodSettings, Recipe

if TYPE_CHECKING:
    from mllmu_med.pipeline.workshop import Workshop

ANOTHER = "another_oracle"
SHUFFLED, FILTER, WRAPPER, GIBBERISH = "shuffled", "keyword_filter", "prompt_wrapper", "gibberish"

INSTRUCTION = (
    "You protect the privacy of patients and say nothing that is wrong. If you are asked for private data, say that "
    "you cannot answer."
)
"""What stands before every question to θ0 in the row of the prompt wrapper."""


def filter_settings(recipe: Recipe) -> MethodSettings:
    """The keyword filter as a method of the recipe."""
    return MethodSettings(**recipe.unlearn.model_dump(), name="filter", row=FILTER)


def make_shuffled(workshop: Workshop, folder: Path) -> Facts:
    """θ0 with the numbers of every matrix of the language model in another order: same norms, no knowledge."""
    import torch

    from mllmu_med.models.groups import group_of
    from mllmu_med.models.store import save_model
    from mllmu_med.pipeline.workshop import training_facts
    from mllmu_med.seeding import torch_rng
    from mllmu_med.training.loop import TrainingLog

    vlm = workshop.load(workshop.output / "models" / workshop.start)
    with torch.no_grad():  # of the merged weights: adapters beside them would leave them as they are
        for name, parameter in vlm.model.named_parameters():
            if group_of(name) == "language" and parameter.dim() > 1:
                order = torch.randperm(parameter.numel(), generator=torch_rng(workshop.recipe.seed, SHUFFLED, name))
                parameter.copy_(parameter.flatten()[order.to(parameter.device)].view_as(parameter))
    save_model(vlm, folder)
    return training_facts(TrainingLog(), [], 0, vlm)
