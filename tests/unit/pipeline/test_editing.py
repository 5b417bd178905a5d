"""The stage of an edit: where it starts, what it writes, and what it counts as its cost."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mllmu_med.benchmark.sample import Subset
from mllmu_med.errors import UsageError
from mllmu_med.methods import METHODS
from mllmu_med.models.store import load_trained
from mllmu_med.pipeline.sequence import FORGET
from mllmu_med.pipeline.stages import all_stages
from mllmu_med.pipeline.training import feeding_of
from mllmu_med.pipeline.workshop import Workshop, loop_settings
from mllmu_med.training.desk import carry_out
from tests.invariant.jobs import weights_digest
from tests.unit.pipeline.conftest import tiny

EDITS = ("task_vector", "sku", "chip", "manu", "lunar")
METHODS_BLOCK = "methods=[" + ",".join(EDITS) + "]"


@pytest.fixture
def make(finished: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Name of an edit → what its stage says of itself; the model lies in ``out``."""
    shutil.copytree(finished / "benchmark", tmp_path / "benchmark")
    shutil.copytree(finished / "models" / "theta0", tmp_path / "models" / "theta0")

    def stage(name: str, *overrides: str) -> dict[str, Any]:
        stages = all_stages(tiny(METHODS_BLOCK, *overrides), tmp_path)
        own = next(stage for stage in stages if stage.name == name)
        (tmp_path / "out").mkdir()
        return own.make(tmp_path / "out")

    return stage


@pytest.mark.parametrize("name", EDITS)
def test_the_stage_writes_theta0_after_the_edit(name: str, make: Callable[..., Any], tmp_path: Path) -> None:
    """The very weights that the edit makes of θ0, with the recipe's numbers."""
    facts = make(name)
    recipe = tiny(METHODS_BLOCK)
    settings = next(method for method in recipe.methods if method.name == name)
    workshop = Workshop(recipe, tmp_path)
    vlm = workshop.load(tmp_path / "models" / "theta0")
    before = weights_digest(vlm.model)
    workshop.trainable(vlm)
    done = carry_out(
        vlm, METHODS.get(name)(), workshop.subset(*FORGET), workshop.subset(Subset.RETAIN),
        loop_settings(settings, settings.steps), feeding_of(settings), seed=recipe.seed,
    )  # fmt: skip
    made = load_trained(tmp_path / "out")
    assert weights_digest(made.model) == weights_digest(vlm.model) != before
    assert facts["edit"] == dict(done.numbers)


@pytest.mark.parametrize(("name", "answers"), [("task_vector", 6), ("sku", 6 + 10 + 6 * 5)])
def test_the_cost_of_training_is_counted_as_for_any_method(name: str, answers: int, make: Callable[..., Any]) -> None:
    training = make(name, f"methods.{name}.gradient_accumulation=2")["training"]
    assert (training["steps"], training["records"]) == (2, 2 * 2 * answers)
    assert training["curve"][-1]["step"] == 2
    assert training["trainable_share"] > 0.1


def test_recorded_answers_count_and_only_changed_weights_do(make: Callable[..., Any], tmp_path: Path) -> None:
    facts = make("manu", "methods.manu.statistics_records=7")
    samples = Workshop(tiny(), tmp_path).subset(*FORGET)
    pictured = sum(1 + len(s.phrasings) for s in samples if s.image_id is not None)
    training, edit = facts["training"], facts["edit"]
    assert training["records"] == 2 * pictured + 2 * 7
    assert (training["steps"], training["curve"], training["stopped"]) == (0, [], None)
    assert edit["weights_changed"] == 192 * edit["neurons"]
    total = sum(group["parameters"] for group in training["groups"])
    assert training["trainable_share"] == pytest.approx(edit["weights_changed"] / total)
    assert training["loop_seconds"] > 0
    assert training["peak_memory_mb"] > 0


def test_the_recipe_s_numbers_reach_the_edit(make: Callable[..., Any]) -> None:
    edit = make("chip", "methods.chip.parameters={share: 0.25, depth: 0.0}")["edit"]
    assert (edit["layers"], edit["rows"]) == (2, 2 * 48)
    assert edit["nodes"] == sum(count for name, count in edit.items() if name.startswith("siblings_"))


@pytest.mark.parametrize(
    ("what", "name", "value"), [("retain budget", "retain_budget", 0.02), ("stopping rule", "stop_excess", 0.05)]
)
def test_what_ends_a_training_is_refused_before_anything_is_loaded(
    what: str, name: str, value: float, make: Callable[..., Any]
) -> None:
    with pytest.raises(UsageError, match=rf"methods\.lunar: a {what}.*methods\.lunar\.{name}=null"):
        make("lunar", f"methods.lunar.{name}={value}")
