"""Where the rule stops, and where one who sees the oracle would: on a tiny run, and as a table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import stopping
from benchmarks.stopping import by_limit, by_rule, by_run, done, watched
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


def test_runs_of_another_recipe_are_neither_taken_nor_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[str] = []

    def watch(recipe: Any, folder: Path, every: int) -> dict[str, Any]:
        made.append(f"{recipe.source.arguments['images']} {every} {recipe.seed}")
        rate = recipe.methods[0].learning_rate
        return {"method": "excess", "seed": recipe.seed, "rate": rate, "rows": ROWS, "oracle's AUC": 0.5}

    def command(images: int, *more: str) -> int:
        arguments = ["phantom", f"source.images={images}", "--seeds", "0", "1", "--rates", "1e-3", "-o", str(tmp_path)]
        monkeypatch.setattr(sys, "argv", ["stopping.py", *arguments, *more])
        stopping.main()
        return capsys.readouterr().out.count("| `excess` |")

    monkeypatch.setattr(stopping, "watched", watch)
    assert [command(40), command(50), command(40), command(40, "--every", "5")] == [2, 2, 2, 2]
    assert made == ["40 10 0", "40 10 1", "50 10 0", "50 10 1", "40 5 0", "40 5 1"]


def test_an_auc_of_nothing_is_one() -> None:
    assert stopping._auc(0.0) == 0.0
    assert stopping._auc(None) == 0.5


ROWS = [
    {"step": step, "excess": excess, "auc": auc, "auc, held out": held_out, "KL from oracle": kl}
    for step, excess, auc, held_out, kl in (
        (10, 0.2, 0.5, 0.47, 3.0), (20, 0.04, 0.6, 0.56, 2.1), (30, 0.05, 0.46, 0.51, 2.2), (40, 0.0, 0.4, 0.4, 2.0),
    )
]  # fmt: skip


def test_the_rule_stops_where_both_of_its_figures_are_low_enough() -> None:
    found = {limit: by_rule(ROWS, limit) for limit in (0.2, 0.05, 0.04)}
    assert {limit: row and row["step"] for limit, row in found.items()} == {0.2: 10, 0.05: 30, 0.04: 40}
    assert by_rule(ROWS[:2], 0.05) is None


def test_who_sees_the_oracle_is_done_near_the_lowest_kl_and_its_auc() -> None:
    assert [done(row, ROWS, 0.47) for row in ROWS] == [False, False, True, False]
    assert [done(row, ROWS, 0.55) for row in ROWS] == [False, True, True, False]


def test_the_tables_say_where_each_stops() -> None:
    one = {"method": "excess", "seed": 0, "rate": 1e-3, "rows": ROWS, "oracle's AUC": 0.47}
    other = {**one, "seed": 1, "rows": ROWS[:2]}
    lines = by_run([one, other], 0.05).splitlines()
    assert lines[2] == "| `excess` | 0 | 0.001 | 30 | 30 | 2.20 | 2.00 | +0.04 | 0.05 |"
    assert lines[3] == "| `excess` | 1 | 0.001 | never | never | – | 2.10 | – | 0.04 |"
    first, _, third = by_limit([one, other]).splitlines()[2:5]
    assert first == "| 0.05 | 1 of 2 | 1 | 30 | 10% (10%) | 0.04 (0.04) |"
    assert third == "| 0.2 | 2 of 2 | 0 | 10 | 46% (50%) | 0.00 (0.00) |"
