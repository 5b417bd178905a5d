import math
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

from mllmu_med.report import trade_off as module
from mllmu_med.report.trade_off import trade_off, trade_off_points


def test_points_are_the_parts_of_the_score(results: dict[str, Any]) -> None:
    points = {summary.name: (x, y) for summary, x, y in trade_off_points(results, "privacy")}
    assert points["theta0"] == (0.0, 1.0)
    assert points["oracle"] == (1.0, 1.0)
    parts = [math.sqrt(0.94 / 0.97), 0.94 / 0.97, 0.86 / 0.87, 0.86 / 0.87]
    assert points["npo"] == pytest.approx(((0.97 - 0.03) / 0.97, 4 / sum(1 / part for part in parts)))
    facts = {summary.name: y for summary, _, y in trade_off_points(results, "incorrectness")}
    assert facts["npo"] == pytest.approx(3 / sum(1 / part for part in parts[:3]))


def test_erased_patients_are_seen_in_the_picture(results: dict[str, Any]) -> None:
    for name, share in (("npo", 0.0), ("idk", 0.01)):
        next(row for row in results["rows"] if row["name"] == name)["ues"]["privacy"]["parts"]["patients"] = share
    points = {summary.name: y for summary, _, y in trade_off_points(results, "privacy")}
    assert points["npo"] == 0.0
    assert points["idk"] < 0.05


@pytest.mark.parametrize("missing", [("forget",), ("retain", "patients", "test", "clinical")])
def test_rows_without_both_sides_are_left_out(results: dict[str, Any], missing: tuple[str, ...]) -> None:
    results["rows"][-1]["ues"]["privacy"]["parts"] |= dict.fromkeys(missing)
    assert "npo" not in [summary.name for summary, _, _ in trade_off_points(results, "privacy")]


def test_a_part_that_was_not_measured_does_not_count(results: dict[str, Any]) -> None:
    results["rows"][-1]["ues"]["privacy"]["parts"] |= {"patients": None, "clinical": None}
    points = {summary.name: y for summary, _, y in trade_off_points(results, "privacy")}
    assert points["npo"] == pytest.approx(2 / (math.sqrt(0.97 / 0.94) + 0.87 / 0.86))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_same_results_give_the_same_bytes(results: dict[str, Any], theme: str) -> None:
    first = trade_off(results, "privacy", theme)
    assert trade_off(results, "privacy", theme) == first
    root = ElementTree.fromstring(first)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "date" not in first
    assert "<script" not in first


def test_themes_and_tasks_differ(results: dict[str, Any]) -> None:
    pictures = {trade_off(results, task, theme) for task in ("privacy", "incorrectness") for theme in ("light", "dark")}
    assert len(pictures) == 4


def test_a_crowd_near_the_ideal_corner_is_enlarged(results: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    zoom = module._zoom
    monkeypatch.setattr(module, "_zoom", lambda *given: calls.append(given) or zoom(*given))
    trade_off(results, "incorrectness")  # one method there
    assert calls == []
    trade_off(results, "privacy")  # four methods and the oracle
    assert len(calls) == 1


def test_hostile_labels_are_drawn_as_text(results: dict[str, Any]) -> None:
    results["rows"][-1]["label"] = "$\\frac{<script>&\x00$" * 9
    ElementTree.fromstring(trade_off(results))


def test_nothing_measured_is_an_empty_picture(results: dict[str, Any]) -> None:
    for row in results["rows"]:
        row["ues"]["privacy"]["parts"] = {}
    ElementTree.fromstring(trade_off(results))
