"""One side of a comparison: everything that can be compared of a row, for all clusters or for resampled ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from math import fsum
from typing import TYPE_CHECKING

from mllmu_med.benchmark.sample import Sample, Stratum, Subset
from mllmu_med.errors import DataError
from mllmu_med.evaluation.behaviour import refuse_all_outputs
from mllmu_med.evaluation.levels import LEVELS, SCORED_STRATA, ClusterSums, cluster_sums
from mllmu_med.evaluation.membership import PatientPairs, patient_pairs, sides_by_kind
from mllmu_med.evaluation.memorisation import mean_logprob
from mllmu_med.evaluation.metrics import METRICS, Measured, all_metrics
from mllmu_med.evaluation.outputs import ORIGINAL, Output
from mllmu_med.evaluation.scores import INCORRECTNESS, PRIVACY, SCENARIOS, UTILITIES, Reference, all_parts, efficiency
from mllmu_med.evaluation.statistics import ENOUGH, FEWEST, memberships

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

MEMBERSHIP_AUC = "membership_auc"
Cell = tuple[Subset, Stratum, str]

SCORES = SCENARIOS
"""The quantities that are whole scores: UES of privacy and of incorrectness."""
PARTS = (
    *(f"{PRIVACY}.{part}" for part in ("forget", *UTILITIES[PRIVACY])),
    *(f"{INCORRECTNESS}.{part}" for part in ("forget", "suppression", "restoration")),
)
"""The parts of the scores, e.g. ``privacy.forget``. Those that both scores have in common stand here once, as
privacy's: a question asked twice would make Holm's correction harder for nothing."""
_WRONG: Mapping[str, tuple[str, ...]] = {
    "forget": ("wrong", "correct"),
    "suppression": ("wrong",),
    "restoration": ("correct",),
}


def _levels_behind(quantity: str) -> tuple[str, ...]:
    """The raw levels that a score or a part is made of; none of a metric."""
    scenario, _, part = quantity.partition(".")
    if scenario not in SCENARIOS:
        return ()
    told: Mapping[str, tuple[str, ...]] = {"forget": ("leakage",)} if scenario == PRIVACY else _WRONG
    if part:
        return told.get(part, (part,))
    return (*told["forget"], *UTILITIES[scenario])


@dataclass(frozen=True)
class Cells:
    """Sums and counts of every metric by cluster, both ``[clusters, columns]``; a column is (subset, stratum, metric).

    Original questions alone, of the strata that make up each subset's ``all``.
    """

    columns: tuple[Cell, ...]
    sums: FloatArray
    counts: FloatArray

    def means(self, wanted: Collection[str], weights: FloatArray) -> dict[str, FloatArray]:
        """Quantity (``subset.metric``) → macro-average over the subset's strata, one value a resample."""
        import numpy as np

        grouped: defaultdict[str, list[int]] = defaultdict(list)
        for place, (subset, _, metric) in enumerate(self.columns):
            grouped[f"{subset.value}.{metric}"].append(place)
        found = {}
        for name in wanted:
            places = grouped.get(name, [])
            totals, counts = weights @ self.sums[:, places], weights @ self.counts[:, places]
            present = counts > 0
            strata = present.sum(-1)
            total = np.where(present, totals / np.where(present, counts, 1), 0.0).sum(-1)
            found[name] = np.where(strata > 0, total / np.where(strata > 0, strata, 1), np.nan)
        return found


@dataclass(frozen=True)
class Side:
    """A row with the three rows that its score is measured against, summed by cluster.

    Attributes:
        name: as it stands in tables.
        samples: the samples asked; sides with the same samples can be paired.
        clusters: cluster → the subsets it has samples in, sorted.
        sums: of the model, θ0, the oracle and the row that refuses everything.
        cells: of the model's metrics.
        patients: pairs won by the LOSS attack, by places in ``clusters``; None in a mixture of two rows, whose
            likelihoods must not be set against each other.
    """

    name: str
    samples: Mapping[str, Sample]
    clusters: Mapping[str, frozenset[Subset]]
    sums: tuple[ClusterSums, ClusterSums, ClusterSums, ClusterSums]
    cells: Cells
    patients: tuple[PatientPairs, list[int], list[int]] | None

    def quantities(self) -> tuple[str, ...]:
        """Everything that can be compared: scores, parts, ``subset.metric``, and the membership AUC."""
        order = {name: place for place, name in enumerate(METRICS)}
        subsets = {subset: place for place, subset in enumerate(Subset)}
        pairs = {(subset, metric) for subset, _, metric in self.cells.columns}
        ordered = sorted(pairs, key=lambda pair: (subsets[pair[0]], order[pair[1]]))
        membership = (MEMBERSHIP_AUC,) if self.patients is not None else ()
        return (*SCORES, *PARTS, *(f"{subset.value}.{metric}" for subset, metric in ordered), *membership)

    def values(self, wanted: Collection[str], weights: FloatArray) -> dict[str, FloatArray]:
        """Quantity → its value when each cluster counts ``weights[resample, cluster]`` times; NaN: not measurable."""
        scored = [name for name in wanted if name in SCORES or name in PARTS]
        found = self._scores(scored, weights) if scored else {}
        rest = [name for name in wanted if name not in scored and name != MEMBERSHIP_AUC]
        found |= self.cells.means(rest, weights)
        if MEMBERSHIP_AUC in wanted and self.patients is not None:
            pairs, members, others = self.patients
            found[MEMBERSHIP_AUC] = pairs.auc(weights[:, members], weights[:, others])
        return found

    def _scores(self, wanted: Collection[str], weights: FloatArray) -> dict[str, FloatArray]:
        model, original, oracle, refusal = (sums.levels(weights) for sums in self.sums)
        reference = Reference(original, oracle, refusal)
        found: dict[str, FloatArray] = {}
        for scenario in SCENARIOS:
            parts = all_parts(scenario, model, reference)
            found |= {f"{scenario}.{name}": value for name, value in parts.items()}
            found[scenario] = efficiency(scenario, parts)
        return {name: found[name] for name in wanted}

    def once(self) -> FloatArray:
        """The weights with which every cluster counts once: ``[1, clusters]``."""
        import numpy as np

        return np.ones((1, len(self.clusters)))

    def has_spread(self, quantity: str) -> bool:
        """Whether enough clusters stand behind every part of it for a bootstrap to know how it varies."""
        if quantity == MEMBERSHIP_AUC:
            return self.patients is not None and min(len(self.patients[1]), len(self.patients[2])) >= ENOUGH
        levels = _levels_behind(quantity)
        if not levels:
            return self.clusters_behind(quantity) >= FEWEST
        behind = self.sums[1].behind()
        return all(behind[level] == 0 or behind[level] >= FEWEST for level in levels)

    def clusters_behind(self, quantity: str) -> int:
        """How many clusters have anything to say on a quantity."""
        if quantity == MEMBERSHIP_AUC:
            return 0 if self.patients is None else len(self.patients[1]) + len(self.patients[2])
        levels = [LEVELS[name] for name in _levels_behind(quantity)]
        places = [
            place
            for place, (subset, stratum, metric) in enumerate(self.cells.columns)
            if f"{subset.value}.{metric}" == quantity
            or any((subset, metric) == (one.subset, one.metric) and stratum in one.strata for one in levels)
        ]
        return int((self.cells.counts[:, places].sum(1) > 0).sum())


def make_side(
    name: str, samples: Iterable[Sample], model: Iterable[Output], original: Iterable[Output], oracle: Iterable[Output]
) -> Side:
    """A side from stored outputs; no order matters.

    Args:
        name: as it stands in tables.
        samples: the benchmark's samples; those without outputs of θ0 are left out.
        model, original, oracle: outputs of the row, of θ0 and of the oracle.

    Raises:
        DataError: the three were not asked the same samples, or one that the benchmark does not hold.
    """
    by_id = {sample.id: sample for sample in samples}
    given = [[output for output in outputs if output.probe == ORIGINAL] for outputs in (model, original, oracle)]
    asked = {output.sample_id for output in given[1]}
    for outputs, who in zip(given, (name, "theta0", "oracle"), strict=True):
        strange = sorted({output.sample_id for output in outputs} ^ asked) or sorted(asked - by_id.keys())
        if strange or len(outputs) != len(asked):
            raise DataError(
                f"the outputs of '{who}' are not those of the samples that θ0 was asked",
                record=strange[0] if strange else None,
                mend="Evaluate the run again.",
            )
    used = {sample_id: by_id[sample_id] for sample_id in sorted(asked)}
    clusters = memberships(used.values())
    order = list(clusters)
    measured, *references = (all_metrics(used, outputs) for outputs in given)
    references.append(all_metrics(used, [o for o in refuse_all_outputs(used.values()) if o.probe == ORIGINAL]))
    first, second, third = (cluster_sums(one, order) for one in references)
    sums = (cluster_sums(measured, order), first, second, third)
    return Side(name, used, clusters, sums, _cells(measured, order), _patients(measured, order))


def mixture(one: Side, other: Side) -> Side:
    """Both sides' clusters under one another, the first's first: with weights of 0 and 1 any exchange of clusters."""
    import numpy as np

    def stacked(first: ClusterSums, second: ClusterSums) -> ClusterSums:
        return ClusterSums(np.vstack([first.sums, second.sums]), np.vstack([first.counts, second.counts]))

    sums = tuple(stacked(*both) for both in zip(one.sums, other.sums, strict=True))
    columns = tuple(dict.fromkeys([*one.cells.columns, *other.cells.columns]))
    wide = [_widened(side.cells, columns) for side in (one, other)]
    cells = Cells(columns, np.vstack([wide[0].sums, wide[1].sums]), np.vstack([wide[0].counts, wide[1].counts]))
    clusters = {
        f"{place} {name}": kind for place, side in enumerate((one, other)) for name, kind in side.clusters.items()
    }
    return Side("", one.samples, clusters, (sums[0], sums[1], sums[2], sums[3]), cells, None)


def _widened(cells: Cells, columns: tuple[Cell, ...]) -> Cells:
    import numpy as np

    sums = np.zeros((len(cells.sums), len(columns)))
    counts = np.zeros_like(sums)
    places = [columns.index(column) for column in cells.columns]
    sums[:, places], counts[:, places] = cells.sums, cells.counts
    return Cells(columns, sums, counts)


def _cells(measured: Iterable[Measured], clusters: list[str]) -> Cells:
    import numpy as np

    row = {cluster: place for place, cluster in enumerate(clusters)}
    found: defaultdict[Cell, defaultdict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in measured:
        if one.sample.stratum in SCORED_STRATA[one.sample.subset]:
            for metric in METRICS:
                if metric in one.values:
                    cell = one.sample.subset, one.sample.stratum, metric
                    found[cell][row[one.sample.cluster]].append(one.values[metric])
    columns = tuple(sorted(found))
    sums = np.zeros((len(clusters), len(columns)))
    counts = np.zeros_like(sums)
    for place, column in enumerate(columns):
        for cluster, values in found[column].items():
            sums[cluster, place], counts[cluster, place] = fsum(values), len(values)
    return Cells(columns, sums, counts)


def _patients(measured: Iterable[Measured], clusters: list[str]) -> tuple[PatientPairs, list[int], list[int]] | None:
    known = {one.sample.id: (one.sample, mean_logprob(one.output.logprobs)) for one in measured}
    scores = {sample_id: value for sample_id, (_, value) in known.items() if value is not None}
    kinds = sides_by_kind([sample for sample, _ in known.values()], scores)
    patients, holdout = (sorted({one.cluster for sides in kinds.values() for one in sides[side]}) for side in (0, 1))
    if not patients:
        return None
    row = {cluster: place for place, cluster in enumerate(clusters)}
    places = [[row[cluster] for cluster in side] for side in (patients, holdout)]
    return patient_pairs(kinds, patients, holdout), places[0], places[1]
