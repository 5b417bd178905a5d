"""The public API: one plain function per command. Each reads a recipe or folders and writes folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from mllmu_med.checking import CheckResult, check_folders, is_benchmark
from mllmu_med.errors import DataError, UsageError
from mllmu_med.folders import read_json
from mllmu_med.recipe import Recipe, load_recipe
from mllmu_med.registry import did_you_mean
from mllmu_med.report.benchmark_filters import EVERYTHING, Filters

if TYPE_CHECKING:
    from mllmu_med.benchmark.store import Benchmark
    from mllmu_med.comparing import Comparison
    from mllmu_med.pipeline import RunResult, StagePlan
    from mllmu_med.pipeline.asking import AskingPlan
    from mllmu_med.preview import BenchmarkPreview

__all__ = [
    "CheckResult", "ask", "attack", "build", "check", "compare", "describe_benchmark", "evaluate", "find_folder",
    "is_benchmark", "learn", "load_recipe", "metaeval", "page_of", "plan", "plan_asking", "read_results", "run",
    "run_folder", "score", "tune", "unlearn", "write_benchmark_page", "write_contact_sheet", "write_report",
]  # fmt: skip

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
        until: the last verb to carry out (``build``, ``learn``, ``unlearn``, ``evaluate``, ``score`` or ``report``).
        jobs: stages at once; None = what fits the machine. Changes no result.

    Raises:
        UsageError, DataError, IntegrityError: see :mod:`mllmu_med.errors`.
        Interrupted: stopped; the same call resumes.
        KeyboardInterrupt: stopped a second time, before the first could be carried out.
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


def tune(
    recipe: Recipe | str | Path, output: Path | str | None = None, *, trials: int = 5, jobs: int | None = None
) -> dict[str, Any]:
    """Try ``trials`` settings of each method of the recipe, from its declared grid, on the validation part.

    Where the grid of one method has fewer, all methods get as few.

    Returns:
        all trials with settings, score and parts, and the best of each method; also in ``<run>/tuning/tuning.json``,
        with the recipe of the best ones in ``tuned.yaml`` beside it.

    Raises:
        UsageError: a method declares no grid.
    """
    from mllmu_med.pipeline import tuning

    recipe = load_recipe(recipe)
    return tuning.tune(recipe, run_folder(recipe, output), trials, jobs)


def evaluate(recipe: Recipe | str | Path, output: Path | str | None = None) -> RunResult:
    """Everything up to the scores (``results.json``, ``results.csv``), without the page."""
    return run(recipe, output, until="score")


def attack(recipe: Recipe | str | Path, output: Path | str | None = None) -> RunResult:
    """Everything up to the scores, with attacks on every row: those of the recipe, or all where it names none."""
    recipe = load_recipe(recipe)
    if recipe.attack.attacks == ():
        recipe = load_recipe(recipe, "attack.attacks=all")
    return run(recipe, output, until="score")


def metaeval(
    recipe: Recipe | str | Path, output: Path | str | None = None, *, models: int = 4, jobs: int | None = None
) -> dict[str, Any]:
    """Judge every metric by two pools of ``models`` models each: trained with the forget set, and without it.

    Returns:
        faithfulness and robustness of every metric; also in ``<run>/metaeval.json``.
    """
    from mllmu_med.pipeline import metaeval as judging

    recipe = load_recipe(recipe)
    return judging.metaeval(recipe, run_folder(recipe, output), models, jobs)


def ask(
    folder: Path | str,
    base_url: str,
    model: str,
    row: str = "served",
    *,
    attacks: bool = False,
    afresh: bool = False,
    trust_host: bool = False,
    **settings: Any,
) -> Path:
    """Ask a served model what the models of a run were asked; its answers become a row of the run.

    Args:
        folder: of the run.
        base_url, model: where it is served, and under which name.
        row: name of the row, which must be no row of the run itself.
        attacks: also carry out the black-box attacks of the run's recipe.
        afresh: ask everything again, and replace the row if there is one.
        trust_host: the server may see values of real people although it stands outside of the private network.
        settings: ``key_variable``, ``concurrency``, ``timeout``, ``retries``, ``backoff`` and ``body`` of
            :class:`~mllmu_med.engines.endpoint.Served`.

    Returns:
        the row's folder; ``score`` takes it in.

    Raises:
        UsageError, DataError, MedError: see :class:`~mllmu_med.engines.endpoint.Endpoint`.
        KeyboardInterrupt: stopped; the same call goes on.
    """
    from mllmu_med.engines.endpoint import Served
    from mllmu_med.pipeline.asking import Errand

    served = Served(base_url, model, **settings)
    return Errand(Path(folder), served, row, attacks=attacks, trusted=trust_host).run(afresh=afresh)


def plan_asking(
    folder: Path | str,
    base_url: str,
    model: str,
    row: str = "served",
    *,
    attacks: bool = False,
    trust_host: bool = False,
    **settings: Any,
) -> AskingPlan:
    """What :func:`ask` would take; nobody is asked and nothing is written."""
    from mllmu_med.engines.endpoint import Served
    from mllmu_med.pipeline.asking import Errand

    return Errand(Path(folder), Served(base_url, model, **settings), row, attacks=attacks, trusted=trust_host).plan()


def score(folder: Path | str) -> RunResult:
    """Compute every metric and score of a finished run again, and its page; no model is loaded.

    Raises:
        DataError: the folder holds no results.
    """
    return _again(Path(folder), ("score", "report"))


def compare(
    rows: Sequence[str],
    *,
    metrics: Sequence[str] = (),
    every: bool = False,
    difference: float | None = None,
) -> Comparison:
    """Whether rows differ by more than chance: paired differences, intervals, p-values; no model is loaded.

    Args:
        rows: ``RUN:ROW`` each; or a run and its rows; or a run alone for all its methods. ``RUN,RUN:ROW``: seeds.
        metrics: compare these alone, e.g. ``privacy``, ``privacy.forget``, ``retain.rouge_l_f1``, ``membership_auc``.
        every: compare every metric of every subset, not only the scores and their parts.
        difference: also say how many clusters it takes to find a true difference of this size.

    Raises:
        UsageError, DataError: no such run, row or metric, or rows that cannot be compared.
    """
    from mllmu_med.comparing import compare_rows

    return compare_rows(rows, metrics=metrics, every=every, difference=difference)


def write_report(folder: Path | str) -> Path:
    """Write the page of a finished run again and return its path; no model is loaded.

    Raises:
        DataError: the folder holds no results.
    """
    result = _again(Path(folder), ("report",))
    if result.page is None:
        raise DataError("the run has no page", file=folder, mend="Run the whole recipe again.")
    return result.page


def _again(folder: Path, verbs: Sequence[str]) -> RunResult:
    from mllmu_med import pipeline

    try:
        recipe = Recipe.model_validate(read_results(folder).get("recipe"))
    except ValidationError:
        raise DataError("made by another version", file=folder / RESULTS, mend="Run the recipe again.") from None
    return pipeline.make_again(recipe, folder, verbs)


def read_results(folder: Path | str) -> dict[str, Any]:
    """The results of a run folder.

    Raises:
        DataError: there are none; the message says what to run.
    """
    path = Path(folder) / RESULTS
    if not path.is_file():
        raise DataError("no results.json: not a finished run", file=folder, mend="Run mllmu-med run or evaluate first.")
    results = read_json(path)
    if not isinstance(results, dict):
        raise DataError("not the results of a run", file=path, mend="Run mllmu-med score again.")
    return results


def is_only_built(folder: Path) -> bool:
    """Whether a folder is a run that has a benchmark, but no results yet."""
    return is_benchmark(folder / "benchmark") and not (folder / RESULTS).is_file()


def _open_benchmark(folder: Path | str) -> Benchmark:
    """The benchmark in the folder, or that of the run in the folder."""
    from mllmu_med.benchmark.store import Benchmark

    folder = Path(folder)
    inner = folder / "benchmark"
    return Benchmark.open(inner if is_benchmark(inner) and not is_benchmark(folder) else folder)


def describe_benchmark(folder: Path | str, *, samples: int = 2, filters: Filters = EVERYTHING) -> BenchmarkPreview:
    """Counts of a benchmark and up to ``samples`` samples of each stratum, private values masked.

    Raises:
        DataError: the folder holds no benchmark.
        UsageError: a filter names what the benchmark has not.
    """
    from mllmu_med.preview import preview_benchmark

    return preview_benchmark(_open_benchmark(folder), samples=samples, filters=filters)


def write_benchmark_page(
    folder: Path | str, target: Path | str, *, samples: int | None = 60, filters: Filters = EVERYTHING
) -> Path:
    """Write a page on which a person can look at a benchmark: up to ``samples`` samples of each stratum, None for all.

    Raises:
        DataError: the folder holds no benchmark, or an image cannot be read.
        UsageError: a filter names what the benchmark has not, or ``target`` is no place for a page.
    """
    from mllmu_med.report.benchmark_page import build_benchmark_page

    benchmark = _open_benchmark(folder)
    place = _outside(benchmark.path, Path(target), ".html", ".htm")
    return build_benchmark_page(benchmark, place, samples=samples, filters=filters)


def write_contact_sheet(
    folder: Path | str, target: Path | str, *, per_subset: int = 8, filters: Filters = EVERYTHING
) -> Path:
    """Write a PNG of ``per_subset`` samples (1 to 64) of each subset; errors as for :func:`write_benchmark_page`."""
    from mllmu_med.report.contact_sheet import write_contact_sheet

    benchmark = _open_benchmark(folder)
    return write_contact_sheet(
        benchmark, _outside(benchmark.path, Path(target), ".png"), per_subset=per_subset, filters=filters
    )


def _outside(benchmark: Path, target: Path, *endings: str) -> Path:
    """The target, if it may be written: a further file within the benchmark would spoil its manifest."""
    target = target.expanduser()
    if target.suffix.lower() not in endings or target.is_dir():
        raise UsageError(f"{target}: give the name of a file that ends in {endings[0]}")
    if target.resolve().is_relative_to(benchmark.resolve()):
        raise UsageError(f"{target} lies within the benchmark, which a further file would change; choose another place")
    return target


def check(folder: Path | str, *, every: bool = False) -> list[CheckResult]:
    """Verify a benchmark, a model, an evaluation, or every one of them in a run folder.

    Args:
        every: all findings of a kind, not only the first few.

    Raises:
        DataError: nothing in the folder has a manifest.
        IntegrityError: a file is missing, changed or unlisted.
    """
    return check_folders(Path(folder), every=every)
