"""What comes back after relearning: marks in epochs, and the table."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import relearning
from mllmu_med.recipe import Recipe, load_recipe

COURSE = {"model": [0.0, 0.1, 0.2, 0.3, 0.4], "original": [0.9] * 5, "oracle": [0.0] * 5, "back": [0.0] * 5}


@pytest.fixture
def attacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Recipe]:
    """The recipes that are attacked; nothing is. The attacker has 17 records."""
    (tmp_path / "recipe.json").write_text(json.dumps(load_recipe("phantom", methods=["npo", "ga"]).to_dict()))
    seen: list[Recipe] = []

    def attack(recipe: Recipe, folder: Path) -> Any:
        seen.append(recipe)
        (folder / "attacks" / "npo").mkdir(parents=True, exist_ok=True)
        (folder / "attacks" / "npo" / "relearn_few.json").write_text('{"notes": {"records": 17}}')
        points = [dict(zip(COURSE, values, strict=True)) for values in zip(*COURSE.values(), strict=True)]
        course = {"relearn_few": {"scenarios": {"privacy": {"points": points}}}}
        return SimpleNamespace(results={"rows": [{"name": "npo", "recovery": course}, {"name": "refuse_all"}]})

    monkeypatch.setattr(relearning.api, "attack", attack)
    monkeypatch.setattr(relearning, "share_finished", lambda folder, own: None)
    return seen


def test_the_attacker_trains_for_epochs_at_the_rate_of_theta0(tmp_path: Path, attacks: list[Recipe]) -> None:
    found = relearning.attacked(tmp_path, ["npo"], 2)
    [recipe] = attacks
    [attack] = recipe.attack.attacks
    assert attack.parameters == {"steps": [0, 2, 6, 20, 60], "batch": 16, "learning_rate": 1e-3}
    assert [method.row for method in recipe.methods] == ["npo"]
    assert found == [{"name": "npo", "scenario": "privacy", **COURSE}]
    last = relearning.markdown(found).splitlines()
    assert last[0].endswith("| before | 1 epoch | 3 epochs | 10 epochs | 30 epochs |")
    assert last[-1] == "| `npo` | privacy | 0.00 | 0.10 | 0.20 | 0.30 | 0.40 |"


def test_epochs_of_another_length_and_rows_that_are_not_there_are_told(tmp_path: Path, attacks: list[Recipe]) -> None:
    with pytest.raises(SystemExit, match="an epoch of 17 records is 2 steps"):
        relearning.attacked(tmp_path, ["npo"], 3)
    with pytest.raises(SystemExit, match="there is no row rmu; there are npo, ga"):
        relearning.attacked(tmp_path, ["rmu"], 2)
