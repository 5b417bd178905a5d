"""The report as one web page that opens from disk, asks for no network and runs no script but its own."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mllmu_med import __version__
from mllmu_med.evaluation.verdicts import GOOD, POOR, SUPPRESSING_FAMILY
from mllmu_med.folders import staged
from mllmu_med.report.answer import answer_in_words
from mllmu_med.report.attack_grids import attack_grid
from mllmu_med.report.browser import Outputs, SampleSource, browser_data, script_json
from mllmu_med.report.curves import left_to_forget, rule_in_words, training_curves
from mllmu_med.report.evidence_grids import evidence_grids
from mllmu_med.report.figures import ues_parts
from mllmu_med.report.grids import (
    Cell,
    Grid,
    class_grid,
    error_grids,
    overview_grid,
    parts_grid,
    probe_grid,
    specificity_grid,
    strata_grids,
)
from mllmu_med.report.paying import payers
from mllmu_med.report.provenance import key_numbers, provenance, recipe_text
from mllmu_med.report.reading import TASKS, Results, Summary, ranked, reasons, rows_of, summaries
from mllmu_med.report.sequence import CourseTable, course_in_words, course_picture, course_table
from mllmu_med.report.templating import environment, source_hash, template_text
from mllmu_med.report.text import finite, interval, percent, score, seconds, visible, whole, words
from mllmu_med.report.trade_off import trade_off, trade_off_points
from mllmu_med.report.unused import unused_grid

if TYPE_CHECKING:
    from jinja2 import Environment

FORMAT = "mllmu-med/report/1"
PAGE = "index.html"
LEVEL_WORDS = {
    "success": "succeeds",
    "partial": "in part",
    "failure": "fails",
    "reference": "reference",
    "unknown": "not judged",
}
TASK_TITLES = {"privacy": "Private data", "incorrectness": "Wrong facts"}


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure for light and for dark pages, as ``data:`` addresses, with its text alternative."""

    title: str
    light: str
    dark: str
    alt: str
    note: str = ""


def _address(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode('utf-8')).decode('ascii')}"


def _trade_offs(results: Results) -> list[Picture]:
    pictures = []
    for task in TASKS:
        points = trade_off_points(results, task)
        if not points:
            continue
        shown = {summary.name for summary, _, _ in points}
        left_out = [visible(row.label) for row in summaries(results) if row.name not in shown]
        light, dark = (_address(trade_off(results, task, theme)) for theme in ("light", "dark"))
        said = "; ".join(f"{row.label}: forgetting {percent(x)}, retention {percent(y)}" for row, x, y in points)
        note = f"Not shown, for want of a measurement: {words(left_out)}." if left_out else ""
        pictures.append(Picture(TASK_TITLES[task], light, dark, said, note))
    return pictures


def _scores(results: Results) -> list[tuple[Picture, Grid]]:
    found = []
    for task in TASKS:
        light, dark = (_address(ues_parts(results, task, theme)) for theme in ("light", "dark"))
        said = "; ".join(f"{row.label}: {score(row.ues(task).value)}" for row in summaries(results))
        note = "; ".join(reasons(summaries(results), (task,)))
        found.append((Picture(TASK_TITLES[task], light, dark, said, note), parts_grid(results, task)))
    return found


def _curves(results: Results) -> list[Picture]:
    pictures = []
    for row, summary in zip(rows_of(results), summaries(results), strict=True):
        light, dark = (training_curves(row, theme) for theme in ("light", "dark"))
        if summary.role == "method" and light and dark:
            alt = f"Loss terms of {summary.label} over its training steps{rule_in_words(row)}"
            pictures.append(Picture(summary.label, _address(light), _address(dark), alt, _ending(row)))
    return pictures


def _ending(row: Mapping[str, Any]) -> str:
    """Why the training ended early, or that a stopping rule which was measured did not end it; without a rule, what is
    left to forget, where that was measured."""
    said = []
    steps = finite((row.get("cost") or {}).get("steps"))
    if stopped := row.get("stopped"):
        said.append(f"Ended early: {stopped}.")
    elif rule_in_words(row) and steps is not None:
        said.append(f"Took all of its {whole(steps)} steps.")
    if left := left_to_forget(row):
        known = f"knew {score(left.excess)} nats a token more of what must go than an approximate oracle"
        given = "" if left.extractable is None else f", and would still give {percent(left.extractable)} of the answers"
        told = (
            "" if left.auc is None else f"; a membership test against made-up patients has an AUC of {score(left.auc)}"
        )
        said.append(f"At the end it {known}{given}{told}.")
    return " ".join(said)


def _courses(results: Results) -> list[tuple[Picture, CourseTable]]:
    found = []
    for row in rows_of(results):
        table = course_table(row)
        light, dark = (course_picture(row, theme) for theme in ("light", "dark"))
        if table is not None and light and dark:
            picture = Picture(table.summary.label, _address(light), _address(dark), course_in_words(row))
            found.append((picture, table))
    return found


def _by_role(rows: Sequence[tuple[Summary, list[Cell]]]) -> list[tuple[str, list[tuple[Summary, list[Cell]]]]]:
    return [(role, list(members)) for role, members in groupby(rows, key=lambda row: row[0].role)]


def _environment() -> Environment:
    """The pages' environment with what the report's template calls."""
    made = environment()
    made.filters["groupby_role"] = _by_role
    made.globals.update(percent=percent, score=score, seconds=seconds, interval=interval, level_words=LEVEL_WORDS)
    return made


def render_page(results: Results, browser: Mapping[str, Any]) -> str:
    """The page as HTML text.

    Args:
        results: a dictionary of format ``mllmu-med/results/1``.
        browser: what :func:`~.browser.browser_data` made.
    """
    from markupsafe import Markup

    style, script = template_text("page.css"), template_text("browser.js")
    shown, total = len(browser["samples"]), browser["total"]
    which = (
        f"All {total:,} samples" if shown == total else f"{shown:,} of {total:,} samples, drawn evenly from every part"
    )
    single = [grid for grid in (class_grid(results), specificity_grid(results)) if grid is not None]
    details = [*strata_grids(results), *single, *error_grids(results)]
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            title=results.get("title") or "Unlearning report",
            style=Markup(style),
            style_hash=source_hash(style),
            script=Markup(script),
            script_hash=source_hash(script),
            data=Markup(script_json(browser)),
            answer=answer_in_words(results),
            numbers=key_numbers(results),
            methods=ranked(summaries(results)),
            shown_rows=[row["name"] for row in browser["rows"]],
            overview=overview_grid(results),
            trade_offs=_trade_offs(results),
            scores=_scores(results),
            details=details,
            probes=[grid for grid in (probe_grid(results, task) for task in TASKS) if grid is not None],
            attacks=[grid for grid in (attack_grid(results, task) for task in TASKS) if grid is not None],
            evidence=evidence_grids(results),
            payers=payers(results),
            unused=unused_grid(results),
            courses=_courses(results),
            curves=_curves(results),
            browse_note=f"{which}, with what every model says to the question as it was trained.",
            provenance=provenance(results),
            recipe=recipe_text(results),
            good=GOOD,
            poor=POOR,
            suppressing=SUPPRESSING_FAMILY,
        )
    )


def report_html(results: Results, benchmark: SampleSource, outputs_by_row: Outputs, *, max_samples: int = 400) -> str:
    """The whole page as text; arguments and errors as for :func:`build_report`."""
    return render_page(results, browser_data(summaries(results), benchmark, outputs_by_row, max_samples))


def build_report(
    results: Results,
    benchmark: SampleSource,
    outputs_by_row: Outputs,
    target_folder: Path,
    *,
    max_samples: int = 400,
) -> Path:
    """Write the report's folder and return the path of its page, ``index.html``.

    The folder is whole or absent; equal input gives equal bytes. The page holds everything within itself, so that it
    can be mailed or archived as one file: below ten megabytes for 400 samples.

    Args:
        results: a dictionary of format ``mllmu-med/results/1``.
        benchmark: where samples and images are.
        outputs_by_row: row name → outputs; rows without outputs have no answers in the browser.
        max_samples: how many samples the browser shows, drawn evenly from every stratum.

    Raises:
        DataError: the results are of another format, or an image cannot be read.
    """
    text = report_html(results, benchmark, outputs_by_row, max_samples=max_samples)
    manifest = {"format": FORMAT, "package": __version__, "rows": [row.name for row in summaries(results)]}
    with staged(target_folder, manifest) as stage:
        (stage / PAGE).write_text(text, encoding="utf-8", newline="\n")
    return target_folder / PAGE
