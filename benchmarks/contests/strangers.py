"""How well strangers tell what becomes of unused patients, over all runs of the contests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.contests.runs import Row
from benchmarks.contests.text import markdown, number


def seen_on_strangers(situations: Mapping[str, Sequence[Row]]) -> dict[str, list[tuple[float, float]]]:
    """Situation → what is kept of strangers and of unused patients, for each row with less retain data and each run."""
    found = {}
    for name, rows in situations.items():
        cells = [cell for row in rows if row["name"].endswith((".r30", ".r10", ".r0")) for cell in row["cells"]]
        pairs = [(cell["strangers"], cell["unused patients"]) for cell in cells]
        found[name] = [(kept, left) for kept, left in pairs if kept is not None and left is not None]
    return {name: pairs for name, pairs in found.items() if len(pairs) > 2}


def stand_in(pairs: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """How well strangers tell what becomes of unused patients: rank correlation, situation by situation."""
    from scipy.stats import spearmanr

    shown = [
        {"name": name.replace("-", ", "), "models": str(len(own)), "ρ": number(float(spearmanr(own).statistic))}
        for name, own in pairs.items()
    ]
    return markdown(shown, {"name": "contest", "models": "models", "ρ": "Spearman's ρ"})
