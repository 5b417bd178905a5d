"""The picture that matters most: how much a method forgets against how much it keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mllmu_med.evaluation.scores import UTILITIES, harmonic
from mllmu_med.report.drawing import (
    THEMES,
    Theme,
    drawing_settings,
    dress,
    label_of,
    new_figure,
    renderer_of,
    styles_of,
    svg_of,
)
from mllmu_med.report.labels import Box, place
from mllmu_med.report.reading import Results, Summary, summaries

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

IDEAL = 0.9
ZOOM = 0.78
"""From here to a little over 1 on both axes the picture is shown enlarged when many points crowd there."""
CROWD = 4


def trade_off_points(results: Results, task: str) -> list[tuple[Summary, float, float]]:
    """(row, forgetting, retention) of every row where both were measured; both 0…1.

    Forgetting is the UES's part of that name, retention the harmonic mean of all its others: where the retained
    patients are erased it is low, however well the general answers stay.
    """
    import numpy as np

    found = []
    for summary in summaries(results):
        parts = summary.ues(task).parts
        forget = parts.get("forget")
        kept = [value for name in UTILITIES[task] if (value := parts.get(name)) is not None]
        if forget is not None and kept:
            found.append((summary, forget, float(harmonic(np.array(kept)))))
    return found


def trade_off(results: Results, task: str = "privacy", theme: str = "light") -> str:
    """Forgetting (x) against retention (y), the two sides of the UES: θ0 lies at 0 forgetting, the oracle at (1, 1).

    The corner where both reach 0.9 is shaded; where four or more rows crowd near it, it is shown enlarged in the empty
    middle. Every point has a label that covers no other.

    Args:
        task: ``privacy`` or ``incorrectness``.
        theme: ``light`` or ``dark``; the background is transparent in both.
    """
    colours, points = THEMES[theme], trade_off_points(results, task)
    styles = styles_of(summaries(results), colours)
    with drawing_settings():
        figure = new_figure(6.4, 5.4)
        axes = figure.add_axes((0.1, 0.105, 0.88, 0.875))
        axes.set_xlim(-0.08, 1.1)
        axes.set_ylim(-0.08, 1.14)
        dress(axes, colours)
        ticks = (0.0, 0.25, 0.5, 0.75, 1.0)
        axes.set_xticks(ticks, [f"{tick:.0%}" for tick in ticks])
        axes.set_yticks(ticks, [f"{tick:.0%}" for tick in ticks])
        axes.set_xlabel("forgetting  (0% = the original θ0, 100% = the oracle θ*)")
        axes.set_ylabel("retention  (harmonic mean of its parts; 100% = the oracle θ*)")
        taken = _shade_ideal(figure, axes, colours)
        crowd = [point for point in points if min(point[1:]) >= ZOOM]
        corner = _empty_square(points) if len(crowd) >= CROWD else None
        if corner is None:
            _scatter(figure, axes, points, points, styles, colours, taken)
        else:
            zoom, more = _zoom(figure, axes, corner, colours)
            _scatter(figure, zoom, crowd, crowd, styles, colours)
            others = [point for point in points if point not in crowd]
            _scatter(figure, axes, points, others, styles, colours, [*taken, *more])
        return svg_of(figure)


def _extent(figure: Figure, artist: Any, margin: float = 0.0) -> Box:
    """The place of a text or of axes with their tick labels, in points."""
    extent = artist.get_tightbbox(renderer_of(figure))
    return Box(extent.x0 - margin, extent.y0 - margin, extent.x1 + margin, extent.y1 + margin)


def _shade_ideal(figure: Figure, axes: Axes, theme: Theme, *, notes: bool = True) -> list[Box]:
    """Shades the ideal corner and names all four; returns the places that the names take."""
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((IDEAL, IDEAL), 0.3, 0.3, facecolor=theme.ideal, edgecolor="none", zorder=0.5))
    corners = (
        (1.09, 1.125, "forgets and keeps", "right", "top"),
        (1.09, -0.068, "forgets, but destroys", "right", "bottom"),
        (-0.07, -0.068, "neither", "left", "bottom"),
        (-0.07, 1.125, "keeps, but does not forget", "left", "top"),
    )
    style: dict[str, Any] = {"fontsize": 8.5, "style": "italic", "color": theme.muted}
    texts = [axes.text(x, y, note, ha=h, va=v, **style) for x, y, note, h, v in corners] if notes else []
    return [_extent(figure, text) for text in texts]


SQUARE = 0.45
"""Side of the enlarged corner, in data units of the whole picture."""


def _empty_square(points: Sequence[tuple[Summary, float, float]]) -> tuple[float, float] | None:
    """Lower left corner of a square without points, as near to the ideal corner as there is one; or None."""
    corners = [(x / 20, y / 20) for x in range(1, 7) for y in range(2, 5)]
    free = [
        (left, low)
        for left, low in corners
        if not any(
            left - 0.06 < x < left + SQUARE + 0.04 and low - 0.06 < y < low + SQUARE + 0.04 for _, x, y in points
        )
    ]
    return max(free, key=lambda corner: (sum(corner), corner), default=None)


def _zoom(figure: Figure, axes: Axes, corner: tuple[float, float], theme: Theme) -> tuple[Axes, list[Box]]:
    """Axes for the enlarged corner; and the places taken by them and by the thin frame around what they enlarge."""
    from matplotlib.patches import Rectangle

    zoom, top = axes.inset_axes((*corner, SQUARE, SQUARE), transform=axes.transData), 1.04
    zoom.set_xlim(ZOOM, top)
    zoom.set_ylim(ZOOM, top)
    dress(zoom, theme)
    _shade_ideal(figure, zoom, theme, notes=False)
    zoom.patch.set(facecolor=theme.surface, alpha=1.0)
    for spine in zoom.spines.values():
        spine.set(visible=True, color=theme.control, linewidth=0.8)
    ticks = (0.8, 0.9, 1.0)
    zoom.set_xticks(ticks, [f"{tick:.0%}" for tick in ticks])
    zoom.set_yticks(ticks, [f"{tick:.0%}" for tick in ticks])
    zoom.tick_params(labelsize=7.5)
    zoom.set_title("the framed corner, enlarged", fontsize=8.5, color=theme.muted, style="italic", loc="left", pad=4)
    side = top - ZOOM
    axes.add_patch(Rectangle((ZOOM, ZOOM), side, side, fill=False, edgecolor=theme.control, linewidth=0.8, zorder=1))
    figure.canvas.draw()
    (left, low), (right, high) = (axes.transData.transform((at, at)) for at in (ZOOM, top))
    lines = [
        Box(left, low, left, high),
        Box(right, low, right, high),
        Box(left, low, right, low),
        Box(left, high, right, high),
    ]
    return zoom, [_extent(figure, zoom, 3.0), *(Box(a - 1, b - 1, c + 1, d + 1) for a, b, c, d in lines)]


_PRECEDENCE = {"method": 0, "reference": 1, "control": 2}


def _scatter(
    figure: Figure,
    axes: Axes,
    points: Sequence[tuple[Summary, float, float]],
    labelled: Sequence[tuple[Summary, float, float]],
    styles: Mapping[str, tuple[str, str]],
    theme: Theme,
    taken: Sequence[Box] = (),
) -> None:
    """Markers for ``points``; labels, with a thin line where they lie further off, for those in ``labelled``."""
    for summary, x, y in points:
        colour, marker = styles[summary.name]
        method = summary.role == "method"
        axes.plot(
            [x], [y], marker, markersize=13 if marker == "*" else 8.5, markeredgewidth=1.6, zorder=3 if method else 4,
            clip_on=False, markerfacecolor=colour if method else "none", markeredgecolor=colour,
        )  # fmt: skip
    labelled = sorted(labelled, key=lambda point: _PRECEDENCE.get(point[0].role, 2))
    renderer = renderer_of(figure)
    texts = [
        axes.text(
            0, 0, label_of(summary), fontsize=9.5, va="bottom", color=_text_colour(summary, styles, theme),
            weight="normal" if summary.role == "control" else "bold", clip_on=False,
        )
        for summary, _, _ in labelled
    ]  # fmt: skip
    sizes = [(extent.width, extent.height) for extent in (text.get_window_extent(renderer) for text in texts)]
    (left, bottom), (right, top) = (axes.transAxes.transform(corner) for corner in ((0, 0), (1, 1)))
    frame, back = Box(left + 2, bottom + 2, right - 1, top - 2), axes.transData.inverted()
    pixels = [(float(x), float(y)) for x, y in (axes.transData.transform(point[1:]) for point in labelled)]
    for text, pixel, placement in zip(texts, pixels, place(pixels, sizes, frame, taken=taken), strict=True):
        x, y = back.transform((placement.box.left, placement.box.bottom))
        text.set_position((float(x), float(y)))
        if placement.distance > 14:
            (x0, y0), (x1, y1) = back.transform(placement.edge(pixel)), back.transform(placement.anchor)
            axes.plot([x0, x1], [y0, y1], color=text.get_color(), linewidth=0.8, alpha=0.8, zorder=2, clip_on=False)


def _text_colour(summary: Summary, styles: Mapping[str, tuple[str, str]], theme: Theme) -> str:
    return theme.muted if summary.role == "control" else styles[summary.name][0]
