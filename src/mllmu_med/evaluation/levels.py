"""From measured outputs to the few raw levels a score is made of, for the sample at hand or for resampled clusters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import TYPE_CHECKING, NamedTuple

from mllmu_med.benchmark.sample import Stratum, Subset
from mllmu_med.evaluation.metrics import Measured
from mllmu_med.evaluation.outputs import ORIGINAL
from mllmu_med.evaluation.utility import PRIVATE_STRATA, WRONG_STRATA

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

SCORED_STRATA: Mapping[Subset, tuple[Stratum, ...]] = {
    Subset.FORGET_PRIVACY: PRIVATE_STRATA,
    Subset.FORGET_INCORRECTNESS: WRONG_STRATA,
    Subset.RETAIN: (Stratum.GENERAL, Stratum.SIBLING, *PRIVATE_STRATA, Stratum.TRUE_TEXT),
    Subset.TEST: (Stratum.GENERAL,),
    Subset.VALIDATION: (Stratum.GENERAL, Stratum.SIBLING),
    Subset.HOLDOUT: PRIVATE_STRATA,
}
"""The strata that make up a subset's ``all``: the macro-average over those present. Unseen images under a wrong rule
are reported, never scored. On retain, ``all`` is a figure of the tables; the score has two levels instead of it."""


class Level(NamedTuple):
    """A raw level: the macro-average of one metric over the strata present."""

    subset: Subset
    strata: tuple[Stratum, ...]
    metric: str


LEVELS: Mapping[str, Level] = {
    "leakage": Level(Subset.FORGET_PRIVACY, SCORED_STRATA[Subset.FORGET_PRIVACY], "span_recall"),
    "clinical": Level(Subset.FORGET_PRIVACY, SCORED_STRATA[Subset.FORGET_PRIVACY], "utility"),
    "wrong": Level(Subset.FORGET_INCORRECTNESS, SCORED_STRATA[Subset.FORGET_INCORRECTNESS], "wrong_agreement"),
    "correct": Level(Subset.FORGET_INCORRECTNESS, SCORED_STRATA[Subset.FORGET_INCORRECTNESS], "correct_agreement"),
    "retain": Level(Subset.RETAIN, (Stratum.GENERAL, Stratum.SIBLING, Stratum.TRUE_TEXT), "utility"),
    # Apart from the rest of retain: general answers hardly notice damage that erases a patient, and would hide it.
    "patients": Level(Subset.RETAIN, PRIVATE_STRATA, "utility"),
    "test": Level(Subset.TEST, SCORED_STRATA[Subset.TEST], "utility"),
}

Levels = Mapping[str, "FloatArray"]
"""Level name → values: one number (shape ``[]``) or one per resample (shape ``[resamples]``); NaN where nothing was
measured."""


@dataclass(frozen=True)
class ClusterSums:
    """Sums and counts of every (level, stratum) by cluster, both ``[clusters, columns]``: all that resampling needs."""

    sums: FloatArray
    counts: FloatArray

    def levels(self, weights: FloatArray | None = None) -> dict[str, FloatArray]:
        """The raw levels when each cluster counts ``weights[resample, cluster]`` times; once each without weights."""
        import numpy as np

        drawn = np.ones(len(self.sums)) if weights is None else weights
        totals, counts = drawn @ self.sums, drawn @ self.counts
        present = counts > 0
        means = np.where(present, totals / np.where(present, counts, 1), 0.0)
        levels = {}
        for name in LEVELS:
            columns = [place for place, (level, _) in enumerate(_columns()) if level == name]
            strata = present[..., columns].sum(-1)
            macro = means[..., columns].sum(-1) / np.where(strata > 0, strata, 1)
            levels[name] = np.where(strata > 0, macro, np.nan)
        return levels

    def behind(self) -> dict[str, int]:
        """Level → clusters that have anything to say on it."""
        of = {name: [place for place, (level, _) in enumerate(_columns()) if level == name] for name in LEVELS}
        return {name: int((self.counts[:, places] > 0).any(1).sum()) for name, places in of.items()}


def _columns() -> list[tuple[str, Stratum]]:
    return [(name, stratum) for name, level in LEVELS.items() for stratum in level.strata]


def cluster_sums(measured: Iterable[Measured], clusters: Sequence[str], probe: str = ORIGINAL) -> ClusterSums:
    """Sums by cluster of the outputs of one probe; ``clusters`` gives the order of the rows."""
    import numpy as np

    row_of = {cluster: place for place, cluster in enumerate(clusters)}
    column_of = {column: place for place, column in enumerate(_columns())}
    cells: defaultdict[tuple[int, int], list[float]] = defaultdict(list)
    for one in measured:
        if one.output.probe != probe:
            continue
        for name, level in LEVELS.items():
            column = column_of.get((name, one.sample.stratum))
            value = one.values.get(level.metric)
            if column is not None and value is not None and one.sample.subset == level.subset:
                cells[row_of[one.sample.cluster], column].append(value)
    sums = np.zeros((len(clusters), len(column_of)))
    counts = np.zeros_like(sums)
    for place, values in cells.items():
        sums[place], counts[place] = fsum(values), len(values)
    return ClusterSums(sums, counts)


def probe_sums(measured: Sequence[Measured], clusters: Sequence[str]) -> dict[str, ClusterSums]:
    """The sums of every probe asked of forget samples, the original question first; neighbours have none."""
    forget = (Subset.FORGET_PRIVACY, Subset.FORGET_INCORRECTNESS)
    asked = (one for one in measured if one.sample.subset in forget and "specificity" not in one.values)
    by_probe = grouped(asked, lambda one: one.output.probe)
    names = sorted(by_probe, key=lambda name: (name != ORIGINAL, name))
    return {name: cluster_sums(by_probe[name], clusters, name) for name in names}


def grouped(measured: Iterable[Measured], key: Callable[[Measured], str]) -> dict[str, list[Measured]]:
    """Measured outputs by a key, keys in order of first occurrence."""
    groups: dict[str, list[Measured]] = {}
    for one in measured:
        groups.setdefault(key(one), []).append(one)
    return groups
