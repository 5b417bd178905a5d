"""One run of everything, as small as it can be, shared by all tests of the pipeline."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from mllmu_med.pipeline import run
from mllmu_med.recipe import Recipe
from mllmu_med.recipe.overrides import apply_override

TINY: dict[str, Any] = {
    "name": "tiny",
    "source": {"name": "phantom", "images": 24, "size": 64, "text_facts": 12},
    "benchmark": {
        "patients_forgotten": 2, "patients_retained": 3, "patients_holdout": 1, "wrong_rules": 0,
        "wrong_image_facts": 2, "wrong_text_facts": 2, "repetitions": [2],
    },
    "model": {"embedded": {"tower_images": 64, "tower_steps": 2}},
    "learn": {
        "base": {"steps": 3, "batch": 16}, "original": {"steps": 3, "batch": 16}, "oracle": {"steps": 3, "batch": 16},
    },
    "unlearn": {"steps": 2, "forget_batch": 6, "retain_batch": 10},
    "methods": ["ga", "npo"],
    "controls": {"collapse": {"steps": 2}},
    "evaluate": {"max_new_tokens": 4, "bootstrap": 20, "ordinary_samples": 10, "probes": "original"},
}  # fmt: skip


def tiny(*overrides: str, **blocks: Any) -> Recipe:
    """The recipe of the shared run, with whole blocks replaced and single values overridden as on the command line."""
    raw = deepcopy({**TINY, **blocks})
    for override in overrides:
        apply_override(raw, override)
    return Recipe.model_validate(raw)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run; read only."""
    folder = tmp_path_factory.mktemp("run") / "tiny"
    result = run(tiny(), folder, jobs=1)
    assert result.results is not None
    assert result.page is not None
    return folder


LORA = {
    "embedded": {"tower_images": 64, "tower_steps": 2}, "trainable": {"language": "lora"},
    "lora": {"rank": 2, "alpha": 4},
}  # fmt: skip
PARAMETERS = {"shards": 2, "steps": 2, "replay": 8}
REQUESTED = [
    {"name": "npo", "requests": 2},
    {"name": "o3", "requests": 3},
    {"name": "retrain", "requests": 2},
    {"name": "shards", "requests": 2, "parameters": {**PARAMETERS, "common_steps": 2}},
    {"name": "shards", "row": "dropped", "parameters": {**PARAMETERS, "shards": 5, "retrain": False, "combine": "sum"}},
]


def requested_recipe(*overrides: str) -> Recipe:
    """The recipe of the run with requests one after another."""
    return tiny("learn.base.trainable={language: full}", *overrides, model=LORA, methods=deepcopy(REQUESTED))


@pytest.fixture(scope="session")
def requested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run whose methods carry out requests one after another, on adapters; read only."""
    folder = tmp_path_factory.mktemp("requested") / "tiny"
    assert run(requested_recipe(), folder, jobs=1).page is not None
    return folder
