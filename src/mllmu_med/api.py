"""The public API: one plain function per command. Each reads a recipe or folders and writes folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from mllmu_med.errors import DataError, IntegrityError
from mllmu_med.folders import MANIFEST, read_json, read_manifest, verify
from mllmu_med.recipe import Recipe, load_recipe
from mllmu_med.registry import did_you_mean

if TYPE_CHECKING:
    from mllmu_med.pipeline import RunResult, StagePlan
    from mllmu_med.preview import BenchmarkPreview

__all__ = [
    "CheckResult", "build", "check", "describe_benchmark", "evaluate", "find_folder", "is_benchmark", "learn",
    "load_recipe", "page_of", "plan", "read_results", "run", "run_folder", "unlearn", "write_report",
]  # fmt: skip

BENCHMARK_FORMAT = "mllmu-med/benchmark/"
RESULTS = Path("results") / "results.json"
RUNS = Path("runs")


def run_folder(recipe: Recipe, output: Path | str | None = None) -> Path:
    """Where a recipe's run is written: ``output``, else ``runs/<name>`` below the present folder."""
    return Path(output).expanduser() if output is not None else RUNS / recipe.name


def find_folder(name: str | Path) -> Path:
    """A folder given as a path, or by its name below ``runs/``.

    Raises:
        DataError: there is neither; the message proposes the nearest run.
    """
    for folder in (Path(name).expanduser(), RUNS / name):
        if folder.is_dir():
            return folder
    known = sorted(path.name for path in RUNS.glob("*") if path.is_dir())
    raise DataError(f"no such folder or run{did_you_mean(str(name), known)}", file=name, mend="See mllmu-med ls runs.")


def page_of(folder: Path) -> Path:
    """Where a run's page is."""
    return folder / "report" / "index.html"


def plan(recipe: Recipe | str | Path, output: Path | str | None = None, *, until: str | None = None) -> list[StagePlan]:
    """What ``run`` would do, stage by stage; nothing is written."""
    from mllmu_med.pipeline import plan_run

    recipe = load_recipe(recipe)
    return plan_run(recipe, run_folder(recipe, output), until=until)


def run(
    recipe: Recipe | str | Path, output: Path | str | None = None, *, until: str | None = None, jobs: int | None = None
) -> RunResult:
    """Build, learn, unlearn, evaluate and report. Finished stages are reused, an interrupted one resumes.

    Args:
        recipe: a recipe, the path of one, or the name of one that comes with the package.
        output: folder of the run, ``runs/<name>`` unless given.
        until: the last verb to carry out (``build``, ``learn``, ``unlearn``, ``evaluate`` or ``report``).
        jobs: stages at once; None = what fits the machine. Changes no result.

    Raises:
        UsageError, DataError, IntegrityError: see :mod:`mllmu_med.errors`.
        KeyboardInterrupt: stopped; the same call resumes.
    """
    from mllmu_med import pipeline

    recipe = load_recipe(recipe)
    return pipeline.run(recipe, run_folder(recipe, output), until=until, jobs=jobs)


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
    try:
        recipe = Recipe.model_validate(read_results(folder).get("recipe"))
    except ValidationError:
        raise DataError("made by another version", file=folder / RESULTS, mend="Run the recipe again.") from None
    (page_of(folder).parent / MANIFEST).unlink(missing_ok=True)  # a page without manifest is made again, not reused
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


def is_benchmark(folder: Path) -> bool:
    """Whether a folder is a finished benchmark."""
    manifest = read_manifest(folder) if (folder / MANIFEST).is_file() else {}
    return str(manifest.get("format", "")).startswith(BENCHMARK_FORMAT)


def describe_benchmark(folder: Path | str, *, samples: int = 2) -> BenchmarkPreview:
    """Counts of a benchmark and a few samples of each kind, private values masked."""
    from mllmu_med.benchmark.store import Benchmark
    from mllmu_med.preview import preview_benchmark

    return preview_benchmark(Benchmark.open(Path(folder)), samples=samples)


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
    if not is_benchmark(folder):
        verify(folder)
        return CheckResult(folder, "folder", (), ok=True)
    from mllmu_med.benchmark.check import check_benchmark

    report = check_benchmark(folder)
    return CheckResult(folder, "benchmark", tuple(str(finding) for finding in report.findings), ok=report.ok)
