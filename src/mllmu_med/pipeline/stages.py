"""All stages of a recipe, in order, each with the key of what it depends on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from mllmu_med import __version__
from mllmu_med.errors import DataError
from mllmu_med.folders import digest, file_digest
from mllmu_med.pipeline.cache import checkpoint_fingerprint, reuse_or_make
from mllmu_med.pipeline.stage import Facts, Stage
from mllmu_med.recipe import MethodSettings, Recipe, StageSettings, benchmark_plan, make_source

FORMAT = 2
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

    def method(self, settings: MethodSettings) -> str:
        """θ0 and the method's numbers; its row's name does not matter."""
        return self._key(
            "method", parent=self.learnt("original"), method=settings.model_dump(mode="json", exclude={"row"})
        )

    def collapse(self) -> str:
        """θ0, the control's numbers, and what it takes from ``unlearn``."""
        control = self.recipe.controls.collapse.model_dump(mode="json")
        shared = {"branches", "clip", "forget_batch", "phrasings", "span_weights"}
        unlearn = self.recipe.unlearn.model_dump(mode="json", include=shared)
        return self._key("collapse", parent=self.learnt("original"), control=control, unlearn=unlearn)

    def truncated_retrain(self) -> str:
        """Base and the methods' budget."""
        unlearn = self.recipe.unlearn.model_dump(mode="json")
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

    def add(name: str, verb: str, key: str, estimate: str, make: Callable[[Path], Facts], *needs: str) -> None:
        threads = 0 if name == "base" else lane_threads(recipe)
        stages.append(Stage(name, verb, output / "models" / name, key, estimate, make, ("benchmark", *needs), threads))
        models.append((name, key))

    _add_learning(recipe, workshop, keys, add)
    _add_unlearning(recipe, workshop, keys, add)
    for name, key in models:
        if name == "base":
            continue
        stages.append(_evaluation_stage(workshop, name, keys.evaluation(key), output))
    results_key = digest([stage.key for stage in stages] + [recipe.to_dict()])
    stages.append(_results_stage(workshop, results_key, output, [name for name, _ in models if name != "base"]))
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

        return reuse_or_make(keys.base, folder, lambda: make_base(workshop, keys.base, folder))

    def learnt(which: TrainingSet, settings: StageSettings, name: str, key: str) -> Callable[[Path], Facts]:
        def make(folder: Path) -> Facts:
            from mllmu_med.pipeline.training import make_learnt

            return make_learnt(workshop, which, settings, name, key, folder)

        return make

    add("base", "learn", keys.base, _size(learn.base), base)
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


def _add_unlearning(recipe: Recipe, workshop: Any, keys: Keys, add: Add) -> None:
    unlearn, controls = recipe.unlearn, recipe.controls

    def collapse(folder: Path) -> Facts:
        from mllmu_med.pipeline.training import make_collapse

        return make_collapse(workshop, "collapse", keys.collapse(), folder)

    def truncated(folder: Path) -> Facts:
        from mllmu_med.pipeline.training import make_truncated_retrain

        return make_truncated_retrain(workshop, unlearn, "truncated_retrain", keys.truncated_retrain(), folder)

    def method(settings: MethodSettings) -> Callable[[Path], Facts]:
        def make(folder: Path) -> Facts:
            from mllmu_med.pipeline.training import make_method_model

            return make_method_model(workshop, settings, keys.method(settings), folder)

        return make

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
    for settings in recipe.methods:
        size_text = f"{settings.steps} steps of {settings.forget_batch} + {settings.retain_batch}"
        add(settings.row, "unlearn", keys.method(settings), size_text, method(settings), "theta0")


def _evaluation_stage(workshop: Any, name: str, key: str, output: Path) -> Stage:
    def make(folder: Path) -> Facts:
        from mllmu_med.pipeline.evaluating import evaluate_model

        return evaluate_model(workshop, name, folder)

    threads = lane_threads(workshop.recipe)
    folder = output / "evaluations" / name
    return Stage(f"evaluate {name}", "evaluate", folder, key, "every sample and probe", make, (name,), threads)


def _results_stage(workshop: Any, key: str, output: Path, rows: list[str]) -> Stage:
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
        tuple(f"evaluate {r}" for r in rows),
    )


def _report_stage(workshop: Any, key: str, output: Path) -> Stage:
    def make(folder: Path) -> Facts:
        from mllmu_med.pipeline.evaluating import write_report

        return write_report(workshop, folder)

    return Stage("report", "report", output / "report", key, "page", make, ("results",))
