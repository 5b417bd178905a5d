"""What all pictures of the report share: colours for light and dark pages, canvas, axes, SVG text."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any, Literal

from mllmu_med.report.reading import Summary
from mllmu_med.report.text import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours for one background; the method colours follow Okabe and Ito (safe for the colour-blind)."""

    surface: str
    text: str
    muted: str
    grid: str
    ideal: str
    control: str
    methods: tuple[str, ...]


THEMES = {
    "light": Theme(
        surface="#ffffff", text="#1c2733", muted="#5b6875", grid="#d9dfe5", ideal="#dcefe6", control="#8a95a1",
        methods=("#0069a5", "#c85200", "#00805d", "#b5528c", "#8f6a00", "#6a4c9c", "#2b8cc4", "#4d4d4d"),
    ),
    "dark": Theme(
        surface="#1a222a", text="#e6edf3", muted="#9aa7b4", grid="#37424e", ideal="#173a2f", control="#8a95a1",
        methods=("#4aa8e0", "#f08a4b", "#2fc79b", "#e29ac4", "#e6c34d", "#b692d8", "#9bd3f5", "#c9d1d9"),
    ),
}  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
_SETTINGS = {
    "svg.hashsalt": "mllmu-med",
    "svg.fonttype": "path",
    "font.family": ["DejaVu Sans"],
    "font.size": 10.0,
    "axes.unicode_minus": True,
    "text.usetex": False,
    "text.parse_math": False,
    "path.simplify": True,
}


@contextmanager
def drawing_settings() -> Iterator[None]:
    """matplotlib set up for the block alone: same bytes everywhere, no dependence on a user's own settings."""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        # A glyph that the font lacks is drawn as a box; the label stands as text on the page as well.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def label_of(summary: Summary) -> str:
    """The row's label, on one line and at most 28 characters."""
    label = " ".join(visible(summary.label).split())
    return label if len(label) <= 28 else f"{label[:27]}…"


def styles_of(found: Sequence[Summary], theme: Theme) -> dict[str, tuple[str, str]]:
    """Colour and marker of each row; the methods' in the order of the results, so that all pictures agree."""
    colours, markers = cycle(theme.methods), cycle(MARKERS)
    styles = {}
    for summary in found:
        if summary.role == "method":
            styles[summary.name] = (next(colours), next(markers))
        elif summary.role == "control":
            styles[summary.name] = (theme.control, "o")
        else:
            styles[summary.name] = (theme.text, "*")
    return styles


def new_figure(width: float, height: float) -> Figure:
    """A transparent figure of this size in inches, one point per pixel."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=72)
    FigureCanvasAgg(figure)
    figure.patch.set_alpha(0.0)
    return figure


def renderer_of(figure: Figure) -> Any:
    """What measures texts before they are drawn."""
    return figure.canvas.get_renderer()  # type: ignore[attr-defined]  # the canvas of new_figure is Agg's


def svg_of(figure: Figure) -> str:
    """The figure as an ``<svg>`` element without date, prologue or random ids."""
    buffer = io.BytesIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(buffer, format="svg", metadata=nothing, transparent=True)
    text = buffer.getvalue().decode("utf-8")
    return text[text.index("<svg") :]


def dress(axes: Axes, theme: Theme, grid: Literal["both", "x", "y"] = "both") -> None:
    """Quiet axes: no frame, thin grid behind everything."""
    axes.patch.set_alpha(0.0)
    axes.set_axisbelow(True)
    axes.grid(True, axis=grid, color=theme.grid, linewidth=0.7)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.grid)
    axes.tick_params(colors=theme.muted, length=0, labelsize=9)
    axes.xaxis.label.set_color(theme.text)
    axes.yaxis.label.set_color(theme.text)
