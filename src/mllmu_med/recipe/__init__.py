"""The recipe: one YAML file that says everything a run depends on."""

from __future__ import annotations

from mllmu_med.recipe.components import attack_arguments, benchmark_plan, make_attacks, make_method, make_source
from mllmu_med.recipe.evaluate_settings import EvaluateSettings
from mllmu_med.recipe.loading import find_recipe, load_recipe, shipped_recipes
from mllmu_med.recipe.settings import (
    EmbeddedSettings,
    LearnSettings,
    LoraSettings,
    MethodSettings,
    ModelSettings,
    OptimiserSettings,
    OracleSettings,
    Recipe,
    SourceSettings,
    StageSettings,
    TrainableSettings,
    UnlearnSettings,
)

__all__ = [
    "EmbeddedSettings",
    "EvaluateSettings",
    "LearnSettings",
    "LoraSettings",
    "MethodSettings",
    "ModelSettings",
    "OptimiserSettings",
    "OracleSettings",
    "Recipe",
    "SourceSettings",
    "StageSettings",
    "TrainableSettings",
    "UnlearnSettings",
    "attack_arguments",
    "benchmark_plan",
    "find_recipe",
    "load_recipe",
    "make_attacks",
    "make_method",
    "make_source",
    "shipped_recipes",
]
