"""The pictures of measurements, drawn as the report draws its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.speed.fitting import line
from mllmu_med.report.drawing import MARKERS, THEMES, drawing_settings, dress, new_figure, svg_of

THEME = THEMES["light"]
Results = Mapping[str, Mapping[str, Any]]


def of(results: Results) -> dict[str, str]:
    """File name without ending → SVG, of what the results can show."""
    made = {}
    series = results.get("scaling", {}).get("series", {})
    if series:
        made["performance-growth"] = growth(series)
    steps = [results[name] for name in ("step", "step-small", "step-llava-7b", "step-qwen2_5_vl-7b") if name in results]
    if steps:
        made["performance-step"] = ratios(steps)
    return made


def _on_surface(svg: str) -> str:
    """The picture on a light ground of its own, for pages that may be dark."""
    head, end, rest = svg.partition(">")
    return f'{head}{end}<rect width="100%" height="100%" fill="{THEME.surface}"/>{rest}'


def growth(series: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Seconds against each cause, with the line that was fitted; a panel a series."""
    names = [name for name in series if len(series[name]) >= 3]
    columns = 3
    rows = -(-len(names) // columns)
    with drawing_settings():
        figure = new_figure(9.6, 2.5 * rows)
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for place, panel in enumerate(axes):
            if place >= len(names):
                panel.set_visible(False)
                continue
            points = series[names[place]]
            x, y = [point["x"] for point in points], [point["seconds"] for point in points]
            dress(panel, THEME)
            if min(y) > 0:
                fit = line(x, y)
                panel.plot([0, max(x)], [fit.fixed, fit.at(max(x))], color=THEME.control, linewidth=1.0)
            panel.plot(x, y, marker=MARKERS[0], linestyle="none", color=THEME.methods[place % len(THEME.methods)])
            panel.set_title(names[place].replace("/", " against "), fontsize=9, color=THEME.text, loc="left")
            panel.set_xlim(0, None)
            panel.set_ylim(0, None)
            panel.set_ylabel("s", fontsize=8.5)
            panel.tick_params(labelsize=8)
        figure.tight_layout()
        return _on_surface(svg_of(figure))


def lines(
    values: Sequence[str], series: Mapping[str, Sequence[float | None]], x: str, y: str,
    bands: Mapping[str, Sequence[tuple[float, float] | None]] | None = None,
) -> str:  # fmt: skip
    """A line for each series over values in order, at equal distances; shares, 0…1.

    Args:
        values: what stands below the marks.
        series: name → a number for each value, or None.
        x: what the values are.
        y: what the numbers are.
        bands: name → least and most for each value, shaded behind the line of that name.
    """
    with drawing_settings():
        figure = new_figure(5.4, 2.6)
        axes = figure.add_axes((0.11, 0.2, 0.56, 0.74))
        dress(axes, THEME)
        for place, (name, numbers) in enumerate(series.items()):
            known = [(at, number) for at, number in enumerate(numbers) if number is not None]
            spans = [(at, span) for at, span in enumerate((bands or {}).get(name, ())) if span is not None]
            if spans:
                axes.fill_between(
                    [at for at, _ in spans], [low for _, (low, _) in spans], [high for _, (_, high) in spans],
                    color=THEME.methods[place % len(THEME.methods)], alpha=0.18, linewidth=0,
                )  # fmt: skip
            axes.plot(
                [at for at, _ in known], [number for _, number in known], label=name,
                marker=MARKERS[place % len(MARKERS)], color=THEME.methods[place % len(THEME.methods)], linewidth=1.4,
            )  # fmt: skip
        axes.set_xticks(range(len(values)), values)
        axes.set_ylim(-0.03, 1.05)
        axes.set_xlabel(x, fontsize=8.5)
        axes.set_ylabel(y, fontsize=8.5)
        axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), frameon=False, fontsize=8)
        return _on_surface(svg_of(figure))


def dots(rows: Mapping[str, Mapping[str, float | None]], x: str) -> str:
    """A line for each row, from above, with a marker for each of its numbers, 0…1."""
    names = list(dict.fromkeys(name for numbers in rows.values() for name in numbers))
    with drawing_settings():
        drawn = 0.235 * len(rows) + 0.1  # inches
        height = drawn + 0.65
        figure = new_figure(7.2, height)
        axes = figure.add_axes((0.24, 0.5 / height, 0.5, drawn / height))
        dress(axes, THEME, "x")
        for place, name in enumerate(names):
            known = [(level, own[name]) for level, own in enumerate(rows.values()) if own.get(name) is not None]
            axes.plot(
                [number for _, number in known], [level for level, _ in known], label=name, linestyle="none",
                marker=MARKERS[place % len(MARKERS)], markersize=5, color=THEME.methods[place % len(THEME.methods)],
            )  # fmt: skip
        axes.set_yticks(range(len(rows)), list(rows))
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(-0.03, 1.03)
        axes.tick_params(labelsize=8)
        axes.set_xlabel(x, fontsize=8.5)
        axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), frameon=False, fontsize=8)
        return _on_surface(svg_of(figure))


def points(series: Mapping[str, Sequence[tuple[float, float]]], x: str, y: str) -> str:
    """A mark for each pair of shares, 0…1, in the colour of its series."""
    with drawing_settings():
        figure = new_figure(5.4, 3.2)
        axes = figure.add_axes((0.11, 0.16, 0.56, 0.79))
        dress(axes, THEME)
        for place, (name, pairs) in enumerate(series.items()):
            axes.plot(
                [a for a, _ in pairs], [b for _, b in pairs], label=name, linestyle="none", markersize=4,
                marker=MARKERS[place % len(MARKERS)], color=THEME.methods[place % len(THEME.methods)],
            )  # fmt: skip
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(-0.03, 1.1)
        axes.set_xlabel(x, fontsize=8.5)
        axes.set_ylabel(y, fontsize=8.5)
        axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), frameon=False, fontsize=8)
        return _on_surface(svg_of(figure))


def ratios(steps: Sequence[Mapping[str, Any]]) -> str:
    """How many times faster than the peers' step, a bar an objective, a group a model."""
    bars = [
        (f"{row['method']}, {step['arguments']['size']}", row["ratio"], place)
        for place, step in enumerate(steps)
        for row in step["rows"]
        if row["way"] == "fast" and row.get("ratio") is not None
    ]
    with drawing_settings():
        figure = new_figure(7.2, 0.3 * max(1, len(bars)) + 0.9)
        axes = figure.add_axes((0.24, 0.22, 0.7, 0.74))
        dress(axes, THEME, "x")
        for level, (_, ratio, place) in enumerate(bars):
            axes.barh([level], [ratio], height=0.62, color=THEME.methods[place % len(THEME.methods)])
            axes.text(ratio + 0.1, level, f"{ratio:.1f}×", va="center", fontsize=8.5, color=THEME.muted)
        axes.axvline(1, color=THEME.control, linewidth=1.0)
        axes.set_yticks(range(len(bars)), [name for name, _, _ in bars])
        axes.set_ylim(len(bars) - 0.4, -0.6)
        axes.set_xlabel("records a second, peers' step = 1", fontsize=8.5)
        return _on_surface(svg_of(figure))
