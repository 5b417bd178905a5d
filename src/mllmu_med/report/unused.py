"""The page's table of what methods that see only a share of the retain data leave of the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mllmu_med.report.evidence_grids import at
from mllmu_med.report.grids import NOTHING, Cell, Grid, shaded
from mllmu_med.report.reading import Results, Summary, rows_of, summarise
from mllmu_med.report.text import MISSING, interval, percent, score, whole

GROUPS = (("patients", "retained patients: values told"), ("retain", "ordinary answers"))
"""Levels of the section ``unused`` with their headings."""
NOTE = (
    "Left of θ0: the level on the unused data over that of θ0 on the same, 1 where nothing is lost, with its 95% "
    "interval over patients and images. Shaded by how much less than 1 it is, and levels by how much less than θ0’s. "
    "Made-up patients: answers that are still θ0’s, letter by letter; they can be looked at where unused ones cannot."
)


def unused_grid(results: Results) -> Grid | None:
    """The rows whose method may use a part of the retain data only; None where there are none."""
    body: list[tuple[Summary, list[Cell]]] = []
    for row in rows_of(results):
        if row.get("unused"):
            cells = [Cell(percent(row.get("retain_share")))]
            for level, _ in GROUPS:
                cells += _cells(row, level)
            kept, low, high = (at(row, "strangers", name) for name in ("kept", "low", "high"))
            cells += [shaded(kept, "↑", 1.0), Cell(interval(low, high) or MISSING)]
            body.append((summarise(row), cells))
    if not body:
        return None
    columns = [("used", "↑"), ("unused", "↑"), ("left of θ0", "↑"), ("95% interval", ""), ("number unused", "")]
    titles = [("used", ""), *(columns * len(GROUPS)), ("as θ0 says it", "↑"), ("95% interval", "")]
    groups = [("retain data", 1), *((heading, len(columns)) for _, heading in GROUPS), ("made-up patients", 2)]
    gaps = any(cell.text == MISSING for _, cells in body for cell in cells)
    return Grid(
        "Kept of what was used, and of what was not", groups, titles, body, [NOTE, *([NOTHING] if gaps else [])]
    )


def _cells(row: Mapping[str, Any], level: str) -> list[Cell]:
    used, unused = (
        shaded(at(row, "unused", level, part, "level"), "↑", at(row, "unused", level, part, "original"))
        for part in ("used", "unused")
    )
    share, low, high, count = (
        at(row, "unused", level, "unused", name) for name in ("share", "low", "high", "clusters")
    )
    return [used, unused, shaded(share, "↑", 1.0, score), Cell(interval(low, high) or MISSING), Cell(whole(count))]
