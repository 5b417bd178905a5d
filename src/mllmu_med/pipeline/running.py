"""Planning and carrying out a recipe."""

from __future__ import annotations

import glob
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mllmu_med.cores import cores
from mllmu_med.errors import UsageError
from mllmu_med.folders import canonical_json, read_json, write_json
from mllmu_med.pipeline.lanes import alone_in, run_stages
from mllmu_med.pipeline.stage import VERBS, Stage, StagePlan
from mllmu_med.pipeline.stages import all_stages, lane_threads
from mllmu_med.recipe import Recipe

log = logging.getLogger("mllmu_med")


@dataclass(frozen=True)
class RunResult:
    """What a run left behind.

    Attributes:
        folder: the run's folder.
        results: ``results.json``, if the run came so far.
        page: the report's page, if the run came so far.
    """

    folder: Path
    results: dict[str, Any] | None
    page: Path | None


def _chosen(stages: Sequence[Stage], until: str | None) -> list[Stage]:
    if until is not None and until not in VERBS:
        raise UsageError(f"no verb '{until}'; the stages are {', '.join(VERBS)}")
    last = VERBS.index(until or VERBS[-1])
    return [stage for stage in stages if VERBS.index(stage.verb) <= last]


def plan_run(recipe: Recipe, output: Path, *, until: str | None = None) -> list[StagePlan]:
    """The stages of a run, which of them are done, and how large the others are. Nothing is written.

    A stage is done if its folder was made from what the recipe and the data say now, all earlier stages included.
    """
    return [stage.plan() for stage in _chosen(all_stages(recipe, output), until)]


def run(
    recipe: Recipe,
    output: Path,
    *,
    until: str | None = None,
    jobs: int | None = None,
) -> RunResult:
    """Carry out a recipe in ``output``; finished stages are reused.

    Args:
        recipe: what to do.
        output: the run's folder; holds ``recipe.json``, ``benchmark/``, ``models/``, ``evaluations/``, ``results/``
            and ``report/``.
        until: last verb to carry out.
        jobs: stages at once; None = as many as the machine has use for. Changes no result.

    Raises:
        UsageError: another process is at work in the folder, or something that is no output stands in the way.
    """
    stages = _chosen(all_stages(recipe, output), until)
    for stage in stages:
        stage.reason()  # what stands in the way of the last one is told before the first one begins
    output.mkdir(parents=True, exist_ok=True)
    with alone_in(output):
        _note_recipe(recipe, output)
        run_stages(recipe, output, stages, jobs or default_jobs(recipe))
        for stage in stages:
            drop_checkpoint(output, stage)
    return _result(output, stages)


def make_again(recipe: Recipe, output: Path, verbs: Sequence[str]) -> RunResult:
    """Make what these verbs write in a finished run once more, from what is stored there, and nothing else.

    The run's data and the checkpoint that it began with need not be there any more.
    """
    stages = [stage for stage in all_stages(recipe, output, stored=True) if stage.verb in verbs]
    with alone_in(output):
        for stage in stages:
            stage.ensure(again=True)
    return _result(output, stages)


def _result(output: Path, stages: Sequence[Stage]) -> RunResult:
    results, page = output / "results" / "results.json", output / "report" / "index.html"
    verbs = {stage.verb for stage in stages}
    return RunResult(
        output,
        read_json(results) if verbs & {"score", "report"} and results.is_file() else None,
        page if "report" in verbs and page.is_file() else None,
    )


def default_jobs(recipe: Recipe) -> int:
    """One stage a core for the embedded model (each needs one thread); one at a time for anything larger."""
    return min(4, cores()) if lane_threads(recipe) else 1


def drop_checkpoint(output: Path, stage: Stage) -> None:
    """Remove the resumable state of a finished stage (the base has a second one, of its tower)."""
    for name in (stage.name, "tower") if stage.name == "base" else (stage.name,):
        own = output / "models" / f".checkpoint-{name}"
        for folder in (own, *own.parent.glob(f"{glob.escape(own.name)}~[0-9]*")):  # of an edit that trains again
            shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(stage.folder.with_name(f".answers-{stage.folder.name}"), ignore_errors=True)


def _note_recipe(recipe: Recipe, output: Path) -> None:
    path = output / "recipe.json"
    if not path.is_file() or canonical_json(read_json(path)) != canonical_json(recipe.to_dict()):
        write_json(path, recipe.to_dict())
