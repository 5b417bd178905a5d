from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from mllmu_med.attacks.interface import Attempt
from mllmu_med.attacks.store import read_attempts
from mllmu_med.errors import Interrupted, UsageError
from mllmu_med.folders import read_json, read_manifest
from mllmu_med.pipeline import attacking, plan_run, run
from mllmu_med.recipe import Recipe, load_recipe
from tests.unit.pipeline.conftest import tiny

CHOSEN = "attack.attacks=[jailbreak, exposure, head_projection, quantise]"
ROWS = ["theta0", "oracle", "collapse", "truncated_retrain", "ga", "npo"]


def recipe(*overrides: str) -> Recipe:
    return tiny(CHOSEN, "attack.targets=6", "attack.bystanders=4", "attack.unrelated=8", *overrides)


@pytest.fixture(scope="module")
def attacked(
    finished: Path,
    tmp_path_factory: pytest.TempPathFactory,
    limited_to_one_core: Callable[[], AbstractContextManager[None]],
) -> Path:
    """A copy of the finished run with attacks; read only."""
    folder = tmp_path_factory.mktemp("attacked") / "tiny"
    shutil.copytree(finished, folder)
    with limited_to_one_core():
        assert run(recipe(), folder, jobs=1).page is not None
    return folder


def test_only_attacks_and_what_depends_on_them_are_to_do(finished: Path) -> None:
    to_do = [stage.name for stage in plan_run(recipe(), finished) if stage.status == "to do"]
    assert to_do == [*(f"attack {name}" for name in ROWS), "results", "report"]


def test_every_row_is_attacked_the_references_too(attacked: Path) -> None:
    results = read_json(attacked / "results" / "results.json")
    assert set(results["attacks"]) == {"jailbreak", "exposure", "head_projection", "quantise"}
    assert results["attacks"]["quantise"]["threat"] == "weights"
    rows = {row["name"]: row for row in results["rows"]}
    probes = set(rows["theta0"]["attacks"])
    assert {probe.partition(":")[0] for probe in probes} == {f"attack {name}" for name in results["attacks"]}
    for name in ROWS:
        assert set(rows[name]["attacks"]) == probes
    assert rows["refuse_all"]["attacks"] == {}
    plain = {"membership", "distances", "calibration", "detection", "subgroups"}
    assert plain | {"unlok", "recovery", "exposure"} <= set(rows["npo"])
    assert "sampling" not in rows["npo"], "not carried out"
    assert plain.isdisjoint(rows["refuse_all"])
    assert rows["oracle"]["distances"]["forget/privacy"]["kl"] == 0
    assert rows["theta0"]["membership"]["mia_reference"]["image"]["auc"] is not None, "the base model was asked, too"
    for probe, scenarios in rows["npo"]["attacks"].items():
        for scenario, found in scenarios.items():
            assert found["original"] == rows["theta0"]["attacks"][probe][scenario]["model"]
            assert found["oracle"] == rows["oracle"]["attacks"][probe][scenario]["model"]
            assert 0 <= found["model"] <= 1
    assert 'id="attacks"' in (attacked / "report" / "index.html").read_text(encoding="utf-8")


def test_attempts_and_seconds_are_kept(attacked: Path) -> None:
    facts = read_manifest(attacked / "attacks" / "npo")
    assert set(facts["attacks"]) == {"jailbreak", "exposure", "head_projection", "quantise"}
    assert all(seconds > 0 for seconds in facts["attacks"].values())
    attempts = read_attempts(attacked / "attacks" / "npo" / "jailbreak.parquet")
    assert {attempt.attack for attempt in attempts} == {"jailbreak"}
    assert not list((attacked / "attacks").glob(".*")), "nothing unfinished is left"


def test_an_interrupted_stage_keeps_its_finished_attacks_and_ends_alike(
    finished: Path, attacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(finished, folder)
    done: list[str] = []
    plain = attacking.carry_out

    def stopping(name: str, *arguments: Any, **options: Any) -> list[Attempt]:
        if name == "head_projection" and len(done) == 2:
            raise Interrupted("stopped")
        done.append(name)
        return plain(name, *arguments, **options)

    monkeypatch.setattr(attacking, "carry_out", stopping)
    with pytest.raises(Interrupted):
        run(recipe(), folder, until="evaluate", jobs=1)
    assert done == ["jailbreak", "exposure"]
    assert not (folder / "attacks" / "theta0").exists()
    done.append("go on")
    assert run(recipe(), folder, until="evaluate", jobs=1)
    assert done[3:5] == ["head_projection", "quantise"], "the first two are not repeated"
    for name in ROWS:
        for path in (attacked / "attacks" / name).glob("*.parquet"):
            assert (folder / "attacks" / name / path.name).read_bytes() == path.read_bytes()


def test_what_was_attacked_otherwise_is_attacked_again(attacked: Path) -> None:
    def to_do(*overrides: str) -> int:
        return sum(s.status == "to do" and s.name.startswith("attack") for s in plan_run(recipe(*overrides), attacked))

    assert to_do() == 0
    assert to_do("attack.targets=5") == len(ROWS)
    assert to_do("evaluate.max_new_tokens=5") == len(ROWS)
    assert to_do("evaluate.bootstrap=7") == 0


def test_scores_are_computed_again_without_a_model(
    attacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mllmu_med import api
    from mllmu_med.pipeline.workshop import Workshop

    folder = tmp_path / "tiny"
    shutil.copytree(attacked, folder)

    def load(*arguments: Any, **options: Any) -> None:
        raise AssertionError("no model may be loaded")

    monkeypatch.setattr(Workshop, "load", load)
    results = api.score(folder).results
    assert results is not None
    assert results["rows"] == read_json(attacked / "results" / "results.json")["rows"]
    assert (folder / "report" / "index.html").is_file()


@pytest.mark.parametrize(
    ("attacks", "message"),
    [
        ("[fewshot]", "unknown attack 'fewshot' .did you mean 'few_shot'"), ("[prune, prune]", "named twice"),
        ("[mia_loss]", "read off every evaluation"), ("[{name: prune, parameters: {share: 2}}]", "has no such key"),
    ],
)  # fmt: skip
def test_a_wrong_choice_of_attacks_is_one_clear_line(attacks: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_recipe("phantom", f"attack.attacks={attacks}")


def test_all_means_every_attack_that_is_carried_out() -> None:
    from mllmu_med.attacks import ATTACKS, MEMBERSHIP
    from mllmu_med.recipe import make_attacks

    made = make_attacks(load_recipe("phantom", "attack.attacks=all"))
    assert list(made) == [name for name in ATTACKS.names() if name not in MEMBERSHIP]
    assert all(attack.budget >= 1 and attack.cost and attack.summary for attack in made.values())
