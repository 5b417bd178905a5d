"""What the verbs print on standard output: tables for people, JSON for programs."""

from __future__ import annotations

import json as json_text
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from mllmu_med.api import CheckResult
    from mllmu_med.doctor import Finding
    from mllmu_med.pipeline import RunResult, StagePlan
    from mllmu_med.pipeline.asking import AskingPlan
    from mllmu_med.preview import BenchmarkPreview, MaskedSample
    from mllmu_med.recipe import Recipe

_PIPE_WIDTH = 160


def print_json(value: object) -> None:
    """Indented JSON on standard output."""
    typer.echo(json_text.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=str))


def _console() -> Console:
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=_PIPE_WIDTH)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table for people; wide where nobody looks at a terminal."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    _console().print(table)


def print_plan(recipe: Recipe, folder: Path, stages: Sequence[StagePlan], *, json: bool) -> None:
    """The stages of a dry run."""
    if json:
        print_json({"folder": folder, "recipe": recipe.to_dict(), "stages": [asdict(stage) for stage in stages]})
        return
    columns = ("stage", "status", "why", "estimate", "folder")
    rows = [(stage.name, stage.status, stage.reason, stage.estimate, stage.folder) for stage in stages]
    print_table(f"{recipe.title or recipe.name} → {folder}", columns, rows)
    typer.echo("Dry run: nothing was written.")


def print_tuning(result: Mapping[str, Any], folder: Path, *, json: bool) -> None:
    """All trials of a tuning, the best of each method marked, and where the recipe with the best ones is."""
    if json:
        print_json(result)
        return
    rows = []
    for row in result["trials"]:
        best = result["best"][row["method"]]["trial"] == row["trial"]
        changes = ", ".join(f"{key}={value}" for key, value in row["changes"].items()) or "the recipe's own settings"
        scores = [row["score"], *row["scenarios"].values(), row["strangers"], row["membership_auc"]]
        rows.append(
            ["●" if best else "", row["method"], changes, *("–" if s is None else f"{s:.3f}" for s in scores),
             f"{row['seconds']:.0f} s", row["stopped"] or ""]
        )  # fmt: skip
    columns = ("best", "method", "settings", "score", *next(iter(result["trials"]))["scenarios"], "strangers", "AUC",
               "time", "stopped")  # fmt: skip
    print_table(f"{result['trials_per_method']} trials a method, judged on the validation part", columns, rows)
    typer.echo(f"The best settings as a recipe: mllmu-med run {folder / 'tuning' / 'tuned.yaml'} -o {folder}")


def print_metaeval(result: Mapping[str, Any], folder: Path, *, json: bool) -> None:
    """Every metric with its faithfulness and robustness, the most faithful first."""
    if json:
        print_json(result)
        return
    changes = list(result["changes"])
    known = {name: one for name, one in result["metrics"].items() if one["faithfulness"] is not None}
    rows = [
        (
            name, f"{one['faithfulness']:.3f}", "yes" if one["faithfulness"] >= result["faithful_from"] else "NO",
            _number(one["gap"]), *(_number(one["robustness"].get(change)) for change in ("unchanged", *changes)),
        )
        for name, one in sorted(known.items(), key=lambda item: (-item[1]["faithfulness"], item[0]))
    ]  # fmt: skip
    columns = ("metric", "AUC", "faithful", "gap", "judged rightly", *changes)
    held = sum(pool["holds the knowledge"] for pool in result["pools"].values())
    print_table(f"{held} models with the knowledge, {len(result['pools']) - held} without it", columns, rows)
    floor = ", ".join(f"{name} {_number(value)}" for name, value in result["noise_floor"].items())
    typer.echo(f"Noise floor, the largest gap between {len(result['oracles'])} oracles: {floor}")
    typer.echo(str(folder / "metaeval.json"))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def print_result(result: RunResult, *, json: bool) -> None:
    """The results of a run; the last line is the page, or else the folder."""
    if json:
        rows = result.results["rows"] if result.results else []
        scores = {row["name"]: {"verdict": row["verdict"], **_values(row["ues"])} for row in rows}
        print_json({"folder": result.folder, "page": result.page, "scores": scores})
        return
    if result.results:
        _print_finished(result.results)
    typer.echo(str(result.page or result.folder))


def _values(ues: Mapping[str, Any]) -> dict[str, Any]:
    return {scenario: (score or {}).get("value") for scenario, score in ues.items()}


def _results_table(results: Mapping[str, Any]) -> RenderableType:
    from mllmu_med.report.tables import results_table

    return results_table(results)


def _print_finished(results: Mapping[str, Any]) -> None:
    """The results, then what attacks brought back, and the course of every row with several requests."""
    from mllmu_med.report.attack_tables import rich_attacks
    from mllmu_med.report.sequence import rich_courses

    _print_rich(_results_table(results))
    for attacks in rich_attacks(results):
        _print_rich(attacks)
    for table in rich_courses(results):
        _print_rich(table)


def _print_rich(renderable: RenderableType) -> None:
    _console().print(renderable)


def print_results(results: Mapping[str, Any], *, json: bool) -> None:
    """The table of a finished run, or its whole results.json."""
    if json:
        print_json(results)
    else:
        _print_finished(results)


def print_paths(paths: Mapping[str, Path], *, json: bool) -> None:
    """Paths by name; for people the last line is the path alone."""
    if json:
        print_json(paths)
        return
    for path in paths.values():
        typer.echo(str(path))


def print_asking(plan: AskingPlan, *, json: bool) -> None:
    """What asking a served model takes."""
    if json:
        print_json(asdict(plan))
        return
    rows = [
        ("server", f"{plan.server}, model {plan.model}"),
        ("answers", f"{plan.questions:,}, of which {plan.with_image:,} about {plan.images:,} images"),
        ("attacks", ", ".join(plan.attacks) or "none"),
        ("tokens sent", f"about {plan.prompt_tokens:,}, and what the server makes of each image"),
        ("tokens back", f"at most {plan.answer_tokens:,}"),
        ("kept", f"{plan.kept:,} answers of an interrupted attempt" if plan.kept else "nothing"),
    ]
    print_table(f"ask → {plan.folder}", ("what", "how much"), rows)
    typer.echo("Dry run: nobody was asked, nothing was written.")


def print_check(results: Sequence[CheckResult], *, json: bool) -> None:
    """What ``check`` found."""
    if json:
        print_json([asdict(result) for result in results])
        return
    for result in results:
        typer.echo(f"{'ok ' if result.ok else 'BAD'}  {result.folder}")
        for finding in result.findings:
            typer.echo(f"     {finding}")


def print_benchmark(preview: BenchmarkPreview, *, json: bool) -> None:
    """Counts and masked samples of a benchmark."""
    if json:
        print_json(asdict(preview))
        return
    counts = [(subset, stratum, n) for subset, strata in preview.counts.items() for stratum, n in strata.items()]
    print_table(f"benchmark {preview.folder}", ("subset", "stratum", "samples"), counts)
    rows = [(s.subset, s.stratum, _kind(s), s.question, s.answer, s.right) for s in preview.samples]
    if rows:
        title = f"{len(rows)} of {preview.fitting:,} samples, private values masked"
        print_table(title, ("subset", "stratum", "kind", "question", "answer", "clean or right answer"), rows)
    elif not preview.fitting:
        typer.echo("No sample meets all of these filters.")


def _kind(sample: MaskedSample) -> str:
    """Form and classes, or type of error."""
    return " ".join([*filter(None, (sample.form, sample.error_type)), *sample.classes])


def print_lists(lists: Mapping[str, Sequence[Mapping[str, object]]], *, json: bool) -> None:
    """Named lists of like rows."""
    if json:
        print_json(lists)
        return
    for name, rows in lists.items():
        if rows:
            print_table(name, list(rows[0]), [list(row.values()) for row in rows])
        else:
            typer.echo(f"no {name}")


def print_findings(findings: Sequence[Finding], *, json: bool) -> None:
    """What ``doctor`` found."""
    if json:
        print_json([asdict(finding) for finding in findings])
        return
    marks = {"ok": "ok", "warning": "warn", "problem": "BAD"}
    print_table("", ("", "what", "found", "mend"), [(marks[f.level], f.what, f.found, f.mend) for f in findings])
