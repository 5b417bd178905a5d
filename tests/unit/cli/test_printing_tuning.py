"""What a tuning prints: every trial with its numbers under their own titles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mllmu_med.cli import printing


def trial(
    number: int, score: float | None, strangers: float | None, auc: float | None = None, **changes: Any
) -> dict[str, Any]:
    return {
        "method": "npo", "trial": number, "changes": changes, "score": score,
        "scenarios": {"privacy": 0.125, "incorrectness": 0.375}, "strangers": strangers,
        "membership_auc": auc, "seconds": 7.4, "stopped": None,
    }  # fmt: skip


def test_every_trial_stands_with_its_score_and_strangers_and_the_best_is_marked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = [trial(0, 0.25, 0.75, 0.625), trial(1, 0.5, None, learning_rate=0.001), trial(2, None, 0.875)]
    result = {"trials": trials, "best": {"npo": trials[1]}, "trials_per_method": 3}
    tables: list[tuple[Any, ...]] = []
    monkeypatch.setattr(printing, "print_table", lambda *told: tables.append(told))
    printing.print_tuning(result, Path("runs/x"), json=False)
    [(_, columns, rows)] = tables
    told = [dict(zip(columns, row, strict=True)) for row in rows]
    assert [one["strangers"] for one in told] == ["0.750", "–", "0.875"]
    assert [one["AUC"] for one in told] == ["0.625", "–", "–"]
    assert [one["score"] for one in told] == ["0.250", "0.500", "–"]
    assert [one["best"] for one in told] == ["", "●", ""]
    assert [one["settings"] for one in told][:2] == ["the recipe's own settings", "learning_rate=0.001"]
    assert told[0]["time"] == "7 s"
    assert "runs/x/tuning/tuned.yaml" in capsys.readouterr().out
