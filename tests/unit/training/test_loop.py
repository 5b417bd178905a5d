"""The loop itself, on a model of four numbers."""

from __future__ import annotations

import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mllmu_med.errors import Interrupted, MedError
from mllmu_med.memory import peak_memory_mb
from mllmu_med.training.checkpoints import Checkpoints
from mllmu_med.training.interrupts import graceful_stop
from mllmu_med.training.loop import StepLoss, TrainingLog, optimise, trainable_parameters
from mllmu_med.training.settings import LoopSettings


class Four:
    """Stands for a model: y = w · x, w of four numbers."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.model = torch.nn.Linear(4, 1, bias=False)
        with torch.no_grad():
            self.model.weight.copy_(torch.tensor([[0.5, -1.0, 2.0, 0.25]]))

    @property
    def weights(self) -> list[float]:
        found: list[float] = self.model.weight.detach().flatten().tolist()
        return found


LOOP = LoopSettings(steps=6, learning_rate=0.1, weight_decay=0.01, warmup=2, clip=0.7, checkpoint_every=2, log_every=2)


def data(batch: int) -> Tensor:
    return torch.randn(3, 4, generator=torch.Generator().manual_seed(batch))


def fit(four: Four, loop: LoopSettings = LOOP, **changes: Any) -> TrainingLog:
    def loss_of(batch: int) -> StepLoss:
        error = (four.model(data(batch)) - 1).square().mean()
        return {"loss": error, "half": error / 2}

    settings = {"batch_of": lambda i: i, "loss_of": loss_of, "title": "fit", "seed": 0, **changes}
    return optimise(four, loop, **settings)  # type: ignore[arg-type]


def by_hand(loop: LoopSettings) -> list[float]:
    """The same with nothing but torch: accumulation, clipping to a norm, AdamW, the schedule."""
    four = Four()
    optimizer = torch.optim.AdamW(four.model.parameters(), lr=1.0, betas=loop.betas, weight_decay=loop.weight_decay)
    for step in range(loop.steps):
        batches = [data(step * loop.accumulation + part) for part in range(loop.accumulation)]
        loss = torch.stack([(four.model(batch) - 1).square().mean() for batch in batches]).mean()
        [gradient] = torch.autograd.grad(loss, [four.model.weight])
        four.model.weight.grad = gradient * min(1.0, loop.clip / float(gradient.norm()))
        optimizer.param_groups[0]["lr"] = loop.rate(step)
        optimizer.step()
    return four.weights


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("clip", [0.05, 4.0, 100.0])  # always, at some steps, never; AdamW itself forgives any factor
def test_a_step_is_the_mean_of_its_batches_clipped_and_given_to_adamw(accumulation: int, clip: float) -> None:
    four, loop = Four(), replace(LOOP, accumulation=accumulation, clip=clip)
    fit(four, loop)
    assert four.weights == pytest.approx(by_hand(loop), rel=1e-5)


def test_the_curve_holds_means_between_its_entries() -> None:
    values = iter(float(i) for i in range(100))
    four = Four()

    def loss_of(batch: int) -> StepLoss:
        value = next(values)
        return {"loss": four.model.weight.sum() * 0 + value, "part": torch.tensor(10 * value)}

    log = fit(four, replace(LOOP, steps=5, accumulation=2, log_every=2), loss_of=loss_of)
    assert log.curve == [
        {"step": 2.0, "lr": pytest.approx(replace(LOOP, steps=5).rate(1)), "loss": 1.5, "part": 15.0},
        {"step": 4.0, "lr": pytest.approx(replace(LOOP, steps=5).rate(3)), "loss": 5.5, "part": 55.0},
        {"step": 5.0, "lr": pytest.approx(replace(LOOP, steps=5).rate(4)), "loss": 8.5, "part": 85.0},
    ]
    assert (log.steps, log.stopped) == (5, None)
    assert log.seconds > 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_that_is_not_finite_ends_the_training_and_names_the_step(bad: float) -> None:
    four = Four()

    def loss_of(batch: int) -> StepLoss:
        return {"loss": four.model.weight.sum() * (bad if batch == 3 else 1.0)}

    with pytest.raises(MedError, match=r"not finite at step 4\b.*Lower the learning rate"):
        fit(four, loss_of=loss_of)


def test_a_part_that_is_not_finite_does_too() -> None:
    four = Four()

    def loss_of(batch: int) -> StepLoss:
        return {"loss": four.model.weight.sum(), "forget": torch.tensor(float("nan"))}

    with pytest.raises(MedError, match="not finite at step 1: "):
        fit(four, loss_of=loss_of)


def test_no_checkpoint_is_written_of_a_training_that_has_failed(tmp_path: Path) -> None:
    four, checkpoints = Four(), Checkpoints(tmp_path / "checkpoint", "key")

    def loss_of(batch: int) -> StepLoss:
        return {"loss": four.model.weight.sum() * float("nan")}

    with pytest.raises(MedError):
        fit(four, loss_of=loss_of, checkpoints=checkpoints)
    assert not checkpoints.folder.exists()


def test_a_stopping_rule_ends_the_training_at_an_entry_of_the_curve() -> None:
    asked: list[float] = []

    def diverged(entry: dict[str, float]) -> bool:
        asked.append(entry["step"])
        return entry["step"] == 4

    log = fit(Four(), diverged=diverged)
    assert asked == [2, 4]
    assert log.steps == 4
    assert log.stopped is not None
    assert "step 4" in log.stopped
    assert len(log.curve) == 2


def test_only_what_requires_a_gradient_trains() -> None:
    four = Four()
    four.model = torch.nn.Sequential(torch.nn.Linear(4, 4, bias=False), four.model)  # type: ignore[assignment]
    four.model[0].weight.requires_grad_(False)  # type: ignore[index]
    before = four.model[0].weight.clone()  # type: ignore[index]
    assert list(trainable_parameters(four)) == ["1.weight"]  # type: ignore[arg-type]

    def loss_of(batch: int) -> StepLoss:
        return {"loss": four.model(data(batch)).square().mean()}

    fit(four, loss_of=loss_of)
    assert torch.equal(four.model[0].weight, before)  # type: ignore[index]
    assert four.model[0].weight.grad is None  # type: ignore[index]


def test_the_model_trains_in_training_mode_and_is_left_in_evaluation_mode() -> None:
    four, modes = Four(), list[bool]()

    def loss_of(batch: int) -> StepLoss:
        modes.append(four.model.training)
        return {"loss": four.model.weight.sum()}

    fit(four, loss_of=loss_of)
    assert set(modes) == {True}
    assert not four.model.training


def test_no_steps_change_nothing() -> None:
    four = Four()
    log = fit(four, replace(LOOP, steps=0))
    assert four.weights == Four().weights
    assert (log.steps, log.curve) == (0, [])


def test_peak_memory_is_in_mebibytes() -> None:
    block = torch.ones(30 * 2**20 // 4)
    assert 50 < peak_memory_mb(torch.device("cpu")) < 100_000
    assert block.sum() > 0


# --- stopping and going on

in_main_thread = pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals reach the main thread only"
)


def stopped_at(step: int, number: int, times: int = 1) -> Any:
    def batch_of(batch: int) -> int:
        for _ in range(times if batch == step else 0):
            signal.raise_signal(number)
        return batch

    return batch_of


@in_main_thread
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("at", "end"), [(0, 2), (2, 4), (3, 4), (4, 6), (5, 6)])
def test_a_stop_ends_at_the_next_entry_and_the_same_call_goes_on(
    number: int, at: int, end: int, tmp_path: Path
) -> None:
    """A stop during the last steps counts too: it is meant for the stages that would come after."""
    checkpoints, expected = Checkpoints(tmp_path / "checkpoint", "key"), Four()
    undisturbed = fit(expected)
    with pytest.raises(Interrupted, match=f"stopped at step {end} of 6 .*resume with the same command") as caught:
        fit(Four(), checkpoints=checkpoints, batch_of=stopped_at(at, number))
    assert caught.value.exit_code == 5

    resumed, taken = Four(), list[int]()
    log = fit(resumed, checkpoints=checkpoints, batch_of=lambda i: taken.append(i) or i)
    assert taken == list(range(end, 6))
    assert resumed.weights == expected.weights
    assert log.curve == undisturbed.curve
    assert log.steps == 6


@in_main_thread
def test_without_a_place_for_checkpoints_a_stop_says_so() -> None:
    with pytest.raises(Interrupted, match="nothing of this stage was kept"):
        fit(Four(), batch_of=stopped_at(1, signal.SIGTERM))


@in_main_thread
def test_a_signal_is_not_lost_where_the_training_ends_itself(tmp_path: Path) -> None:
    """Nothing is saved there: from its last step it would go on; from an earlier one it ends again as it did."""
    loop = replace(LOOP, steps=8)
    plain = Four()
    assert fit(plain, loop, diverged=lambda entry: entry["step"] == 6).steps == 6
    checkpoints, four = Checkpoints(tmp_path / "state", "key"), Four()
    with pytest.raises(Interrupted, match="stopped at step 6"):
        fit(four, loop, checkpoints=checkpoints, batch_of=stopped_at(5, signal.SIGINT),
            diverged=lambda entry: entry["step"] == 6)  # fmt: skip
    again = Four()
    log = fit(again, loop, checkpoints=checkpoints, diverged=lambda entry: entry["step"] == 6)
    assert (log.steps, log.stopped) == (6, "the method's stopping rule held at step 6")
    assert again.weights == plain.weights


@in_main_thread
def test_a_second_signal_interrupts_at_once(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoint", "key")
    with pytest.raises(KeyboardInterrupt):
        fit(Four(), checkpoints=checkpoints, batch_of=stopped_at(1, signal.SIGINT, times=2))
    assert not checkpoints.folder.exists()


@in_main_thread
def test_handlers_are_put_back_whatever_happens() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with graceful_stop() as stop:
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] != before
        assert not stop.requested
    with pytest.raises(ZeroDivisionError), graceful_stop():
        raise ZeroDivisionError
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_in_another_thread_signals_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    found: list[bool] = []

    def work() -> None:
        with graceful_stop() as stop:
            found.append(stop.requested)
            found.append(signal.getsignal(signal.SIGINT) is before)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False, True]


def test_checkpoints_are_written_as_often_as_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []
    save = Checkpoints.save

    def note(self: Checkpoints, step: int, *arguments: Any) -> None:
        saved.append(step)
        save(self, step, *arguments)

    monkeypatch.setattr(Checkpoints, "save", note)
    fit(Four(), replace(LOOP, steps=9, checkpoint_every=4), checkpoints=Checkpoints(tmp_path / "c", "key"))
    assert saved == [4, 8], "the finished training needs none"
