"""UES with its parts as SVG text: same results, same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mllmu_med.report.drawing import THEMES, Theme, drawing_settings, dress, label_of, new_figure, styles_of, svg_of
from mllmu_med.report.reading import PARTS, Results, Summary, summaries
from mllmu_med.report.text import score

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PART_TITLES = {
    "forget": "forgetting",
    "suppression": "wrong gone",
    "restoration": "truth back",
    "retain": "retain",
    "patients": "retained patients",
    "test": "test",
    "clinical": "clinical part",
}


def measured_parts(results: Results, task: str) -> list[str]:
    """The parts of this UES that at least one row has, in their fixed order."""
    found = summaries(results)
    return [part for part in PARTS if any(summary.ues(task).parts.get(part) is not None for summary in found)]


def ues_parts(results: Results, task: str = "privacy", theme: str = "light") -> str:
    """One line per row: the UES with its 95 % interval, then a column of bars for each part (0…1, higher is better)."""
    colours, found, parts = THEMES[theme], summaries(results), measured_parts(results, task)
    styles = styles_of(found, colours)
    with drawing_settings():
        figure = new_figure(10.4, 0.3 * len(found) + 0.62)
        top, bottom, left = 1 - 0.34 / figure.get_figheight(), 0.2 / figure.get_figheight(), 0.165
        widths = [1.6] + [1.0] * len(parts)
        unit = (0.985 - left - 0.012 * len(parts)) / sum(widths)
        for column, (name, width) in enumerate(zip(["ues", *parts], widths, strict=True)):
            axes = figure.add_axes((left, bottom, unit * width, top - bottom))
            left += unit * width + 0.012
            _bars(axes, found, styles, colours, task, name)
            title = "UES with 95% interval" if name == "ues" else PART_TITLES[name]
            axes.set_title(
                title, fontsize=9, color=colours.text, loc="left", pad=7, weight="bold" if not column else None
            )
            axes.set_yticks(range(len(found)), [label_of(summary) for summary in found] if column == 0 else [])
            for tick, summary in zip(axes.get_yticklabels(), found, strict=False):
                tick.set_color(colours.text if summary.role == "method" else colours.muted)
                tick.set_fontsize(9.5)
        return svg_of(figure)


def _bars(
    axes: Axes, found: Sequence[Summary], styles: Mapping[str, tuple[str, str]], theme: Theme, task: str, name: str
) -> None:
    dress(axes, theme, "x")
    axes.set_xlim(0, 1.22 if name == "ues" else 1.42)
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.set_xticks((0, 0.5, 1), ("0", ".5", "1"))
    axes.tick_params(labelsize=8)
    axes.spines["bottom"].set_visible(False)
    for line, summary in enumerate(found):
        ues = summary.ues(task)
        value = ues.value if name == "ues" else ues.parts.get(name)
        colour = styles[summary.name][0] if summary.role == "method" else theme.control
        end = 0.0
        if value is not None:
            axes.barh([line], [value], height=0.62 if name == "ues" else 0.5, color=colour, linewidth=0)
            end = value
            if name == "ues" and ues.low is not None and ues.high is not None and ues.high > ues.low:
                _whisker(axes, ues.low, ues.high, line, theme)
                end = max(value, ues.high)
        axes.text(end + 0.03, line, score(value), va="center", fontsize=8.5, color=theme.muted)
        if line and found[line - 1].role != summary.role:
            axes.axhline(line - 0.5, color=theme.grid, linewidth=0.9)


def _whisker(axes: Axes, low: float, high: float, line: int, theme: Theme) -> None:
    """An interval with a rim in the colour of the page, so that it can be seen on every bar."""
    for width, colour in ((3.4, theme.surface), (1.3, theme.text)):
        axes.hlines([line], [low], [high], colors=colour, linewidth=width)
        axes.vlines([low, high], line - 0.17, line + 0.17, colors=colour, linewidth=width)
