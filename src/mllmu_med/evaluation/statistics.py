"""How sure a number is: bootstrap over clusters (patients or images), and what guessing would reach."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import fsum
from typing import TYPE_CHECKING

from mllmu_med.benchmark.sample import Sample, Stratum, Subset
from mllmu_med.evaluation.utility import is_closed, references, usefulness
from mllmu_med.seeding import numpy_rng

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

COVERAGE = 0.95
FEWEST = 2
"""Clusters behind a level from which on it has an interval: of one, every resample is the same."""
ENOUGH = 5
"""Clusters on either side of a comparison: below, a bootstrap knows too little. (On noise a membership test was told
apart from the oracle's in 97 of 100 runs with one patient on either side, with two in 26, six in 6, twelve in 7.)
"""
_ENOUGH = 0.5  # share of resamples in which a score must be measurable for an interval to be given


def memberships(samples: Iterable[Sample]) -> dict[str, frozenset[Subset]]:
    """Cluster → the subsets it has samples in, clusters sorted."""
    subsets: defaultdict[str, set[Subset]] = defaultdict(set)
    for sample in samples:
        subsets[sample.cluster].add(sample.subset)
    return {cluster: frozenset(subsets[cluster]) for cluster in sorted(subsets)}


def resample(clusters: Mapping[str, frozenset[Subset]], resamples: int, *, seed: int) -> FloatArray:
    """How often each cluster is drawn in each resample: ``[resamples, clusters]``, clusters in the mapping's order.

    Questions about one patient or image are not independent, so whole clusters are drawn, with replacement. They are
    drawn among those with samples in the same subsets: how many patients are forgotten is design and not chance.
    The weights depend on the clusters and the seed alone, so every model is scored on the same resamples (paired).
    """
    import numpy as np

    kinds: dict[frozenset[Subset], list[int]] = {}
    for place, kind in enumerate(clusters.values()):
        kinds.setdefault(kind, []).append(place)
    weights = np.zeros((resamples, len(clusters)))
    for kind, members in kinds.items():
        generator = numpy_rng(seed, "bootstrap", *sorted(kind))
        weights[:, members] = generator.multinomial(len(members), [1 / len(members)] * len(members), size=resamples)
    return weights


def interval(values: FloatArray) -> tuple[float, float]:
    """The central 95 % of the resampled values (percentile bootstrap, Efron 1979).

    NaN values (resamples in which nothing could be measured) are left out; where they are more than half of all, there
    is no interval: (NaN, NaN).
    """
    import numpy as np

    known = values[~np.isnan(values)]
    if len(known) == 0 or len(known) < _ENOUGH * len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return float(low), float(high)


def _kind(sample: Sample) -> tuple[str, str]:
    return sample.language, sample.content_type or ""


def _most_frequent(answers: Sequence[str]) -> str:
    counts = Counter(answers)
    return min(counts, key=lambda answer: (-counts[answer], answer))


def majority_baseline(samples: Iterable[Sample]) -> float | None:
    """What a model that sees neither image nor question would score on test: 0..1.

    It gives, by language and content type (what is asked: modality, organ, …), the most frequent answer of the ordinary
    retain records, or the most frequent of all where that type never occurs there. Scored like test utility, so the two
    can be set side by side. None without test or retain records.
    """
    by_kind: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    test, every = [], []
    for sample in samples:
        if sample.stratum != Stratum.GENERAL:
            continue
        if sample.subset == Subset.TEST:
            test.append(sample)
        elif sample.subset == Subset.RETAIN:
            by_kind[_kind(sample)].append(sample.answer)
            every.append(sample.answer)
    if not test or not every:
        return None
    guess = {kind: _most_frequent(answers) for kind, answers in by_kind.items()}
    fallback = _most_frequent(every)
    scores = (usefulness(guess.get(_kind(one), fallback), references(one), is_closed(one)) for one in test)
    return fsum(scores) / len(test)
