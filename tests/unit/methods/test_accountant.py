"""The privacy accountant (used by duo): closed forms, an independent integral, and bounds."""

from __future__ import annotations

import math

import pytest
from scipy.integrate import quad

from mllmu_med.errors import UsageError
from mllmu_med.methods.privacy_accountant import ORDERS, renyi, spent, uses
from tests.unit.methods.worked_example import close


def test_duo_accountant_without_sampling_is_the_gaussian_mechanism() -> None:
    """α / (2σ²): order 8 at σ = 2 gives 1 nat."""
    assert renyi(2.0, 1.0, 8) == close(1.0)
    assert renyi(0.5, 1.0, 2) == close(4.0)


def test_duo_accountant_at_order_two_by_hand() -> None:
    """log((1−q)² + 2q(1−q) + q² e^{1/σ²}) = log(1 + q² (e^{1/σ²} − 1)); σ² = 1/ln 2 and q = ½: log(1 + ¼) = log 5/4."""
    assert renyi(math.log(2) ** -0.5, 0.5, 2) == close(math.log(5 / 4))
    assert renyi(1.0, 0.01, 2) == pytest.approx(math.log1p(1e-4 * (math.e - 1)), rel=1e-9)


def test_duo_accountant_at_order_three_by_hand() -> None:
    """e^{(k²−k)/(2σ²)} = 2^{(k²−k)/2} at σ² = 1/ln 2: 1, 1, 2, 8. q = ½: (1 + 3 + 3·2 + 8)/8 = 9/4, so ½ log 9/4."""
    assert renyi(math.log(2) ** -0.5, 0.5, 3) == close(math.log(9 / 4) / 2)


@pytest.mark.parametrize("order", [2, 5, 17])
@pytest.mark.parametrize("rate", [0.02, 0.3])
@pytest.mark.parametrize("noise", [0.8, 2.0])
def test_duo_accountant_is_the_divergence_of_the_mixture(noise: float, rate: float, order: int) -> None:
    """E_{z ~ N(0, σ²)} [((1−q) + q e^{(2z−1)/(2σ²)})^α], by quadrature."""

    def density(z: float) -> float:
        ratio = 1 - rate + rate * math.exp((2 * z - 1) / (2 * noise**2))
        return math.exp(-(z**2) / (2 * noise**2) + order * math.log(ratio)) / (noise * math.sqrt(2 * math.pi))

    value, _ = quad(density, -12 * noise, order + 12 * noise, limit=400, points=[0, 1, order])
    assert renyi(noise, rate, order) == pytest.approx(math.log(value) / (order - 1), rel=1e-6)


def test_duo_accountant_conversion_by_hand() -> None:
    """min over α of T α/(2σ²) + log((α−1)/α) − (log δ + log α)/(α−1), at σ = 5, T = 10, δ = 1e-5."""
    expected = min(
        10 * a / 50 + math.log((a - 1) / a) - (math.log(1e-5) + math.log(a)) / (a - 1) for a in range(2, 200)
    )
    found = spent(5.0, 10, delta=1e-5)
    assert found.epsilon == close(expected)
    assert 2.2 < found.epsilon < 2.9
    assert found.order in ORDERS


def test_duo_accountant_agrees_with_the_published_example() -> None:
    """TensorFlow Privacy's tutorial: 60,000 records, batches of 250, σ = 1.3, 15 epochs, δ = 1e-5: ε = 1.18 by the
    older conversion log(1/δ)/(α−1), from integer and fractional orders. The newer one gives less, never more."""
    rate, steps = 250 / 60_000, 15 * 60_000 // 250
    older = min(steps * renyi(1.3, rate, a) + math.log(1e5) / (a - 1) for a in ORDERS)
    assert older == pytest.approx(1.18, abs=0.02)
    assert 0.7 * older < spent(1.3, steps, delta=1e-5, rate=rate).epsilon < older


def test_duo_accountant_is_never_better_than_the_exact_gaussian_mechanism() -> None:
    """For one step the exact δ(ε) is Φ(1/2σ − εσ) − e^ε Φ(−1/2σ − εσ) (arXiv 1805.06530); ours must not be less."""

    def phi(x: float) -> float:
        return math.erfc(-x / math.sqrt(2)) / 2

    for noise in (0.7, 1.5, 4.0):
        epsilon = spent(noise, 1, delta=1e-5).epsilon
        exact = phi(0.5 / noise - epsilon * noise) - math.exp(epsilon) * phi(-0.5 / noise - epsilon * noise)
        assert exact <= 1e-5
        assert exact > 1e-7, "and not be far off"


def test_duo_accountant_grows_with_steps_and_rate_and_falls_with_noise() -> None:
    def at(noise: float = 1.0, steps: int = 10, delta: float = 1e-5, rate: float = 0.1) -> float:
        return spent(noise, steps, delta=delta, rate=rate).epsilon

    assert at(steps=5) < at() < at(steps=20)
    assert at(rate=0.05) < at() < at(rate=1.0)
    assert at(noise=2.0) < at() < at(noise=0.5)
    assert at(delta=1e-3) < at() < at(delta=1e-8)
    assert at(noise=1e4) < 1e-2


def test_duo_accountant_at_the_ends() -> None:
    assert spent(1.0, 0, delta=1e-5).epsilon == 0
    assert spent(1.0, 5, delta=1e-5, rate=0.0).epsilon == 0
    assert spent(0.0, 5, delta=1e-5).epsilon == math.inf
    assert math.isfinite(spent(0.05, 1000, delta=1e-9, rate=0.5).epsilon), "large terms do not overflow"
    assert renyi(0.0, 0.0, 2) == 0


@pytest.mark.parametrize("wrong", [{"noise": -1}, {"steps": -1}, {"delta": 0}, {"delta": 1}, {"rate": 1.5}])
def test_duo_accountant_refuses_numbers_out_of_range(wrong: dict[str, float]) -> None:
    given = {"noise": 1.0, "steps": 1, "delta": 1e-5, "rate": 0.5} | wrong
    with pytest.raises(UsageError, match="privacy"):
        spent(given["noise"], given["steps"], delta=given["delta"], rate=given["rate"])


def test_duo_accountant_counts_the_record_used_most_and_repeats_in_a_step_squared() -> None:
    """Record 1: steps 1, 2 and 3, in the last one twice: 1 + 1 + 4; record 2: three steps."""
    assert uses([[1, 2], [1, 2, 3], [1, 1, 2]]) == 6
    assert uses([[4], [4], [4], [5]]) == 3
    assert uses([]) == 0
