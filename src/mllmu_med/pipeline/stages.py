"""All stages of a recipe, in order, each with the key of what it depends on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mllmu_med.cores import cores
from mllmu_med.errors import UsageError
from mllmu_med.folders import digest
from mllmu_med.pipeline.cache import reuse_or_make
from mllmu_med.pipeline.controls import ANOTHER, INSTRUCTION, SHUFFLED, WRAPPER, filter_settings, make_shuffled
from mllmu_med.pipeline.keys import Keys, StoredKeys
from mllmu_med.pipeline.requests import (
    Step,
    check_requests,
    common_name,
    is_row,
    served_name,
    shard_name,
    steps_of,
)  # fmt: skip
from mllmu_med.pipeline.stage import Facts, Stage
from mllmu_med.recipe import (
    MethodSettings,
    Recipe,
    StageSettings,
    benchmark_plan,
    make_method,
    make_source,
)
from mllmu_med.seeding import derive

if TYPE_CHECKING:
    from mllmu_med.methods.composition import Composite
    from mllmu_med.methods.edits.interface import Edit
    from mllmu_med.methods.plans.shards import Shards


def all_stages(recipe: Recipe, output: Path, *, stored: bool = False) -> list[Stage]:
    """Every stage of the recipe, in the order in which they are carried out.

    Args:
        stored: ``output`` is a finished run, whose benchmark and base stand for the data and the checkpoint.
    """
    # Imported here: a dry run of these lines must not cost the import of torch.
    from mllmu_med.pipeline.workshop import Workshop

    keys, workshop = StoredKeys(recipe, output) if stored else Keys(recipe), Workshop(recipe, output)
    models: list[tuple[str, str]] = []
    stages = [_benchmark_stage(recipe, output, keys)]

    def add(
        name: str, verb: str, key: str, estimate: str, make: Callable[[Path], Facts], *needs: str, asked: bool = True
    ) -> None:
        threads = 0 if name == "base" else lane_threads(recipe)
        stages.append(Stage(name, verb, output / "models" / name, key, estimate, make, ("benchmark", *needs), threads))
        if asked:
            models.append((name, key))

    _add_learning(recipe, workshop, keys, add)
    _add_controls(recipe, workshop, keys, add)
    for settings in recipe.methods:
        _add_method(settings, workshop, keys, add)
    for name, key in models:
        stages.append(_evaluation_stage(workshop, name, keys.evaluation(key), output))
    stages.append(_evaluation_stage(workshop, "base", keys.evaluation(keys.base), output))
    attacked = [(name, key) for name, key in models if is_row(name)] if recipe.attack.attacks else []
    for name, key in attacked:
        stages.append(_attack_stage(workshop, name, key, keys, output))
    whole = {**recipe.to_dict(), "metaeval": None}  # pools are no rows
    looked_into = [(name, key) for name, key in models if is_row(name)] if recipe.inside else []
    for name, key in looked_into:
        stages += _inside_stages(workshop, name, key, keys, output)
    results_key = digest([stage.key for stage in stages] + [whole, SCORED])
    asked, under_attack = [name for name, _ in models], [name for name, _ in attacked]
    if recipe.controls.more:
        key = keys.evaluation(keys.learnt("original"), behind=INSTRUCTION)
        stages.append(_evaluation_stage(workshop, WRAPPER, key, output, model="theta0"))
        asked.append(WRAPPER)
    needs = ["evaluate base", *(f"evaluate {name}" for name in asked), *(f"attack {name}" for name in under_attack)]
    needs += [f"inside {name}" for name, _ in looked_into]
    stages.append(_results_stage(workshop, results_key, output, asked, needs))
    stages.append(_report_stage(workshop, digest([results_key, "report"]), output))
    if recipe.metaeval.models:
        from mllmu_med.pipeline.pools import pool_stages

        stages += pool_stages(workshop, keys, lane_threads(recipe), output)
    built, *others = stages
    return [built, *(replace(stage, closed_like=built.folder) for stage in others)]


def lane_threads(recipe: Recipe) -> int:
    """Threads of a stage that may run beside others: one for the embedded model, else all (0)."""
    return 1 if recipe.model.path == "embedded" else 0


SCORED = 2
"""Raised whenever equal answers would be scored otherwise than before."""
Add = Callable[..., None]


def _benchmark_stage(recipe: Recipe, output: Path, keys: Keys) -> Stage:
    def make(folder: Path) -> Facts:
        from mllmu_med.benchmark.builder import build_benchmark

        inner = folder / "built"
        jobs = cores()
        benchmark = build_benchmark(make_source(recipe), benchmark_plan(recipe), inner, seed=recipe.seed, jobs=jobs)
        facts = {k: v for k, v in benchmark.manifest.items() if k != "files"}
        for path in inner.iterdir():
            if path.name != "manifest.json":
                shutil.move(path, folder / path.name)
        folder.chmod(inner.stat().st_mode)  # closed to others where it holds real values
        shutil.rmtree(inner)
        return facts

    estimate = f"inject into source '{recipe.source.name}'"
    return Stage("benchmark", "build", output / "benchmark", keys.benchmark, estimate, make)


def _add_learning(recipe: Recipe, workshop: Any, keys: Keys, add: Add) -> None:
    from mllmu_med.benchmark.training_sets import TrainingSet, oracle_set

    learn = recipe.learn
    fixed = oracle_set(corrected=learn.oracle.corrected)

    def base(folder: Path) -> Facts:
        from mllmu_med.pipeline.training import make_base

        check_requests(recipe, workshop.samples)
        return reuse_or_make(keys.base, folder, lambda: make_base(workshop, keys.base, folder))

    def learnt(name: str, key: str, which: TrainingSet, settings: StageSettings, seed: int) -> None:
        def make(folder: Path) -> Facts:
            from mllmu_med.pipeline.training import make_learnt

            check_requests(recipe, workshop.samples)
            return reuse_or_make(
                key, folder, lambda: make_learnt(workshop, which, settings, name, key, folder, seed=seed), name
            )

        add(name, "learn", key, _size(settings), make, "base")

    add("base", "learn", keys.base, _size(learn.base), base, asked=False)
    learnt("theta0", keys.learnt("original"), TrainingSet.ORIGINAL, learn.original, recipe.seed)
    learnt("oracle", keys.learnt("oracle"), fixed, learn.oracle, recipe.seed)
    if recipe.controls.another_oracle:
        learnt(ANOTHER, keys.another_oracle(), fixed, learn.oracle, derive(recipe.seed, ANOTHER))


def _size(settings: StageSettings) -> str:
    return f"{settings.steps:,} steps of {settings.batch * settings.gradient_accumulation}"


def _add_controls(recipe: Recipe, workshop: Any, keys: Keys, add: Add) -> None:
    unlearn, controls = recipe.unlearn, recipe.controls

    def collapse(folder: Path) -> Facts:
        from mllmu_med.pipeline.training import make_collapse

        return make_collapse(workshop, "collapse", keys.collapse(), folder)

    def truncated(folder: Path) -> Facts:
        from mllmu_med.pipeline.training import make_truncated_retrain

        name, key = "truncated_retrain", keys.truncated_retrain()
        return reuse_or_make(key, folder, lambda: make_truncated_retrain(workshop, unlearn, name, key, folder), name)

    add("collapse", "unlearn", keys.collapse(), f"{controls.collapse.steps} steps of ascent", collapse, "theta0")
    if controls.truncated_retrain:
        size = unlearn.forget_batch + unlearn.retain_batch
        add(
            "truncated_retrain",
            "unlearn",
            keys.truncated_retrain(),
            f"{unlearn.steps} steps of {size}",
            truncated,
            "base",
        )
    if controls.more:
        add(SHUFFLED, "unlearn", keys.shuffled(), "no training", partial(make_shuffled, workshop), "theta0")
        _add_method(filter_settings(recipe), workshop, keys, add)


def _add_method(settings: MethodSettings, workshop: Any, keys: Keys, add: Add) -> None:
    """The stages of one row: its requests one after another, and before them what a plan is built from."""
    from mllmu_med.methods.composition import Composite
    from mllmu_med.methods.edits.interface import Edit
    from mllmu_med.methods.guards.interface import Guard
    from mllmu_med.methods.interface import Cost
    from mllmu_med.methods.plans.retrain import Retrain
    from mllmu_med.methods.plans.shards import Shards
    from mllmu_med.pipeline.training import needs_base

    method = make_method(settings)
    if isinstance(method, Composite | Edit):
        _check_support(workshop.recipe, settings, method)
    start = "theta0"
    if isinstance(method, Shards):
        start = _add_shards(settings, method, workshop, keys, add)
    steps = steps_of(settings, start)
    for step in steps:
        needs: tuple[str, ...] = (step.start,)
        if isinstance(method, Composite) and needs_base(method, settings):
            needs += ("base",)
        size = f"{settings.steps} steps of {settings.forget_batch} + {settings.retain_batch}"
        key = keys.method(settings, step.number)
        if isinstance(method, Edit | Guard) and method.cost is Cost.NONE:
            size = "no training"
        if isinstance(method, Retrain):
            needs, size = ("base", "oracle"), _size(workshop.recipe.learn.oracle)
            key = keys.retrained(settings, step.number)
        elif isinstance(method, Shards):
            again = f"{method.steps:,} steps for each shard that loses records"
            size, key = again if method.retrain else "adapters dropped", keys.served(settings, method, step.number)
        if len(steps) > 1:
            size = f"request {step.number} of {len(steps)}: {size}"
        add(step.name, "unlearn", key, size, _carried_out(settings, step, workshop, key), *needs)


def _check_support(recipe: Recipe, settings: MethodSettings, method: Composite | Edit) -> None:
    """Refuse weights that a method cannot work on before anything is made for it; the loop asks once more."""
    from mllmu_med.methods.interface import Supports

    held = Supports.FULL
    if recipe.model.trainable.adapted:
        held = Supports.QUANTISED if recipe.model.quantise else Supports.LORA
    try:
        method.supports.check(method.label, held)
    except UsageError as error:
        raise UsageError(f"methods.{settings.row}: {error} (model.trainable, model.quantise)") from None


def _carried_out(settings: MethodSettings, step: Step, workshop: Any, key: str) -> Callable[[Path], Facts]:
    def make(folder: Path) -> Facts:
        from mllmu_med.pipeline.sequence import RequestWorkshop
        from mllmu_med.pipeline.training import make_method_model

        return make_method_model(RequestWorkshop(workshop, settings, step), settings, key, folder)

    return make


def _add_shards(settings: MethodSettings, method: Shards, workshop: Any, keys: Keys, add: Add) -> str:
    """θ_common, an adapter per shard, and the model that all of them make, whose name is returned."""
    from mllmu_med.pipeline.planning import make_common, make_served, make_shard

    row = settings.row
    common, served = common_name(method, row), served_name(row)
    if method.common_steps:
        key = keys.common(method)
        size = f"{method.common_steps:,} steps on ordinary records"
        add(common, "unlearn", key, size, partial(make_common, workshop, method, common, key), "base", asked=False)
    names = [shard_name(row, number) for number in range(method.shards)]
    for number, name in enumerate(names):
        key = keys.shard(method, number)
        size = f"{method.steps:,} steps of {workshop.recipe.learn.original.batch}"
        add(name, "unlearn", key, size, partial(make_shard, workshop, method, row, number, key), common, asked=False)
    add(
        served,
        "unlearn",
        keys.served(settings, method, 0),
        "all adapters",
        partial(make_served, workshop, method, row),
        *names,
        common,
    )
    return served


def _evaluation_stage(workshop: Any, name: str, key: str, output: Path, *, model: str | None = None) -> Stage:
    def make(folder: Path) -> Facts:
        from mllmu_med.pipeline.evaluating import evaluate_model

        return evaluate_model(workshop, name, folder, model=model)

    threads = lane_threads(workshop.recipe)
    folder = output / "evaluations" / name
    return Stage(f"evaluate {name}", "evaluate", folder, key, "every sample and probe", make, (model or name,), threads)


def _attack_stage(workshop: Any, name: str, model: str, keys: Keys, output: Path) -> Stage:
    own, folder = keys.attacks(model), output / "attacks" / name

    def make(made: Path) -> Facts:
        from mllmu_med.pipeline.attacking import attack_model

        return attack_model(workshop, name, own, made)

    size = "1 attack" if len(own) == 1 else f"{len(own)} attacks"
    key, threads = keys.attack_stage(model), lane_threads(workshop.recipe)
    stage = Stage(f"attack {name}", "evaluate", folder, key, size, make, (name,), threads)
    if stage.reason() is None:
        return stage
    from mllmu_med.pipeline.attacking import kept_attacks

    kept = len(kept_attacks(folder, own))
    return replace(stage, estimate=f"{size}, {kept} of them kept") if kept else stage


def _inside_stages(workshop: Any, name: str, model: str, keys: Keys, output: Path) -> list[Stage]:
    def states(folder: Path) -> Facts:
        from mllmu_med.pipeline.inside import make_states

        return make_states(workshop, name, folder)

    def inside(folder: Path) -> Facts:
        from mllmu_med.pipeline.inside import inside_of

        return inside_of(workshop, name, folder)

    threads, taken, put = lane_threads(workshop.recipe), f"states {name}", f"inside {name}"
    needs = (taken, "theta0", "oracle")
    return [
        Stage(
            taken, "evaluate", output / "states" / name, keys.states(model), "hidden states", states, (name,), threads
        ),
        Stage(
            put, "evaluate", output / "inside" / name, keys.inside(model), "patching, probes", inside, needs, threads
        ),
    ]


def _results_stage(workshop: Any, key: str, output: Path, asked: list[str], needs: list[str]) -> Stage:
    rows = [name for name in asked if is_row(name)]

    def make(folder: Path) -> Facts:
        from mllmu_med.pipeline.scoring import write_results

        return write_results(workshop, rows, folder)

    return Stage(
        "results",
        "score",
        output / "results",
        key,
        f"{len(rows) + 1} rows",
        make,
        tuple(needs),
    )


def _report_stage(workshop: Any, key: str, output: Path) -> Stage:
    def make(folder: Path) -> Facts:
        from mllmu_med.pipeline.scoring import write_report

        return write_report(workshop, folder)

    return Stage("report", "report", output / "report", key, "page", make, ("results",))
