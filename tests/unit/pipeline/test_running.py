"""A run makes what is missing or changed, and nothing else."""

from __future__ import annotations

import shutil
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest
import torch

from mllmu_med.caches.place import cache_folder
from mllmu_med.errors import DataError, Interrupted, MedError, UsageError
from mllmu_med.folders import read_json, read_manifest, verify
from mllmu_med.pipeline import make_again, plan_run, run
from mllmu_med.pipeline.metaeval import metaeval
from mllmu_med.pipeline.tuning import tune
from tests.unit.pipeline.conftest import tiny

METHODS = ("ga", "npo")
ON_THETA0 = ("collapse", *METHODS)
ROWS = ("theta0", "oracle", "collapse", "truncated_retrain", *METHODS)
EVERY = ["benchmark", "base", *ROWS, *(f"evaluate {row}" for row in (*ROWS, "base")), "results", "report"]


def to_do(folder: Path, *overrides: str) -> list[str]:
    return [stage.name for stage in plan_run(tiny(*overrides), folder) if stage.status == "to do"]


def evaluated(*rows: str) -> list[str]:
    """Stages that follow when these models change."""
    return [*(f"evaluate {row}" for row in (*ROWS, "base") if row in rows), "results", "report"]


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file with its identity: a file written again is another one."""
    return {str(p.relative_to(folder)): (p.stat().st_ino, p.stat().st_mtime_ns) for p in sorted(folder.rglob("*"))}


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run that a test may change."""
    return shutil.copytree(finished, tmp_path / "run")


def test_a_finished_run_has_every_stage_and_each_is_whole(finished: Path) -> None:
    assert [stage.name for stage in plan_run(tiny(), finished)] == EVERY
    assert to_do(finished) == []
    for manifest in finished.rglob("manifest.json"):
        verify(manifest.parent)
    assert not list(finished.rglob(".*")), "nothing half-written and no checkpoint is left"
    assert read_json(finished / "recipe.json") == tiny().to_dict()


def test_results_hold_every_row_with_its_cost(finished: Path) -> None:
    results = read_json(finished / "results" / "results.json")
    rows = {row["name"]: row for row in results["rows"]}
    assert list(rows) == ["theta0", "oracle", "refuse_all", "collapse", "truncated_retrain", *METHODS]
    costs = {name: (row["cost"]["steps"], row["cost"]["records"]) for name, row in rows.items() if row["cost"]}
    # ga: 6 forget answers a step; npo: 6 + 10; retraining for as many answers as npo: 16.
    expected = {"theta0": (3, 48), "oracle": (3, 48), "collapse": (2, 12), "truncated_retrain": (2, 32)}
    assert costs == {**expected, "ga": (2, 12), "npo": (2, 32)}
    assert rows["npo"]["cost"]["share_of_oracle"] == pytest.approx(32 / 48)
    assert 0.5 < rows["npo"]["cost"]["trainable_share"] < 0.8
    assert [entry["step"] for entry in rows["npo"]["curves"]] == [2]
    assert results["provenance"]["packing"] is True
    assert results["provenance"]["source"] == "phantom"
    assert set(results["provenance"]["seconds"]) >= {"benchmark", "base", "evaluate npo"}
    assert results["benchmark"]["patients"] == {"forgotten": 2, "retained": 3, "holdout": 1}


def test_another_run_takes_its_base_from_the_cache(finished: Path, tmp_path: Path) -> None:
    """Its benchmark, model and base stage are the same; that its methods are not does not matter."""
    run(tiny("methods=[ga]", "learn.oracle.steps=1", "learn.original.steps=1"), tmp_path, until="learn", jobs=1)
    taken, trained = (read_manifest(folder / "models" / "base") for folder in (tmp_path, finished))
    assert taken["cached"] is True  # that of the finished run may be as well: others in this process share the cache
    assert taken["files"] == trained["files"]
    assert taken["training"] == trained["training"], "what it cost is still known"


def test_a_second_run_makes_nothing(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("mllmu_med.pipeline.workshop.load_trained", fail)
    before = snapshot(finished)
    result = run(tiny(), finished, jobs=1)
    assert snapshot(finished) == before
    assert result.results == read_json(finished / "results" / "results.json")
    assert result.page == finished / "report" / "index.html"


def test_a_changed_method_is_made_again_and_nothing_beside_it(copy: Path) -> None:
    before = snapshot(copy)
    changed = tiny("methods.npo.learning_rate=1.0e-2")
    result = run(changed, copy, jobs=1)
    after = snapshot(copy)
    written = {Path(name).parts[:2] for name in after if after[name] != before.get(name) and (copy / name).is_file()}
    assert {"/".join(parts) for parts in written} == {
        "models/npo", "evaluations/npo", "results/manifest.json", "results/results.json", "results/results.csv",
        "report/manifest.json", "report/index.html", "recipe.json",
    }  # fmt: skip
    assert result.results is not None
    assert result.results["recipe"] == changed.to_dict()
    assert read_manifest(copy / "models" / "npo")["training"]["curve"][0]["lr"] > 1e-3


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("title=Another", ["results", "report"]),
        ("evaluate.bootstrap=21", ["results", "report"]),
        ("evaluate.batch=7", ["results", "report"]),
        ("evaluate.max_new_tokens=5", evaluated(*ROWS, "base")),
        ("evaluate.ordinary_samples=9", evaluated(*ROWS, "base")),
        ("methods.npo.parameters={beta: 0.5}", ["npo", *evaluated("npo")]),
        ("methods.ga.span_weights=false", ["ga", *evaluated("ga")]),
        ("controls.collapse.learning_rate=1.0e-2", ["collapse", *evaluated("collapse")]),
        ("unlearn.per_image=2", ["collapse", "truncated_retrain", *METHODS,
                                 *evaluated("collapse", "truncated_retrain", *METHODS)]),
        ("unlearn.forget_batch=5", [*("collapse", "truncated_retrain", *METHODS),
                                    *evaluated("collapse", "truncated_retrain", *METHODS)]),
        ("unlearn.clip=0.5", [*("collapse", "truncated_retrain", *METHODS),
                              *evaluated("collapse", "truncated_retrain", *METHODS)]),
        ("unlearn.retain_batch=9", ["truncated_retrain", *METHODS, *evaluated("truncated_retrain", *METHODS)]),
        ("learn.oracle.steps=4", ["oracle", *evaluated("oracle")]),
        ("learn.oracle.corrected=false",
         ["oracle", "truncated_retrain", *evaluated("oracle", "truncated_retrain")]),
        ("learn.original.steps=4", ["theta0", *ON_THETA0, *evaluated("theta0", *ON_THETA0)]),
        ("learn.original.learning_rate=2.0e-3",
         ["theta0", "collapse", "truncated_retrain", *METHODS,
          *evaluated("theta0", "collapse", "truncated_retrain", *METHODS)]),
        ("learn.base.steps=4", EVERY[1:]),
        ("model.packing=off", EVERY[1:]),
        ("model.embedded.tower_steps=3", EVERY[1:]),
        ("benchmark.patients_forgotten=1", EVERY),
        ("source.images=25", EVERY),
        ("seed=1", EVERY),
    ],
)  # fmt: skip
def test_what_depends_on_a_setting_is_to_be_done_again(override: str, expected: list[str], finished: Path) -> None:
    assert to_do(finished, override) == expected


def test_another_name_for_a_row_changes_no_bytes_of_its_model(finished: Path) -> None:
    """The key says what a model is, not what it is called."""
    from mllmu_med.pipeline.keys import Keys

    plain = tiny()
    renamed = tiny("methods=[ga, {name: npo, row: npo-again}]")
    assert Keys(plain).method(plain.methods[1]) == Keys(renamed).method(renamed.methods[1])


def test_a_plan_writes_nothing(finished: Path, tmp_path: Path) -> None:
    before = snapshot(finished)
    plan_run(tiny("seed=1"), finished)
    assert snapshot(finished) == before
    stages = plan_run(tiny(), tmp_path / "new" / "run", until="learn")
    assert [(stage.name, stage.status, stage.reason) for stage in stages] == [
        (name, "to do", "absent") for name in ("benchmark", "base", "theta0", "oracle")
    ]
    assert not (tmp_path / "new").exists()
    estimates = {stage.name: stage.estimate for stage in plan_run(tiny(), finished)}
    assert estimates["theta0"] == "3 steps of 16"
    assert estimates["npo"] == "2 steps of 6 + 10"


def test_until(copy: Path) -> None:
    shutil.rmtree(copy / "report")
    shutil.rmtree(copy / "results")
    result = run(tiny(), copy, until="unlearn", jobs=1)
    assert (result.results, result.page) == (None, None)
    with pytest.raises(DataError, match="no such file"):
        make_again(tiny(), copy, ["report"])
    assert not (copy / "report").exists()
    assert run(tiny(), copy, until="evaluate", jobs=1).results is None
    assert run(tiny(), copy, until="score", jobs=1).results is not None
    assert make_again(tiny(), copy, ["report"]).page == copy / "report" / "index.html"
    with pytest.raises(UsageError, match="no verb 'teach'"):
        run(tiny(), copy, until="teach", jobs=1)


@pytest.mark.parametrize(("method", "held", "supported"), [("o3", "full", "lora"), ("chip", "lora", "full")])
def test_weights_that_a_method_cannot_work_on_are_refused_before_anything_is_made(
    tmp_path: Path, method: str, held: str, supported: str
) -> None:
    recipe = tiny(f"methods=[npo,{method}]", f"model.trainable.language={held}")
    told = rf"methods.{method}: .*does not support {held}; it supports: .*{supported}"
    for carry_out in (plan_run, run):
        with pytest.raises(UsageError, match=told):
            carry_out(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "benchmark").exists()


def test_where_answers_are_scored_otherwise_results_are_made_anew_and_nothing_else(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mllmu_med.pipeline.stages.SCORED", 10**6)
    assert to_do(finished) == ["results", "report"]


def test_results_and_page_need_what_is_stored_alone(
    copy: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The data may have moved; whatever fails leaves what was there."""

    def gone(*_: object) -> None:
        raise DataError("no such folder", file="/moved/Slake1.0")

    monkeypatch.setattr("mllmu_med.pipeline.keys.make_source", gone)
    with pytest.raises(DataError, match="moved"):
        run(tiny(), copy, jobs=1)
    before = snapshot(copy)
    made = make_again(tiny(), copy, ["score", "report"])
    assert made.results is not None
    assert made.page is not None
    changed = {name.partition("/")[0] for name, state in snapshot(copy).items() if before[name] != state}
    assert changed == {"results", "report"}
    monkeypatch.undo()
    assert to_do(copy) == [], "under the keys of the run itself"
    (copy / "evaluations" / "npo" / "outputs.parquet").write_bytes(b"damaged")
    with pytest.raises(MedError):
        make_again(tiny(), copy, ["score", "report"])
    verify(copy / "results")
    verify(copy / "report")


def test_what_stands_in_the_way_is_told_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "mine.txt").write_text("precious")
    for attempt in (plan_run, run):
        with pytest.raises(UsageError, match=r"report: holds 'mine\.txt', which is no output of mllmu-med"):
            attempt(tiny(), tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["report", "mine.txt"]


def test_a_second_process_in_the_same_folder_is_refused(copy: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from mllmu_med.pipeline.lanes import alone_in\n"
        "with alone_in(Path(sys.argv[1])): print(1, flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(copy)], stdin=PIPE, stdout=PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"1\n"
        before = read_json(copy / "recipe.json")
        for attempt in (
            lambda: run(tiny("seed=1"), copy, jobs=1), lambda: make_again(tiny(), copy, ["report"]),
            lambda: metaeval(tiny(), copy, 2, jobs=1), lambda: tune(tiny(methods=["npo"]), copy, 2, jobs=1),
        ):  # fmt: skip
            with pytest.raises(UsageError, match="another process is at work there"):
                attempt()
        assert read_json(copy / "recipe.json") == before
        other.kill()
    run(tiny(), copy, jobs=1)


def test_what_models_say_of_real_values_is_closed_like_the_benchmark(copy: Path) -> None:
    (copy / "benchmark").chmod(0o700)
    for name in ("models/npo", "evaluations/npo", "results", "report"):
        shutil.rmtree(copy / name)
    run(tiny(), copy, jobs=1)
    modes = {name: stat.S_IMODE((copy / name).stat().st_mode) for name in ("models", "models/npo", "evaluations/npo",
             "results", "report", "evaluations/ga")}  # fmt: skip
    assert modes == {
        **dict.fromkeys(modes, 0o700),
        "models": modes["models"],
        "evaluations/ga": modes["evaluations/ga"],
    }
    assert modes["evaluations/ga"] != 0o700, "made while the benchmark was open"


def test_a_lost_stage_is_made_again_with_the_same_bytes(copy: Path, finished: Path) -> None:
    shutil.rmtree(copy / "models" / "npo")
    assert to_do(copy) == ["npo"]
    run(tiny(), copy, until="unlearn", jobs=1)
    for name in ("model.safetensors", "tokenizer.json"):
        assert (copy / "models" / "npo" / name).read_bytes() == (finished / "models" / "npo" / name).read_bytes()


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Asks the process to stop at these optimiser steps, counted over all trainings."""
    steps: list[int] = []
    taken = [0]
    clip = torch.nn.utils.clip_grad_norm_

    def counted(*arguments: Any) -> Any:
        taken[0] += 1
        if taken[0] in steps:
            signal.raise_signal(signal.SIGTERM)
        return clip(*arguments)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", counted)
    return steps


def forget_trained() -> None:
    """θ0 and oracle are not in the cache any more."""
    for name in ("theta0", "oracle"):
        shutil.rmtree(cache_folder() / name, ignore_errors=True)


@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals reach the main thread only"
)
def test_a_stopped_run_goes_on_with_the_same_command_to_the_same_bytes(
    finished: Path, tmp_path: Path, stop_at: list[int]
) -> None:
    """The base comes from the cache; the stop comes at step 5 of θ0, whose next entry of the curve is step 10."""
    recipe = tiny("learn.original.steps=14")
    forget_trained()
    run(recipe, tmp_path / "undisturbed", until="learn", jobs=1)
    forget_trained()
    stop_at.append(14 + 3 + 5)
    folder = tmp_path / "stopped"
    with pytest.raises(Interrupted, match=r"stopped at step 10 of 14 \(learn theta0\)"):
        run(recipe, folder, until="learn", jobs=1)
    assert {path.name for path in (folder / "models").iterdir()} == {"base", ".checkpoint-theta0"}
    run(recipe, folder, until="learn", jobs=1)
    assert {path.name for path in (folder / "models").iterdir()} == {"base", "theta0", "oracle"}
    for model in ("base", "theta0", "oracle"):
        theirs = tmp_path / "undisturbed" / "models" / model
        assert read_manifest(folder / "models" / model)["files"] == read_manifest(theirs)["files"]
    curves = [read_manifest(f / "models" / "theta0")["training"]["curve"] for f in (folder, tmp_path / "undisturbed")]
    assert curves[0] == curves[1]
    assert [entry["step"] for entry in curves[0]] == [10, 14]
