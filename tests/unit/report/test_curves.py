"""The picture of one training: loss terms, and what a stopping rule measured."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from copy import deepcopy
from typing import Any

import pytest

from mllmu_med.report import curves
from mllmu_med.report.curves import rule_in_words, training_curves
from mllmu_med.report.drawing import THEMES


def ruled(excess: float = 0.3, band: float = 0.02) -> dict[str, Any]:
    """A training whose rule was measured at every second entry of its curve."""
    points: list[dict[str, Any]] = [{"step": step, "forget": 1.0, "retain": 0.5} for step in range(5, 45, 5)]
    measures = ((3.0, 1.0), (0.9, 0.8), (0.2, 0.6), (0.04, 0.52))
    for point, measured in zip(points[1::2], measures, strict=True):
        point |= dict(zip(("excess", "auc"), measured, strict=True))
    return {"curves": points, "stopping": {"excess": excess, "band": band}}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures drawn, in place of their text."""
    figures: list[Any] = []
    monkeypatch.setattr(curves, "svg_of", lambda figure: figures.append(figure) or "")
    return figures


def test_curves_need_points() -> None:
    assert training_curves({"curves": []}) is None
    assert training_curves({}) is None
    assert training_curves({"curves": [{"step": 0, "forget": None, "retain": math.nan}]}) is None


def test_curves_leave_out_what_is_not_a_number(results: dict[str, Any]) -> None:
    row = {"curves": [{"step": 0, "forget": 1.0}, {"step": 1, "forget": math.inf}, {"step": 2, "forget": 2.0}]}
    finite = {"curves": [point for point in row["curves"] if math.isfinite(point["forget"])]}
    assert training_curves(row) == training_curves(finite)
    assert training_curves(results["rows"][-1]) == training_curves(results["rows"][-1])
    assert training_curves(row, "dark") != training_curves(row, "light")


def test_curves_that_run_away_get_a_logarithmic_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    scales: list[str] = []
    monkeypatch.setattr(curves, "svg_of", lambda figure: scales.append(figure.axes[0].get_yscale()) or "")
    training_curves({"curves": [{"step": step, "forget": 1.0 + step} for step in range(40)]})
    training_curves({"curves": [{"step": step, "forget": 0.1 * 2.0**step} for step in range(20)]})
    assert scales == ["linear", "symlog"]


def test_tick_labels_are_plain_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    labels: list[str] = []

    def read(figure: Any) -> str:
        figure.canvas.draw()
        labels.extend(tick.get_text() for tick in figure.axes[0].get_yticklabels())
        return ""

    monkeypatch.setattr(curves, "svg_of", read)
    training_curves({"curves": [{"step": step, "forget": -0.1 * 2.0**step} for step in range(20)]})
    assert "−100" in labels
    assert not [label for label in labels if set(label) & set("$\\{")]


def test_a_training_without_a_rule_has_one_panel(results: dict[str, Any], drawn: list[Any]) -> None:
    training_curves(results["rows"][-1])
    assert len(drawn[0].axes) == 1
    assert rule_in_words(results["rows"][-1]) == ""


def test_what_the_rule_measured_is_a_panel_of_its_own_over_the_same_steps(drawn: list[Any]) -> None:
    training_curves(ruled())
    losses, left, right = drawn[0].axes
    assert [len(line.get_xdata()) for line in losses.get_lines()] == [8, 8]
    excess, limit = left.get_lines()
    assert (list(excess.get_xdata()), list(excess.get_ydata())) == ([10, 20, 30, 40], [3.0, 0.9, 0.2, 0.04])
    assert list(limit.get_ydata()) == [0.3, 0.3]
    auc, highest = right.get_lines()
    assert (list(auc.get_xdata()), list(auc.get_ydata())) == ([10, 20, 30, 40], [1.0, 0.8, 0.6, 0.52])
    assert list(highest.get_ydata()) == [0.52, 0.52]
    assert losses.get_xlim() == left.get_xlim() == right.get_xlim()
    assert losses.get_position().y0 > left.get_position().y1, "below it, not over it"
    assert drawn[0].get_figheight() == 2 * 2.5


def test_the_limits_are_those_of_the_row(drawn: list[Any]) -> None:
    training_curves(ruled(excess=0.2, band=0.1))
    _, left, right = drawn[0].axes
    assert list(left.get_lines()[1].get_ydata()) == [0.2, 0.2]
    assert left.get_yscale() == "symlog"
    assert [tick.get_text() for tick in left.get_yticklabels()] == ["0", ".2", "2"]
    assert list(right.get_lines()[1].get_ydata()) == [0.6, 0.6]


def test_without_patients_there_is_no_auc(drawn: list[Any]) -> None:
    row = ruled()
    for point in row["curves"]:
        point.pop("auc", None)
    training_curves(row)
    _, left, right = drawn[0].axes
    assert len(left.get_lines()) == 2
    assert not right.get_lines()
    assert not right.get_yticks().size
    assert rule_in_words(row) == "; stopping rule: excess from 3.00 to 0.04 nats a token"


def test_a_rule_alone_is_one_panel(drawn: list[Any]) -> None:
    curves = [{"step": 5, "excess": 1.0, "auc": math.nan}, {"step": 10, "excess": math.inf, "auc": 0.1}]
    row = {"curves": curves, "stopping": {"excess": 0.3, "band": 0.02}}
    training_curves(row)
    left, right = drawn[0].axes
    assert drawn[0].get_figheight() == 2.5
    assert list(left.get_lines()[0].get_xdata()) == [5]
    assert right.get_ylim()[0] < 0.1


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_panel_is_deterministic_svg_in_the_colours_of_its_page(theme: str) -> None:
    first = training_curves(ruled(), theme)
    assert first is not None
    assert training_curves(deepcopy(ruled()), theme) == first
    ElementTree.fromstring(first)
    assert THEMES[theme].methods[2] in first
    assert THEMES[theme].methods[3] in first
    assert rule_in_words(ruled()) == "; stopping rule: excess from 3.00 to 0.04 nats a token, AUC from 1.00 to 0.52"
