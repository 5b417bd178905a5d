"""p-values of a difference between two rows, and their correction where several are looked at.

Two tests. Where both rows were asked the same samples, the **sign-flip test**: if it did not matter which of the two
methods was used, their answers on any patient or image could be exchanged. All of a cluster's answers are exchanged
together, each cluster by the toss of a coin, and the difference is computed anew; p is the share of tosses that give at
least the difference seen. It is exact for whatever is computed from the outputs, UES with its clipping included.

Where the samples differ (two benchmarks) there is nothing to exchange. Then p is that of the **bootstrap**: the
smallest level at which the percentile interval leaves out 0. It is not exact; with few clusters it is too small.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from mllmu_med.evaluation.comparing.sides import MEMBERSHIP_AUC, Side, mixture
from mllmu_med.seeding import numpy_rng

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

SIGN_FLIP, BOOTSTRAP = "sign-flip", "bootstrap"
LEVEL = 0.05
"""A corrected p-value from which on a difference may be chance."""
_AT_ONCE = 500
_ROUNDING = 1e-12


def can_be_paired(one: Side, other: Side) -> bool:
    """Whether both were asked the very same samples."""
    return one.samples == other.samples


def sign_flip(one: Side, other: Side, quantities: Collection[str], *, draws: int, seed: int) -> dict[str, float]:
    """Two-sided p-value of each quantity's difference: (1 + tosses that reach it) / (1 + tosses), Monte Carlo.

    Exact under the hypothesis that the two sides' outputs could be exchanged in any cluster (Phipson & Smyth 2010). A
    toss under which nothing can be measured counts as one that reaches the difference. Quantities that cannot be
    measured, and the membership AUC, whose likelihoods must not be mixed, are left out.
    """
    import numpy as np

    both = mixture(one, other)
    wanted = [name for name in quantities if name != MEMBERSHIP_AUC]
    size = len(one.clusters)
    heads = np.zeros((1, size))
    seen = _exchanged(both, wanted, heads)
    wanted = [name for name in wanted if not np.isnan(seen[name][0])]
    generator = numpy_rng(seed, "sign flip")
    reached = dict.fromkeys(wanted, 0)
    done = 0
    while done < draws:
        count = min(_AT_ONCE, draws - done)
        drawn = _exchanged(both, wanted, generator.integers(0, 2, size=(count, size)).astype(float))
        for name in wanted:
            least = abs(seen[name][0]) - _ROUNDING
            reached[name] += int((~(np.abs(drawn[name]) < least)).sum())
        done += count
    return {name: (1 + reached[name]) / (1 + draws) for name in wanted}


def _exchanged(both: Side, quantities: Collection[str], tosses: FloatArray) -> dict[str, FloatArray]:
    """Differences with the clusters exchanged whose toss is 1."""
    import numpy as np

    first = both.values(quantities, np.hstack([1 - tosses, tosses]))
    second = both.values(quantities, np.hstack([tosses, 1 - tosses]))
    return {name: first[name] - second[name] for name in quantities}


def bootstrap_p(differences: FloatArray) -> float | None:
    """Two-sided p-value from resampled differences: twice the smaller tail beyond 0, each with one added.

    None where nothing could be measured.
    """
    import numpy as np

    known = differences[~np.isnan(differences)]
    if not len(known):
        return None
    tails = [(1 + int((sign * known <= _ROUNDING).sum())) / (1 + len(known)) for sign in (1, -1)]
    return min(1.0, 2 * min(tails))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's correction (1979): no more than 5 % of families hold a false finding, whatever depends on what.

    The i-th smallest of m p-values times m − i + 1, never below the one before, at most 1; order kept. None are no
    members of the family.
    """
    known = sorted((value, place) for place, value in enumerate(p_values) if value is not None)
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (value, place) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * value))
        corrected[place] = highest
    return corrected
