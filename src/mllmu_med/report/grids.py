"""The page's tables of numbers: rows are models, columns are strata, classes, probes or parts; cells are shaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mllmu_med.benchmark.sample import Stratum, Subset
from mllmu_med.evaluation.outputs import ORIGINAL
from mllmu_med.report.figures import PART_TITLES, measured_parts
from mllmu_med.report.reading import Results, Summary, metric, reasons, rows_of, summaries, summarise, ues_of
from mllmu_med.report.text import MISSING, finite, interval, percent, score, seconds, whole

SHADES = (0.40, 0.25, 0.15, 0.08, 0.04, 0.02)
"""How much worse than the oracle a value may be to reach the shades 1 … 6; worse still is shade 0."""
ROBUST = "UES-R: the same score under the probe that brings most to light"
NOTHING = f"{MISSING} not measured, or does not apply to this row"


@dataclass(frozen=True, slots=True)
class Cell:
    """A number as text, and its shade: 0 (far from the oracle) … 6 (as good or better), None for no shade."""

    text: str
    shade: int | None = None


@dataclass(frozen=True, slots=True)
class GridColumn:
    """``better`` is ``↑``, ``↓``, ``≈`` (as the oracle) or empty; columns of equal ``group`` share a heading."""

    group: str
    title: str
    better: str
    value: Callable[[Mapping[str, Any]], float | None]
    show: Callable[[object], str] = percent


@dataclass(frozen=True, slots=True)
class Grid:
    """A table for the template: ``groups`` are (heading, columns it spans), ``notes`` stand below."""

    caption: str
    groups: list[tuple[str, int]]
    titles: list[tuple[str, str]]
    rows: list[tuple[Summary, list[Cell]]]
    notes: list[str]


def _shade(value: float, better: str, oracle: float | None) -> int | None:
    """How near a value comes to the oracle's; without an oracle, to the best there could be."""
    if not better:
        return None
    goal = oracle if oracle is not None else 0.0 if better == "↓" else 1.0
    worse = {"↓": value - goal, "↑": goal - value, "≈": 2 * abs(value - goal)}[better]
    return sum(worse <= limit for limit in SHADES)


def shaded(
    value: float | None, better: str, oracle: float | None = None, show: Callable[[object], str] = percent
) -> Cell:
    """A number and how near it comes to the oracle's, or to the best there could be; a dash where there is none."""
    return Cell(MISSING) if value is None else Cell(show(value), _shade(value, better, oracle))


def _oracle(results: Results) -> Mapping[str, Any]:
    return next((row for row in rows_of(results) if row.get("name") == "oracle"), {})


def grid_of(results: Results, caption: str, columns: Iterable[GridColumn], notes: Sequence[str] = ()) -> Grid | None:
    """The grid without the columns that no row has a value for; None where nothing is left."""
    rows = rows_of(results)
    measured = [column for column in columns if any(column.value(row) is not None for row in rows)]
    if not measured:
        return None
    groups: list[tuple[str, int]] = []
    for column in measured:
        if groups and groups[-1][0] == column.group:
            groups[-1] = (column.group, groups[-1][1] + 1)
        else:
            groups.append((column.group, 1))
    oracle = _oracle(results)

    def cells(row: Mapping[str, Any]) -> list[Cell]:
        return [shaded(one.value(row), one.better, one.value(oracle), one.show) for one in measured]

    body = [(summarise(row), cells(row)) for row in rows]
    gaps = any(cell.text == MISSING for _, line in body for cell in line)
    titles = [(column.title, column.better) for column in measured]
    return Grid(caption, groups, titles, body, [*notes, *([NOTHING] if gaps else [])])


_TOLD, _WRONG = "forgotten patients: values told", "wrong facts"
_PATIENTS, _RETAIN, _NEVER = "retained patients: values told", "retain", "never trained on"
STRATA = (
    (_TOLD, "with image", "↓", Subset.FORGET_PRIVACY, Stratum.PRIVATE_IMAGE, "span_recall"),
    (_TOLD, "by name", "↓", Subset.FORGET_PRIVACY, Stratum.PRIVATE_TEXT, "span_recall"),
    (_WRONG, "image: said", "↓", Subset.FORGET_INCORRECTNESS, Stratum.WRONG_IMAGE, "wrong_agreement"),
    (_WRONG, "image: put right", "↑", Subset.FORGET_INCORRECTNESS, Stratum.WRONG_IMAGE, "correct_agreement"),
    (_WRONG, "text: said", "↓", Subset.FORGET_INCORRECTNESS, Stratum.WRONG_TEXT, "wrong_agreement"),
    (_WRONG, "text: put right", "↑", Subset.FORGET_INCORRECTNESS, Stratum.WRONG_TEXT, "correct_agreement"),
    (_PATIENTS, "with image", "↑", Subset.RETAIN, Stratum.PRIVATE_IMAGE, "span_recall"),
    (_PATIENTS, "by name", "↑", Subset.RETAIN, Stratum.PRIVATE_TEXT, "span_recall"),
    (_RETAIN, "ordinary", "↑", Subset.RETAIN, Stratum.GENERAL, "utility"),
    (_RETAIN, "siblings", "↑", Subset.RETAIN, Stratum.SIBLING, "utility"),
    (_RETAIN, "true text facts", "↑", Subset.RETAIN, Stratum.TRUE_TEXT, "utility"),
    ("forgotten patients", "clinical part", "↑", Subset.FORGET_PRIVACY, "all", "utility"),
    ("test", "utility", "↑", Subset.TEST, Stratum.GENERAL, "utility"),
    ("test", "refuses", "↓", Subset.TEST, Stratum.GENERAL, "over_refusal"),
    (_NEVER, "wrong rule carried over", "↓", Subset.TEST, Stratum.WRONG_UNSEEN, "wrong_agreement"),
    (_NEVER, "values hit by chance", "↓", Subset.HOLDOUT, "all", "span_recall"),
)
"""Heading, title, direction, and where the number stands in the results."""
MEMBERSHIP = (
    "membership AUC: how well the loss alone tells forgotten patients from patients never seen; the nearer to the "
    "oracle's the better"
)


def strata_grids(results: Results) -> list[Grid]:
    """Every stratum that is reported on its own: what should go, and what should stay."""

    def column(group: str, title: str, better: str, subset: Subset, stratum: str, name: str) -> GridColumn:
        return GridColumn(group, title, better, lambda row: metric(row, subset, stratum, name))

    columns = [column(*one) for one in STRATA]
    gone = [one for one in columns if one.group in (_TOLD, _WRONG, _NEVER)]
    auc = column("membership", "AUC", "≈", Subset.FORGET_PRIVACY, Stratum.PRIVATE_IMAGE, "membership_auc")
    grids = (
        grid_of(results, "What should go", [*gone, replace(auc, show=score)], [MEMBERSHIP]),
        grid_of(results, "What should stay", [one for one in columns if one not in gone]),
    )
    return [grid for grid in grids if grid is not None]


def _keys(results: Results, table: str) -> list[str]:
    """What the rows are split by in this table, in the order of the results, the original question first."""
    keys = dict.fromkeys(str(key) for row in rows_of(results) for key in (row.get(table) or {}))
    return sorted(keys, key=lambda key: key != ORIGINAL)


def class_grid(results: Results) -> Grid | None:
    """Span recall per PHI class on the forgotten patients."""

    def column(phi: str) -> GridColumn:
        return GridColumn("", phi.replace("_", " "), "↓", lambda row: finite((row.get("by_class") or {}).get(phi)))

    columns = map(column, _keys(results, "by_class"))
    return grid_of(results, "Private values of forgotten patients told, by class of value", columns)


NEIGHBOURS = {
    "neighbour-question": "same image, other question",
    "neighbour-image": "same question, other image",
    "neighbour-patient": "other patient, same finding",
}


def specificity_grid(results: Results) -> Grid | None:
    """Right answers to what stands next to a forgotten fact; None where no neighbour was asked."""

    def column(probe: str) -> GridColumn:
        title = NEIGHBOURS.get(probe, probe)
        return GridColumn("", title, "↑", lambda row: finite((row.get("specificity") or {}).get(probe)))

    return grid_of(results, "Right answers next to what is forgotten", map(column, _keys(results, "specificity")))


def _nested(results: Results, table: str, name: str, group: str, better: str) -> list[GridColumn]:
    def column(key: str) -> GridColumn:
        return GridColumn(
            group,
            key.replace("_", " "),
            better,
            lambda row: finite(((row.get(table) or {}).get(key) or {}).get(name)),
        )

    return [column(key) for key in _keys(results, table)]


def error_grids(results: Results) -> list[Grid]:
    """Suppression and restoration per type of error."""
    gone = _nested(results, "by_error_type", "suppression", "", "↑")
    back = _nested(results, "by_error_type", "restoration", "", "↑")
    grids = (
        grid_of(results, "Wrong facts gone, by type of error", gone),
        grid_of(results, "Right facts back, by type of error", back),
    )
    return [grid for grid in grids if grid is not None]


def probe_grid(results: Results, task: str) -> Grid | None:
    """Leakage under every probe: private values told, or wrong facts repeated."""
    name = "span_recall" if task == "privacy" else "wrong_agreement"
    caption = "Private values told, by probe" if task == "privacy" else "Wrong facts repeated, by probe"
    return grid_of(results, caption, _nested(results, "by_probe", name, "", "↓"))


def parts_grid(results: Results, task: str) -> Grid:
    """UES with interval, its parts and its variants, with the reasons where it could not be measured."""
    parts = measured_parts(results, task)
    body: list[tuple[Summary, list[Cell]]] = []
    for row in rows_of(results):
        ues = ues_of(row, task)
        ends = interval(ues.low, ues.high) if ues.value is not None and ues.low != ues.high else ""
        cells = [Cell(score(ues.value)), Cell(ends), Cell(score(ues.robust))]
        for part in parts:
            value = ues.parts.get(part)
            cells.append(shaded(value, "↑", 1.0, score))
        cells += [Cell(score(ues.variants.get(variant))) for variant in ("baseline_hm", "geometric", "raw_mean")]
        body.append((summarise(row), cells))
    gaps = any(cell.text == MISSING for _, cells in body for cell in cells[2:])
    titles = [("value", "↑"), ("95% interval", ""), ("UES-R", "↑"), *((PART_TITLES[part], "↑") for part in parts)]
    titles += [("without oracle", ""), ("geometric", ""), ("raw mean", "")]
    groups = [("UES", 3), ("parts (0 worst, 1 as the oracle)", len(parts)), ("other ways to combine them", 3)]
    notes = [ROBUST, *reasons((row for row, _ in body), (task,)), *([NOTHING] if gaps else [])]
    return Grid(f"UES {task} and what it is made of", groups, titles, body, notes)


_HEADLINE = {
    "leakage": "↓",
    "worst_leakage": "↓",
    "wrong": "↓",
    "correct": "↑",
    "retained_patients": "↑",
    "test": "↑",
}


def overview_grid(results: Results) -> Grid:
    """Verdict, headline figures and cost of every row."""
    titles = [("privacy", "↑"), ("facts", "↑"), ("private values told", "↓"), ("at the worst probe", "↓")]
    titles += [("wrong facts repeated", "↓"), ("put right", "↑"), ("retained patients kept", "↑"), ("test", "↑")]
    titles += [("time", ""), ("of the oracle's cost", ""), ("steps", "")]
    body: list[tuple[Summary, list[Cell]]] = []
    oracle = next((one for one in summaries(results) if one.name == "oracle"), None)
    for row in rows_of(results):
        summary = summarise(row)
        cost = row.get("cost") or {}
        cells = [Cell(score(summary.privacy.value)), Cell(score(summary.incorrectness.value))]
        for name, better in _HEADLINE.items():
            goal = None if oracle is None else getattr(oracle, name)
            cells.append(shaded(getattr(summary, name), better, goal))
        cells += [
            Cell(seconds(summary.seconds)),
            Cell(percent(summary.share_of_oracle)),
            Cell(whole(cost.get("steps"))),
        ]
        body.append((summary, cells))
    gaps = any(cell.text == MISSING for _, cells in body for cell in cells[2:])
    groups = [("UES", 2), ("forgets", 4), ("keeps", 2), ("cost", 3)]
    return Grid(
        "All rows side by side", groups, titles, body, [*reasons(row for row, _ in body), *([NOTHING] if gaps else [])]
    )
