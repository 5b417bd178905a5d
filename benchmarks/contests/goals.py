"""What our method was to reach in the contest, and what it reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from benchmarks.contests.runs import AUC, KL, UES, UESR, Row
from benchmarks.contests.text import markdown, number

WHOLE, LESS = "excess.r100", "excess+siblings.r30"
INNOCENT, ANOTHER = "truncated_retrain", "another_oracle"
NEAR = 0.05
"""How far from the oracle's the membership AUC may be."""


def against_goals(situations: Mapping[str, Sequence[Row]]) -> str:
    """A line each goal, a column each situation; bold is what was missed. Signed distances are means over the seeds of
    each θ0, for over all they would cancel.

    Args:
        situations: name → rows of its contest.
    """
    found = {name: {row["name"]: row for row in rows} for name, rows in situations.items()}

    def line(text: str, goal: str, entry: Callable[[Mapping[str, Row]], str]) -> dict[str, str]:
        return {"name": text, "goal": goal, **{name: entry(rows) for name, rows in found.items()}}

    shown = [
        line("`excess`, all retain data: privacy / facts", "≥ .95", lambda rows: _least(rows, WHOLE, UES, 0.95)),
        line("the same under attack (UES-R)", "≥ .90", lambda rows: _least(rows, WHOLE, UESR, 0.9)),
        line("AUC − AUC\\*, θ0 by θ0", "±.05", lambda rows: _apart(rows, WHOLE, NEAR)),
        line("truncated retraining, which met nobody", "", lambda rows: _apart(rows, INNOCENT)),
        line("another oracle", "", lambda rows: _apart(rows, ANOTHER)),
        line("KL to θ\\*: `excess`, another oracle", "", lambda rows: _kl(rows, WHOLE, ANOTHER)),
        line("cost", "≤ 40 %", lambda rows: _cost(rows, 0.4)),
        line("`excess+siblings`, 30 %: privacy / facts", "≥ .90", lambda rows: _least(rows, LESS, UES, 0.9)),
        line("unused patients", "≥ .95", lambda rows: _least(rows, LESS, ("unused patients",), 0.95)),
        line("runs: 100 %, 30 %", "", lambda rows: ", ".join(_count(rows, name) for name in (WHOLE, LESS))),
    ]
    return markdown(shown, {"name": "", "goal": "goal", **{name: name.replace("-", ", ") for name in found}})


def _least(rows: Mapping[str, Row], name: str, columns: Sequence[str], goal: float) -> str:
    values = [rows[name].get(column) if name in rows else None for column in columns]
    return " / ".join(_judged(value, value is None or value >= goal, goal) for value in values)


def _apart(rows: Mapping[str, Row], name: str, most: float | None = None) -> str:
    if name not in rows:
        return number(None)
    by_theta0: dict[int, list[float]] = {}
    for cell in rows[name]["cells"]:
        if cell[AUC] is not None:
            by_theta0.setdefault(cell["theta0"], []).append(cell[AUC])
    means = [fmean(values) for _, values in sorted(by_theta0.items())] or [rows[name][AUC]]
    return ", ".join(
        number(value) if value is None or most is None else _judged(value, abs(value) <= most, most) for value in means
    )


def _kl(rows: Mapping[str, Row], *names: str) -> str:
    return ", ".join(number(rows[name].get(KL) if name in rows else None) for name in names)


def _cost(rows: Mapping[str, Row], most: float) -> str:
    cost = rows[WHOLE]["cost"] if WHOLE in rows else None
    if cost is None:
        return number(None)
    return _bold(f"{cost:.0%}".replace("%", " %"), cost <= most)


def _count(rows: Mapping[str, Row], name: str) -> str:
    return str(len(rows[name]["cells"])) if name in rows and rows[name]["cells"] else number(None)


def _judged(value: float | None, met: bool, goal: float) -> str:
    """Two places; three where two would look like the goal."""
    if value is None or met or round(abs(value), 2) != goal:
        return _bold(number(value), met)
    return _bold(f"{value:.3f}".replace("-", "−").replace("0.", ".", 1), met)


def _bold(text: str, met: bool) -> str:
    return text if met else f"**{text}**"
