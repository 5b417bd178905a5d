"""The results as a table: for the terminal, as CSV, and as Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mllmu_med.benchmark.sample import Stratum, Subset
from mllmu_med.report.reading import (
    PARTS,
    TASKS,
    VARIANTS,
    Results,
    Summary,
    metric,
    reasons,
    rows_of,
    summaries,
    summarise,
)
from mllmu_med.report.text import finite, interval, percent, score, seconds, visible

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table

SIGNS = {"success": "●", "partial": "▲", "failure": "✖", "reference": "◇", "unknown": "?"}
STYLES = {"success": "bold cyan", "partial": "bold yellow", "failure": "bold red", "reference": "dim", "unknown": "dim"}
PART_LABELS = {
    "forget": "forgets",
    "suppression": "gone",
    "restoration": "back",
    "retain": "retain",
    "patients": "patients",
    "test": "test",
    "clinical": "clinical",
}
WIDE = 150
MIDDLE = 115


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table. ``better`` is ``↑``, ``↓`` or empty."""

    title: str
    better: str
    cell: Callable[[Summary], str]

    @property
    def heading(self) -> str:
        return f"{self.title} {self.better}".strip()


def _ues(task: str, title: str, *, ends: bool) -> Column:
    def cell(summary: Summary) -> str:
        ues = summary.ues(task)
        if not ends or ues.value is None or ues.low == ues.high:
            return score(ues.value)
        return f"{score(ues.value)} ({interval(ues.low, ues.high)})"

    return Column(title, "↑", cell)


def _robust(task: str) -> Column:
    return Column("UES-R", "↑", lambda summary: score(summary.ues(task).robust))


def _part(task: str, part: str) -> Column:
    return Column(PART_LABELS[part], "", lambda summary: score(summary.ues(task).parts.get(part)))


def headline(*, ends: bool) -> tuple[Column, ...]:
    """The columns of the headline table; ``ends`` adds the 95 % interval to both scores."""
    return (
        _ues("privacy", "privacy", ends=ends),
        _ues("incorrectness", "facts", ends=ends),
        Column("leaks", "↓", lambda s: percent(s.leakage)),
        Column("worst", "↓", lambda s: percent(s.worst_leakage)),
        Column("wrong", "↓", lambda s: percent(s.wrong)),
        Column("patients", "↑", lambda s: percent(s.retained_patients)),
        Column("test", "↑", lambda s: percent(s.test)),
        Column("time", "", lambda s: seconds(s.seconds)),
    )


LEGEND = (
    "privacy, facts: UES, the score from 0 (θ0) to 1 (oracle) · leaks: private values given away\n"
    "worst: the same under the worst probe · wrong: wrong facts repeated\n"
    "patients: values of the retained patients still known · test: utility on unseen questions\n"
    "UES-R: the score under the probe that brings most to light\n"
    "among the parts: gone, back: wrong facts no longer said, and put right"
)


class ResultsTable:
    """A rich renderable: the headline, the parts of both scores, and a sentence per method.

    Fits 100 columns; from 115 on the headline has intervals, from 150 on the verdicts stand in it.
    """

    def __init__(self, results: Results) -> None:
        self.summaries = summaries(results)

    def _table(self, columns: tuple[Column, ...], title: str | None, *, verdict: bool) -> Table:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(
            box=box.SIMPLE_HEAD,
            title=title,
            title_justify="left",
            title_style="bold",
            pad_edge=False,
            padding=(0, 1),
            collapse_padding=True,
        )
        table.add_column("", no_wrap=True)
        for column in columns:
            table.add_column(Text(column.heading), justify="right", no_wrap=True)
        if verdict:
            table.add_column("verdict", ratio=1, min_width=30)
        role = self.summaries[0].role
        for summary in self.summaries:
            if summary.role != role:
                table.add_section()
            role = summary.role
            label = Text.assemble((SIGNS[summary.level], STYLES[summary.level]), " ", visible(summary.label))
            cells = [Text(column.cell(summary)) for column in columns]
            if verdict:
                cells.append(Text(visible(summary.sentence), style="" if summary.role == "method" else "dim"))
            table.add_row(label, *cells)
        return table

    def _parts(self) -> list[Table]:
        tables = []
        for task in TASKS:
            parts = [p for p in PARTS if any(s.ues(task).parts.get(p) is not None for s in self.summaries)]
            if parts:
                columns = (_ues(task, "UES", ends=True), _robust(task), *(_part(task, part) for part in parts))
                tables.append(self._table(columns, f"UES {task} and its parts (0…1)", verdict=False))
        return tables

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        wide = options.max_width >= WIDE
        yield self._table(headline(ends=options.max_width >= MIDDLE), None, verdict=wide)
        yield Text(LEGEND, style="dim")
        for reason in reasons(self.summaries):
            yield Text(visible(reason), style="dim")
        yield Text()
        yield from self._parts()
        if not wide:
            for summary in self.summaries:
                if summary.role == "method":
                    sign = (f"{SIGNS[summary.level]} ", STYLES[summary.level])
                    yield Text.assemble(sign, (f"{visible(summary.label)}: ", "bold"), visible(summary.sentence))


def results_table(results: Results) -> ResultsTable:
    """The table to print with a ``rich`` console: fits 100 columns, uses 160."""
    return ResultsTable(results)


# ── CSV ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

STRATA_METRICS = (
    (Subset.FORGET_PRIVACY, Stratum.PRIVATE_IMAGE, "span_recall"),
    (Subset.FORGET_PRIVACY, Stratum.PRIVATE_TEXT, "span_recall"),
    (Subset.FORGET_PRIVACY, "all", "utility"),
    (Subset.FORGET_INCORRECTNESS, Stratum.WRONG_IMAGE, "wrong_agreement"),
    (Subset.FORGET_INCORRECTNESS, Stratum.WRONG_IMAGE, "correct_agreement"),
    (Subset.FORGET_INCORRECTNESS, Stratum.WRONG_TEXT, "wrong_agreement"),
    (Subset.FORGET_INCORRECTNESS, Stratum.WRONG_TEXT, "correct_agreement"),
    (Subset.RETAIN, Stratum.GENERAL, "utility"),
    (Subset.RETAIN, Stratum.SIBLING, "utility"),
    (Subset.RETAIN, Stratum.TRUE_TEXT, "utility"),
    (Subset.RETAIN, Stratum.PRIVATE_IMAGE, "span_recall"),
    (Subset.RETAIN, Stratum.PRIVATE_TEXT, "span_recall"),
    (Subset.TEST, Stratum.GENERAL, "utility"),
    (Subset.TEST, Stratum.WRONG_UNSEEN, "wrong_agreement"),
    (Subset.HOLDOUT, "all", "span_recall"),
    (Subset.FORGET_PRIVACY, Stratum.PRIVATE_IMAGE, "membership_auc"),
)
COSTS = (
    "steps", "records", "seconds", "flops", "peak_memory_mb", "trainable_share", "changed_share", "share_of_oracle",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def csv_text(value: object) -> str:
    """Text for a CSV cell that no spreadsheet takes for a formula: such text gets a leading apostrophe."""
    text = visible(value)
    return f"'{text}" if text.startswith(_FORMULA) or text.lstrip().startswith(_FORMULA) else text


def _number(value: object) -> str:
    number = finite(value)
    return "" if number is None else f"{number:.6g}"


def _csv_rows(results: Results) -> list[dict[str, str]]:
    table = []
    for row in rows_of(results):
        summary = summarise(row)
        cells = {
            name: csv_text(getattr(summary, name) or "")
            for name in ("name", "label", "role", "family", "source", "level")
        }
        cells["verdict"] = csv_text(summary.sentence)
        for task in TASKS:
            ues = summary.ues(task)
            cells[f"ues_{task}"] = _number(ues.value)
            cells[f"ues_{task}_low"], cells[f"ues_{task}_high"] = _number(ues.low), _number(ues.high)
            cells[f"ues_{task}_robust"] = _number(ues.robust)
            cells[f"ues_{task}_robust_probe"] = csv_text(ues.robust_probe or "")
            cells[f"ues_{task}_reason"] = csv_text(ues.reason or "")
            cells |= {f"ues_{task}_{part}": _number(ues.parts.get(part)) for part in PARTS}
            cells |= {f"ues_{task}_{variant}": _number(ues.variants.get(variant)) for variant in VARIANTS}
        for name in ("leakage", "worst_leakage", "wrong", "correct", "retained_patients", "test"):
            cells[name] = _number(getattr(summary, name))
        cells["worst_probe"] = csv_text(summary.worst_probe or "")
        for subset, stratum, name in STRATA_METRICS:
            cells[f"{subset}/{stratum}/{name}"] = _number(metric(row, subset, stratum, name))
        cost = row.get("cost") or {}
        cells |= {f"cost_{name}": _number(cost.get(name)) for name in COSTS}
        table.append(cells)
    return table


def write_csv(results: Results, path: Path) -> None:
    """One line per row of the results, with the same columns in every run; unknown numbers are empty cells.

    UTF-8, comma-separated, ``\\n`` line ends. Text that a spreadsheet could run as a formula is made harmless.
    """
    table = _csv_rows(results)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    path.write_text(buffer.getvalue(), encoding="utf-8")


# ── Markdown ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _markdown_text(value: object) -> str:
    text = " ".join(visible(value).split())
    for character in "\\`*_[]<>|":
        text = text.replace(character, f"\\{character}")
    return text


def results_markdown(results: Results) -> str:
    """The headline table as a Markdown pipe table, ends with a new line."""
    columns = headline(ends=True)
    head = ["model", "verdict", *(column.heading for column in columns)]
    lines = ["| " + " | ".join(head) + " |", "|---|---" + "|--:" * len(columns) + "|"]
    for summary in summaries(results):
        cells = [_markdown_text(summary.label), f"{SIGNS[summary.level]} {summary.level}"]
        cells += [column.cell(summary) for column in columns]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
