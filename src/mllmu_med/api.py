"""The public API: one plain function per command. Each reads a recipe or folders and writes folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mllmu_med.errors import DataError, IntegrityError
from mllmu_med.folders import MANIFEST, read_json, read_manifest, verify
from mllmu_med.recipe import Recipe, load_recipe

if TYPE_CHECKING:
    from mllmu_med.pipeline import RunResult, StagePlan

__all__ = [
    "CheckResult", "build", "check", "evaluate", "learn", "load_recipe", "plan", "read_results", "run", "run_folder",
    "unlearn", "write_report",
]  # fmt: skip

BENCHMARK_FORMAT = "mllmu-med/benchmark/"
RESULTS = "results.json"


def run_folder(recipe: Recipe, output: Path | str | None = None) -> Path:
    """Where a recipe's run is written: ``output``, else ``runs/<name>`` below the present folder."""
    return Path(output).expanduser() if output is not None else Path("runs") / recipe.name


def plan(recipe: Recipe | str | Path, output: Path | str | None = None, *, until: str | None = None) -> list[StagePlan]:
    """What ``run`` would do, stage by stage; nothing is written."""
    from mllmu_med.pipeline import plan_run

    recipe = load_recipe(recipe)
    return plan_run(recipe, run_folder(recipe, output), until=until)


def run(recipe: Recipe | str | Path, output: Path | str | None = None, *, until: str | None = None) -> RunResult:
    """Build, learn, unlearn, evaluate and report. Finished stages are reused, an interrupted one resumes.

    Args:
        recipe: a recipe, the path of one, or the name of one that comes with the package.
        output: folder of the run, ``runs/<name>`` unless given.
        until: the last verb to carry out (``build``, ``learn``, ``unlearn``, ``evaluate`` or ``report``).

    Raises:
        UsageError, DataError, IntegrityError: see :mod:`mllmu_med.errors`.
        KeyboardInterrupt: stopped; the same call resumes.
    """
    from mllmu_med import pipeline

    recipe = load_recipe(recipe)
    return pipeline.run(recipe, run_folder(recipe, output), until=until)


def build(recipe: Recipe | str | Path, output: Path | str | None = None) -> RunResult:
    """Read the source, inject private data and wrong facts, split, and write the benchmark folder."""
    return run(recipe, output, until="build")


def learn(recipe: Recipe | str | Path, output: Path | str | None = None) -> RunResult:
    """Everything up to the three models that unlearning is measured with: base, θ0 and the oracle θ*."""
    return run(recipe, output, until="learn")


def unlearn(recipe: Recipe | str | Path, output: Path | str | None = None) -> RunResult:
    """Everything up to the unlearned model of each method of the recipe."""
    return run(recipe, output, until="unlearn")


def evaluate(recipe: Recipe | str | Path, output: Path | str | None = None) -> RunResult:
    """Everything up to the scores (``results.json``, ``results.csv``), without the page."""
    return run(recipe, output, until="evaluate")


def write_report(folder: Path | str) -> Path:
    """Write the page of a finished run again and return its path; no model is loaded.

    Raises:
        DataError: the folder holds no results.
    """
    from mllmu_med import pipeline

    folder = Path(folder)
    recipe = Recipe.model_validate(read_results(folder)["recipe"])
    result = pipeline.run(recipe, folder, only=["report"])
    if result.page is None:
        raise DataError("the run has no page", file=folder, mend="Run the whole recipe again.")
    return result.page


def read_results(folder: Path | str) -> dict[str, Any]:
    """The results of a run folder.

    Raises:
        DataError: there are none; the message says what to run.
    """
    path = Path(folder) / RESULTS
    if not path.is_file():
        raise DataError("no results.json: not a finished run", file=folder, mend="Run mllmu-med run or evaluate first.")
    results: dict[str, Any] = read_json(path)
    return results


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What ``check`` found in one folder.

    Attributes:
        kind: ``benchmark`` (contents checked too) or ``folder`` (hashes only).
        findings: one line each, with its severity; empty where nothing was found.
        ok: no finding is an error.
    """

    folder: Path
    kind: str
    findings: tuple[str, ...]
    ok: bool


def check(folder: Path | str) -> list[CheckResult]:
    """Verify a benchmark, a model, an evaluation, or every one of them in a run folder.

    Raises:
        DataError: nothing in the folder has a manifest.
        IntegrityError: a file is missing, changed or unlisted.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError("no such folder", file=folder, mend="Check the path.")
    folders = [folder] if (folder / MANIFEST).is_file() else sorted(_finished_below(folder))
    if not folders:
        raise DataError("no manifest.json here or below", file=folder, mend="Give a folder that mllmu-med has written.")
    results, broken = [], []
    for each in folders:
        try:
            results.append(_check_one(each))
        except IntegrityError as error:
            broken.append(str(error))
    if broken:
        raise IntegrityError(" ".join(broken))
    return results


def _finished_below(folder: Path) -> list[Path]:
    found = (path.parent for path in folder.rglob(MANIFEST))
    return [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def _check_one(folder: Path) -> CheckResult:
    if not str(read_manifest(folder).get("format", "")).startswith(BENCHMARK_FORMAT):
        verify(folder)
        return CheckResult(folder, "folder", (), ok=True)
    from mllmu_med.benchmark.check import check_benchmark

    report = check_benchmark(folder)
    return CheckResult(folder, "benchmark", tuple(str(finding) for finding in report.findings), ok=report.ok)
