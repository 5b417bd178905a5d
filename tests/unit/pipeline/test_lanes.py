"""Stages side by side: the same bytes, the right order, and a stop that loses nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from mllmu_med.errors import Interrupted
from mllmu_med.folders import read_json, read_manifest
from mllmu_med.pipeline import run
from mllmu_med.pipeline.stage import Stage
from mllmu_med.pipeline.stages import all_stages
from tests.unit.pipeline.conftest import tiny


def test_every_stage_names_what_it_reads(finished: Path) -> None:
    stages = {stage.name: stage for stage in all_stages(tiny(), finished)}
    needs = {name: set(stage.needs) for name, stage in stages.items()}
    assert needs["benchmark"] == set()
    assert needs["base"] == {"benchmark"}
    assert needs["theta0"] == needs["oracle"] == needs["truncated_retrain"] == {"benchmark", "base"}
    assert needs["collapse"] == needs["ga"] == needs["npo"] == {"benchmark", "theta0"}
    rows = ("theta0", "oracle", "collapse", "truncated_retrain", "ga", "npo")
    assert all(needs[f"evaluate {row}"] == {row} for row in rows)
    assert needs["evaluate base"] == {"base"}
    assert needs["results"] == {f"evaluate {row}" for row in (*rows, "base")}
    assert needs["report"] == {"results"}
    order = list(stages)
    assert all(order.index(need) < order.index(name) for name in order for need in needs[name])


def test_two_at_once_make_the_same_bytes_as_one_after_another(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Worker processes have other hash seeds, other random states and other neighbours, for whom their threads wait."""
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    run(tiny(), tmp_path, until="unlearn", jobs=2)
    assert os.environ["GOMP_SPINCOUNT"] == "1000", "of the environment that they were given"
    for stage in all_stages(tiny(), finished):
        if stage.verb in ("build", "learn", "unlearn"):
            made = read_manifest(tmp_path / stage.folder.relative_to(finished))
            assert made["files"] == read_manifest(stage.folder)["files"], stage.name


def test_a_script_that_calls_without_a_guard_is_told_how(tmp_path: Path) -> None:
    """Its worker processes import it, and would start over."""
    script = tmp_path / "study.py"
    script.write_text(
        "from mllmu_med import run\nfrom tests.unit.pipeline.conftest import tiny\n"
        f"run(tiny(), {str(tmp_path / 'run')!r}, until='learn', jobs=2)\n"
    )
    places = {"PYTHONPATH": os.pathsep.join(sys.path), "MLLMU_MED_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, script], env={**os.environ, **places}, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 1
    assert (
        'every worker process runs this script again: make the call under `if __name__ == "__main__":`' in done.stderr
    )
    last = done.stderr.strip().splitlines()[-1]
    assert "Interrupted: a worker process ended before its work did" in last
    assert "BrokenProcessPool" not in last


def test_a_stage_whose_own_workers_die_is_told_of_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> None:
        raise BrokenProcessPool

    monkeypatch.setattr(Stage, "ensure", die)
    with pytest.raises(Interrupted, match="a worker process ended before its work did"):
        run(tiny(), tmp_path, until="build", jobs=1)


@pytest.mark.slow
@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals reach the main thread only"
)
def test_a_stop_reaches_the_worker_that_trains_although_another_one_waits(finished: Path, tmp_path: Path) -> None:
    recipe = tiny("learn.original.steps=3000", "learn.original.checkpoint_every=0")

    def stop() -> None:
        while not (tmp_path / "models" / "oracle" / "manifest.json").is_file():
            time.sleep(0.1)
        time.sleep(2)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(Interrupted, match=r"stopped at step \d+ of 3000 \(learn theta0\)"):
        run(recipe, tmp_path, until="learn", jobs=2)
    kept = read_json(tmp_path / "models" / ".checkpoint-theta0" / "history.json")
    assert 0 < kept["step"] < 3000
    assert {path.name for path in (tmp_path / "models").iterdir()} == {"base", "oracle", ".checkpoint-theta0"}
