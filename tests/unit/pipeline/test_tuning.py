"""Tuning: equal numbers of different trials, judged without the test part, recorded whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mllmu_med import api
from mllmu_med.benchmark.sample import Sample, Stratum, Subset
from mllmu_med.errors import UsageError
from mllmu_med.evaluation import validation
from mllmu_med.evaluation.grid import evaluation_samples
from mllmu_med.evaluation.strangers import strangers_error
from mllmu_med.evaluation.validation import validation_score
from mllmu_med.folders import read_json
from mllmu_med.pipeline.strangers import read_strangers
from mllmu_med.pipeline.tuning import (
    _changed,
    _stages,
    best_of,
    grid_of,
    plan_trials,
    plan_tuning,
    trials_of,
    tuning_recipe,
)
from mllmu_med.recipe import Recipe, load_recipe
from tests.unit.evaluation.conftest import ordinary, patient

GRID = {"learning_rate": (1e-4, 2e-4, 5e-4), "beta": (0.1, 0.5), "gu.history": (1, 4)}


def loaded(*overrides: str) -> Recipe:
    return load_recipe("phantom", *overrides)


@pytest.fixture
def grid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mllmu_med.pipeline.tuning.grid_of", lambda settings: GRID)


@pytest.mark.usefixtures("grid")
def test_the_first_trial_is_the_recipes_and_all_differ() -> None:
    [method] = loaded("methods=[npo+gu]").methods
    trials = trials_of(method, 8, 0)
    assert len(trials) == 8
    assert trials[0].changes == {}
    assert [trial.row for trial in trials] == [f"npo+gu.trial-{i}" for i in range(8)]
    points = [tuple(sorted(trial.changes.items())) for trial in trials]
    assert len(set(points)) == 8
    assert all(trial.changes.keys() == GRID.keys() for trial in trials[1:])


@pytest.mark.usefixtures("grid")
def test_trials_are_a_function_of_seed_and_method() -> None:
    [method] = loaded("methods=[npo+gu]").methods
    assert trials_of(method, 5, 3) == trials_of(method, 5, 3)
    assert trials_of(method, 5, 3) != trials_of(method, 5, 4)
    assert trials_of(method, 5, 3) == trials_of(method, 9, 3)[:5], "more trials keep the earlier ones"


@pytest.mark.usefixtures("grid")
@pytest.mark.parametrize("seed", range(5))
def test_few_trials_see_every_value(seed: int) -> None:
    """Three rates, of which the recipe has one, two betas, two histories: two drawn points hold what is left."""
    raw = loaded("methods=[npo]").to_dict()
    raw["methods"] = [{"name": "npo+gu", "learning_rate": 2e-4}]
    [method] = Recipe.model_validate(raw).methods
    drawn = [trial.changes for trial in trials_of(method, 3, seed)[1:]]
    assert {changes["learning_rate"] for changes in drawn} == {1e-4, 5e-4}
    assert {0.1, *(changes["beta"] for changes in drawn)} == {0.1, 0.5}, "0.1 is the recipe's, by default"
    assert {4, *(changes["gu.history"] for changes in drawn)} == {1, 4}, "and so is 4"


def test_the_recipes_own_values_are_tried_ones_also_where_they_are_defaults() -> None:
    """Nothing in the recipe says g: its default is the recipe's own value all the same, and is not drawn first."""
    for seed in range(20):
        raw = loaded("methods=[npo]").to_dict()
        raw["methods"] = [{"name": "excess", "learning_rate": 8e-4}]
        [method] = Recipe.model_validate(raw).methods
        first = trials_of(method, 2, seed)[1].changes
        assert first["excess_weight"] != 1.0, seed
        assert first["retain_weight"] != 2.0, seed


@pytest.mark.usefixtures("grid")
def test_a_grid_smaller_than_the_budget_is_tried_once_and_the_recipes_own_point_not_twice() -> None:
    raw = loaded("methods=[npo]").to_dict()
    raw["methods"] = [{"name": "npo+gu", "learning_rate": 1e-4, "parameters": {"beta": 0.1, "gu": {"history": 1}}}]
    [method] = Recipe.model_validate(raw).methods
    assert len(trials_of(method, 100, 0)) == 12


def test_a_point_that_spells_out_defaults_is_the_recipes_own() -> None:
    """Four rates, two betas; the recipe has one of the rates, and beta as the method has it."""
    raw = loaded("methods=[npo]").to_dict()
    raw["methods"] = [{"name": "correct", "learning_rate": 5e-4}]
    [method] = Recipe.model_validate(raw).methods
    drawn = [trial.changes for trial in trials_of(method, 100, 0)[1:]]
    assert len(drawn) == 7
    assert {"learning_rate": 5e-4, "beta": 0.1} not in drawn


def test_trials_of_several_requests_have_a_model_after_each(tmp_path: Path) -> None:
    recipe = load_recipe("phantom", "unlearn.requests=3", "methods=[npo]")
    stages = _stages(tuning_recipe(recipe, plan_trials(recipe, 2)), tmp_path)
    names = {stage.name for stage in stages}
    assert {"npo.trial-0@1", "npo.trial-0@2", "npo.trial-0", "evaluate npo.trial-1"} <= names
    assert {need for stage in stages for need in stage.needs} <= names, "nothing is needed that is not made"
    assert "evaluate npo.trial-0@1" not in names


@pytest.mark.usefixtures("grid")
def test_changes_go_where_they_belong() -> None:
    raw = loaded("methods=[npo]").to_dict()
    raw["methods"] = [{"name": "npo+gu+siblings", "parameters": {"siblings": {"weight": 3}}}]
    recipe = Recipe.model_validate(raw)
    trials = trials_of(recipe.methods[0], 3, 0)
    changed = tuning_recipe(recipe, trials).methods
    for trial, method in zip(trials[1:], changed[1:], strict=True):
        assert method.row == trial.row
        assert method.learning_rate == trial.changes["learning_rate"]
        gu, siblings = {"history": trial.changes["gu.history"]}, {"weight": 3}
        assert method.parameters == {"beta": trial.changes["beta"], "gu": gu, "siblings": siblings}
    assert changed[0].parameters == {"siblings": {"weight": 3}}
    block = {"parameters": {"gu": {"other": 1, "history": 4}}}
    assert _changed(block, {"gu.history": 1}) == {"parameters": {"gu": {"other": 1, "history": 1}}}


def test_the_test_part_is_never_asked() -> None:
    recipe = tuning_recipe(loaded("methods=[npo]"), plan_trials(loaded("methods=[npo]"), 2))
    assert recipe.evaluate.part == "validation"
    assert recipe.evaluate.probe_families == (), "held-out wordings are for the test"
    test = ordinary(1, Subset.TEST, Stratum.GENERAL)
    validation = ordinary(2, Subset.VALIDATION, Stratum.GENERAL)
    forgotten, holdout = patient(Subset.FORGET_PRIVACY, 1), patient(Subset.HOLDOUT, 2)
    asked = evaluation_samples([test, validation, *forgotten, *holdout], most=50, seed=0, part="validation")
    assert {sample.id for sample in asked} == {validation.id, *(sample.id for sample in forgotten)}
    assert [s.subset for s in asked if s.id == validation.id] == [Subset.TEST], "it stands in for the test part"


@pytest.mark.parametrize("count", [0, 1])
def test_one_trial_leaves_nothing_to_choose(count: int) -> None:
    with pytest.raises(UsageError, match=f"{count} trial of each method leaves nothing to choose"):
        plan_trials(load_recipe("phantom"), count)


def test_no_method_gets_more_trials_than_another(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Most grids are four rates, ours are larger: eight trials of ours and five of the others compare nothing."""
    recipe = loaded("methods=[excess,npo]")
    assert [len(trials_of(method, 8, recipe.seed)) for method in recipe.methods] == [8, 5]
    with caplog.at_level("WARNING", logger="mllmu_med"):
        trials = plan_trials(recipe, 8)
    assert Counter(trial.method for trial in trials) == {"excess": 5, "npo": 5}
    assert "5 trials of each method and not 8: the grid of npo has no more" in caplog.text
    caplog.clear()
    assert len(plan_trials(recipe, 5)) == 10
    assert not caplog.text


def test_a_method_without_a_grid_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mllmu_med.pipeline.tuning.grid_of", lambda settings: {})
    with pytest.raises(UsageError, match="npo declares no grid"):
        plan_trials(loaded("methods=[npo]"), 4)


def test_every_shipped_grid_names_real_settings() -> None:
    from mllmu_med.recipe.components import check_method

    for method in loaded("methods=[ga,grad_diff,npo]").methods:
        for trial in trials_of(method, 4, 0):
            for each in tuning_recipe(loaded(f"methods=[{method.name}]"), [trial]).methods:
                check_method(each)
        assert grid_of(method)


@pytest.mark.parametrize(
    ("unused", "error", "trials", "best"),
    [
        (False, 0.01, [(0.8, 0.9), (0.82, 0.3), (0.7, 1.0)], 1),
        (True, 0.01, [(0.8, 0.9), (0.82, 0.3), (0.7, 1.0)], 0),
        (True, 0.01, [(0.8, 0.9), (0.82, 0.88), (0.7, 1.0)], 0),
        (True, 0.03, [(0.8, 0.9), (0.82, 0.88), (0.7, 1.0)], 1),
        (True, 0.03, [(0.8, 0.9), (0.8, 0.92), (0.82, 0.3)], 0),
        (True, 0.0, [(0.8, 0.9), (0.82, 0.88), (0.82, 0.9)], 2),
        (True, None, [(0.8, 1.0), (0.82, 0.3), (0.7, 1.0)], 1),
        (True, 0.01, [(0.8, None), (0.82, None), (0.7, None)], 1),
        (True, 0.01, [(None, 0.5), (None, 0.4), (None, 0.9)], 2),
        (False, 0.01, [(None, 0.5), (0.1, 0.4), (0.1, 0.9)], 1),
    ],
)
def test_with_less_retain_data_the_trial_nearest_theta0_with_strangers_is_taken_of_equally_good_ones(
    unused: bool, error: float | None, trials: list[tuple[float | None, float | None]], best: int
) -> None:
    """Or the best of those that are behind it by no more than the standard error of the difference; where there is no
    such error, the best."""
    rows = [
        {"trial": number, "score": score, "strangers": strangers, "unused": unused, "membership_auc": None}
        for number, (score, strangers) in enumerate(trials)
    ]
    asked = []

    def error_of(one: Mapping[str, Any], other: Mapping[str, Any]) -> float | None:
        asked.append((one["strangers"], other["strangers"]))
        return error

    assert best_of(rows, error_of)["trial"] == best
    assert all(one >= other for one, other in asked), "what is behind is held against what is ahead"


@pytest.mark.parametrize(
    ("trials", "best"),
    [
        ([(0.99, 0.66), (0.98, 0.49), (0.96, 0.50)], 1),
        ([(0.99, 0.66), (0.98, 0.30), (0.97, 0.34)], 0),
        ([(0.99, 0.54), (0.98, 0.51), (0.98, 0.50)], 0),
        ([(0.99, 0.20), (0.98, 0.62)], 1),
        ([(0.99, None), (0.98, 0.50)], 0),
        ([(0.99, 0.66), (0.98, None)], 0),
        ([(None, 0.90), (None, 0.50)], 1),
    ],
)
def test_of_trials_with_nearly_equal_scores_one_that_leaves_little_trace_is_taken(
    trials: list[tuple[float | None, float | None]], best: int
) -> None:
    """Within .02 of the best score; of those whose AUC is nearest .5, or by at most .05 further, the best score."""
    rows = [
        {"trial": number, "score": score, "strangers": None, "unused": False, "membership_auc": auc}
        for number, (score, auc) in enumerate(trials)
    ]
    assert best_of(rows, lambda *_: None)["trial"] == best


def test_strangers_come_before_the_trace_that_is_left() -> None:
    """The second trial hides best and is out: it forgets strangers."""
    rows = [
        {"trial": number, "score": score, "strangers": strangers, "unused": True, "membership_auc": auc}
        for number, (score, strangers, auc) in enumerate([(0.9, 0.9, 0.8), (0.9, 0.3, 0.5), (0.89, 0.9, 0.6)])
    ]
    assert best_of(rows, lambda *_: 0.01)["trial"] == 2


def _error(folder: Path, name: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    rows = ["theta0", *(f"{name}.trial-{row['trial']}" for row in (one, other))]
    theta0, *both = (read_strangers(folder / "tuning" / "evaluations" / row) for row in rows)
    found = strangers_error(both[0].answers, both[1].answers, theta0.answers)
    assert found is not None
    return found


TINY = (
    "source.images=90", "benchmark.patients_forgotten=3", "benchmark.patients_retained=5",
    "benchmark.patients_holdout=3", "benchmark.wrong_image_facts=6", "benchmark.wrong_rules=1",
    "benchmark.wrong_text_facts=6", "source.text_facts=20", "model.embedded.tower_images=128",
    "model.embedded.tower_steps=2", "learn.base.steps=4", "learn.original.steps=6", "learn.oracle.steps=4",
    "unlearn.steps=3", "evaluate.ordinary_samples=30", "evaluate.max_new_tokens=6",
    "methods=[ga,{name: grad_diff, retain_share: 0.4}]",
)  # fmt: skip


@pytest.mark.slow
def test_tuning_records_every_trial_and_its_best_can_be_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe("phantom", *TINY)
    folder = tmp_path / "run"
    judged: list[set[tuple[Subset, str]]] = []

    def scored(samples: list[Sample], *outputs: Any) -> Any:
        judged.append({(sample.subset, sample.cluster) for sample in samples})
        return validation_score(samples, *outputs)

    asked: list[float] = []

    def chosen(rows: Sequence[Mapping[str, Any]], error: Callable[..., float]) -> Mapping[str, Any]:
        asked.append(error(*rows))
        return best_of(rows, error)

    monkeypatch.setattr(validation, "validation_score", scored)
    monkeypatch.setattr("mllmu_med.pipeline.tuning.best_of", chosen)
    result = api.tune(recipe, folder, trials=2, jobs=1)
    whole, less = judged[0], judged[2]
    assert judged == [whole, whole, less, less], "ga may use all retain data, grad_diff 40 % of it"
    assert less < whole
    assert {subset for subset, _ in whole - less} == {Subset.RETAIN}
    assert [(row["method"], row["trial"]) for row in result["trials"]] == [
        ("ga", 0), ("ga", 1), ("grad_diff", 0), ("grad_diff", 1),
    ]  # fmt: skip
    for name, best in result["best"].items():
        own = [row for row in result["trials"] if row["method"] == name]
        assert best == best_of(own, partial(_error, folder, name))
        assert asked.pop(0) == _error(folder, name, *own) > 0
        assert {row["unused"] for row in own} == {name == "grad_diff"}
        assert all(0 <= row["strangers"] <= 1 for row in own)
        assert all(0 <= row["membership_auc"] <= 1 for row in own)
    assert read_json(folder / "tuning" / "tuning.json")["trials"] == result["trials"]
    assert not (folder / "models" / "oracle").exists(), "no oracle is trained for tuning"
    assert {plan.status for plan in plan_tuning(recipe, folder, 2)[1]} == {"done"}, "a second call makes nothing"

    tuned = load_recipe(folder / "tuning" / "tuned.yaml")
    assert [method.row for method in tuned.methods] == ["ga", "grad_diff"]
    planned = {stage.name: stage.status for stage in api.plan(tuned, folder)}
    assert planned["theta0"] == "done"
    assert planned["ga"] == "to do"
