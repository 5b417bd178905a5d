"""The differences between two rows, each with interval, p-value and a plain sentence."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, TypedDict

from mllmu_med.errors import UsageError
from mllmu_med.evaluation.comparing.power import achieved_power, clusters_needed, deviation
from mllmu_med.evaluation.comparing.seeds import OverSeeds, over_seeds
from mllmu_med.evaluation.comparing.sides import SCORES, Side
from mllmu_med.evaluation.comparing.significance import (
    BOOTSTRAP,
    LEVEL,
    SIGN_FLIP,
    bootstrap_p,
    can_be_paired,
    holm,
    sign_flip,
)
from mllmu_med.evaluation.scores import INCORRECTNESS, UTILITIES, optional
from mllmu_med.evaluation.statistics import interval, resample
from mllmu_med.seeding import derive

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

SEEDS, BENCHMARKS = "t over seeds", "t over benchmarks"
DRAWS = 4999
"""Tosses of the sign-flip test: p-values down to 1 / 5000."""


class Power(TypedDict):
    """What it takes to find a true difference of ``difference`` at level 0.05, before Holm's correction.

    Attributes:
        deviation: standard deviation of the difference between clusters.
        clusters: how many clusters (patients, images) are behind the quantity now; ``power`` is reached with them.
        needed: how many give a power of 0.8; None where none do. For a whole score or a part of it: clusters of every
            kind together, in the mix there is now.
    """

    difference: float
    deviation: float | None
    clusters: int
    power: float | None
    needed: int | None


class Difference(TypedDict):
    """One quantity of two rows. ``difference`` is ``value_a − value_b``; None where not measurable.

    Attributes:
        quantity: a score (``privacy``), a part (``privacy.forget``), a metric (``retain.rouge_l_f1``) or
            ``membership_auc``.
        low, high: 95 % interval of the difference.
        p, p_holm: two-sided, as it is and corrected within the family: all scores, or all other quantities, compared in
            the same call.
        test: ``sign-flip``, ``bootstrap``, ``t over seeds`` or, where several seeds stand on some of several
            benchmarks, ``t over benchmarks``.
        paired: whether both rows were asked the same samples.
        seeds: how many runs stand on either side; ``between_seeds``, where several do, is the standard deviation of
            what ``test`` goes over.
        told_apart: ``p_holm`` is below 0.05 **and** the interval leaves out 0; None where one of them is missing. Two
            demands because they ask different things: the sign-flip test whether it matters at all which method was
            used, the interval how large the difference is. Methods that fail on different patients can differ in the
            first sense with hardly a difference in the second.
    """

    quantity: str
    a: str
    b: str
    value_a: float | None
    value_b: float | None
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    test: str
    paired: bool
    seeds: int
    between_seeds: float | None
    told_apart: bool | None
    power: Power | None
    sentence: str


def compare_sides(
    one: Sequence[Side],
    other: Sequence[Side],
    quantities: Collection[str],
    *,
    seed: int,
    bootstrap: int = 1000,
    draws: int = DRAWS,
    wanted_difference: float | None = None,
) -> list[Difference]:
    """The differences ``one − other``, without Holm's correction (see :func:`corrected`).

    Args:
        one, other: a row's sides, one for each seed; the i-th of each belong together.
        quantities: what to compare, names of :meth:`Side.quantities`.
        seed, bootstrap: of the resamples, as in the score: the same seed gives the same resamples.
        draws: tosses of the sign-flip test.
        wanted_difference: a true difference for which power and the clusters needed are computed; one seed only.

    Raises:
        UsageError: the sides do not have the same number of seeds.
    """
    if len(one) != len(other):
        raise UsageError(f"{len(one)} runs on one side and {len(other)} on the other: give the same number of both")
    names = list(dict.fromkeys(quantities))
    pairs = [_Pair(first, second, names, seed, bootstrap) for first, second in zip(one, other, strict=True)]
    if len(pairs) > 1:
        return _over_seeds(pairs, names)
    (pair,) = pairs
    exact = sign_flip(pair.one, pair.other, names, draws=draws, seed=seed) if pair.paired else {}
    found = []
    for name in names:
        low, high = interval(pair.drawn[name])
        clusters = pair.clusters(name)
        power = None if wanted_difference is None else _power(wanted_difference, pair.drawn[name], clusters)
        p = exact.get(name)
        test = SIGN_FLIP if name in exact else BOOTSTRAP
        if p is None and not math.isnan(pair.difference(name)):
            p = bootstrap_p(pair.drawn[name])
        found.append(_row(pair, name, pair.values[name], (low, high), p, test, 1, None, power))
    return found


def corrected(differences: Sequence[Difference]) -> list[Difference]:
    """The same with Holm's correction, within the scores and within everything else; the sentences are written last."""
    adjusted: dict[int, float | None] = {}
    for scores in (True, False):
        family = [place for place, one in enumerate(differences) if (one["quantity"] in SCORES) is scores]
        adjusted |= dict(zip(family, holm([differences[place]["p"] for place in family]), strict=True))
    return [with_p(one, adjusted[place]) for place, one in enumerate(differences)]


def with_p(one: Difference, p_holm: float | None) -> Difference:
    """The difference with this corrected p-value, and what follows from it."""
    whole = one.copy()
    whole["p_holm"], whole["told_apart"] = p_holm, _told_apart(p_holm, one["low"], one["high"])
    whole["sentence"] = sentence(whole)
    return whole


def _told_apart(p: float | None, low: float | None, high: float | None) -> bool | None:
    return None if p is None or low is None or high is None else p < LEVEL and (low > 0 or high < 0)


def sentence(one: Difference) -> str:
    """What a difference means, in plain words."""
    a, b, what = one["a"], one["b"], words(one["quantity"])
    if one["difference"] is None or one["value_a"] is None or one["value_b"] is None:
        return f"On {what}, {a} and {b} cannot be compared: nothing to measure."
    facts = f"{one['value_a']:.2f} against {one['value_b']:.2f}"
    if one["low"] is not None and one["high"] is not None:
        facts += f"; 95 % interval of the difference {one['low']:+.2f} to {one['high']:+.2f}"
    if one["p_holm"] is not None:
        facts += f"; p {p_text(one['p_holm'])}"
    if not one["told_apart"]:
        return f"On {what}, {a} and {b} cannot be told apart ({facts})."
    more = "higher" if one["difference"] > 0 else "lower"
    return f"On {what}, {a} is {abs(one['difference']):.2f} {more} than {b} ({facts})."


def words(quantity: str) -> str:
    """``privacy`` → ``UES privacy``, ``privacy.forget`` → ``forget (privacy)``; parts of both without a scope."""
    if quantity in SCORES:
        return f"UES {quantity}"
    scope, _, name = quantity.partition(".")
    if scope in SCORES and name in UTILITIES[INCORRECTNESS]:
        return name
    return f"{name} ({scope})" if name else quantity


def p_text(p: float) -> str:
    """``0.031``, ``<0.001``."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


class _Pair:
    """Two sides, their values, and their differences over resamples."""

    def __init__(self, one: Side, other: Side, names: Sequence[str], seed: int, bootstrap: int) -> None:
        self.one, self.other, self.paired = one, other, can_be_paired(one, other)
        first, second = one.values(names, one.once()), other.values(names, other.once())
        self.values = {name: (_single(first, name), _single(second, name)) for name in names}
        weights = resample(one.clusters, bootstrap, seed=seed)
        # Rows of one benchmark are resampled together; of two benchmarks each for itself.
        own = weights if self.paired else resample(other.clusters, bootstrap, seed=derive(seed, "other benchmark"))
        drawn, others = one.values(names, weights), other.values(names, own)
        self.drawn = {name: _resampled(drawn, name, bootstrap) - _resampled(others, name, bootstrap) for name in names}
        for name in names:
            if not (one.has_spread(name) and other.has_spread(name)):
                self.drawn[name] = self.drawn[name] * math.nan  # every resample would be nearly the same

    def difference(self, name: str) -> float:
        return self.values[name][0] - self.values[name][1]

    def clusters(self, name: str) -> int:
        return min(self.one.clusters_behind(name), self.other.clusters_behind(name))


def _single(values: dict[str, FloatArray], name: str) -> float:
    return float(values[name][0]) if name in values else math.nan


def _resampled(values: dict[str, FloatArray], name: str, count: int) -> FloatArray:
    import numpy as np

    return values[name] if name in values else np.full(count, np.nan)


def _power(difference: float, drawn: FloatArray, clusters: int) -> Power:
    sigma = deviation(drawn, clusters)
    known = not math.isnan(sigma)
    return {
        "difference": difference,
        "deviation": optional(sigma),
        "clusters": clusters,
        "power": optional(achieved_power(difference, sigma, clusters)) if known else None,
        "needed": clusters_needed(difference, sigma) if known else None,
    }


def _over_seeds(pairs: Sequence[_Pair], names: Sequence[str]) -> list[Difference]:
    import numpy as np

    groups = _by_benchmark(pairs)
    # Seeds on one benchmark are no further benchmarks: their patients are the same, so each benchmark speaks once.
    units = groups if len(groups) > 1 else [[pair] for pair in pairs]
    test = SEEDS if len(units) == len(pairs) else BENCHMARKS
    found = []
    for name in names:
        over = over_seeds(
            [_mean([pair.difference(name) for pair in unit]) for unit in units],
            [np.mean([pair.drawn[name] for pair in unit], axis=0) for unit in units],
            shared=len(groups) == 1, clusters=pairs[0].clusters(name),
        )  # fmt: skip
        first, second = (_mean([_mean([pair.values[name][k] for pair in unit]) for unit in units]) for k in (0, 1))
        ends = (math.nan, math.nan) if over is None else (over.low, over.high)
        found.append(_row(pairs[0], name, (first, second), ends, _p(over), test, len(pairs), over, None))
    return found


def _by_benchmark(pairs: Sequence[_Pair]) -> list[list[_Pair]]:
    groups: list[list[_Pair]] = []
    for pair in pairs:
        same = (
            group
            for group in groups
            if can_be_paired(group[0].one, pair.one) and can_be_paired(group[0].other, pair.other)
        )
        if (group := next(same, None)) is None:
            groups.append([pair])
        else:
            group.append(pair)
    return groups


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _p(over: OverSeeds | None) -> float | None:
    return None if over is None else over.p


def _row(
    pair: _Pair,
    name: str,
    values: tuple[float, float],
    ends: tuple[float, float],
    p: float | None,
    test: str,
    seeds: int,
    over: OverSeeds | None,
    power: Power | None,
) -> Difference:
    return {
        "quantity": name,
        "a": pair.one.name,
        "b": pair.other.name,
        "value_a": optional(values[0]),
        "value_b": optional(values[1]),
        "difference": optional(values[0] - values[1]),
        "low": None if math.isnan(ends[0]) else optional(max(-1.0, ends[0])),
        "high": None if math.isnan(ends[1]) else optional(min(1.0, ends[1])),
        "p": p,
        "p_holm": None,
        "test": test,
        "paired": pair.paired,
        "seeds": seeds,
        "between_seeds": None if over is None else optional(over.between),
        "told_apart": None,
        "power": power,
        "sentence": "",
    }
