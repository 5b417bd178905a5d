from __future__ import annotations

import gc
import shutil
import stat
import weakref
from pathlib import Path
from typing import Any

import pytest

from mllmu_med.attacks.interface import Attempt
from mllmu_med.attacks.store import read_attempts
from mllmu_med.errors import Interrupted, UsageError
from mllmu_med.folders import read_json, read_manifest
from mllmu_med.models.groups import has_adapter
from mllmu_med.pipeline import attacking, plan_run, run, workshop
from mllmu_med.pipeline.keys import Keys
from mllmu_med.pipeline.stage import Stage
from mllmu_med.pipeline.stages import all_stages
from mllmu_med.pipeline.workshop import Workshop
from mllmu_med.recipe import Recipe, load_recipe
from tests.unit.pipeline.conftest import LORA, tiny

CHOSEN = "attack.attacks=[jailbreak, exposure, head_projection, quantise]"
ROWS = ["theta0", "oracle", "collapse", "truncated_retrain", "ga", "npo"]


def recipe(*overrides: str) -> Recipe:
    return tiny(CHOSEN, "attack.targets=6", "attack.bystanders=4", "attack.unrelated=8", *overrides)


@pytest.fixture(scope="module")
def attacked(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished run with attacks; read only."""
    folder = tmp_path_factory.mktemp("attacked") / "tiny"
    shutil.copytree(finished, folder)
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
    waiting = folder / "attacks" / ".attacks-theta0"
    assert stat.S_IMODE(waiting.stat().st_mode) == 0o700, "attempts hold private values"
    done.append("go on")
    assert run(recipe(), folder, until="evaluate", jobs=1)
    assert done[3:5] == ["head_projection", "quantise"], "the first two are not repeated"
    for name in ROWS:
        for path in (attacked / "attacks" / name).glob("*.parquet"):
            assert (folder / "attacks" / name / path.name).read_bytes() == path.read_bytes()


# --- attack by attack


@pytest.fixture
def copy(attacked: Path, tmp_path: Path) -> Path:
    """The run with attacks, to be changed."""
    return shutil.copytree(attacked, tmp_path / "tiny")


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Attacks as they are carried out."""
    done: list[str] = []
    plain = attacking.carry_out

    def noting(name: str, *arguments: Any, **options: Any) -> list[Attempt]:
        done.append(name)
        return plain(name, *arguments, **options)

    monkeypatch.setattr(attacking, "carry_out", noting)
    return done


def stage_of(attacks: str, folder: Path) -> Stage:
    """The stage that attacks ``npo`` with these."""
    return next(s for s in all_stages(recipe(f"attack.attacks={attacks}"), folder) if s.name == "attack npo")


def attempts_in(folder: Path) -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in folder.glob("*.parquet")}


def test_another_set_carries_out_what_is_new_or_has_other_numbers(attacked: Path, copy: Path, done: list[str]) -> None:
    changed = "[prune, {name: quantise, parameters: {formats: [int4]}}, head_projection, jailbreak]"
    stage = stage_of(changed, copy)
    assert stage.plan().estimate == "4 attacks, 2 of them kept"
    assert stage.ensure()
    assert done == ["prune", "quantise"]
    before, reused = attempts_in(attacked / "attacks" / "npo"), attempts_in(stage.folder)
    assert set(reused) == {"prune", "quantise", "head_projection", "jailbreak"}, "exposure is gone"
    assert {name: reused[name] for name in ("jailbreak", "head_projection")} == {
        name: before[name] for name in ("jailbreak", "head_projection")
    }
    assert reused["quantise"] != before["quantise"]
    facts = read_manifest(stage.folder)
    assert set(facts["attacks"]) == set(reused)
    assert facts["peak_memory_mb"] > 0
    assert facts["notes"]["head_projection"] == read_manifest(attacked / "attacks" / "npo")["notes"]["head_projection"]
    workshop = Workshop(recipe(f"attack.attacks={changed}"), copy)
    assert set(attacking.row_attempts(workshop, ["npo"])["npo"]) == set(reused)

    shutil.rmtree(copy / "attacks")
    assert stage_of(changed, copy).plan().estimate == "4 attacks"
    assert stage_of(changed, copy).ensure()
    assert attempts_in(stage.folder) == reused, "as if nothing had been there"


def test_a_smaller_set_needs_no_model(
    attacked: Path, copy: Path, done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*arguments: Any, **options: Any) -> None:
        raise AssertionError("no model may be loaded")

    monkeypatch.setattr(Workshop, "load", load)
    stage = stage_of("[quantise, jailbreak]", copy)
    assert stage.ensure()
    assert done == []
    before = attempts_in(attacked / "attacks" / "npo")
    assert attempts_in(stage.folder) == {name: before[name] for name in ("quantise", "jailbreak")}
    before_facts, facts = read_manifest(attacked / "attacks" / "npo"), read_manifest(stage.folder)
    assert facts["notes"] == {"quantise": before_facts["notes"]["quantise"]}
    assert facts["attacks"]["jailbreak"] == before_facts["attacks"]["jailbreak"], "the time it took when it was made"
    assert stage_of("[jailbreak, quantise]", copy).reason() is None, "another order is the same set"


def test_an_interrupted_stage_goes_on_where_the_recipe_has_changed_meanwhile(
    copy: Path, done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(copy / "attacks")
    plain = attacking.carry_out

    def stopping(name: str, *arguments: Any, **options: Any) -> list[Attempt]:
        if name == "exposure":
            raise Interrupted("stopped")
        return plain(name, *arguments, **options)

    stage = stage_of("[jailbreak, quantise, exposure]", copy)
    with monkeypatch.context() as stopped:
        stopped.setattr(attacking, "carry_out", stopping)
        with pytest.raises(Interrupted):
            stage.ensure()
    assert done == ["jailbreak", "quantise"]
    stage = stage_of("[quantise, prune]", copy)
    assert stage.estimate == "2 attacks, 1 of them kept"
    assert stage.ensure()
    assert done == ["jailbreak", "quantise", "prune"]
    assert set(attempts_in(stage.folder)) == {"quantise", "prune"}
    assert not list((copy / "attacks").glob(".*"))


@pytest.mark.parametrize("damage", ["attempts", "note", "cut"])
def test_what_is_damaged_is_carried_out_again(attacked: Path, copy: Path, done: list[str], damage: str) -> None:
    folder = copy / "attacks" / "npo"
    if damage == "attempts":
        shutil.copyfile(copy / "attacks" / "theta0" / "jailbreak.parquet", folder / "jailbreak.parquet")
        with (folder / "jailbreak.parquet").open("ab") as file:
            file.write(b"more")
    else:
        text = (folder / "jailbreak.json").read_text(encoding="utf-8")
        (folder / "jailbreak.json").write_text(text[:20] if damage == "cut" else "{}", encoding="utf-8")
    stage = stage_of("[jailbreak, quantise]", copy)
    assert stage.ensure()
    assert done == ["jailbreak"]
    assert attempts_in(stage.folder)["jailbreak"] == attempts_in(attacked / "attacks" / "npo")["jailbreak"]


def test_an_attacks_key_is_its_own() -> None:
    def keys(*overrides: str, model: str = "model") -> dict[str, str]:
        return Keys(recipe(*overrides)).attacks(model)

    before = keys()
    assert set(before) == {"jailbreak", "exposure", "head_projection", "quantise"}
    assert len(set(before.values())) == 4
    for change in ("attack.targets=5", "attack.bystanders=5", "evaluate.max_new_tokens=5", "seed=2"):
        assert not set(keys(change).values()) & set(before.values()), change
    assert not set(keys(model="other").values()) & set(before.values())
    assert keys("attack.attacks=[quantise]") == {"quantise": before["quantise"]}
    assert keys("attack.attacks=all").items() >= before.items()
    assert keys("evaluate.batch=3", "evaluate.bootstrap=7") == before


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

    folder = tmp_path / "tiny"
    shutil.copytree(attacked, folder)

    def load(*arguments: Any, **options: Any) -> None:
        raise AssertionError("no model may be loaded")

    monkeypatch.setattr(Workshop, "load", load)
    results = api.score(folder).results
    assert results is not None
    assert results["rows"] == read_json(attacked / "results" / "results.json")["rows"]
    assert (folder / "report" / "index.html").is_file()


def test_only_who_takes_adapters_off_meets_them_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """θ0 and the oracle are asked as they are: what their adapters hold was learnt, not unlearnt."""
    adapted = tiny(
        "attack.attacks=[adapter, quantise, jailbreak]", "attack.targets=6", "attack.bystanders=4", "unlearn.steps=6",
        "learn.base.trainable={language: full}", "unlearn.learning_rate=0.05", model=LORA, methods=["ga"],
    )  # fmt: skip
    assert run(adapted, tmp_path, until="unlearn", jobs=1)
    met: list[tuple[str, bool]] = []
    loaded: list[bool] = []
    models: list[weakref.ref[Any]] = []
    plain, load = attacking.carry_out, workshop.load_trained

    def noting(name: str, attack: Any, subject: Any, **options: Any) -> list[Attempt]:
        met.append((name, has_adapter(subject.vlm)))
        return plain(name, attack, subject, **options)

    def counting(folder: Path, **options: Any) -> Any:
        gc.collect()
        assert not any(model() for model in models), "one model at a time"
        loaded.append(options["apart"])
        vlm = load(folder, **options)
        models.append(weakref.ref(vlm))
        return vlm

    monkeypatch.setattr(attacking, "carry_out", noting)
    monkeypatch.setattr(workshop, "load_trained", counting)
    answers, facts = {}, {}
    for row in ("theta0", "ga"):
        stage = next(s for s in all_stages(adapted, tmp_path) if s.name == f"attack {row}")
        assert stage.ensure()
        attempts = read_attempts(stage.folder / "adapter.parquet")
        answers[row] = {(attempt.variant, attempt.sample_id): attempt.candidates for attempt in attempts}
        facts[row] = read_manifest(stage.folder)["notes"]["adapter"]
    assert met == [
        ("adapter", False), ("quantise", False), ("jailbreak", False),
        ("quantise", False), ("jailbreak", False), ("adapter", True),
    ]  # fmt: skip
    assert loaded == [False, False, True]
    assert "asked as it is" in facts["theta0"]
    assert facts["ga"]["adapted layers"] > 0
    assert {variant for variant, _ in answers["ga"]} == {"removed", "halved", "merged"}

    def of(row: str, variant: str) -> dict[str, tuple[str, ...]]:
        return {one: given for (its, one), given in answers[row].items() if its == variant}

    assert of("theta0", "removed") == of("theta0", "halved") == of("theta0", "merged")
    assert of("ga", "removed") == of("theta0", "removed"), "without its adapter it is θ0"
    assert of("ga", "merged") != of("ga", "removed")


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
