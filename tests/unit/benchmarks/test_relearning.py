"""What comes back after relearning: marks in epochs, and the table."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import relearning
from mllmu_med.benchmark.sample import Sample, Stratum, Subset
from mllmu_med.recipe import Recipe, load_recipe

COURSE = {"model": [0.0, 0.1, 0.2, 0.3, 0.4], "original": [0.9] * 5, "oracle": [0.0] * 5, "back": [0.0] * 5}


@pytest.fixture
def attacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Recipe]:
    """The recipes that are attacked; nothing is."""
    (tmp_path / "recipe.json").write_text(json.dumps(load_recipe("phantom", methods=["npo", "ga"]).to_dict()))
    seen: list[Recipe] = []

    def attack(recipe: Recipe, folder: Path) -> Any:
        seen.append(recipe)
        points = [dict(zip(COURSE, values, strict=True)) for values in zip(*COURSE.values(), strict=True)]
        course = {"relearn_few": {"scenarios": {"privacy": {"points": points}}}}
        return SimpleNamespace(
            results={"rows": [{"name": "npo", "label": "NPO", "recovery": course}, {"name": "refuse_all"}]}
        )

    monkeypatch.setattr(relearning.api, "attack", attack)
    monkeypatch.setattr(relearning, "share_finished", lambda folder, own, names: None)
    monkeypatch.setattr(relearning, "marks_of", lambda recipe, folder: [0, 2, 6, 20, 60])
    return seen


def test_the_attacker_trains_for_epochs_at_the_rate_of_theta0(tmp_path: Path, attacks: list[Recipe]) -> None:
    found = relearning.attacked(tmp_path, ["npo"])
    [recipe] = attacks
    [attack] = recipe.attack.attacks
    assert attack.parameters == {"steps": [0, 2, 6, 20, 60], "batch": 16, "learning_rate": 1e-3}
    assert [method.row for method in recipe.methods] == ["npo"]
    assert found == [{"name": "npo", "label": "NPO", "scenario": "privacy", **COURSE}]


def entry(name: str, scenario: str, *model: float) -> dict[str, Any]:
    return {"name": name, "label": "θ* (oracle)" if name == "oracle" else "X", "scenario": scenario, "model": model}


ONE = [
    entry("oracle", "privacy", 0, 0, 0, 0, 0.1),
    entry("npo", "incorrectness", 0.1, 0.2, 0.3, 0.4, 1.0),
    entry("npo", "privacy", 0.0, 0.5, 0.0, 0.0, 0.0),
]
OTHER = [
    entry("npo", "privacy", 0.0, 0.0, 0.0, 0.0, 0.0),
    entry("npo", "incorrectness", 0.3, 0.2, 0.3, 0.4, 0.0),
    entry("oracle", "privacy", 0, 0, 0, 0, 0.3),
]


def test_the_table_has_the_means_over_runs() -> None:
    table = relearning.markdown(relearning.means({Path("one"): ONE, Path("other"): OTHER}))
    assert table.splitlines() == [
        "|  | before | 1 epoch | 3 epochs | 10 epochs | 30 epochs |",
        "| --- | --: | --: | --: | --: | --: |",
        r"| θ\* (oracle) | 0 | 0 | 0 | 0 | .20 |",
        "| `npo` | 0 / .20 | .25 / .20 | 0 / .30 | 0 / .40 | 0 / .50 |",
    ]


@pytest.mark.parametrize("short", ["one", "other"])
def test_a_run_that_lacks_a_row_of_another_is_told_and_none_is_left_out(short: str) -> None:
    runs = {Path("one"): ONE, Path("other"): OTHER}
    runs[Path(short)] = [one for one in runs[Path(short)] if one["scenario"] == "privacy"]
    with pytest.raises(SystemExit, match=f"^{short}: has no npo of incorrectness, which another run has"):
        relearning.means(runs)


def test_rows_that_are_not_there_are_told(tmp_path: Path, attacks: list[Recipe]) -> None:
    with pytest.raises(SystemExit, match="there is no row rmu; there are npo, ga"):
        relearning.attacked(tmp_path, ["rmu"])


def test_what_the_run_has_finished_is_not_made_again(
    tmp_path: Path, attacks: list[Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for other rows, which nobody attacks, and what is not whole."""
    for name in (
        "models/npo",
        "models/ga",
        "models/theta0",
        "models/.staging-npo-1",
        "evaluations/npo",
        "evaluations/ga",
    ):
        (tmp_path / name).mkdir(parents=True)
    shared: list[str] = []
    monkeypatch.setattr(relearning, "share_finished", lambda folder, own, names: shared.extend(names))
    relearning.attacked(tmp_path, ["npo"])
    assert shared == ["benchmark", "models/npo", "models/theta0", "evaluations/npo"]


@pytest.mark.parametrize("records", [12, 17, 35])
def test_an_epoch_ends_where_every_record_was_trained_on_once_more(
    records: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """17 records of a few images may be one batch and not two: whole packed rows are never split."""
    known = [Sample(f"s{n}", "r", Subset.FORGET_PRIVACY, Stratum.PRIVATE_IMAGE, f"{n}?", "x", group="g",
                    image_id=f"i{n // 4}") for n in range(records)]  # fmt: skip
    monkeypatch.setattr(relearning, "data_of", lambda workshop: SimpleNamespace(seed=3))
    monkeypatch.setattr(relearning.RelearnFew, "records", lambda self, data: known)
    marks = relearning.marks_of(load_recipe("phantom"), tmp_path)
    attack = relearning.RelearnFew(batch=relearning.BATCH)
    batches = attack.batches([attack.question(record) for record in known], 3)
    for epochs, (start, end) in zip(relearning.EPOCHS, pairwise(marks), strict=True):
        seen = [index for step in range(end) for index in batches(step)]
        assert Counter(seen) == dict.fromkeys(range(records), epochs)
        assert start < end
