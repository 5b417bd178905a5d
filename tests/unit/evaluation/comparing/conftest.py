"""Sides made of plain numbers: one value of one metric for each cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from mllmu_med.benchmark.sample import Sample, Stratum, Subset
from mllmu_med.evaluation.comparing.sides import Cells, Side
from mllmu_med.evaluation.levels import ClusterSums, cluster_sums

UTILITY = "retain.utility"
MakeSide = Callable[..., Side]


def plain_side(values: Sequence[float], name: str = "a", benchmark: str = "one") -> Side:
    """Cluster n has the value ``values[n]`` of the metric ``retain.utility``, and nothing else is measured."""
    clusters = {f"{n:04d}": frozenset({Subset.RETAIN}) for n in range(len(values))}
    samples = {
        cluster: Sample(cluster, "r", Subset.RETAIN, Stratum.GENERAL, benchmark, "v", cluster) for cluster in clusters
    }
    column = np.asarray(values, dtype=float)[:, None]
    empty: ClusterSums = cluster_sums([], list(clusters))
    cells = Cells(((Subset.RETAIN, Stratum.GENERAL, "utility"),), column, np.ones_like(column))
    return Side(name, samples, clusters, (empty, empty, empty, empty), cells, None)


@pytest.fixture(scope="session")
def make_plain() -> MakeSide:
    return plain_side
