"""The noise floor of two oracles, and what lies within it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from mllmu_med.benchmark.sample import Subset
from mllmu_med.errors import DataError, UsageError
from mllmu_med.evaluation.comparing.floor import gaps, noise_floor, within
from mllmu_med.evaluation.outputs import Output
from tests.unit.evaluation.conftest import World, build_world


@pytest.fixture(scope="module")
def world() -> World:
    return build_world()


def second(sample, probe: str = "original") -> str:
    """An oracle of another seed: one retained patient of eight is not known to it."""
    if sample.subset == Subset.RETAIN and sample.patient_id == "p2-3":
        return "unknown person"
    return World.oracle(sample, probe)


def with_cells(outputs: list[Output], share: float) -> list[Output]:
    cells = ((math.log(share), math.log(1 - share)),) * 3
    return [replace(one, cells=cells) if one.probe == "original" else one for one in outputs]


def test_an_oracle_is_at_no_distance_from_itself(world) -> None:
    oracle = with_cells(world.outputs(world.oracle), 0.5)
    own = gaps(world.samples, oracle, world.outputs(world.original), oracle)
    assert {value for value in own.values() if value is not None} == {0.0}
    assert own["kl.test"] == 0.0


def test_the_floor_is_the_largest_distance_either_way(world) -> None:
    original = world.outputs(world.original)
    oracles = {"one": with_cells(world.outputs(world.oracle), 0.5), "two": with_cells(world.outputs(second), 0.25)}
    floor = noise_floor(world.samples, original, oracles)
    seven_eighths = 1 - 5 / (4 + 8 / 7)  # four parts of 1 and one of 7/8; the other way round it is clipped at 1
    assert floor["privacy"] == pytest.approx(seven_eighths, abs=1e-6)
    there = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    back = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    assert floor["kl.test"] == pytest.approx(max(there, back), abs=1e-6)
    assert noise_floor(world.samples, original, dict(reversed(oracles.items()))) == floor
    lost = gaps(world.samples, world.outputs(world.forgets_neighbours), original, oracles["one"])
    assert within(lost["privacy"], floor["privacy"]) is False
    assert within(lost["membership_auc"], floor["membership_auc"]) is True


def test_what_was_not_measured_is_not_within() -> None:
    assert within(None, 0.1) is None
    assert within(0.1, None) is None
    assert within(0.1, 0.1) is True


def test_one_oracle_has_no_floor_and_other_samples_neither(world) -> None:
    original, oracle = world.outputs(world.original), world.outputs(world.oracle)
    with pytest.raises(UsageError, match="at least one more"):
        noise_floor(world.samples, original, {"one": oracle})
    with pytest.raises(DataError, match="not asked the same samples"):
        noise_floor(world.samples, original, {"one": oracle, "two": oracle[4:]})
