"""Means of the metrics: by subset and stratum, by PHI class, by probe, by type of error."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import fsum

from mllmu_med.benchmark.sample import Stratum, Subset
from mllmu_med.evaluation.levels import SCORED_STRATA
from mllmu_med.evaluation.metrics import METRICS, Measured
from mllmu_med.evaluation.outputs import ORIGINAL
from mllmu_med.evaluation.scores import optional
from mllmu_med.evaluation.spans import told_by_class

Metrics = dict[str, float | None]

_PROBE_METRICS = {"span_recall": Subset.FORGET_PRIVACY, "wrong_agreement": Subset.FORGET_INCORRECTNESS}


def _mean(values: Sequence[float]) -> float | None:
    """The mean, whatever the order of the values; None of nothing."""
    return optional(fsum(values) / len(values)) if values else None


def _metric_means(measured: Sequence[Measured]) -> Metrics:
    """The mean of every metric over the samples it applies to (None where to none), and their ``count``."""
    values: defaultdict[str, list[float]] = defaultdict(list)
    for one in measured:
        for name, value in one.values.items():
            values[name].append(value)
    return {**{name: _mean(values[name]) for name in METRICS}, "count": len(measured)}


def _macro(cells: Sequence[Metrics]) -> Metrics:
    known = {name: [value for cell in cells if (value := cell[name]) is not None] for name in METRICS}
    return {
        **{name: _mean(values) for name, values in known.items()},
        "count": sum(int(cell["count"] or 0) for cell in cells),
    }


def metrics_by_stratum(measured: Iterable[Measured]) -> dict[str, dict[str, Metrics]]:
    """Subset → stratum → metric → mean over the original questions.

    ``all`` is the macro-average over the subset's scored strata (:data:`~.levels.SCORED_STRATA`): each stratum counts
    once, however many records it has; its ``count`` is the number of records behind it.
    """
    cells: defaultdict[tuple[Subset, Stratum], list[Measured]] = defaultdict(list)
    for one in measured:
        if one.output.probe == ORIGINAL:
            cells[one.sample.subset, one.sample.stratum].append(one)
    table: dict[str, dict[str, Metrics]] = {}
    for subset in Subset:
        strata = {stratum: _metric_means(cells[subset, stratum]) for stratum in Stratum if (subset, stratum) in cells}
        if strata:
            scored = [strata[stratum] for stratum in SCORED_STRATA[subset] if stratum in strata]
            table[subset.value] = {"all": _macro(scored), **{name.value: means for name, means in strata.items()}}
    return table


def recall_by_class(measured: Iterable[Measured]) -> Metrics:
    """PHI class → share of the forgotten patients' values of that class that are still told (lower is better)."""
    told: defaultdict[str, list[float]] = defaultdict(list)
    for one in measured:
        if one.output.probe == ORIGINAL and one.sample.subset == Subset.FORGET_PRIVACY:
            for phi_class, hit in told_by_class(one.output.generated, one.sample.spans, one.output.question):
                told[phi_class].append(float(hit))
    return {phi_class: _mean(told[phi_class]) for phi_class in sorted(told)}


def leakage_by_probe(measured: Iterable[Measured]) -> dict[str, Metrics]:
    """Probe → share of private values told and of wrong facts repeated (lower is better), the original question first.

    Macro-averages over strata, as in the score.
    """
    values: defaultdict[tuple[str, str, Stratum], list[float]] = defaultdict(list)
    probes = set()
    for one in measured:
        for metric, subset in _PROBE_METRICS.items():
            value = one.values.get(metric)
            if value is not None and one.sample.subset == subset and one.sample.stratum in SCORED_STRATA[subset]:
                values[one.output.probe, metric, one.sample.stratum].append(value)
                probes.add(one.output.probe)

    def over_strata(probe: str, metric: str) -> float | None:
        means = [values[probe, metric, stratum] for stratum in Stratum if (probe, metric, stratum) in values]
        return _mean([fsum(cell) / len(cell) for cell in means])

    ordered = sorted(probes, key=lambda probe: (probe != ORIGINAL, probe))
    return {probe: {metric: over_strata(probe, metric) for metric in _PROBE_METRICS} for probe in ordered}


def specificity_by_probe(measured: Iterable[Measured]) -> dict[str, float | None]:
    """Neighbour → share of right answers next to what is forgotten (higher is better): same image, same question, or a
    retained patient with the same finding."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for one in measured:
        if "specificity" in one.values:
            found[one.output.probe].append(one.values["specificity"])
    return {probe: _mean(found[probe]) for probe in sorted(found)}


def agreement_by_error_type(measured: Iterable[Measured]) -> dict[str, tuple[float, float]]:
    """Type of error → mean agreement with the wrong and with the correct answer on forget/incorrectness."""
    wrong: defaultdict[str, list[float]] = defaultdict(list)
    correct: defaultdict[str, list[float]] = defaultdict(list)
    for one in measured:
        if one.output.probe != ORIGINAL or one.sample.subset != Subset.FORGET_INCORRECTNESS:
            continue
        name = one.sample.error_type or "other"
        wrong[name].append(one.values.get("wrong_agreement", 0.0))
        correct[name].append(one.values.get("correct_agreement", 0.0))
    return {
        name: (fsum(wrong[name]) / len(wrong[name]), fsum(correct[name]) / len(correct[name])) for name in sorted(wrong)
    }
