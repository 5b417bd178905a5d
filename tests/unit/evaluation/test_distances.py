from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from mllmu_med.attacks.interface import Attempt
from mllmu_med.benchmark.sample import Sample, Stratum, Subset
from mllmu_med.evaluation.distances import divergences, ks_test, oracle_distances, residual_bits
from mllmu_med.evaluation.outputs import Output

LN2 = math.log(2)


def logs(*rows: tuple[float, ...]) -> list[tuple[float, ...]]:
    return [tuple(math.log(one) if one else -math.inf for one in row) for row in rows]


def test_divergences_by_hand() -> None:
    p, q = (0.5, 0.5), (0.25, 0.75)
    kl = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    m = (0.375, 0.625)
    js = 0.5 * sum(a * math.log(a / c) for a, c in zip(p, m, strict=True))
    js += 0.5 * sum(b * math.log(b / c) for b, c in zip(q, m, strict=True))
    assert divergences(logs(p), logs(q)) == pytest.approx((kl, js))
    # the mean over tokens: the second token is the same in both
    assert divergences(logs(p, q), logs(q, q)) == pytest.approx((kl / 2, js / 2))
    assert divergences(logs(q), logs(p)) != pytest.approx((kl, js))  # KL has a direction


def test_divergences_at_their_ends() -> None:
    assert divergences(logs((0.3, 0.7)), logs((0.3, 0.7))) == (0.0, 0.0)
    apart = divergences(logs((1.0, 0.0)), logs((0.0, 1.0)))
    assert apart is not None
    assert apart[0] == pytest.approx(103.0, rel=0.01)  # in place of ∞
    assert apart[1] == pytest.approx(LN2)
    assert apart[1] <= LN2
    half = divergences(logs((0.5, 0.5, 0.0)), logs((0.5, 0.0, 0.5)))
    assert half is not None
    assert half[1] == pytest.approx(LN2 / 2)


@pytest.mark.parametrize(
    ("model", "oracle"),
    [
        ([], []),
        (logs((0.5, 0.5)), logs((0.5, 0.5), (0.5, 0.5))),
        ([(math.nan, -1.0)], logs((0.5, 0.5))),
        (logs((0.5, 0.5)), [(math.nan, -1.0)]),
    ],
)
def test_divergences_that_cannot_be_told(model: list[Any], oracle: list[Any]) -> None:
    assert divergences(model, oracle) is None


def test_cells_give_lower_bounds_of_the_divergences_over_tokens() -> None:
    """The data processing inequality, on random distributions over 1,000 tokens in 64 cells."""
    generator = np.random.default_rng(0)
    cell = generator.integers(0, 64, 1000)
    for _ in range(20):
        fine = [generator.dirichlet(np.full(1000, 0.05)) + 1e-12 for _ in range(2)]
        fine = [one / one.sum() for one in fine]
        coarse = [np.bincount(cell, one, minlength=64) for one in fine]
        over_tokens = divergences([np.log(fine[0])], [np.log(fine[1])])
        over_cells = divergences([np.log(coarse[0])], [np.log(coarse[1])])
        assert over_tokens is not None
        assert over_cells is not None
        assert 0 < over_cells[0] < over_tokens[0]
        assert 0 < over_cells[1] < over_tokens[1] <= LN2


def test_residual_bits_by_hand() -> None:
    assert residual_bits((-1.0, -1.0), (-3.0, -2.0)) == pytest.approx(3 / LN2)
    assert residual_bits((-math.log(2),), (-math.log(4),)) == pytest.approx(1.0)  # half the guesses: one bit
    assert residual_bits((-3.0, -2.0), (-1.0, -1.0)) == 0.0  # forgetting too much leaves no bits either
    assert residual_bits((-1.0, -3.0), (-3.0, -1.0)) == 0.0  # the whole answer counts, not its luckiest token
    assert residual_bits((-math.inf,), (-5.0,)) == 0.0
    assert residual_bits((-3.0,), (-math.inf,)) == pytest.approx(100 / LN2)
    assert residual_bits((-200.0, 0.0), (-110.0, -80.0)) == 0.0
    for model, oracle in (((), ()), ((-1.0,), (-1.0, -1.0)), ((math.nan,), (-1.0,)), ((-1.0,), (math.nan,))):
        assert residual_bits(model, oracle) is None


def test_ks_by_hand_and_as_scipy() -> None:
    same = ks_test([0.1, 0.2, 0.3], [0.3, 0.1, 0.2])
    assert same == (0.0, 1.0, 0.0)
    apart = ks_test([0.1, 0.2, 0.3], [0.7, 0.8, 0.9])
    assert apart is not None
    assert apart.statistic == 1.0
    assert apart.p_value == pytest.approx(2 / math.comb(6, 3))  # exact: two of the twenty orders
    assert apart.log10_p_value == pytest.approx(math.log10(0.1))
    left, right = np.random.default_rng(1).random((2, 60))
    found, theirs = ks_test(left.tolist(), (right**2).tolist()), stats.ks_2samp(left, right**2)
    assert found is not None
    assert (found.statistic, found.p_value) == pytest.approx((theirs.statistic, theirs.pvalue))
    monotone = ks_test([one**3 for one in left.tolist()], [one**6 for one in right.tolist()])
    assert monotone is not None
    assert monotone.p_value == pytest.approx(found.p_value)
    assert ks_test([], [0.1]) is None


def test_a_vanishing_p_value_keeps_a_logarithm() -> None:
    found = ks_test([0.0] * 20_000, [1.0] * 20_000)
    assert found is not None
    assert math.isfinite(found.log10_p_value)
    assert found.log10_p_value <= -307


def sample(name: str, subset: Subset, **changes: Any) -> Sample:
    return Sample(name, name, subset, Stratum.GENERAL, "?", "left", name, **changes)


SAMPLES = {
    one.id: one
    for one in (
        *(sample(f"p{n}", Subset.FORGET_PRIVACY) for n in range(3)),
        *(sample(f"w{n}", Subset.FORGET_INCORRECTNESS, wrong_answer="left", correct_answer="right") for n in range(3)),
        sample("t", Subset.TEST),
        sample("r", Subset.RETAIN),
    )
}


def outputs(logprob: float, correct: float, cells: tuple[float, ...]) -> list[Output]:
    found = []
    for name, one in SAMPLES.items():
        wrong = one.wrong_answer is not None
        stored = None if one.subset is Subset.RETAIN else tuple(logs(cells, cells))
        found.append(
            Output(
                name, "original", "?", "left", logprobs=(logprob, logprob), cells=stored,
                correct_logprobs=(correct - 0.1 * int(name[1:]),) if wrong else None,
            )
        )  # fmt: skip
    return [*found, Output("p0", "paraphrase-1", "?", "left", logprobs=(-50.0,))]


def attempts(true: float) -> list[Attempt]:
    return [Attempt("exposure", "per-token", f"p{n}", scores=(true - 0.1 * n, -5.0, -6.0)) for n in range(3)]


MODEL, ORACLE = outputs(-1.0, -4.0, (0.5, 0.5)), outputs(-3.0, -1.0, (0.25, 0.75))


def test_the_oracle_is_no_distance_from_itself() -> None:
    found = oracle_distances(SAMPLES, ORACLE, ORACLE, attempts(-5.0), attempts(-5.0))
    assert list(found) == ["forget/privacy", "forget/incorrectness", "retain", "test"]
    for subset, one in found.items():
        assert one["bits_per_answer"] == one["most_bits"] == 0.0
        assert one["kl"] == one["js"] == (None if subset == "retain" else 0.0)
        forgotten = subset.startswith("forget")
        assert one["ks"] == (0.0 if forgotten else None)
        assert one["forget_quality"] == (1.0 if forgotten else None)


def test_a_model_apart_from_the_oracle() -> None:
    found = oracle_distances(SAMPLES, MODEL, ORACLE, attempts(-1.0), attempts(-5.0))
    private = found["forget/privacy"]
    kl = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    assert private["kl"] == pytest.approx(kl, abs=1e-6)
    assert private["bits_per_answer"] == pytest.approx(4 / LN2, abs=1e-6)
    assert private["bits_per_token"] == pytest.approx(2 / LN2, abs=1e-6)
    assert private["ks"] == 1.0
    assert private["forget_quality"] == pytest.approx(0.1)
    assert private["log10_forget_quality"] == pytest.approx(-1.0)
    assert (private["truth_ratios"], private["distributions"], private["answers"]) == (3, 3, 3)
    assert private["reasons"] == {}
    assert found["forget/incorrectness"]["ks"] == 1.0
    assert oracle_distances(SAMPLES, MODEL[::-1], ORACLE[::-1], attempts(-1.0)[::-1], attempts(-5.0)) == found
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_what_is_not_measured_says_why() -> None:
    found = oracle_distances(SAMPLES, MODEL, ORACLE)
    assert found["forget/privacy"]["forget_quality"] is None
    assert "exposure" in found["forget/privacy"]["reasons"]["forget_quality"]
    assert found["forget/incorrectness"]["forget_quality"] == pytest.approx(0.1)
    assert "forgotten" in found["test"]["reasons"]["forget_quality"]
    assert found["retain"]["kl"] is None
    assert "no answer distributions" in found["retain"]["reasons"]["kl"]
    bare = [Output(name, "original", "?", "no") for name in SAMPLES]
    refusal = oracle_distances(SAMPLES, bare, ORACLE)["forget/privacy"]
    assert (refusal["kl"], refusal["bits_per_answer"], refusal["most_bits"]) == (None, None, None)
    assert set(refusal["reasons"]) == {"forget_quality", "kl", "bits_per_answer"}
    assert oracle_distances(SAMPLES, [], ORACLE) == {}


def test_a_diverged_model_is_left_out_and_named() -> None:
    nan = [Output("t", "original", "?", "", logprobs=(math.nan, -1.0), cells=((math.nan, 0.0), (0.0, 0.0)))]
    found = oracle_distances(SAMPLES, nan, ORACLE)["test"]
    assert (found["kl"], found["bits_per_answer"], found["answers"]) == (None, None, 0)
    assert "not numbers" in found["reasons"]["bits_per_answer"]
