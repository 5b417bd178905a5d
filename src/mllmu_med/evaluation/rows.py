"""The rows of the results: one per model, from its outputs alone."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from mllmu_med.benchmark.sample import Sample, Stratum, Subset
from mllmu_med.errors import DataError, UsageError
from mllmu_med.evaluation.behaviour import refuse_all_outputs
from mllmu_med.evaluation.levels import ClusterSums, Levels, cluster_sums, probe_sums
from mllmu_med.evaluation.membership import membership_auc
from mllmu_med.evaluation.metrics import Measured, all_metrics
from mllmu_med.evaluation.outputs import ORIGINAL, Output
from mllmu_med.evaluation.robustness import Measuring, Recovered, measuring, recovered_by, with_usual_truth
from mllmu_med.evaluation.scores import (
    EQUAL,
    INCORRECTNESS,
    PRIVACY,
    RAW,
    SCENARIOS,
    Reference,
    Ues,
    Weights,
    forgotten,
    optional,
    score,
)
from mllmu_med.evaluation.statistics import FEWEST, memberships, resample
from mllmu_med.evaluation.summary import (
    Metrics,
    agreement_by_error_type,
    leakage_by_probe,
    metrics_by_stratum,
    recall_by_class,
    specificity_by_probe,
)
from mllmu_med.evaluation.verdicts import (
    PRIVATE_VALUES,
    SUPPRESSING_FAMILY,
    WRONG_FACTS,
    Findings,
    Verdict,
    judge,
    reference_verdict,
    suppression_label,
)

ORIGINAL_ROW, ORACLE_ROW, REFUSE_ALL_ROW = "theta0", "oracle", "refuse_all"
ANOTHER_ORACLE_ROW = "another_oracle"
FIRST_ROWS = (
    ORIGINAL_ROW, ORACLE_ROW, ANOTHER_ORACLE_ROW, REFUSE_ALL_ROW, "collapse", "truncated_retrain", "gibberish",
    "shuffled", "keyword_filter", "prompt_wrapper",
)  # fmt: skip
"""The rows every table begins with, in this order; the methods follow in the order given."""

_KNOWN_ROWS: Mapping[str, tuple[str, str, str]] = {
    ORIGINAL_ROW: ("θ0 (original)", "reference", "the model before unlearning; has learnt everything"),
    ORACLE_ROW: ("θ* (oracle)", "reference", "retrained from the base without what is to be forgotten"),
    ANOTHER_ORACLE_ROW: ("Another oracle", "control", "trained as the oracle, with another seed: the noise floor"),
    REFUSE_ALL_ROW: ("Refuse all", "control", "answers every question with a refusal; needs no model"),
    "collapse": ("Collapse", "control", "gradient ascent until nothing is left"),
    "truncated_retrain": ("Truncated retraining", "control", "retrained at a method's own cost"),
    "gibberish": ("Gibberish", "control", "answers every question with random letters; needs no model"),
    "shuffled": ("Shuffled weights", "control", "θ0 with the numbers of every matrix in another order"),
    "keyword_filter": (suppression_label("Keyword filter"), "control", "θ0 behind a list of words it may not say"),
    "prompt_wrapper": (suppression_label("Prompt wrapper"), "control", "θ0 told by a prompt to keep silent"),
}

_KEPT: Mapping[str, str] = {
    "patients": "the retained patients' values",
    "retain": "the other retained answers",
    "test": "the answers on unseen images",
    "clinical": "the forgotten patients' clinical answers",
}
"""Utilities by the names they have in a verdict."""


class Row(TypedDict):
    """One row of ``results.json``; see docs for the meaning of every field."""

    name: str
    label: str
    role: str
    family: str
    source: str | None
    summary: str
    metrics: dict[str, dict[str, Metrics]]
    by_class: Metrics
    by_error_type: dict[str, Metrics]
    by_probe: dict[str, Metrics]
    specificity: dict[str, float | None]
    attacks: dict[str, dict[str, Recovered]]
    ues: dict[str, Ues]
    verdict: dict[str, str]
    cost: dict[str, Any] | None
    curves: list[dict[str, Any]]


@dataclass(frozen=True)
class _Model:
    """One model's measured outputs and what they sum up to; ``asked``: the sums of every probe and attack."""

    measured: Sequence[Measured]
    sums: ClusterSums
    levels: Levels
    asked: Mapping[str, ClusterSums]
    probes: Mapping[str, Levels]
    attacks: Mapping[str, Levels]
    errors: Mapping[str, tuple[float, float]]


def score_rows(
    samples: Iterable[Sample],
    outputs_by_row: Mapping[str, Iterable[Output]],
    info_by_row: Mapping[str, Mapping[str, Any]],
    *,
    seed: int,
    bootstrap: int = 1000,
    weights: Weights = EQUAL,
    attacked: Mapping[str, Sequence[Measured]] | None = None,
    robust: Collection[str] = (),
    measured: Mapping[str, Sequence[Measured]] | None = None,
) -> list[Row]:
    """The finished rows of every model, in the order of the table. No model and no file is touched; no order matters.

    Args:
        samples: the benchmark's samples; those without outputs are left out.
        outputs_by_row: row name → outputs. ``theta0`` and ``oracle`` must be among them; ``refuse_all`` is made here.
            Every row must hold the same samples' original questions; probes may be a part of them.
        info_by_row: row name → ``label``, ``role``, ``family``, ``source``, ``summary``, ``cost``, ``curves``; all
            optional.
        seed: of the bootstrap.
        bootstrap: number of resamples; 0 for no intervals, and UES-R then counts leads that may be chance.
        attacked: row name → judged attempts (each attack's variant is a probe of its own).
        robust: the attacks' probes that count for UES-R; the others are shown only.
        measured: row name → what :func:`measured_rows` made of these outputs, where the caller has it already.

    Raises:
        UsageError: ``theta0`` or ``oracle`` is missing.
        DataError: outputs and samples do not fit; the message names row and sample.
    """
    by_id = {sample.id: sample for sample in samples}
    outputs = {name: list(given) for name, given in outputs_by_row.items()}
    measured = dict(measured_rows(by_id, outputs) if measured is None else measured)
    evaluated = {output.sample_id for output in outputs[ORIGINAL_ROW] if output.probe == ORIGINAL}
    used = [by_id[sample_id] for sample_id in sorted(evaluated)]
    asked = {(output.sample_id, output.probe) for output in outputs[ORIGINAL_ROW]}
    refusals = [output for output in refuse_all_outputs(used) if (output.sample_id, output.probe) in asked]
    measured.setdefault(REFUSE_ALL_ROW, all_metrics(by_id, refusals))

    clusters = memberships(used)
    models = {
        name: _summed(measured[name], (attacked or {}).get(name, ()), list(clusters)) for name in _ordered(measured)
    }
    drawn = resample(clusters, bootstrap, seed=seed) if bootstrap else None
    resampled = {} if drawn is None else {name: model.sums.levels(drawn) for name, model in models.items()}
    measures = measuring(models[ORIGINAL_ROW].asked, models[ORACLE_ROW].asked, drawn)
    return [_row(name, models, resampled, info_by_row.get(name, {}), weights, robust, measures) for name in models]


def measured_rows(samples: Mapping[str, Sample], outputs: Mapping[str, Sequence[Output]]) -> dict[str, list[Measured]]:
    """The metrics of every row's outputs, once it is certain that the rows can be compared.

    Raises:
        UsageError, DataError: as :func:`score_rows`.
    """
    for name in (ORIGINAL_ROW, ORACLE_ROW):
        if name not in outputs:
            raise UsageError(f"scores need the row '{name}': every level is measured against it")
    for name, given in outputs.items():
        _check(name, given, samples)
    evaluated = {output.sample_id for output in outputs[ORIGINAL_ROW] if output.probe == ORIGINAL}
    for name, given in outputs.items():
        _check_same(name, {output.sample_id for output in given if output.probe == ORIGINAL}, evaluated)
    return {name: all_metrics(samples, given) for name, given in outputs.items()}


def _check(row: str, outputs: Sequence[Output], samples: Mapping[str, Sample]) -> None:
    seen = set()
    for output in outputs:
        if output.sample_id not in samples:
            raise DataError(
                f"row '{row}' has outputs for a sample that the benchmark does not hold",
                record=output.sample_id,
                mend="Evaluate on this benchmark again.",
            )
        key = output.sample_id, output.probe
        if key in seen:
            raise DataError(
                f"row '{row}' has two outputs for probe '{output.probe}'",
                record=output.sample_id,
                mend="Evaluate this row again.",
            )
        seen.add(key)


def _check_same(row: str, found: set[str], wanted: set[str]) -> None:
    for sample_id in sorted(found ^ wanted)[:1]:
        which = row if sample_id in wanted else ORIGINAL_ROW
        raise DataError(
            f"row '{which}' has no output for this sample's original question, others do",
            record=sample_id,
            mend=f"Evaluate '{which}' again on the same samples.",
        )


def _ordered(names: Iterable[str]) -> list[str]:
    given = list(names)
    return [name for name in FIRST_ROWS if name in given] + [name for name in given if name not in FIRST_ROWS]


def _summed(measured: Sequence[Measured], attacked: Sequence[Measured], clusters: Sequence[str]) -> _Model:
    sums = cluster_sums(measured, clusters)
    levels = sums.levels()
    own, attempted = (probe_sums(given, clusters) for given in (measured, attacked))
    probes, attacks = (
        with_usual_truth({probe: one.levels() for probe, one in asked.items()}, levels) for asked in (own, attempted)
    )
    return _Model(measured, sums, levels, {**own, **attempted}, probes, attacks, agreement_by_error_type(measured))


def _spread(sums: ClusterSums, scenario: str) -> bool:
    """Whether more than one cluster stands behind every level of the score: one would seem certain."""
    behind = sums.behind()
    return all(behind[level] == 0 or behind[level] >= FEWEST for level in RAW[scenario])


def _reference(levels: Mapping[str, Levels]) -> Reference:
    return Reference(levels[ORIGINAL_ROW], levels[ORACLE_ROW], levels[REFUSE_ALL_ROW])


def _row(
    name: str,
    models: Mapping[str, _Model],
    resampled: Mapping[str, Levels],
    info: Mapping[str, Any],
    weights: Weights,
    robust: Collection[str],
    measures: Measuring,
) -> Row:
    model, original, oracle = models[name], models[ORIGINAL_ROW], models[ORACLE_ROW]
    reference = _reference({row: models[row].levels for row in (ORIGINAL_ROW, ORACLE_ROW, REFUSE_ALL_ROW)})
    probes = {
        probe: (levels, original.probes[probe], oracle.probes[probe])
        for probe, levels in model.probes.items()
        if probe in original.probes and probe in oracle.probes
    } | {
        probe: (levels, original.attacks[probe], oracle.attacks[probe])
        for probe, levels in model.attacks.items()
        if probe in robust and probe in original.attacks and probe in oracle.attacks
    }
    ues = {}
    for scenario in SCENARIOS:
        drawn = (resampled[name], _reference(resampled)) if resampled and _spread(original.sums, scenario) else None
        known = {probe: three for probe, three in probes.items() if probe in measures[scenario]}
        ues[scenario] = score(scenario, model.levels, reference, probes=known, resampled=drawn, weights=weights)
    label, role, summary = _KNOWN_ROWS.get(name, (name, "method", ""))
    verdict = _verdict(name, model, ues, suppresses=info.get("family") == SUPPRESSING_FAMILY)
    return {
        "name": name,
        "label": info.get("label") or label,
        "role": info.get("role") or role,
        "family": info.get("family") or role,
        "source": info.get("source"),
        "summary": info.get("summary") or summary,
        "metrics": _metrics(model, oracle),
        "by_class": recall_by_class(model.measured),
        "by_error_type": _by_error_type(model, original, oracle),
        "by_probe": leakage_by_probe(model.measured),
        "specificity": specificity_by_probe(model.measured),
        "attacks": recovered_by(model.attacks, original.attacks, oracle.attacks, measures),
        "ues": ues,
        "verdict": {"level": verdict.level, "text": verdict.text},
        "cost": finite(info.get("cost")),
        "curves": finite(list(info.get("curves") or ())),
    }


def _metrics(model: _Model, oracle: _Model) -> dict[str, dict[str, Metrics]]:
    """The means, with the membership AUC beside the oracle's where it belongs."""
    metrics = metrics_by_stratum(model.measured)
    private = metrics.get(Subset.FORGET_PRIVACY.value, {}).get(Stratum.PRIVATE_IMAGE.value)
    if private is not None:
        for key, one in (("membership_auc", model), ("membership_auc_oracle", oracle)):
            value = membership_auc(one.measured)
            private[key] = None if value is None else optional(value)
    return metrics


def _by_error_type(model: _Model, original: _Model, oracle: _Model) -> dict[str, Metrics]:
    """Suppression and restoration for each type of error, on the scale of the score."""
    import numpy as np

    def share(name: str, which: int, sign: float) -> float | None:
        values = [np.asarray(sign * one.errors[name][which]) for one in (model, original, oracle)]
        return optional(forgotten(values[0], values[1], values[2]))

    return {name: {"suppression": share(name, 0, 1), "restoration": share(name, 1, -1)} for name in model.errors}


def _verdict(name: str, model: _Model, ues: Mapping[str, Ues], *, suppresses: bool) -> Verdict:
    if name in (ORIGINAL_ROW, ORACLE_ROW):
        levels = model.levels
        return reference_verdict(name == ORIGINAL_ROW, optional(levels["leakage"]), optional(levels["wrong"]))

    private, wrong = (ues[scenario]["parts"] for scenario in (PRIVACY, INCORRECTNESS))
    robust = {name: (one["robust"], one["robust_probe"]) for name, one in ues.items()}
    return judge(
        Findings(
            values={scenario: one["value"] for scenario, one in ues.items()},
            reasons={scenario: one["reason"] for scenario, one in ues.items()},
            forgotten={PRIVATE_VALUES: private["forget"], WRONG_FACTS: wrong["suppression"]},
            restored=wrong["restoration"],
            kept={words: private[part] for part, words in _KEPT.items()},
            robust={
                scenario: (value, probe)
                for scenario, (value, probe) in robust.items()
                if value is not None and probe is not None
            },
            suppresses=suppresses,
        )
    )


def finite(value: Any) -> Any:
    """JSON-able copy in which NaN and infinite numbers (a diverged loss) are None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return value
