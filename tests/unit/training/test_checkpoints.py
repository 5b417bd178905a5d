"""A checkpoint is restored exactly or not at all."""

from __future__ import annotations

import random
import stat
from pathlib import Path

import pytest
import torch

from mllmu_med.training.checkpoints import Checkpoints, TrainableParameters

Curve = list[dict[str, float]]


def trained(steps: int, seed: int = 0) -> tuple[TrainableParameters, torch.optim.AdamW]:
    """Two parameters, so many AdamW steps on."""
    generator = torch.Generator().manual_seed(seed)
    parameters = {n: torch.nn.Parameter(torch.randn(3, 2, generator=generator)) for n in ("model.one", "model.two")}
    optimizer = torch.optim.AdamW(parameters.values(), lr=0.1, fused=True)
    for _ in range(steps):
        for parameter in parameters.values():
            parameter.grad = torch.randn(3, 2, generator=generator)
        optimizer.step()
    return parameters, optimizer


def state(parameters: TrainableParameters, optimizer: torch.optim.AdamW) -> list[list[float]]:
    """All numbers the next step depends on."""
    found = [p.detach().flatten().tolist() for p in parameters.values()]
    for parameter in parameters.values():
        moments = optimizer.state[parameter]
        found += [moments[name].flatten().tolist() for name in ("exp_avg", "exp_avg_sq", "step")]
    return found


CURVE = [{"step": 2.0, "loss": 0.25, "lr": 1e-3}]


@pytest.fixture
def saved(tmp_path: Path) -> Checkpoints:
    checkpoints = Checkpoints(tmp_path / "checkpoint", "key")
    torch.manual_seed(11)
    checkpoints.save(7, *trained(7), CURVE)
    return checkpoints


def test_everything_the_next_step_depends_on_is_restored(saved: Checkpoints) -> None:
    expected = torch.Generator().manual_seed(11)
    torch.manual_seed(5)
    parameters, optimizer = trained(0, seed=9)
    assert saved.load(parameters, optimizer) == (7, CURVE)
    assert state(parameters, optimizer) == state(*trained(7))
    assert torch.rand(4).tolist() == torch.rand(4, generator=expected).tolist()

    one, two = trained(7), (parameters, optimizer)
    for own, optim in (one, two):
        for parameter in own.values():
            parameter.grad = torch.ones(3, 2)
        optim.step()
    assert state(*one) == state(*two), "and the next step is the same"


def test_on_a_gpu_its_own_generator_is_restored_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout is drawn there. No GPU is at hand: what stands in for it is asked as one would be."""
    device, held = torch.device("cuda", 0), {"state": torch.arange(16, dtype=torch.uint8)}
    monkeypatch.setattr("mllmu_med.training.checkpoints._cuda", lambda parameters: device)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda where: held["state"].clone())
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, where: held.update(state=state, where=where))
    checkpoints = Checkpoints(tmp_path / "checkpoint", "key")
    checkpoints.save(7, *trained(7), CURVE)
    held["state"] = torch.zeros(16, dtype=torch.uint8)
    assert checkpoints.load(*trained(0)) == (7, CURVE)
    assert held["state"].tolist() == list(range(16))
    assert held["where"] == device


def test_there_is_one_checkpoint_the_latest(saved: Checkpoints) -> None:
    saved.save(9, *trained(9), [*CURVE, *CURVE])
    parameters, optimizer = trained(0)
    assert saved.load(parameters, optimizer) == (9, CURVE * 2)
    assert state(parameters, optimizer) == state(*trained(9))
    assert [path.name for path in saved.folder.parent.iterdir()] == ["checkpoint"]


def test_weights_on_their_way_are_their_owners_alone(saved: Checkpoints) -> None:
    assert stat.S_IMODE(saved.folder.stat().st_mode) == 0o700


def test_nothing_saved_is_nothing_found(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "none", "key").load(*trained(0)) is None


def test_a_checkpoint_of_another_key_is_left_alone(saved: Checkpoints) -> None:
    parameters, optimizer = trained(3)
    before = state(parameters, optimizer)
    assert Checkpoints(saved.folder, "other").load(parameters, optimizer) is None
    assert state(parameters, optimizer) == before
    assert saved.load(parameters, optimizer) is not None, "it is still there for its own stage"


def test_no_flipped_byte_is_ever_resumed_from(saved: Checkpoints) -> None:
    """Wherever it is: nothing is restored, or exactly what was saved; and never an error that stops the run."""
    files = {path.name: path.read_bytes() for path in sorted(saved.folder.iterdir())}
    assert set(files) == {"history.json", "manifest.json", "state.safetensors"}
    expected = state(*trained(7))
    draw = random.Random(0)
    refused = 0
    for name, content in files.items():
        places = range(len(content)) if name != "state.safetensors" else draw.sample(range(len(content)), 60)
        for place in places:
            damaged = bytearray(content)
            damaged[place] ^= 1 << draw.randrange(8)
            saved.folder.mkdir(exist_ok=True)
            for other, whole in files.items():
                (saved.folder / other).write_bytes(damaged if other == name else whole)
            parameters, optimizer = trained(0, seed=9)
            before = [p.detach().clone() for p in parameters.values()]
            found = saved.load(parameters, optimizer)
            if found is None:
                refused += 1
                assert all(torch.equal(a, b) for a, b in zip(before, parameters.values(), strict=True))
            else:
                assert name == "manifest.json", "the other two are hashed"
                assert found == (7, CURVE)
                assert state(parameters, optimizer) == expected
    assert refused > 200


@pytest.mark.parametrize("name", ["history.json", "manifest.json", "state.safetensors"])
def test_a_missing_file_is_not_resumed_from(saved: Checkpoints, name: str) -> None:
    (saved.folder / name).unlink()
    assert saved.load(*trained(0)) is None
    assert not saved.folder.exists(), "what is damaged is removed"
