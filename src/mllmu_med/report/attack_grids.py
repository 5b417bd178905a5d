"""The page's tables of attacks: what each brings back from every row, at its most revealing variant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from mllmu_med.report.grids import Grid, GridColumn, grid_of
from mllmu_med.report.reading import Results, rows_of
from mllmu_med.report.text import finite

_CAPTIONS = {
    "privacy": "Private values brought back, by attack",
    "incorrectness": "Wrong facts brought back, by attack",
}
WORST = (
    "each attack at the variant that brings back most; what it brings back from the oracle was guessed or read off the "
    "question, never remembered"
)
NOT_COUNTED = "in brackets: attacks that do not count for UES-R"


class Variant(NamedTuple):
    """One variant of an attack in the results of a row."""

    attack: str
    variant: str
    outcome: Mapping[str, Any]


def variants_of(row: Mapping[str, Any], scenario: str) -> list[Variant]:
    """Every variant of every attack on a row in a scenario."""
    found = []
    for probe, scenarios in (row.get("attacks") or {}).items():
        attack, _, variant = str(probe).removeprefix("attack ").partition(": ")
        if scenario in scenarios:
            found.append(Variant(attack, variant, scenarios[scenario]))
    return found


def worst(row: Mapping[str, Any], scenario: str, attack: str) -> float | None:
    """The most that any variant of an attack brings back from a row, 0…1."""
    known = [finite(one.outcome.get("model")) for one in variants_of(row, scenario) if one.attack == attack]
    return max((value for value in known if value is not None), default=None)


def attack_grid(results: Results, scenario: str) -> Grid | None:
    """What every attack brings back in a scenario; None where nothing was attacked."""
    known: Mapping[str, Mapping[str, Any]] = results.get("attacks") or {}
    carried_out = {one.attack for row in rows_of(results) for one in variants_of(row, scenario)}

    def column(name: str) -> GridColumn:
        about = known.get(name, {})
        title = str(about.get("label") or name)
        shown = title if about.get("robust", True) else f"({title})"
        return GridColumn(str(about.get("threat") or ""), shown, "↓", lambda row: worst(row, scenario, name))

    order = sorted(carried_out, key=lambda name: (_THREATS.index(str(known.get(name, {}).get("threat"))), name))
    notes = [WORST, *([NOT_COUNTED] if any(not known.get(name, {}).get("robust", True) for name in order) else [])]
    return grid_of(results, _CAPTIONS[scenario], map(column, order), notes)


_THREATS = ["black-box", "likelihoods", "white-box", "weights", "None"]
