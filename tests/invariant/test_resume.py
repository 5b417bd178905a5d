"""A training that was killed or stopped and goes on ends with the same bytes as one that nobody disturbed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mllmu_med.training.checkpoints import Checkpoints
from tests.invariant.jobs import JOBS, STEPS, train

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, model_folder: Callable[[str], Path]) -> dict[str, Any]:
    """What became of every job: killed at its first checkpoint, asked to stop, and left alone.

    The processes hash strings with a seed of their own, so that nothing may depend on the order of a set.
    """
    output = tmp_path_factory.mktemp("killed")
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    subprocess.run(
        [sys.executable, "-m", "tests.invariant.jobs", str(model_folder("llava")), str(output)],
        cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed}, check=True, timeout=300, capture_output=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads((output / "report.json").read_text())
    return found


@pytest.mark.parametrize("job", JOBS)
def test_killed_stopped_and_resumed_is_uninterrupted_bit_for_bit(
    job: str, report: dict[str, Any], model_folder: Callable[[str], Path]
) -> None:
    killed, stopped, finished = report[job]
    assert killed == {"signal": signal.SIGKILL, "taken": 4}, "killed after the checkpoint at step 4"
    assert (stopped["exit"], stopped["taken"]) == (5, 2), "goes on from step 4, stops at the next entry of the curve"
    assert f"stopped at step 6 of {STEPS}" in stopped["message"]
    assert "resume with the same command" in stopped["message"]
    assert (finished["exit"], finished["taken"]) == (0, STEPS - 6), "goes on from step 6"

    undisturbed = train(job, model_folder("llava"))
    assert [entry["step"] for entry in undisturbed["curve"]] == [2, 4, 6, 8, 10, 12]
    assert finished["curve"] == undisturbed["curve"]
    assert finished["weights"] == undisturbed["weights"]


def test_the_checkpoints_themselves_change_nothing(tmp_path: Path, model_folder: Callable[[str], Path]) -> None:
    with_them = train("learn-lora", model_folder("llava"), Checkpoints(tmp_path / "checkpoint", "key"))
    assert with_them == train("learn-lora", model_folder("llava"))


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("file", ["state.safetensors", "history.json"])
def test_a_damaged_checkpoint_is_not_resumed_from(
    tmp_path: Path, file: str, model_folder: Callable[[str], Path]
) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoint", "key")
    undisturbed = train("learn-full", model_folder("llava"), checkpoints)
    damage(checkpoints.folder / file)
    assert train("learn-full", model_folder("llava"), checkpoints) == undisturbed


def test_a_checkpoint_of_another_key_is_ignored(tmp_path: Path, model_folder: Callable[[str], Path]) -> None:
    """Another job's state in the same place: it must neither be loaded nor get in the way."""
    folder = tmp_path / "checkpoint"
    train("unlearn-full", model_folder("llava"), Checkpoints(folder, "another"))
    assert train("learn-full", model_folder("llava"), Checkpoints(folder, "key")) == train(
        "learn-full", model_folder("llava")
    )
