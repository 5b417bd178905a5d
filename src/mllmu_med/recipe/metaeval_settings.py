"""The recipe's block on meta-evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pydantic import NonNegativeInt

from mllmu_med.recipe.base_settings import Settings

if TYPE_CHECKING:
    from mllmu_med.recipe.settings import Recipe

STEPS = (1.0, 0.75, 1.25)
"""Models of a pool take these shares of the steps of θ0 or the oracle, in turn."""


class MetaevalSettings(Settings):
    """Pools of models by which metrics are judged (`mllmu-med metaeval`)."""

    models: NonNegativeInt = 0
    """Models trained with the forget set, and as many without it; 0: no pools."""


class Pool(NamedTuple):
    """One model of a pool: whether it holds the knowledge, and its share of the steps."""

    name: str
    held: bool
    steps: float


def pools_of(recipe: Recipe) -> list[Pool]:
    """All models of both pools."""
    numbers = range(1, recipe.metaeval.models + 1)
    return [
        Pool(f"pool-{'held' if held else 'never'}-{number}", held, STEPS[(number - 1) % len(STEPS)])
        for held in (True, False)
        for number in numbers
    ]
