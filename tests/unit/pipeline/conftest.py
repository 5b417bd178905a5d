"""One run of everything, as small as it can be, shared by all tests of the pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest

from mllmu_med.pipeline import run
from mllmu_med.recipe import Recipe, load_recipe

TINY = (
    "source={name: phantom, images: 24, size: 64, text_facts: 12}",
    "benchmark={patients_forgotten: 2, patients_retained: 3, patients_holdout: 1, wrong_rules: 0, wrong_image_facts: 2, "
    "wrong_text_facts: 2, repetitions: [2]}",
    "evaluate={max_new_tokens: 4, bootstrap: 20, ordinary_samples: 10, probes: original}",
    "learn.base.steps=3",
    "learn.original.steps=3",
    "learn.oracle.steps=3",
    "unlearn.steps=2",
    "controls.collapse.steps=2",
    "methods=[ga, npo]",
)
EMBEDDED = ("model.embedded={tower_images: 64, tower_steps: 2}",)


def tiny(*overrides: str) -> Recipe:
    """The recipe of the shared run, with changes."""
    return load_recipe("phantom", *TINY, *EMBEDDED, *overrides)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run; read only."""
    folder = tmp_path_factory.mktemp("run") / "tiny"
    result = run(tiny(), folder, jobs=1)
    assert result.results is not None
    assert result.page is not None
    return folder
