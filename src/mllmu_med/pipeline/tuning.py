"""Tuning: the same number of trials for every method, judged on the validation part, never on the test part.

A trial is a method of a recipe of its own (row ``npo.trial-3``), carried out by the same stages as any run; it lies in
``<run>/tuning``, which shares the finished benchmark, base model and θ0 of the run. No oracle is used: a team with a
deletion request has none.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from mllmu_med.errors import UsageError
from mllmu_med.folders import read_manifest, write_json
from mllmu_med.pipeline.lanes import alone_in, run_stages
from mllmu_med.pipeline.requests import steps_of
from mllmu_med.pipeline.running import default_jobs, drop_checkpoint
from mllmu_med.pipeline.stage import Stage, StagePlan
from mllmu_med.pipeline.stages import all_stages
from mllmu_med.recipe import MethodSettings, Recipe, UnlearnSettings, make_method
from mllmu_med.seeding import permutation

if TYPE_CHECKING:
    from mllmu_med.benchmark.sample import Sample
    from mllmu_med.evaluation.strangers import OfStrangers

log = logging.getLogger("mllmu_med")

TUNING_FORMAT = "mllmu-med/tuning/1"
SHARED = ("benchmark", "models/base", "models/theta0")
TUNED = "tuned.yaml"
"""The recipe with the best settings of each method, ready to be run in the folder of the run."""
NEARLY_EQUAL = 0.02
"""Trials whose score is this near the best differ by what another seed would change. The score sees what is told, not
what is known: of these trials one is taken from which a membership test learns little."""
TOLD_APART = 0.05
"""Membership AUCs that are this near each other are equal: a dozen patients tell no more."""
AS_GOOD = 0.05
"""Trials whose score is this near the best are as good by the score. Where a part of the retain data may not be used,
the score does not see what becomes of it: of these trials those are taken that leave most of θ0 with strangers."""


@dataclass(frozen=True)
class Trial:
    """One try of a method: what differs from the recipe's own settings (nothing in the first trial)."""

    method: str
    number: int
    changes: Mapping[str, Any]

    @property
    def row(self) -> str:
        """Name of its row and folder."""
        return f"{self.method}.trial-{self.number}"


def tuning_folder(output: Path) -> Path:
    """Where the trials of a run lie."""
    return output / "tuning"


def grid_of(settings: MethodSettings) -> dict[str, tuple[Any, ...]]:
    """What may be tried for a method: its own grid, and its add-ons' under their names (``gu.history``)."""
    from mllmu_med.methods import ADDONS, METHODS
    from mllmu_med.methods.naming import split_name

    name, addons = split_name(settings.name)
    found: dict[str, tuple[Any, ...]] = dict(METHODS.get(name).grid)
    for addon in addons:
        found |= {f"{addon}.{key}": values for key, values in ADDONS.get(addon).grid.items()}
    return found


def trials_of(settings: MethodSettings, count: int, seed: int) -> list[Trial]:
    """At most ``count`` different trials of a method: the recipe's own settings, then points of its grid, by seed.

    The next point is always one whose values were tried least so far, drawn among equals. Of a few points drawn from
    all alike most would share a rate, as in random search over a grid; stratified, as in Latin hypercube sampling
    (McKay et al. 1979), four trials see four rates.
    """
    grid, own = grid_of(settings), _written(settings)
    names = sorted(grid)
    points = [dict(zip(names, values, strict=True)) for values in itertools.product(*(grid[name] for name in names))]
    left = [points[index] for index in permutation(len(points), seed, "tuning", settings.name)]
    effect = _effect(own)
    left = [point for point in left if _effect(_changed(own, point)) != effect]
    values = ((name, value) for name in names for value in grid[name])
    tried = Counter((name, value) for name, value in values if _effect(_changed(own, {name: value})) == effect)
    trials = [Trial(settings.row, 0, {})]
    while left and len(trials) < count:
        point = min(left, key=lambda point: sum(tried[value] for value in point.items()))
        left.remove(point)
        tried.update(point.items())
        trials.append(Trial(settings.row, len(trials), point))
    return trials


def _written(settings: MethodSettings) -> dict[str, Any]:
    return settings.model_dump(mode="json")


def _changed(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A method's block with the changes of a trial: fields of ``unlearn`` by name, all else is a parameter."""
    made: dict[str, Any] = {**settings, "parameters": {**settings["parameters"]}}
    for key, value in changes.items():
        addon, _, inner = key.rpartition(".")
        if addon:
            made["parameters"][addon] = {**made["parameters"].get(addon, {}), inner: value}
        elif key in UnlearnSettings.model_fields:
            made[key] = value
        else:
            made["parameters"][key] = value
    return made


def _effect(block: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """What a method's block comes to: the method with all its numbers, written or its defaults, and the rest."""
    written = ("parameters", "retain_weight")
    rest = {name: value for name, value in block.items() if name not in written}
    return make_method(MethodSettings.model_validate(block)), rest


def tuning_recipe(recipe: Recipe, trials: Sequence[Trial]) -> Recipe:
    """The recipe whose methods are the trials, asked the validation part only."""
    own = {method.row: _written(method) for method in recipe.methods}
    methods = [{**_changed(own[trial.method], trial.changes), "row": trial.row} for trial in trials]
    raw = recipe.to_dict()
    raw["methods"] = methods
    raw["evaluate"] = {**raw["evaluate"], "part": "validation", "probes": "original", "bootstrap": 0}
    return Recipe.model_validate(raw)


def plan_trials(recipe: Recipe, count: int) -> list[Trial]:
    """All trials of all methods of a recipe, as many of each: where a grid has fewer points, all get as few.

    Raises:
        UsageError: a method has nothing to tune.
    """
    if count < 2:
        raise UsageError(f"{count} trial of each method leaves nothing to choose from; give two or more")
    trials: list[list[Trial]] = []
    for method in recipe.methods:
        make_method(method)  # a fault in its settings is told before anything is trained
        trials.append(trials_of(method, count, recipe.seed))
        if len(trials[-1]) == 1:
            raise UsageError(f"{method.name} declares no grid, there is nothing to tune; leave it out with --method")
    least = min(map(len, trials))
    if least < count:
        short = ", ".join(found[0].method for found in trials if len(found) == least)
        log.warning("%d trials of each method and not %d: the grid of %s has no more", least, count, short)
    return [trial for found in trials for trial in found[:least]]


def _stages(recipe: Recipe, folder: Path) -> list[Stage]:
    """What tuning carries out: no oracle, no control, no report."""
    rows = [method.row for method in recipe.methods]
    steps = [step.name for method in recipe.methods for step in steps_of(method)]  # the rows, and the requests before
    wanted = {"benchmark", "base", "theta0", *steps, "evaluate theta0", *(f"evaluate {row}" for row in rows)}
    return [stage for stage in all_stages(recipe, folder) if stage.name in wanted]


def plan_tuning(recipe: Recipe, output: Path, count: int) -> tuple[list[Trial], list[StagePlan]]:
    """What ``tune`` would do; nothing is written."""
    trials = plan_trials(recipe, count)
    return trials, [stage.plan() for stage in _stages(tuning_recipe(recipe, trials), tuning_folder(output))]


def tune(recipe: Recipe, output: Path, count: int, jobs: int | None = None) -> dict[str, Any]:
    """Carry out all trials and choose the best of each method.

    Args:
        recipe: its methods are tuned; what is not in a method's grid stays as the recipe says.
        output: the run's folder; trials lie in its ``tuning`` folder, which also keeps ``tuning.json``.
        count: trials for each method; fewer of all where the grid of one has fewer points, and the log says so.
        jobs: stages at once; changes no result.

    Returns:
        the content of ``tuning.json``: all trials with settings, score and parts, and the best of each method.
    """
    trials = plan_trials(recipe, count)
    tuned, folder = tuning_recipe(recipe, trials), tuning_folder(output)
    folder.mkdir(parents=True, exist_ok=True)
    shared = [stage for stage in all_stages(recipe, output) if stage.folder in {output / name for name in SHARED}]
    with alone_in(output):
        run_stages(recipe, output, shared, jobs or default_jobs(recipe))
        for stage in shared:
            drop_checkpoint(output, stage)
        share_finished(output, folder)
    stages = _stages(tuned, folder)
    with alone_in(folder):
        run_stages(tuned, folder, stages, jobs or default_jobs(tuned))
        for stage in stages:
            drop_checkpoint(folder, stage)
    result = _judge(tuned, folder, trials, len(trials) // len(recipe.methods))
    write_json(folder / "tuning.json", result)
    best = [{**found["settings"], "row": method} for method, found in result["best"].items()]
    text = yaml.safe_dump({**recipe.to_dict(), "methods": best}, sort_keys=False, allow_unicode=True)
    (folder / TUNED).write_text(text, encoding="utf-8")
    return result


def share_finished(output: Path, folder: Path, names: Sequence[str] = SHARED) -> None:
    """Give another folder these finished stages of a run, as hard links (copies where the disk has none)."""
    for name in names:
        source, target = output / name, folder / name
        if target.is_dir() and read_manifest(target).get("key") != read_manifest(source).get("key"):
            shutil.rmtree(target)
        if not target.exists():
            # Linked under a hidden name first: a folder with this name is a whole one.
            hidden = target.with_name(f".{target.name}.linking")
            shutil.rmtree(hidden, ignore_errors=True)
            shutil.copytree(source, hidden, copy_function=_link)
            hidden.rename(target)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _judge(recipe: Recipe, folder: Path, trials: Sequence[Trial], count: int) -> dict[str, Any]:
    from mllmu_med.benchmark.sample import Subset
    from mllmu_med.evaluation.grid import evaluation_samples
    from mllmu_med.evaluation.output_store import read_outputs
    from mllmu_med.evaluation.strangers import auc_against_strangers, strangers_error, strangers_kept
    from mllmu_med.evaluation.validation import validation_score
    from mllmu_med.pipeline.retained import unused_clusters
    from mllmu_med.pipeline.strangers import read_strangers
    from mllmu_med.pipeline.workshop import Workshop

    workshop = Workshop(recipe, folder)
    samples: list[Sample] = evaluation_samples(
        workshop.samples, most=recipe.evaluate.ordinary_samples, seed=recipe.seed, part="validation"
    )
    theta0 = folder / "evaluations" / "theta0"
    original, of_strangers = read_outputs(theta0), read_strangers(theta0)
    settings = {method.row: method for method in recipe.methods}
    rows: list[dict[str, Any]] = []
    told: dict[tuple[str, int], OfStrangers] = {}

    def error(one: Mapping[str, Any], other: Mapping[str, Any]) -> float | None:
        of_one, of_other = (told[row["method"], row["trial"]] for row in (one, other))
        return strangers_error(of_one.answers, of_other.answers, of_strangers.answers)

    for trial in trials:
        # Not by what the method was not shown: what becomes of that is seen once, in the test.
        unused = unused_clusters(workshop, settings[trial.row])
        own = [s for s in samples if s.subset is not Subset.RETAIN or s.cluster not in unused]
        evaluation = folder / "evaluations" / trial.row
        outputs, asked = read_outputs(evaluation), read_strangers(evaluation)
        score = validation_score(own, outputs, original)
        told[trial.method, trial.number] = asked
        strangers = strangers_kept(asked.answers, of_strangers.answers, seed=recipe.seed, bootstrap=0)
        auc = auc_against_strangers({sample.id: sample for sample in own}, outputs, asked.records)
        training = read_manifest(folder / "models" / trial.row)["training"]
        rows.append(
            {
                "method": trial.method,
                "trial": trial.number,
                "changes": dict(trial.changes),
                "settings": settings[trial.row].model_dump(mode="json", exclude={"row"}),
                "score": score.value,
                "scenarios": score.scenarios,
                "parts": score.parts,
                "strangers": None if strangers is None else strangers["kept"],
                "membership_auc": None if auc is None else round(auc, 6),
                "unused": bool(unused),
                "steps": training["steps"],
                "records": training["records"],
                "seconds": training["loop_seconds"],
                "stopped": training["stopped"],
            }
        )
    methods = dict.fromkeys(row["method"] for row in rows)
    best = {method: best_of([row for row in rows if row["method"] == method], error) for method in methods}
    return {
        "format": TUNING_FORMAT,
        "seed": recipe.seed,
        "trials_per_method": count,
        "judged_on": "forget set in its own wordings, usable retained patients, validation part, made-up patients; "
        "never the test part",
        "trials": rows,
        "best": best,
    }


def best_of(
    trials: Sequence[dict[str, Any]], error: Callable[[Mapping[str, Any], Mapping[str, Any]], float | None]
) -> dict[str, Any]:
    """The trial that is taken; of equals the first, so that the recipe's own settings win a tie.

    Where the method may use all retain data, all are in question. Else, of those within :data:`AS_GOOD` of the best
    score, the one that says of most strangers what θ0 says, and those behind it by no more than the standard error of
    the difference, for that is a few answers' chance.

    Of those in question and within :data:`NEARLY_EQUAL` of their best score those count whose membership AUC against
    made-up patients is nearest .5, or by no more than :data:`TOLD_APART` further from it. The best score decides among
    them, and alone where there is no such AUC.

    Args:
        trials: of one method.
        error: of the difference between what two of them keep of strangers; None where it cannot be told, as from one
            stranger, who then decides nothing.
    """
    best = max(in_question := _in_question(trials, error), key=_score)
    equal = [row for row in in_question if _score(row) >= _score(best) - NEARLY_EQUAL]
    if any(row["membership_auc"] is None for row in equal):
        return best
    nearest = min(_trace(row) for row in equal)
    return max((row for row in equal if _trace(row) <= nearest + TOLD_APART), key=_score)


def _in_question(
    trials: Sequence[dict[str, Any]], error: Callable[[Mapping[str, Any], Mapping[str, Any]], float | None]
) -> list[dict[str, Any]]:
    best = max(trials, key=_score)
    if best["strangers"] is None or not best["unused"]:
        return list(trials)
    as_good = [row for row in trials if _score(row) >= _score(best) - AS_GOOD]
    most = max(as_good, key=_strangers)

    def apart(row: Mapping[str, Any]) -> bool:
        found = error(most, row)
        return found is not None and _strangers(most) - _strangers(row) > found

    return [row for row in as_good if not apart(row)]


def _trace(row: Mapping[str, Any]) -> float:
    return abs(float(row["membership_auc"]) - 0.5)


def _strangers(row: Mapping[str, Any]) -> float:
    return float(row["strangers"])


def _score(row: Mapping[str, Any]) -> float:
    return -math.inf if row["score"] is None else float(row["score"])
