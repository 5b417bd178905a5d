"""The same comparison on several seeds: what a seed adds to the doubt.

Questions of different seeds are never pooled: every seed gives one estimate, and the seeds are the sample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from mllmu_med.errors import UsageError
from mllmu_med.evaluation.statistics import COVERAGE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]


_NOTHING = 1e-12
"""What rounding leaves of 0."""


class OverSeeds(NamedTuple):
    """A quantity over several seeds.

    Attributes:
        mean: of the seeds' estimates. between: their standard deviation (n − 1).
        within: standard error from the clusters of one seed, root mean square over the seeds.
        low, high: 95 % interval of the mean that holds both sources.
        p: two-sided, of the mean being 0 (for differences).
        degrees: of freedom of the t-distribution used.
    """

    mean: float
    between: float
    within: float
    low: float
    high: float
    p: float
    degrees: float


def over_seeds(
    estimates: Sequence[float], drawn: Sequence[FloatArray], *, shared: bool, clusters: int
) -> OverSeeds | None:
    """Mean over S seeds with an interval that knows both the clusters and the seeds; None where one seed has no value.

    None as well where neither the seeds nor the clusters differ from each other at all, and from 0: what never varied
    says nothing of how it varies.

    With s² the variance of the estimates between seeds and v a bootstrap variance over clusters:

    - ``shared`` clusters (one benchmark, trained several times): the clusters are the same draw in every seed, so their
      part does not shrink with S. Variance of the mean: v(mean over seeds, same resamples) + s²/S, degrees of freedom
      after Welch and Satterthwaite.
    - clusters of their own (a benchmark for every seed): s² holds both sources already. Variance: max(s², mean v)/S
      with S − 1 degrees of freedom, the modified Knapp–Hartung interval (Röver et al. 2015), which does not believe
      a few seeds that happen to agree more than their clusters allow.

    Args:
        estimates: one for each seed.
        drawn: the same, resampled ``[resamples]``; where shared, on the same resamples.
        shared: whether all seeds have the same clusters.
        clusters: how many stand behind a seed's estimate.

    Raises:
        UsageError: fewer than two seeds.
    """
    import numpy as np
    from scipy.stats import t

    count = len(estimates)
    if count < 2:
        raise UsageError("several seeds are at least two")
    values, resampled = np.asarray(estimates, dtype=float), np.stack(drawn)
    resampled = resampled[:, ~np.isnan(resampled).any(0)]
    if np.isnan(values).any() or resampled.shape[1] < 2:
        return None
    mean, between = float(values.mean()), float(values.std(ddof=1))
    own = resampled.var(axis=1)
    degrees = float(count - 1)
    if shared:
        common, training = float(resampled.mean(0).var()), between**2 / count
        variance = common + training
        if variance > 0:
            degrees = variance**2 / (training**2 / (count - 1) + common**2 / max(1, clusters - 1))
    else:
        variance = max(between**2, float(own.mean())) / count
    error = math.sqrt(variance)
    if error < _NOTHING < abs(mean):
        return None
    half = float(t.ppf((1 + COVERAGE) / 2, degrees)) * error
    p = float(2 * t.sf(abs(mean) / error, degrees)) if error >= _NOTHING else 1.0
    return OverSeeds(mean, between, math.sqrt(float(own.mean())), mean - half, mean + half, p, degrees)
