"""How many patients does it take to tell two methods apart?

The paired test on clusters is that of the mean of n differences with standard deviation σ between clusters, so its
power is that of the paired t-test: P(|T| > t_crit), T noncentral t with n − 1 degrees of freedom and noncentrality
δ √n / σ.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mllmu_med.evaluation.comparing.significance import LEVEL

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

TARGET = 0.8
"""The usual power: four of five true differences of the given size are found."""
_MOST = 10**7


def deviation(drawn: FloatArray, clusters: int) -> float:
    """σ between clusters of a quantity, or of a difference of two, from its bootstrap values.

    The bootstrap variance of a mean over n clusters is σ²(n − 1)/n². For scores that are no mean of clusters it is the
    σ that a mean with the same standard error would have. NaN of fewer than two clusters, or where nothing is measured.
    """
    import numpy as np

    known = drawn[~np.isnan(drawn)]
    if clusters < 2 or len(known) < 2:
        return math.nan
    return float(known.std() * clusters / math.sqrt(clusters - 1))


def achieved_power(difference: float, sigma: float, clusters: int, level: float = LEVEL) -> float:
    """Probability (0…1) that a true ``difference`` is found with so many clusters; two-sided test at ``level``."""
    from scipy.stats import nct, t

    if clusters < 2:
        return 0.0
    if sigma == 0:
        return 1.0 if difference else level
    degrees, shift = clusters - 1, abs(difference) * math.sqrt(clusters) / sigma
    critical = t.ppf(1 - level / 2, degrees)
    return float(nct.sf(critical, degrees, shift) + nct.cdf(-critical, degrees, shift))


def clusters_needed(difference: float, sigma: float, target: float = TARGET, level: float = LEVEL) -> int | None:
    """The fewest clusters with which a true ``difference`` is found with probability ``target``; at least 2.

    None where no number up to ten million does, or the difference is 0.
    """
    from scipy.stats import norm

    if difference == 0 or math.isnan(sigma):
        return None
    # The normal approximation is never more than the answer: start there and double, then halve the gap.
    normal = float((norm.ppf(1 - level / 2) + norm.ppf(target)) * sigma / difference) ** 2
    low = max(1, math.floor(normal) - 1)
    high = max(2, low)
    while high <= _MOST and achieved_power(difference, sigma, high, level) < target:
        low, high = high, 2 * high
    if high > _MOST:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if achieved_power(difference, sigma, middle, level) < target:
            low = middle
        else:
            high = middle
    return high
