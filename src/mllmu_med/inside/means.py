"""Means over samples with intervals over their clusters: questions about one patient or image are not independent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan, nan
from typing import TYPE_CHECKING, TypedDict

from mllmu_med.benchmark.sample import Sample
from mllmu_med.evaluation.statistics import interval, memberships, resample

if TYPE_CHECKING:
    from mllmu_med.evaluation.levels import FloatArray


class Mean(TypedDict):
    """A mean over samples with its 95 % interval; ``low`` and ``high`` are None where there is no interval."""

    value: float
    low: float | None
    high: float | None


class ClusterMeans:
    """Means whose intervals all come from the same resampled clusters.

    Args:
        samples: all that means are taken of.
        seed: of the resamples.
        bootstrap: how many there are; 0: no intervals.
    """

    def __init__(self, samples: Sequence[Sample], *, seed: int, bootstrap: int) -> None:
        clusters = memberships(samples)
        order = {cluster: place for place, cluster in enumerate(clusters)}
        self._place = {sample.id: order[sample.cluster] for sample in samples}
        self._weights = resample(clusters, bootstrap, seed=seed) if bootstrap else None
        self._clusters = len(clusters)

    def draws(self, values: Mapping[str, float], sizes: Mapping[str, float] | None = None) -> FloatArray:
        """[1 + resamples] the mean of values by sample (at least one), each counted ``sizes`` times (else once).

        The first is the mean itself; the others are those of the resamples, NaN where a resample drew none of them.
        """
        import numpy as np

        ids = sorted(values)
        count = np.array([1.0 if sizes is None else sizes[one] for one in ids])
        value = np.array([values[one] for one in ids])
        own = (value * count).sum() / count.sum()
        if self._weights is None:
            return np.array([own])
        places = np.array([self._place[one] for one in ids])
        total = self._weights @ np.bincount(places, value * count, self._clusters)
        number = self._weights @ np.bincount(places, count, self._clusters)
        resampled = np.divide(total, number, out=np.full(len(total), np.nan), where=number > 0)
        return np.concatenate([[own], resampled])

    def of(self, values: Mapping[str, float], sizes: Mapping[str, float] | None = None) -> Mean:
        """The mean of values by sample with its interval; see :meth:`draws`."""
        return with_interval(self.draws(values, sizes))


def with_interval(draws: FloatArray) -> Mean:
    """A number, which comes first, with the interval of its resamples."""
    low, high = interval(draws[1:]) if len(draws) > 1 else (nan, nan)
    return {"value": float(draws[0]), "low": None if isnan(low) else low, "high": None if isnan(high) else high}
