"""What attacks bring back, as tables for the terminal and in Markdown: a line an attack, a column a row of results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mllmu_med.report.attack_grids import variants_of, worst
from mllmu_med.report.reading import TASKS, Results, Summary, rows_of, summarise
from mllmu_med.report.text import percent, visible

if TYPE_CHECKING:
    from rich.table import Table

_TITLES = {"privacy": "Private values brought back", "incorrectness": "Wrong facts brought back"}
NOTE = "each attack at its most revealing variant; what it brings back from the oracle was guessed"
_SHOWN = ("theta0", "oracle", "keyword_filter")


class AttackTable:
    """One scenario: ``columns`` are rows of the results, ``lines`` an attack's label and what it brings back."""

    def __init__(self, results: Results, scenario: str) -> None:
        rows = [row for row in rows_of(results) if row.get("role") == "method" or row.get("name") in _SHOWN]
        known: Mapping[str, Mapping[str, Any]] = results.get("attacks") or {}
        names = dict.fromkeys(one.attack for row in rows for one in variants_of(row, scenario))
        ordered = sorted(names, key=lambda name: (str(known.get(name, {}).get("threat")), name))
        found = {name: [worst(row, scenario, name) for row in rows] for name in ordered}
        measured = [place for place in range(len(rows)) if any(values[place] is not None for values in found.values())]
        self.title = _TITLES[scenario]
        self.columns: list[Summary] = [summarise(rows[place]) for place in measured]
        self.lines: list[tuple[str, list[str]]] = [
            (str(known.get(name, {}).get("label") or name), [percent(values[place]) for place in measured])
            for name, values in found.items()
            if measured
        ]


def attack_tables(results: Results) -> list[AttackTable]:
    """The scenarios in which anything was attacked."""
    return [table for task in TASKS if (table := AttackTable(results, task)).lines]


def rich_attacks(results: Results) -> list[Table]:
    """The tables for a terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = []
    for table in attack_tables(results):
        rich = Table(box=box.SIMPLE_HEAD, title=table.title, title_justify="left", caption=NOTE, pad_edge=False)
        rich.add_column("")
        for column in table.columns:
            rich.add_column(Text(visible(column.label)), justify="right")
        for label, cells in table.lines:
            rich.add_row(Text(visible(label)), *map(Text, cells))
        made.append(rich)
    return made


def attacks_markdown(results: Results) -> str:
    """The tables as Markdown."""
    parts = []
    for table in attack_tables(results):
        head = ["attack", *(visible(column.label) for column in table.columns)]
        lines = [head, ["---", *["--:"] * len(table.columns)], *([label, *cells] for label, cells in table.lines)]
        body = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        parts.append(f"{table.title} ({NOTE}):\n\n{body}\n")
    return "\n".join(parts)
