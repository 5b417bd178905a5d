import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

from mllmu_med.report.figures import measured_parts, ues_parts


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
