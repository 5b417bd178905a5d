"""Where the rule stops, and where one who sees the oracle would: on a tiny run, and as a table."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.stopping import markdown, stops, watched
from tests.unit.pipeline.conftest import tiny


def test_both_ways_of_looking_are_measured_at_the_same_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLLMU_MED_CACHE", str(tmp_path / "cache"))
    recipe = tiny("unlearn.teacher_steps=2", "unlearn.siblings=4", "unlearn.steps=10", methods=["excess"])
    found = watched(recipe, tmp_path / "run", 5)
    assert [row["step"] for row in found["rows"]] == [5, 10]
    for row in found["rows"]:
        assert row["excess"] >= 0
        assert row["KL from oracle"] > 0
        assert 0 <= row["auc"] <= 1
        assert 0 <= row["auc, held out"] <= 1
    assert found["rate"] == recipe.methods[0].learning_rate


def test_each_way_stops_where_both_of_its_figures_are_low_enough() -> None:
    rows = [
        {"step": step, "excess": excess, "auc": auc, "auc, held out": held_out, "KL from oracle": kl}
        for step, excess, auc, held_out, kl in (
            (10, 0.2, 0.5, 0.47, 3.0), (20, 0.04, 0.6, 0.56, 2.1), (30, 0.05, 0.46, 0.51, 2.2),
            (40, 0.0, 0.5, 0.4, 2.0),
        )
    ]  # fmt: skip
    assert stops(rows, 0.47) == {"rule": 30, "oracle": 30}
    assert stops(rows, 0.55) == {"rule": 30, "oracle": 20}
    assert stops(rows[:2], 0.3) == {"rule": None, "oracle": None}


def test_the_table_says_where_each_stops() -> None:
    rows = [
        {"step": step, "excess": 0.0, "auc": 0.5, "over oracle": 0.0, "auc, held out": 0.55, "KL from oracle": kl}
        for step, kl in ((10, 3.0), (20, 2.5))
    ]
    one = {"method": "excess", "seed": 0, "rate": 1e-3, "rows": rows, "oracle's AUC": 0.5, "rule": 10, "oracle": 20}
    line = markdown([one, {**one, "rule": None}]).splitlines()
    assert line[2] == "| `excess` | 0 | 0.001 | 10 | 20 | 3.00 | 2.50 | +0.05 | 0.05 |"
    assert line[3] == "| `excess` | 0 | 0.001 | never | 20 | – | 2.50 | – | 0.05 |"
