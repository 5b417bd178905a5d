"""Meta-evaluation: what each metric makes of models that hold the knowledge and of models that never had it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mllmu_med.folders import write_json
from mllmu_med.pipeline.lanes import alone_in, run_stages
from mllmu_med.pipeline.pools import CHANGES, UNCHANGED
from mllmu_med.pipeline.running import default_jobs, drop_checkpoint
from mllmu_med.pipeline.stage import Stage, StagePlan
from mllmu_med.pipeline.stages import all_stages
from mllmu_med.recipe import Recipe, load_recipe
from mllmu_med.recipe.metaeval_settings import Pool, pools_of

FORMAT = "mllmu-med/metaeval/1"
FILE = "metaeval.json"


def with_pools(recipe: Recipe, models: int) -> Recipe:
    """The recipe with so many models in each pool."""
    return load_recipe(recipe, f"metaeval.models={models}")


def _stages(recipe: Recipe, output: Path) -> list[Stage]:
    """Benchmark, base, θ0, the oracle, and the pools; no method."""
    wanted = {"benchmark", "base", "theta0", "oracle", "evaluate theta0", "evaluate oracle"}
    for pool in pools_of(recipe):
        wanted |= {pool.name, f"evaluate {pool.name}"}
    return [stage for stage in all_stages(recipe, output) if stage.name in wanted]


def plan_metaeval(recipe: Recipe, output: Path, models: int) -> list[StagePlan]:
    """What ``metaeval`` would do; nothing is written."""
    return [stage.plan() for stage in _stages(with_pools(recipe, models), output)]


def metaeval(recipe: Recipe, output: Path, models: int, jobs: int | None = None) -> dict[str, Any]:
    """Train the pools, ask them, and judge every metric.

    Args:
        recipe: what θ0 and the oracle are made by; its methods are not looked at.
        output: the run's folder, whose finished stages are reused; ``metaeval.json`` is written there.
        models: in each pool.
        jobs: stages at once; changes no result.

    Returns:
        the content of ``metaeval.json``.
    """
    recipe = with_pools(recipe, models)
    stages = _stages(recipe, output)
    output.mkdir(parents=True, exist_ok=True)
    with alone_in(output):
        run_stages(recipe, output, stages, jobs or default_jobs(recipe))
        for stage in stages:
            drop_checkpoint(output, stage)
        result = judge_metrics(recipe, output)
        write_json(output / FILE, result)
    return result


def judge_metrics(recipe: Recipe, output: Path) -> dict[str, Any]:
    """Every metric's trustworthiness, from stored outputs alone."""
    from mllmu_med.evaluation.comparing.floor import noise_floor
    from mllmu_med.evaluation.metaevaluation import FAITHFUL, Pools, flat, trust
    from mllmu_med.evaluation.output_store import read_outputs
    from mllmu_med.pipeline.evaluating import asked_samples
    from mllmu_med.pipeline.scoring import scored_rows
    from mllmu_med.pipeline.workshop import Workshop

    workshop = Workshop(recipe, output)
    samples = asked_samples(workshop)
    evaluations = output / "evaluations"
    references = {name: read_outputs(evaluations / name) for name in ("theta0", "oracle")}
    every = pools_of(recipe)

    def values(change: str, pools: Sequence[Pool]) -> list[Mapping[str, float | None]]:
        outputs = {pool.name: read_outputs(evaluations / pool.name / change) for pool in pools}
        rows = {row["name"]: row for row in scored_rows(workshop, samples, {**references, **outputs})}
        return [flat(rows[pool.name]) for pool in pools]

    held, never = [pool for pool in every if pool.held], [pool for pool in every if not pool.held]
    rows = {row["name"]: row for row in scored_rows(workshop, samples, references)}
    changed = {change.name: (values(change.name, held), values(change.name, never)) for change in CHANGES}
    pools = Pools(values(UNCHANGED, held), values(UNCHANGED, never), changed)
    found = trust(pools, flat(rows["theta0"]), flat(rows["oracle"]))
    alike = [pool.name for pool in never if pool.steps == 1.0]
    oracles = {name: read_outputs(evaluations / name / UNCHANGED) for name in alike}
    return {
        "format": FORMAT,
        "seed": recipe.seed,
        "oracles": ["oracle", *alike],
        "noise_floor": noise_floor(samples, references["theta0"], {"oracle": references["oracle"], **oracles}),
        "faithful_from": FAITHFUL,
        "pools": {pool.name: {"holds the knowledge": pool.held, "steps": pool.steps} for pool in every},
        "changes": {change.name: f"attack {change.attack}, {change.variant}" for change in CHANGES},
        "metrics": found,
    }
