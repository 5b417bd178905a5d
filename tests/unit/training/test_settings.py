"""The learning rate of every step."""

from __future__ import annotations

import math

import pytest

from mllmu_med.training.settings import LoopSettings


def test_warm_up_rises_linearly_to_the_peak() -> None:
    loop = LoopSettings(steps=10_000_000, learning_rate=8.0, warmup=4)  # so long that the cosine has not begun to fall
    assert [loop.rate(step) for step in range(6)] == pytest.approx([2.0, 4.0, 6.0, 8.0, 8.0, 8.0])


def test_cosine_falls_from_the_peak_to_its_final_share() -> None:
    """final 0.2: rate = 0.2 + 0.8 · ½ (1 + cos(π s / 100)); at the quarters cos = √½, 0, −√½."""
    loop = LoopSettings(steps=100, learning_rate=1.0, warmup=0, final_share=0.2)
    half = math.sqrt(0.5)
    found = [loop.rate(step) for step in (0, 25, 50, 75, 100)]
    assert found == pytest.approx([1.0, 0.2 + 0.4 * (1 + half), 0.6, 0.2 + 0.4 * (1 - half), 0.2])


def test_final_share_one_is_constant_after_the_warm_up() -> None:
    loop = LoopSettings(steps=20, learning_rate=3.0, warmup=2, final_share=1.0)
    assert [loop.rate(step) for step in range(20)] == pytest.approx([1.5] + [3.0] * 19)


def test_no_step_has_a_rate_of_zero() -> None:
    loop = LoopSettings(steps=30, learning_rate=1.0, warmup=10, final_share=0.0)
    assert all(loop.rate(step) > 0 for step in range(30))


@pytest.mark.parametrize(
    ("every", "log_every", "due"),
    [(4, 2, [4, 8, 12]), (5, 2, [6, 10]), (2, 10, [10, 12]), (0, 2, []), (500, 10, []), (1, 1, list(range(1, 13)))],
)
def test_checkpoints_fall_on_the_next_entry_of_the_curve(every: int, log_every: int, due: list[int]) -> None:
    loop = LoopSettings(steps=12, learning_rate=1.0, checkpoint_every=every, log_every=log_every)
    entries = [step for step in range(1, 13) if step % log_every == 0 or step == 12]
    assert [step for step in entries if loop.checkpoint_due(step)] == due
