"""All stages of a recipe, in order, each with the key of what it depends on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mllmu_med import __version__
from mllmu_med.errors import DataError
from mllmu_med.folders import digest, file_digest
from mllmu_med.pipeline.cache import checkpoint_fingerprint, reuse_or_make
from mllmu_med.pipeline.requests import (
    Step,
    check_requests,
    common_name,
    count_of,
    is_row,
    served_name,
    shard_name,
    steps_of,
)  # fmt: skip
from mllmu_med.pipeline.stage import Facts, Stage
from mllmu_med.recipe import MethodSettings, Recipe, StageSettings, benchmark_plan, make_method, make_source

if TYPE_CHECKING:
    from mllmu_med.methods.plans.shards import Shards

FORMAT = 3
"""Raised whenever equal recipes would give other bytes than before."""


def _file_key(path: Path) -> str:
    if not path.is_file():
        raise DataError("no such file", file=path, mend="Check benchmark.request_file.")
    return file_digest(path)


class Keys:
    """Hashes of what each stage depends on, along the chain benchmark → base → θ0 → method → evaluation."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        model = recipe.model.model_dump(mode="json")
        if recipe.model.path != "embedded":
            del model["embedded"]
            model["content"] = checkpoint_fingerprint(Path(recipe.model.path))
        self._model = model

    def _key(self, stage: str, **inputs: Any) -> str:
        return digest({"stage": stage, "format": FORMAT, "package": __version__, "seed": self.recipe.seed, **inputs})

    @cached_property
    def benchmark(self) -> str:
        """Source and plan."""
        source, plan = make_source(self.recipe), benchmark_plan(self.recipe)
        requests = None if plan.request_file is None else _file_key(Path(plan.request_file))
        return self._key(
            "benchmark", source=source.name, fingerprint=source.fingerprint(), plan=plan.as_dict(), requests=requests
        )

    @cached_property
    def base(self) -> str:
        """Benchmark, model, base stage."""
        settings = self.recipe.learn.base.model_dump(mode="json")
        return self._key("base", parent=self.benchmark, model=self._model, learn=settings)

    def learnt(self, which: str) -> str:
        """θ0 or the oracle: base and its own stage."""
        settings: StageSettings = getattr(self.recipe.learn, which)
        return self._key(which, parent=self.base, learn=settings.model_dump(mode="json"))

    def method(self, settings: MethodSettings, request: int | None = None) -> str:
        """θ0 and the method's numbers; its row's name does not matter.

        ``request``: of several, the number of the one after which the model stands (the last one unless given); it
        depends on the requests before it.
        """
        method, count = settings.model_dump(mode="json", exclude={"row"}), count_of(settings.requests)
        key = self.learnt("original")
        if count == 1:
            return self._key("method", parent=key, method=method)
        for number in range(1, (request or count) + 1):
            key = self._key("method", parent=key, method=method, request=number)
        return key

    def retrained(self, settings: MethodSettings, request: int) -> str:
        """The oracle, and for all but the last request those that are gone."""
        if request == count_of(settings.requests):
            return self._key("retrain", parent=self.learnt("oracle"))
        requests = settings.model_dump(mode="json", include={"requests"})
        return self._key("retrain", parent=self.learnt("oracle"), request=request, **requests)

    def common(self, method: Shards) -> str:
        """What a row's adapters are trained on: base, θ0's settings and the steps."""
        if not method.common_steps:
            return self.base
        settings = self.recipe.learn.original.model_dump(mode="json")
        return self._key("common", parent=self.base, learn=settings, steps=method.common_steps)

    def shard(self, method: Shards, number: int) -> str:
        """One adapter: θ_common, θ0's settings and the plan's numbers, but not how it will serve."""
        settings = self.recipe.learn.original.model_dump(mode="json")
        numbers = {name: value for name, value in asdict(method).items() if name not in ("combine", "retrain")}
        return self._key("shard", parent=self.common(method), learn=settings, method=numbers, shard=number)

    def served(self, settings: MethodSettings, method: Shards, request: int) -> str:
        """The sharded model after a request (0: before any): all adapters, how they serve, who is in which request."""
        adapters = [self.shard(method, number) for number in range(method.shards)]
        requests = settings.model_dump(mode="json", include={"requests"}) if request else {}
        return self._key("shards", parent=adapters, method=asdict(method), request=request, **requests)

    def collapse(self) -> str:
        """θ0, the control's numbers, and what it takes from ``unlearn``."""
        control = self.recipe.controls.collapse.model_dump(mode="json")
        shared = {"branches", "clip", "forget_batch", "phrasings", "span_weights"}
        unlearn = self.recipe.unlearn.model_dump(mode="json", include=shared)
        return self._key("collapse", parent=self.learnt("original"), control=control, unlearn=unlearn)

    def truncated_retrain(self) -> str:
        """Base and the methods' budget; how the methods' requests follow each other does not matter to it."""
        unlearn = {**self.recipe.unlearn.model_dump(mode="json"), "requests": 1}
        rate = self.recipe.learn.original.learning_rate
        return self._key("truncated_retrain", parent=self.base, unlearn=unlearn, learning_rate=rate)

    def evaluation(self, model: str) -> str:
        """The model and how it is asked; batch size and bootstrap change no answer."""
        settings = self.recipe.evaluate.model_dump(mode="json", exclude={"batch", "bootstrap"})
        return self._key("evaluation", parent=model, evaluate=settings)


def all_stages(recipe: Recipe, output: Path) -> list[Stage]:
    """Every stage of the recipe, in the order in which they are carried out."""
    # Imported here: a dry run of these lines must not cost the import of torch.
    from mllmu_med.pipeline.workshop import Workshop

    keys, workshop = Keys(recipe), Workshop(recipe, output)
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
    results_key = digest([stage.key for stage in stages] + [recipe.to_dict()])
    stages.append(_results_stage(workshop, results_key, output, [name for name, _ in models]))
    stages.append(_report_stage(workshop, digest([results_key, "report"]), output))
    return stages


def lane_threads(recipe: Recipe) -> int:
    """Threads of a stage that may run beside others: one for the embedded model, else all (0)."""
    return 1 if recipe.model.path == "embedded" else 0


Add = Callable[..., None]


def _benchmark_stage(recipe: Recipe, output: Path, keys: Keys) -> Stage:
    def make(folder: Path) -> Facts:
        from mllmu_med.benchmark.builder import build_benchmark

        inner = folder / "built"
        jobs = os.cpu_count() or 1
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
    from mllmu_med.benchmark.training_sets import TrainingSet

    learn = recipe.learn
    fixed = TrainingSet.ORACLE_FIX if learn.oracle.corrected else TrainingSet.ORACLE_DROP

    def base(folder: Path) -> Facts:
        from mllmu_med.pipeline.training import make_base

        check_requests(recipe, workshop.samples)
        return reuse_or_make(keys.base, folder, lambda: make_base(workshop, keys.base, folder))

    def learnt(which: TrainingSet, settings: StageSettings, name: str, key: str) -> Callable[[Path], Facts]:
        def make(folder: Path) -> Facts:
            from mllmu_med.pipeline.training import make_learnt

            check_requests(recipe, workshop.samples)
            return make_learnt(workshop, which, settings, name, key, folder)

        return make

    add("base", "learn", keys.base, _size(learn.base), base, asked=False)
    original, oracle = keys.learnt("original"), keys.learnt("oracle")
    add(
        "theta0",
        "learn",
        original,
        _size(learn.original),
        learnt(TrainingSet.ORIGINAL, learn.original, "theta0", original),
        "base",
    )
    add("oracle", "learn", oracle, _size(learn.oracle), learnt(fixed, learn.oracle, "oracle", oracle), "base")


def _size(settings: StageSettings) -> str:
    return f"{settings.steps:,} steps of {settings.batch * settings.gradient_accumulation}"


def _add_controls(recipe: Recipe, workshop: Any, keys: Keys, add: Add) -> None:
    unlearn, controls = recipe.unlearn, recipe.controls

    def collapse(folder: Path) -> Facts:
        from mllmu_med.pipeline.training import make_collapse

        return make_collapse(workshop, "collapse", keys.collapse(), folder)

    def truncated(folder: Path) -> Facts:
        from mllmu_med.pipeline.training import make_truncated_retrain

        return make_truncated_retrain(workshop, unlearn, "truncated_retrain", keys.truncated_retrain(), folder)

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


def _add_method(settings: MethodSettings, workshop: Any, keys: Keys, add: Add) -> None:
    """The stages of one row: its requests one after another, and before them what a plan is built from."""
    from mllmu_med.methods.edits.interface import Edit
    from mllmu_med.methods.guards.interface import Guard
    from mllmu_med.methods.interface import Cost
    from mllmu_med.methods.plans.retrain import Retrain
    from mllmu_med.methods.plans.shards import Shards

    method = make_method(settings)
    start = "theta0"
    if isinstance(method, Shards):
        start = _add_shards(settings, method, workshop, keys, add)
    steps = steps_of(settings, start)
    for step in steps:
        needs: tuple[str, ...] = (step.start,)
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


def _evaluation_stage(workshop: Any, name: str, key: str, output: Path) -> Stage:
    def make(folder: Path) -> Facts:
        from mllmu_med.pipeline.evaluating import evaluate_model

        return evaluate_model(workshop, name, folder)

    threads = lane_threads(workshop.recipe)
    folder = output / "evaluations" / name
    return Stage(f"evaluate {name}", "evaluate", folder, key, "every sample and probe", make, (name,), threads)


def _results_stage(workshop: Any, key: str, output: Path, asked: list[str]) -> Stage:
    rows = [name for name in asked if is_row(name)]

    def make(folder: Path) -> Facts:
        from mllmu_med.pipeline.evaluating import write_results

        return write_results(workshop, rows, folder)

    return Stage(
        "results",
        "evaluate",
        output / "results",
        key,
        f"{len(rows) + 1} rows",
        make,
        tuple(f"evaluate {name}" for name in asked),
    )


def _report_stage(workshop: Any, key: str, output: Path) -> Stage:
    def make(folder: Path) -> Facts:
        from mllmu_med.pipeline.evaluating import write_report

        return write_report(workshop, folder)

    return Stage("report", "report", output / "report", key, "page", make, ("results",))
