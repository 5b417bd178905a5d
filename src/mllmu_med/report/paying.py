"""The page's list of subgroups that pay more than the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from mllmu_med.report.reading import Results, rows_of, summarise
from mllmu_med.report.text import finite, interval, percent

_COSTS = {
    "utility": "ordinary answers", "patients": "retained patients' values", "clinical": "clinical answers",
    "leakage": "private values still told", "wrong": "wrong facts still repeated",
}  # fmt: skip
_FLAGGED = "pays more"


class Payer(NamedTuple):
    """One subgroup that pays significantly more than the rest of the samples, as text."""

    model: str
    cost: str
    subgroup: str
    figures: str


def payers(results: Results) -> list[Payer]:
    """Every flagged subgroup of every method, the largest differences first."""
    found: list[tuple[float, Payer]] = []
    for row in rows_of(results):
        if row.get("role") != "method":
            continue
        label = summarise(row).label
        for cost, dimensions in (row.get("subgroups") or {}).items():
            for dimension, groups in dimensions.items():
                for name, group in groups.items():
                    if group.get("verdict") == _FLAGGED:
                        payer = Payer(label, _COSTS.get(cost, cost), f"{dimension}: {name}", _figures(group))
                        found.append((finite(group.get("extra")) or 0.0, payer))
    return [payer for _, payer in sorted(found, key=lambda one: -one[0])]


def _figures(group: Mapping[str, Any]) -> str:
    ends = interval(finite(group.get("extra_low")), finite(group.get("extra_high")))
    return (
        f"{percent(group.get('extra'))} more than the rest ({ends}; p {finite(group.get('p')) or 0.0:.3f}; "
        f"{group.get('clusters')} patients or images)"
    )
