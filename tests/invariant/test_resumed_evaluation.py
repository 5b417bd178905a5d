"""An evaluation that was stopped, broken off or killed and goes on writes the same bytes as one nobody disturbed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mllmu_med.engines import in_process
from mllmu_med.engines.answer_store import JOURNAL
from mllmu_med.errors import Interrupted
from mllmu_med.pipeline import run
from mllmu_med.pipeline.running import drop_checkpoint
from mllmu_med.pipeline.stage import Stage
from mllmu_med.pipeline.stages import all_stages
from mllmu_med.recipe import Recipe
from tests.unit.pipeline.conftest import tiny

ROOT = Path(__file__).parents[2]
WORK = ("generate", "likelihoods")
ROWS = ("theta0", "eco")


def recipe() -> Recipe:
    """Small batches, so that there are many; a guard that decides on each prompt is one of the rows."""
    return tiny(
        "evaluate.batch=3", "evaluate.probes=[mismatched,blank]", "methods=[eco]", "controls.truncated_retrain=false"
    )


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resumed") / "run"
    run(recipe(), folder, until="unlearn", jobs=1)
    return folder


def stage(output: Path, row: str) -> Stage:
    (found,) = (stage for stage in all_stages(recipe(), output) if stage.name == f"evaluate {row}")
    return found


def outputs(output: Path, row: str) -> bytes:
    folder = output / "evaluations" / row
    return (folder / "outputs.parquet").read_bytes() + (folder / "strangers.json").read_bytes()


def kept(output: Path, row: str) -> Path:
    return output / "evaluations" / f".answers-{row}" / JOURNAL


class Counted:
    """Counts batches; at batch number ``at`` it does something in the midst of the work."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int | None = None, what: Callable[[], None] = lambda: None):
        self.calls = 0
        for name in WORK:
            patch.setattr(in_process, name, self._counting(getattr(in_process, name), at, what))

    def _counting(self, work: Any, at: int | None, what: Callable[[], None]) -> Any:
        def counting(*args: Any, **named: Any) -> Any:
            self.calls += 1
            found = work(*args, **named)
            if self.calls == at:
                what()
            return found

        return counting


@pytest.fixture(scope="module", params=ROWS)
def undisturbed(request: pytest.FixtureRequest, learnt: Path) -> tuple[str, bytes, int]:
    """Row, its bytes, and how many batches it takes."""
    row = request.param
    with pytest.MonkeyPatch.context() as patch:
        count = Counted(patch)
        assert stage(learnt, row).ensure()
    made = outputs(learnt, row)
    shutil.rmtree(learnt / "evaluations" / row)
    drop_checkpoint(learnt, stage(learnt, row))
    assert not kept(learnt, row).parent.exists(), "what a finished stage had kept goes with its checkpoint"
    assert count.calls >= 12
    return row, made, count.calls


def goes_on(output: Path, row: str, patch: pytest.MonkeyPatch) -> tuple[bytes, int]:
    """Bytes and batches of the same command in a fresh start."""
    with patch.context() as again:
        count = Counted(again)
        assert stage(output, row).ensure()
    made = outputs(output, row)
    shutil.rmtree(output / "evaluations" / row)
    drop_checkpoint(output, stage(output, row))
    return made, count.calls


class PowerCutError(Exception):
    """Nobody expects it, nobody catches it."""


@pytest.mark.parametrize("share", [0.05, 0.9])
def test_broken_off_loses_one_batch(
    share: float, undisturbed: tuple[str, bytes, int], learnt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, expected, total = undisturbed
    at = max(1, round(share * total))

    def cut() -> None:
        raise PowerCutError

    with monkeypatch.context() as patch:
        Counted(patch, at, cut)
        with pytest.raises(PowerCutError):
            stage(learnt, row).ensure()
    made, calls = goes_on(learnt, row, monkeypatch)
    assert calls == total - (at - 1), "the batch in which it happened is asked again, no other"
    assert made == expected


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_polite_stop_loses_none(
    number: signal.Signals, undisturbed: tuple[str, bytes, int], learnt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, expected, total = undisturbed
    with monkeypatch.context() as patch:
        Counted(patch, total // 3, lambda: os.kill(os.getpid(), number))
        with pytest.raises(Interrupted, match="resume with the same command"):
            stage(learnt, row).ensure()
    made, calls = goes_on(learnt, row, monkeypatch)
    assert calls == total - total // 3
    assert made == expected


def test_stopped_again_and_again(
    undisturbed: tuple[str, bytes, int], learnt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, expected, total = undisturbed
    for _ in range(2):
        with monkeypatch.context() as patch:
            Counted(patch, 4, lambda: os.kill(os.getpid(), signal.SIGINT))
            with pytest.raises(Interrupted):
                stage(learnt, row).ensure()
    made, calls = goes_on(learnt, row, monkeypatch)
    assert calls == total - 8
    assert made == expected


KILLED = """
import json, os, signal, sys
from pathlib import Path
import pytest
from tests.invariant.test_resumed_evaluation import Counted, stage
output, row, at = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
Counted(pytest.MonkeyPatch(), at, lambda: os.kill(os.getpid(), signal.SIGKILL))
stage(output, row).ensure()
"""


def test_killed_and_the_last_record_torn(
    undisturbed: tuple[str, bytes, int], learnt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, expected, total = undisturbed
    at = total // 2
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(learnt), row, str(at)], cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        timeout=300, capture_output=True, check=False,
    )  # fmt: skip
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()[-2000:]
    journal = kept(learnt, row)
    lines = journal.read_bytes().splitlines(keepends=True)
    assert len(lines) == 1 + at - 1, "a head, and a line for each whole batch"
    journal.write_bytes(b"".join(lines)[:-7])
    made, calls = goes_on(learnt, row, monkeypatch)
    assert calls == total - (at - 2), "another process has the same keys; the torn record is asked again"
    assert made == expected


def test_what_is_kept_is_for_these_weights_and_these_questions(
    undisturbed: tuple[str, bytes, int], learnt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another model under the same name: nothing of what was kept is served."""
    row, expected, total = undisturbed
    with monkeypatch.context() as patch:
        Counted(patch, total // 2, lambda: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(Interrupted):
            stage(learnt, row).ensure()
    manifest = learnt / "models" / row / "manifest.json"
    before = manifest.read_text(encoding="utf-8")
    try:
        manifest.write_text(json.dumps({**json.loads(before), "key": "another"}), encoding="utf-8")
        made, calls = goes_on(learnt, row, monkeypatch)
    finally:
        manifest.write_text(before, encoding="utf-8")
    assert calls == total
    assert made == expected
