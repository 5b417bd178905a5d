"""Several seeds: by hand, and whether the interval covers what it should."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mllmu_med.errors import UsageError
from mllmu_med.evaluation.comparing.seeds import over_seeds

EXACT = np.zeros(50)


def test_with_exact_seeds_it_is_the_t_interval() -> None:
    found = over_seeds([0.1, 0.2, 0.3], [EXACT + one for one in (0.1, 0.2, 0.3)], shared=True, clusters=9)
    assert found is not None
    assert (found.mean, found.between, found.within) == pytest.approx((0.2, 0.1, 0.0))
    half = 4.302653 * 0.1 / math.sqrt(3)  # t with two degrees of freedom
    assert (found.low, found.high, found.degrees) == pytest.approx((0.2 - half, 0.2 + half, 2.0), abs=1e-6)
    assert found.p == pytest.approx(0.0742, abs=1e-4)


def test_shared_clusters_do_not_average_away() -> None:
    """Ten seeds that agree say nothing on whether other patients would agree."""
    random = np.random.default_rng(0)
    noise = random.normal(0, 0.1, 4000)
    found = over_seeds([0.5] * 10, [0.5 + noise] * 10, shared=True, clusters=101)
    assert found is not None
    assert (found.high - found.low) / 2 == pytest.approx(1.984 * 0.1, rel=0.05)
    assert found.degrees == pytest.approx(100)
    own = over_seeds([0.5] * 10, [0.5 + random.normal(0, 0.1, 4000) for _ in range(10)], shared=False, clusters=101)
    assert own is not None
    assert (own.high - own.low) / 2 == pytest.approx(2.262 * 0.1 / math.sqrt(10), rel=0.05)


def test_both_sources_add_up() -> None:
    noise = np.tile([-0.1, 0.1], 500)
    found = over_seeds([0.4, 0.6], [0.4 + noise, 0.6 + noise], shared=True, clusters=11)
    assert found is not None
    clusters, seeds = 0.01, 0.02 / 2
    degrees = (clusters + seeds) ** 2 / (seeds**2 / 1 + clusters**2 / 10)
    assert found.degrees == pytest.approx(degrees)
    assert found.within == pytest.approx(0.1)


@pytest.mark.parametrize("shared", [True, False])
def test_the_interval_covers(shared: bool) -> None:
    """Three seeds of 30 patients; what the seed adds is as large as what the patients do."""
    random = np.random.default_rng(int(shared))
    size, covered, naive = 30, 0, 0
    weights = random.multinomial(size, [1 / size] * size, 200) / size
    for _ in range(200):
        patients = [random.normal(0, 1, size) for _ in range(1 if shared else 3)] * (3 if shared else 1)
        values = [patient + random.normal(0, 0.25) + random.normal(0, 0.3, size) for patient in patients]
        estimates, drawn = [float(one.mean()) for one in values], [weights @ one for one in values]
        found = over_seeds(estimates, drawn, shared=shared, clusters=size)
        assert found is not None
        covered += found.low <= 0 <= found.high
        pooled = np.concatenate(values)
        error = 1.96 * pooled.std(ddof=1) / math.sqrt(len(pooled))
        naive += abs(pooled.mean()) <= error
    assert 0.90 <= covered / 200 <= 1.0
    assert naive < covered  # questions of several seeds pooled claim too much
    if shared:
        assert naive / 200 < 0.85


def test_a_seed_without_a_value_leaves_nothing_to_say() -> None:
    assert over_seeds([0.1, math.nan], [EXACT, EXACT], shared=True, clusters=3) is None
    with pytest.raises(UsageError, match="at least two"):
        over_seeds([0.1], [EXACT], shared=True, clusters=3)


def test_seeds_that_agree_exactly() -> None:
    same = over_seeds([0.0, 0.0], [EXACT, EXACT], shared=True, clusters=3)
    assert same is not None
    assert (same.low, same.high, same.p) == (0.0, 0.0, 1.0)
    for shared in (True, False):
        for mean in (0.5, -0.1 - 1e-17):
            assert over_seeds([mean, mean], [EXACT + mean] * 2, shared=shared, clusters=3) is None, "nothing varied"
