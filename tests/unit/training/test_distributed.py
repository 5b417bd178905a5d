"""Several processes on one batch: what one process would do, and the same in each of them.

Two processes are started once, by torchrun, and carry out every job of ``tests.invariant.together``; the same jobs are
carried out here by one process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mllmu_med.errors import UsageError
from mllmu_med.methods.addons.sam import SharpnessAware
from mllmu_med.methods.composition import Composite
from mllmu_med.methods.interface import Needs, Supports
from mllmu_med.methods.objectives.preference import NPO
from mllmu_med.models.sharding import is_sharded, shard_layers
from mllmu_med.models.store import load_trained
from mllmu_med.models.vlm import VisionLanguageModel
from mllmu_med.pipeline.workshop import Workshop
from mllmu_med.recipe import Recipe
from mllmu_med.training.distributed import average_gradients, joined_processes, own_share, torchrun_processes
from mllmu_med.training.loop import trainable_parameters
from tests.invariant.together import JOBS, carry_out

ROOT = Path(__file__).parents[3]
EQUAL = [
    "grad_diff", "grad_diff-accumulated", "npo", "npo-accumulated", "npo-lora", "npo-nf4", "npo-sam", "kl_min",
    "kl_min-accumulated", "alt_po", "fsdp2-npo", "fsdp2-grad_diff", "fsdp2-npo-accumulated", "fsdp2-npo-lora",
    "fsdp2-kl_min", "fsdp2-rmu", "fsdp2-alt_po-lora",
]  # fmt: skip
STEEP = ["grad_diff-pictures", "whp", "fsdp2-whp"]
"""Where some gradients are 0 but for rounding, of which AdamW makes steps as long as any other."""


class Together(NamedTuple):
    """What two processes left."""

    folder: Path

    def record(self, job: str, rank: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / f"{job}.{rank}.json").read_text())
        return found

    def weights(self, job: str) -> dict[str, Tensor]:
        return load_file(self.folder / f"{job}.safetensors")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, model_folder: Callable[[str], Path]) -> Together:
    """Every job, carried out by two processes."""
    folder = tmp_path_factory.mktemp("two")
    model = str(model_folder("llava"))
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*start, "-m", "tests.invariant.together", model, str(folder), *JOBS],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=500, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return Together(folder)


class Alone(NamedTuple):
    """What one process made of a job."""

    record: dict[str, Any]
    before: dict[str, Tensor]
    after: dict[str, Tensor]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, model_folder: Callable[[str], Path]) -> Callable[[str], Alone]:
    """Job → what one process makes of it."""
    made: dict[str, Alone] = {}

    def alone(job: str) -> Alone:
        if job not in made:
            torch.set_num_threads(1)
            before: dict[str, Tensor] = {}

            def seen(vlm: VisionLanguageModel) -> None:
                before.update({n: p.detach().clone() for n, p in trainable_parameters(vlm).items()})

            vlm, record = carry_out(job, model_folder("llava"), tmp_path_factory.mktemp("one"), seen)
            made[job] = Alone(record, before, {n: p.detach() for n, p in trainable_parameters(vlm).items()})
        return made[job]

    return alone


def distance(left: dict[str, Tensor], right: dict[str, Tensor]) -> float:
    assert left.keys() == right.keys()
    return sum(float((left[name] - right[name]).double().square().sum()) for name in left) ** 0.5


@pytest.mark.slow
@pytest.mark.parametrize("job", [*EQUAL, *STEEP])
def test_two_processes_do_what_one_does(job: str, two: Together, one: Callable[[str], Alone]) -> None:
    """Gradients, curve and weights. Gradients first: AdamW hides a factor that all of them have."""
    alone, together = one(job), two.record(job)
    for taken, expected in zip(together["norms"], alone.record["norms"], strict=True):
        assert taken == pytest.approx(expected, rel=1e-4, abs=2e-6)
    assert together["norms"][0] == pytest.approx(alone.record["norms"][0], rel=1e-5, abs=1e-6), "before any step"
    assert len(together["norms"]) >= 6
    for entry, expected in zip(together["curve"], alone.record["curve"], strict=True):
        assert entry == pytest.approx(expected, rel=1e-6, abs=2e-6)
    weights = two.weights(job)
    moved = distance(alone.after, alone.before)
    assert moved > 1e-3
    assert distance(weights, alone.after) < (2e-3 if job in STEEP else 1e-4) * moved
    if job in EQUAL:
        # AdamW makes a step of any length of a gradient that is 0 but for rounding: a lottery for single weights.
        apart = torch.cat([(weights[name] - alone.after[name]).abs().flatten() for name in weights])
        assert int((apart > (1e-5 if job.startswith("fsdp2") else 1e-6)).sum()) <= len(apart) // 1000


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
def test_the_processes_agree_bit_for_bit(job: str, two: Together) -> None:
    assert two.record(job, 0) == two.record(job, 1)


@pytest.mark.slow
@pytest.mark.parametrize("job", ["npo-dropout", "fsdp2-npo"])
def test_a_stop_asked_of_one_process_stops_all_and_resuming_is_exact(job: str, two: Together) -> None:
    """Each process has its own dropout, so each one's generator must come back."""
    whole, resumed = two.record(job), two.record(f"{job}-interrupted")
    assert resumed["weights"] == whole["weights"]
    assert resumed["curve"] == whole["curve"]
    assert resumed["norms"] == whole["norms"][2:]


@pytest.mark.slow
@pytest.mark.parametrize("job", ["ga-budget", "fsdp2-ga-budget"])
def test_a_retain_budget_stops_all_processes_at_the_same_weights(
    job: str, two: Together, one: Callable[[str], Alone]
) -> None:
    alone = one(job)
    assert "the retain budget was spent at step" in alone.record["stopped"]
    assert "weights of step 0" not in alone.record["stopped"]
    assert two.record(job)["stopped"] == alone.record["stopped"]
    assert distance(two.weights(job), alone.after) < 1e-4 * distance(alone.after, alone.before)


@pytest.mark.slow
def test_a_batch_that_does_not_divide_is_refused(two: Together, one: Callable[[str], Alone]) -> None:
    refused = two.record("npo-uneven")["refused"]
    assert refused == "forget_batch=3 cannot be shared by 2 processes; make it a multiple of 2"
    assert one("npo-uneven").record["steps"] == 6, "one process takes any batch"


@pytest.mark.slow
def test_what_fsdp2_cannot_do_is_refused(two: Together) -> None:
    assert "does not support fsdp2" in two.record("fsdp2-npo-sam")["refused"]
    assert "nf4 layers cannot be shared out" in two.record("fsdp2-npo-nf4")["refused"]


@pytest.mark.slow
@pytest.mark.parametrize("job", ["fsdp2-npo", "fsdp2-npo-lora"])
def test_each_process_holds_its_part_of_the_layers(job: str, two: Together, one: Callable[[str], Alone]) -> None:
    assert 2 * two.record(job)["bytes"] == one(job).record["bytes"]
    assert two.record("npo")["bytes"] == one("npo").record["bytes"]


@pytest.mark.slow
def test_what_several_processes_save_opens_as_a_plain_model(two: Together) -> None:
    vlm = load_trained(two.folder / "fsdp2-npo")
    found, expected = dict(vlm.model.named_parameters()), two.weights("fsdp2-npo")
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    [adapter] = (two.folder / "fsdp2-npo-lora" / "adapter").glob("*.safetensors")
    adapters = load_file(adapter)
    expected = {name.replace(".default", ""): tensor for name, tensor in two.weights("fsdp2-npo-lora").items()}
    assert adapters.keys() == expected.keys()
    assert all(torch.equal(adapters[name], tensor) for name, tensor in expected.items())


@pytest.mark.slow
def test_averages_and_shares(two: Together) -> None:
    """One norm of the gradients is taken of parted and whole ones together: √(3² + 4² + 12²) = 13."""
    found = two.record("averages")
    assert found.pop("clipped") == pytest.approx([3 / 13, 0, 4 / 13, 0, 12 / 13], rel=1e-5)
    assert found.pop("shares") == [[0, 2, 4], [1, 3, 5]]
    assert found == {
        "both": [1.5, 3.5], "one": [2.0, 4.0], "none": None, "agreed": True, "nobody": False, "ranks": [0, 1],
        "scalars": {"loss": 1.0, "forget": 1.0, "retain": 2.0},
    }  # fmt: skip


def test_alone_nothing_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "4")  # of a cluster's queue, not of torchrun
    assert torchrun_processes() == 1
    assert own_share([1, 2, 3], "batch") == [1, 2, 3]
    parameter = torch.nn.Parameter(torch.zeros(2))
    average_gradients([parameter])
    assert parameter.grad is None
    with joined_processes("gloo") as device:
        assert device == torch.device("cpu")
        assert not torch.distributed.is_initialized()


def test_one_process_has_nobody_to_share_layers_with(llava: VisionLanguageModel) -> None:
    with pytest.raises(UsageError, match="start with torchrun"):
        shard_layers(llava)
    assert not is_sharded(llava)


def test_a_recipe_is_not_carried_out_by_several_processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="carried out by one process"):
        Workshop(Recipe(name="tiny"), tmp_path)


def test_gradients_that_only_the_optimiser_gets_serve_no_rule() -> None:
    assert Supports.FSDP2 in Composite(NPO()).supports
    assert Supports.FSDP2 not in Composite(NPO(), (SharpnessAware(),)).supports
    assert Supports.DISTRIBUTED in Composite(NPO(), (SharpnessAware(),)).supports
    assert Needs.GRADIENT_STATISTICS not in NPO().needs
