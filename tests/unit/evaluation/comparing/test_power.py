"""Power: the formula against textbook values, and against the test itself in a simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mllmu_med.evaluation.comparing.power import achieved_power, clusters_needed, deviation
from mllmu_med.evaluation.comparing.significance import sign_flip

UTILITY = "retain.utility"


def test_textbook_sizes() -> None:
    # Paired t-test, two-sided 5 %, power 80 %: 34 pairs for d = 0.5, 199 for 0.2, 15 for 0.8 (Cohen; G*Power).
    assert clusters_needed(0.5, 1.0) == 34
    assert clusters_needed(0.2, 1.0) == 199
    assert clusters_needed(-0.8, 1.0) == 15
    assert achieved_power(0.5, 1.0, 34) == pytest.approx(0.808, abs=0.001)


@pytest.mark.parametrize(("difference", "sigma"), [(0.05, 0.2), (0.3, 0.31), (0.01, 0.4)])
def test_what_is_needed_is_just_enough(difference: float, sigma: float) -> None:
    needed = clusters_needed(difference, sigma)
    assert needed is not None
    assert achieved_power(difference, sigma, needed) >= 0.8 > achieved_power(difference, sigma, needed - 1)


def test_more_patients_and_larger_differences_are_easier() -> None:
    powers = [achieved_power(0.1, 0.3, clusters) for clusters in (2, 5, 10, 50, 200)]
    assert powers == sorted(powers)
    assert achieved_power(0.2, 0.3, 20) > achieved_power(0.1, 0.3, 20) > achieved_power(0.1, 0.4, 20)
    assert achieved_power(0.0, 0.3, 20) == pytest.approx(0.05, abs=1e-6)


def test_limits() -> None:
    assert clusters_needed(0.0, 1.0) is None
    assert clusters_needed(0.1, math.nan) is None
    assert clusters_needed(1e-9, 1.0) is None
    assert clusters_needed(0.1, 0.0) == 2
    assert achieved_power(0.1, 0.2, 1) == 0.0
    assert achieved_power(0.1, 0.0, 5) == 1.0


def test_the_deviation_between_clusters_comes_out_of_the_bootstrap() -> None:
    random = np.random.default_rng(0)
    values = random.normal(0.2, 0.15, 40)
    drawn = random.multinomial(40, [1 / 40] * 40, 8000) @ values / 40
    assert deviation(drawn, 40) == pytest.approx(values.std(ddof=1), rel=0.03)
    assert math.isnan(deviation(drawn, 1))
    assert math.isnan(deviation(np.array([np.nan, 0.1]), 40))


def test_the_paired_test_has_the_power_that_the_formula_says(make_plain) -> None:
    """25 patients, a true difference of 0.1, deviation 0.2 between patients: simulated with the sign-flip test."""
    random = np.random.default_rng(7)
    found = 0
    for repetition in range(300):
        patient = random.normal(0.5, 1, 25)
        one, other = make_plain(patient + random.normal(0.1, 0.2, 25)), make_plain(patient, "b")
        found += sign_flip(one, other, [UTILITY], draws=199, seed=repetition)[UTILITY] <= 0.05
    assert found / 300 == pytest.approx(achieved_power(0.1, 0.2, 25), abs=0.07)
    assert achieved_power(0.1, 0.2, 25) == pytest.approx(0.67, abs=0.02)
