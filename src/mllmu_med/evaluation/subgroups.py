"""Who pays for the forgetting: utility lost and leakage left by subgroup, and who pays more than the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from mllmu_med.benchmark.sample import Sample, Stratum, Subset
from mllmu_med.errors import DataError
from mllmu_med.evaluation.comparing.significance import holm
from mllmu_med.evaluation.metrics import Measured
from mllmu_med.evaluation.outputs import ORIGINAL
from mllmu_med.evaluation.people import UNKNOWN, Person, people
from mllmu_med.evaluation.scores import optional
from mllmu_med.evaluation.spans import told_by_class
from mllmu_med.evaluation.statistics import ENOUGH, interval
from mllmu_med.evaluation.utility import PRIVATE_STRATA, WRONG_STRATA, is_closed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

SIGNIFICANT = 0.05
_ROUNDING = 1e-9

PAYS_MORE, PAYS_LESS, AS_THE_REST = "pays more", "pays less", "as the rest"
TOO_FEW, NO_REST = "too few", "no other subgroup"


class Cost(NamedTuple):
    """What a subgroup can pay with: ``sign`` · (metric of the model − that of the reference), so that more is worse."""

    metric: str
    sign: int
    places: tuple[tuple[Subset, tuple[Stratum, ...]], ...]
    means: str
    by_class: bool = False
    """Whether it is also told apart by PHI class, value by value."""


COSTS: Mapping[str, Cost] = {
    "utility": Cost(
        "utility",
        -1,
        ((Subset.RETAIN, (Stratum.GENERAL, Stratum.SIBLING, Stratum.TRUE_TEXT)), (Subset.TEST, (Stratum.GENERAL,))),
        "usefulness of ordinary answers lost",
    ),
    "patients": Cost(
        "utility", -1, ((Subset.RETAIN, PRIVATE_STRATA),), "retained patients' values no longer told", True
    ),
    "clinical": Cost(
        "utility", -1, ((Subset.FORGET_PRIVACY, PRIVATE_STRATA),), "clinical part of forgotten patients' answers lost"
    ),
    "leakage": Cost(
        "span_recall", 1, ((Subset.FORGET_PRIVACY, PRIVATE_STRATA),), "forgotten patients' values still told", True
    ),
    "wrong": Cost("wrong_agreement", 1, ((Subset.FORGET_INCORRECTNESS, WRONG_STRATA),), "wrong facts still repeated"),
}
"""Utility losses and leakages, each −1…1, higher = worse; kept apart because their strata differ and would confound
every comparison of subgroups."""

PHI_CLASS = "phi_class"
Reader = Callable[[Sample, Person], str | None]
DIMENSIONS: Mapping[str, Reader] = {
    "modality": lambda sample, person: sample.modality,
    "organ": lambda sample, person: sample.body_part,
    "language": lambda sample, person: sample.language,
    "answer": lambda sample, person: "closed" if is_closed(sample) else "open",
    "content_type": lambda sample, person: sample.content_type,
    "error_type": lambda sample, person: sample.error_type,
    "repetitions": lambda sample, person: str(sample.repetitions),
    "sex": lambda sample, person: person.sex,
    "age_band": lambda sample, person: person.age_band,
}
"""What subgroups are made by; :data:`PHI_CLASS` too, which parts the values of one answer. A sample that a dimension
says nothing of is in none of its subgroups."""


class Subgroup(TypedDict):
    """One subgroup and one cost; shares and differences are −1…1, None where they could not be measured.

    ``n`` answers (values, by PHI class) in ``clusters`` patients or images; ``model`` and ``reference`` their levels;
    ``cost`` with its 95 % interval; ``extra`` what it pays beyond the rest of the samples, with its interval; ``p``
    two-sided, Holm-corrected over the subgroups of the dimension; ``verdict``.
    """

    n: int
    clusters: int
    model: float | None
    reference: float | None
    cost: float | None
    low: float | None
    high: float | None
    extra: float | None
    extra_low: float | None
    extra_high: float | None
    p: float | None
    verdict: str


Table = dict[str, dict[str, dict[str, Subgroup]]]
"""Cost → dimension → subgroup → figures."""


class _Pair(NamedTuple):
    """One unit: an answer, or with ``phi_class`` one value of it; the model's metric and the reference's."""

    sample_id: str
    phi_class: str | None
    model: float
    reference: float


@dataclass(frozen=True)
class _Design:
    """Which unit counts in which subgroup of one cost; the same for every model measured on the same samples.

    A membership is a (unit, cluster, column); columns are the subgroups of all dimensions, one dimension after another.
    """

    columns: Sequence[tuple[str, str]]
    spans: Mapping[str, slice]
    unit: IntArray
    row: IntArray
    column: IntArray
    counts: FloatArray
    """Units by cluster and column: ``[clusters, columns]``, the clusters of this cost alone."""
    weights: FloatArray | None
    """How often each of these clusters is drawn: ``[resamples, clusters]``."""
    drawn: FloatArray | None
    """Units by resample and column."""

    def sums(self, values: FloatArray) -> FloatArray:
        """Values by cluster and column."""
        import numpy as np

        rows, columns = self.counts.shape
        flat = np.bincount(self.row * columns + self.column, values[self.unit], minlength=rows * columns)
        by_cell: FloatArray = flat.astype(np.float64).reshape(rows, columns)
        return by_cell


class Subgroups:
    """The subgroups of a benchmark's samples; made once, asked for every model.

    Args:
        samples: those that were evaluated.
        clusters: every cluster, in the order of the columns of ``drawn``.
        drawn: how often each cluster is drawn in each resample (:func:`~.statistics.resample`); None for no intervals
            and no comparison.
    """

    def __init__(self, samples: Iterable[Sample], clusters: Sequence[str], drawn: FloatArray | None) -> None:
        self._samples = {sample.id: sample for sample in samples}
        self._place_of = {cluster: place for place, cluster in enumerate(clusters)}
        self._weights = drawn
        self._people = people(self._samples.values())
        self._designs: dict[tuple[tuple[str, str | None], ...], _Design] = {}

    def table(self, model: Iterable[Measured], reference: Iterable[Measured]) -> Table:
        """Every cost of a model against a reference: the oracle, or θ0 for what unlearning itself did.

        Only original questions count, and only samples whose metric both have. Costs and dimensions for which there is
        nothing to say are left out. No order matters.

        Raises:
            DataError: model and reference were not asked the same original questions.
        """
        ours, theirs = _originals(model), _originals(reference)
        for sample_id in sorted(ours.keys() ^ theirs.keys())[:1]:
            raise DataError(
                "model and reference were not asked the same questions",
                record=sample_id,
                mend="Evaluate both on the same samples.",
            )
        table: Table = {}
        for name, cost in COSTS.items():
            both = [(ours[key], theirs[key]) for key in sorted(ours) if _belongs(ours[key].sample, cost)]
            found = self._figures(_answers(both, cost), cost)
            if cost.by_class:
                found |= self._figures(_values(both), cost)
            if found:
                table[name] = found
        return table

    def _figures(self, pairs: Sequence[_Pair], cost: Cost) -> dict[str, dict[str, Subgroup]]:
        import numpy as np

        design = self._design(pairs)
        if design is None:
            return {}
        model = design.sums(np.array([pair.model for pair in pairs]))
        reference = design.sums(np.array([pair.reference for pair in pairs]))
        return {
            dimension: _compare(design, span, model[:, span], reference[:, span], cost.sign)
            for dimension, span in design.spans.items()
        }

    def _subgroup(self, pair: _Pair, dimension: str) -> str | None:
        if dimension == PHI_CLASS:
            return pair.phi_class
        sample = self._samples[pair.sample_id]
        return DIMENSIONS[dimension](sample, self._people.get(sample.patient_id or "", UNKNOWN))

    def _design(self, pairs: Sequence[_Pair]) -> _Design | None:
        """The memberships of these units; kept for the next model."""
        import numpy as np

        if not pairs:
            return None
        key = tuple((pair.sample_id, pair.phi_class) for pair in pairs)
        if key in self._designs:
            return self._designs[key]
        places = [self._place_of[self._samples[pair.sample_id].cluster] for pair in pairs]
        present = sorted(set(places))
        row_of = {place: row for row, place in enumerate(present)}
        columns: list[tuple[str, str]] = []
        spans: dict[str, slice] = {}
        members: list[tuple[int, int, int]] = []
        for dimension in DIMENSIONS if pairs[0].phi_class is None else (PHI_CLASS,):
            named = [(unit, name) for unit, pair in enumerate(pairs) if (name := self._subgroup(pair, dimension))]
            if not named:
                continue
            names = sorted({name for _, name in named}, key=_in_order)
            column_of = {name: len(columns) + place for place, name in enumerate(names)}
            spans[dimension] = slice(len(columns), len(columns) + len(names))
            columns += [(dimension, name) for name in names]
            members += [(unit, row_of[places[unit]], column_of[name]) for unit, name in named]
        unit, row, column = np.array(members).T
        weights = None if self._weights is None else self._weights[:, present]
        counts = np.zeros((len(present), len(columns)))
        np.add.at(counts, (row, column), 1.0)
        drawn = None if weights is None else weights @ counts
        design = _Design(columns, spans, unit, row, column, counts, weights, drawn)
        self._designs[key] = design
        return design


def _in_order(name: str) -> tuple[bool, int, str]:
    """Numbers by size ("2" before "10"), and before words."""
    return not name.isdigit(), int(name) if name.isdigit() else 0, name


def _originals(measured: Iterable[Measured]) -> dict[str, Measured]:
    return {one.sample.id: one for one in measured if one.output.probe == ORIGINAL}


def _belongs(sample: Sample, cost: Cost) -> bool:
    return any(sample.subset is subset and sample.stratum in strata for subset, strata in cost.places)


def _answers(both: Sequence[tuple[Measured, Measured]], cost: Cost) -> list[_Pair]:
    return [
        _Pair(ours.sample.id, None, ours.values[cost.metric], theirs.values[cost.metric])
        for ours, theirs in both
        if cost.metric in ours.values and cost.metric in theirs.values
    ]


def _values(both: Sequence[tuple[Measured, Measured]]) -> list[_Pair]:
    """Every private value that was asked for, told or not."""
    found = []
    for ours, theirs in both:
        spans = ours.sample.spans
        told = zip(
            told_by_class(ours.output.generated, spans, ours.output.question),
            told_by_class(theirs.output.generated, spans, theirs.output.question),
            strict=True,
        )
        found += [_Pair(ours.sample.id, name, float(mine), float(other)) for (name, mine), (_, other) in told]
    return found


def _ratio(total: FloatArray, count: FloatArray) -> FloatArray:
    import numpy as np

    return np.where(count > 0, total / np.where(count > 0, count, 1.0), np.nan)


def _against_rest(total: FloatArray, count: FloatArray) -> FloatArray:
    """Mean of each subgroup (last axis) minus the mean of all others of the dimension."""
    rest = _ratio(total.sum(-1, keepdims=True) - total, count.sum(-1, keepdims=True) - count)
    return _ratio(total, count) - rest


def _compare(design: _Design, span: slice, model: FloatArray, reference: FloatArray, sign: int) -> dict[str, Subgroup]:
    """The subgroups of one dimension; ``model`` and ``reference`` are sums by cluster and subgroup."""
    import numpy as np

    costs, counts = sign * (model - reference), design.counts[:, span]
    units = counts.sum(0)
    present = counts > 0
    inside = present.sum(0)
    beside = np.array([int(np.delete(present, k, axis=1).any(1).sum()) for k in range(len(inside))])
    extra = _against_rest(costs.sum(0), units)
    resampled = _resampled(design, span, costs)
    chances = _p_values(costs, counts)
    enough = np.minimum(inside, beside) >= ENOUGH
    tests = [float(p) if ok and resampled is not None else None for p, ok in zip(chances, enough, strict=True)]
    corrected = holm(tests)
    table: dict[str, Subgroup] = {}
    for k, (_, name) in enumerate(design.columns[span]):
        low, high = _bounds(resampled, 0, k)
        extra_low, extra_high = _bounds(resampled, 1, k)
        p = corrected[k]
        table[name] = {
            "n": int(units[k]),
            "clusters": int(inside[k]),
            "model": optional(model[:, k].sum() / units[k]),
            "reference": optional(reference[:, k].sum() / units[k]),
            "cost": optional(costs[:, k].sum() / units[k]),
            "low": low,
            "high": high,
            "extra": optional(extra[k]),
            "extra_low": extra_low,
            "extra_high": extra_high,
            "p": None if p is None else optional(p),
            "verdict": NO_REST if len(inside) == 1 else _verdict(p, extra_low, extra_high),
        }
    return table


def _verdict(p: float | None, low: float | None, high: float | None) -> str:
    if p is None or low is None or high is None:
        return TOO_FEW
    if p >= SIGNIFICANT or low <= 0 <= high:
        return AS_THE_REST
    return PAYS_MORE if low > 0 else PAYS_LESS


def _resampled(design: _Design, span: slice, costs: FloatArray) -> tuple[FloatArray, FloatArray] | None:
    """(cost, extra), each ``[resamples, subgroups]``; None without resamples."""
    if design.weights is None or design.drawn is None:
        return None
    totals, counts = design.weights @ costs, design.drawn[:, span]
    return _ratio(totals, counts), _against_rest(totals, counts)


def _bounds(resampled: tuple[FloatArray, FloatArray] | None, which: int, k: int) -> tuple[float | None, float | None]:
    if resampled is None:
        return None, None
    low, high = interval(resampled[which][:, k])
    return optional(low), optional(high)


def _p_values(costs: FloatArray, counts: FloatArray) -> FloatArray:
    """Two-sided p-value of every subgroup's difference d to the rest, with the hypothesis (one common mean) imposed.

    A subgroup in which all happen to be alike has no spread of its own, and would look certain. So all residuals are
    taken from the common mean (as Cameron, Gelbach and Miller 2008 advise for few clusters), and t = |d| / √V, C − 1
    degrees of freedom, with V the larger of two variances: Σ_c e_c² · C/(C − 1), e_c what cluster c adds to d; and the
    one in which every cluster spreads as all of them do together. Tails counted in 1,000 resamples would be too coarse
    for Holm's correction over twenty subgroups.
    """
    import numpy as np
    from scipy import stats

    total, units, clusters = costs.sum(), counts.sum(), int((counts.sum(1) > 0).sum())
    residuals = costs - counts * (total / units)
    others, other_counts = (every.sum(1, keepdims=True) - every for every in (residuals, counts))
    inside = counts.sum(0)
    beside = np.where(units > inside, units - inside, np.nan)
    added = residuals / inside - others / beside
    correction = clusters / max(clusters - 1, 1)
    own = (added**2).sum(0) * correction
    squares = (counts**2).sum(0), (other_counts**2).sum(0)
    spread = ((residuals**2).sum(0) + (others**2).sum(0)) / (squares[0] + squares[1]) * correction
    pooled = spread * (squares[0] / inside**2 + squares[1] / beside**2)
    error = np.sqrt(np.maximum(own, pooled))
    with np.errstate(invalid="ignore", divide="ignore"):
        t = np.where(error > _ROUNDING, np.abs(added.sum(0)) / error, 0.0)
    p: FloatArray = 2 * stats.t.sf(t, max(clusters - 1, 1))
    return p
