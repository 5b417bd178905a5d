import math
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

from mllmu_med.report import figures
from mllmu_med.report.figures import measured_parts, training_curves, ues_parts


def test_parts_are_those_that_some_row_has(results: dict[str, Any]) -> None:
    assert measured_parts(results, "privacy") == ["forget", "retain", "patients", "test", "clinical"]
    assert measured_parts(results, "incorrectness") == [
        "forget", "suppression", "restoration", "retain", "patients", "test",
    ]  # fmt: skip


@pytest.mark.parametrize("task", ["privacy", "incorrectness"])
def test_bars_are_deterministic_svg(results: dict[str, Any], task: str) -> None:
    first = ues_parts(results, task)
    assert ues_parts(results, task) == first
    ElementTree.fromstring(first)


def test_missing_values_are_drawn_as_dashes(results: dict[str, Any]) -> None:
    whole = ues_parts(results)
    results["rows"][-1]["ues"]["privacy"] |= {"value": None, "low": None, "high": None, "parts": {}}
    assert ues_parts(results) != whole
    for row in results["rows"]:
        row["ues"] = {}
    ElementTree.fromstring(ues_parts(results))


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
    monkeypatch.setattr(figures, "svg_of", lambda figure: scales.append(figure.axes[0].get_yscale()) or "")
    training_curves({"curves": [{"step": step, "forget": 1.0 + step} for step in range(40)]})
    training_curves({"curves": [{"step": step, "forget": 0.1 * 2.0**step} for step in range(20)]})
    assert scales == ["linear", "symlog"]


def test_tick_labels_are_plain_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    labels: list[str] = []

    def read(figure: Any) -> str:
        figure.canvas.draw()
        labels.extend(tick.get_text() for tick in figure.axes[0].get_yticklabels())
        return ""

    monkeypatch.setattr(figures, "svg_of", read)
    training_curves({"curves": [{"step": step, "forget": -0.1 * 2.0**step} for step in range(20)]})
    assert "−100" in labels
    assert not [label for label in labels if set(label) & set("$\\{")]
