"""Retained, but not shown to the method: what became of the retain data that a method was not allowed to use.

Who is replayed is protected by the replay itself. Whether a method spares the others shows only where they are looked
at apart: in one average with the replayed ones, patients who were erased with the forgotten would hardly be seen.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypedDict

from mllmu_med.benchmark.sample import Subset
from mllmu_med.evaluation.levels import LEVELS, Level, Levels, cluster_sums
from mllmu_med.evaluation.metrics import Measured
from mllmu_med.evaluation.scores import optional
from mllmu_med.evaluation.statistics import interval, memberships, resample

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

KEPT = ("patients", "retain")
"""The levels of the retain set: the retained patients' values, and all other retained answers."""
USED, UNUSED = "used", "unused"


class Kept(TypedDict):
    """One level over the used or over the unused retain data.

    ``clusters``: how many patients (or images) it is measured on; ``level`` and ``original``: of the row and of θ0,
    0..1, higher is better; ``share`` = level / original, ≥ 0, 1 where nothing is lost, None where θ0's level is 0 or
    nothing was measured; ``low`` and ``high``: its 95 % interval over clusters, None below two of them.
    """

    clusters: int
    level: float | None
    original: float | None
    share: float | None
    low: float | None
    high: float | None


def unused_results(
    own: Sequence[Measured], original: Sequence[Measured], unused: Collection[str], *, seed: int, bootstrap: int = 1000
) -> dict[str, dict[str, Kept]]:
    """Level (:data:`KEPT`) → ``used`` and ``unused`` → what is left of θ0's level; empty where all data may be used.

    Levels are those of the score: the same metric, macro-averaged over the same strata. For the interval clusters are
    drawn with replacement among those of the same part of the data, because how many are used is design and not chance;
    the row and θ0 are measured on the same draws, as are rows that may use the same data.

    Args:
        own: the row's measured outputs; probes do not count.
        original: θ0's, of the same samples.
        unused: clusters of the retain set that the method was not shown.
        seed: of the bootstrap.
        bootstrap: number of resamples; 0 for no intervals.
    """
    if not unused:
        return {}
    subsets = memberships(one.sample for one in original)
    found: dict[str, dict[str, Kept]] = {}
    for name in KEPT:
        found[name] = {}
        for part, inside in ((USED, False), (UNUSED, True)):
            ours, theirs = (
                [one for one in given if _counts(one, LEVELS[name]) and (one.sample.cluster in unused) is inside]
                for given in (own, original)
            )
            clusters = {cluster: subsets[cluster] for cluster in sorted({one.sample.cluster for one in theirs})}
            found[name][part] = _kept(name, ours, theirs, clusters, seed, bootstrap)
    return found


def _counts(one: Measured, level: Level) -> bool:
    sample = one.sample
    return sample.subset is level.subset and sample.stratum in level.strata and level.metric in one.values


def _kept(
    name: str,
    own: Iterable[Measured],
    original: Iterable[Measured],
    clusters: Mapping[str, frozenset[Subset]],
    seed: int,
    bootstrap: int,
) -> Kept:
    ours, theirs = (cluster_sums(given, list(clusters)) for given in (own, original))
    levels, before = ours.levels(), theirs.levels()
    low = high = None
    if bootstrap and len(clusters) > 1:
        drawn = resample(clusters, bootstrap, seed=seed)
        ends = interval(_share(ours.levels(drawn), theirs.levels(drawn), name))
        low, high = optional(ends[0]), optional(ends[1])
    return {
        "clusters": len(clusters),
        "level": optional(levels[name]),
        "original": optional(before[name]),
        "share": optional(_share(levels, before, name)),
        "low": low,
        "high": high,
    }


def _share(own: Levels, original: Levels, name: str) -> FloatArray:
    """level / θ0's level; NaN where θ0's is 0 or unknown."""
    import numpy as np

    known = original[name] > 0
    return np.where(known, own[name] / np.where(known, original[name], 1.0), np.nan)
