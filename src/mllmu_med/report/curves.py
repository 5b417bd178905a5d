"""How one training went, as SVG text: its loss terms and, where it has a stopping rule, what that measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mllmu_med.report.drawing import THEMES, Theme, drawing_settings, dress, new_figure, svg_of
from mllmu_med.report.text import finite, score

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINES = (("forget", "forget term", 1, "-"), ("retain", "retain term", 0, "--"))
"""Name in the curve, label, colour and dash of each loss term."""
EXCESS, AUC = ("excess", "excess, nats a token", 2, "-"), ("auc", "AUC (right)", 3, "--")
"""What a stopping rule measures: how much likelier the forget answers are than to an approximate oracle (falls to 0),
and how well the loss tells forgotten records from made-up siblings (falls from 1 to .5)."""
EXTRACTABLE = ("extractable", "extractable", 0, "-")
"""Share of the forget answers that the model would still give; in words alone."""
_WIDTH, _PANEL = 3.7, 2.5  # inches, of a panel with its labels


class _Series(NamedTuple):
    label: str
    colour: int
    dash: str
    steps: list[float]
    values: list[float]


def _series(row: Mapping[str, Any], line: tuple[str, str, int, str]) -> _Series:
    name, label, colour, dash = line
    pairs = [(finite(point.get("step")), finite(point.get(name))) for point in row.get("curves") or ()]
    known = [(step, value) for step, value in pairs if step is not None and value is not None]
    return _Series(label, colour, dash, [step for step, _ in known], [value for _, value in known])


def training_curves(row: Mapping[str, Any], theme: str = "light") -> str | None:
    """Forget and retain loss of one method over its steps; None where the row has no curves.

    The scale is linear unless the values span more than a factor of 50, then it is symmetric-logarithmic. Below it,
    where a stopping rule was measured, a panel with the excess (left) and the AUC (right), and dotted what the rule of
    the row (``stopping``) allows of each: the excess at most ``excess``, the AUC at most ``band`` above .5.
    """
    shown = [one for line in LINES if (one := _series(row, line)).steps]
    excess, auc = _series(row, EXCESS), _series(row, AUC)
    ruled = "stopping" in row and bool(excess.steps or auc.steps)
    if not shown and not ruled:
        return None
    colours, panels = THEMES[theme], bool(shown) + ruled
    with drawing_settings():
        figure = new_figure(_WIDTH, _PANEL * panels)
        width = 0.74 if auc.steps else 0.83  # the right axis needs room for its numbers
        axes = None
        if shown:
            axes = figure.add_axes((0.14, (panels - 1 + 0.17) / panels, width, 0.71 / panels))
            _losses(axes, shown, colours)
        if ruled:
            below = figure.add_axes((0.14, 0.17 / panels, width, 0.71 / panels), sharex=axes)
            _rule(below, excess, auc, row["stopping"], colours)
        return svg_of(figure)


def _losses(axes: Axes, shown: Sequence[_Series], theme: Theme) -> None:
    from matplotlib.ticker import FuncFormatter

    dress(axes, theme)
    for one in shown:
        single = "o" if len(one.steps) == 1 else None
        axes.plot(
            one.steps, one.values, color=theme.methods[one.colour], linestyle=one.dash, linewidth=1.8, label=one.label,
            marker=single,
        )  # fmt: skip
    sizes = [abs(value) for one in shown for value in one.values]
    if max(sizes) > 50 * max(1e-9, sorted(sizes)[len(sizes) // 4]) and max(sizes) > 10:
        axes.set_yscale("symlog", linthresh=1.0)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))
    axes.set_xlabel("step", fontsize=8.5, labelpad=1)
    axes.tick_params(labelsize=8)
    axes.margins(x=0.02)
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, frameon=False, fontsize=8.5,
        labelcolor=theme.text, borderaxespad=0.1, handlelength=2.0, columnspacing=1.4,
    )  # fmt: skip


def _rule(axes: Axes, excess: _Series, auc: _Series, stopping: Mapping[str, Any], theme: Theme) -> None:
    """Both measures in one panel; only the axis of one that was measured has numbers."""
    limit, highest = float(stopping["excess"]), 0.5 + float(stopping["band"])
    dress(axes, theme, "x")
    axes.set_xlabel("step", fontsize=8.5, labelpad=1)
    axes.tick_params(labelsize=8)
    axes.margins(x=0.02)
    right = axes.twinx()
    dress(right, theme, "x")
    right.spines["left"].set_visible(False)
    right.spines["right"].set_visible(bool(auc.steps))
    right.tick_params(labelsize=8)
    handles = []
    for side, one in ((axes, excess), (right, auc)):
        if one.steps:
            colour = theme.methods[one.colour]
            handles += side.plot(
                one.steps, one.values, color=colour, linestyle=one.dash, linewidth=1.8, label=one.label, marker="o",
                markersize=2.5,
            )  # fmt: skip
            side.tick_params(axis="y", labelcolor=colour)
        else:
            side.set_yticks(())
    if excess.steps:
        # Linear up to the limit and logarithmic above: on a linear axis the limit could not be told from 0.
        axes.set_yscale("symlog", linthresh=limit, linscale=0.5)
        high = max(10 * limit, 1.3 * max(excess.values))
        axes.set_ylim(0, high)
        ticks = [0, *(limit * 10**power for power in range(6) if limit * 10**power <= high)]
        axes.set_yticks(ticks, [_short(tick) for tick in ticks])
        axes.set_yticks((), minor=True)
        axes.axhline(limit, color=theme.methods[excess.colour], linewidth=0.9, linestyle=":")
    if auc.steps:
        right.axhline(highest, color=theme.methods[auc.colour], linewidth=0.9, linestyle=":")
        low = min(0.4, *auc.values) - 0.02
        right.set_ylim(low, 1.03)
        ticks = [tick for tick in (0, 0.25, 0.5, 0.75, 1) if tick >= low]
        right.set_yticks(ticks, [_short(tick) for tick in ticks])
    axes.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, frameon=False, fontsize=8.5,
        labelcolor=theme.text, borderaxespad=0.1, handlelength=2.0, columnspacing=1.4,
    )  # fmt: skip


def _short(value: float) -> str:
    """Without the 0 before the point: ``.05``, ``.5``, ``5``."""
    return f"{value:g}".removeprefix("0") or "0"


def rule_in_words(row: Mapping[str, Any]) -> str:
    """What the stopping rule measured, for a picture's text alternative; empty where there was no rule."""
    if "stopping" not in row:
        return ""
    said = []
    for line, name, unit in ((EXCESS, "excess", " nats a token"), (AUC, "AUC", "")):
        values = _series(row, line).values
        if values:
            said.append(f"{name} from {score(values[0])} to {score(values[-1])}{unit}")
    return f"; stopping rule: {', '.join(said)}" if said else ""


class Left(NamedTuple):
    """What was left to forget when a training without a stopping rule ended; of several requests the most.

    Attributes:
        excess: what the model knew of the forget answers beyond an approximate oracle, nats a token.
        extractable: share of them, 0…1, that it would still give; None where that was not measured.
        auc: membership AUC of the forgotten patients against made-up ones, 0…1, .5: cannot be told apart; None without
            patients, or where that was not measured. Of several requests the one furthest from .5.
    """

    excess: float
    extractable: float | None
    auc: float | None


def left_to_forget(row: Mapping[str, Any]) -> Left | None:
    """None where it was not measured."""
    excess = [] if "stopping" in row else _series(row, EXCESS).values
    if not excess:
        return None
    auc = max(_series(row, AUC).values, key=lambda value: abs(value - 0.5), default=None)
    return Left(max(excess), max(_series(row, EXTRACTABLE).values, default=None), auc)
