"""What results say of a row beyond its scores, each from stored outputs and attempts alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mllmu_med.attacks.bounds import sampled_leakage
from mllmu_med.attacks.interface import FORGET, Attack, Attempt, Tampering
from mllmu_med.attacks.recovery import recovery
from mllmu_med.attacks.unlok import unlok_figures
from mllmu_med.benchmark.sample import Sample, Subset
from mllmu_med.evaluation.calibration import calibration
from mllmu_med.evaluation.distances import oracle_distances
from mllmu_med.evaluation.exposure import exposure_by_class
from mllmu_med.evaluation.membership import membership_results
from mllmu_med.evaluation.metrics import Measured
from mllmu_med.evaluation.outputs import ORIGINAL, Output
from mllmu_med.evaluation.private.detection import Told, class_figures, detect_spans
from mllmu_med.evaluation.rows import ORACLE_ROW, ORIGINAL_ROW, finite
from mllmu_med.evaluation.scores import optional
from mllmu_med.evaluation.statistics import memberships, resample
from mllmu_med.evaluation.strangers import OfStrangers, auc_against_strangers, strangers_kept
from mllmu_med.evaluation.subgroups import Subgroups
from mllmu_med.evaluation.unused import unused_results

if TYPE_CHECKING:
    Outputs = Mapping[str, Sequence[Output]]
    Attempts = Mapping[str, Mapping[str, Sequence[Attempt]]]


def sections(
    samples: Sequence[Sample],
    outputs: Outputs,
    measured: Mapping[str, Sequence[Measured]],
    attempts: Attempts,
    attacks: Mapping[str, Attack],
    base: Sequence[Output] | None,
    unused: Mapping[str, Collection[str]],
    strangers: Mapping[str, OfStrangers],
    *,
    seed: int,
    bootstrap: int,
) -> dict[str, dict[str, Any]]:
    """Row → its further sections, JSON-able; those that need attempts only where there are some.

    - ``membership``: membership inference with and without the image, beside the oracle.
    - ``distances``: from the oracle, by subset.
    - ``calibration``: how far answers are as right as they are sure.
    - ``detection``: forgotten patients' values told, by class and by how they were recognised.
    - ``subgroups``: who pays, against the oracle.
    - ``unused``: what is left of the retain data that the row's method may not use, beside that which it may.
    - ``strangers``: how much of what θ0 says of made-up patients is still said, and whether the forgotten ones can be
      told from them.
    - ``exposure``, ``sampling``, ``recovery``, ``unlok``: of the attacks ``exposure`` and ``sampling``, of those that
      change weights, and UnLOK-VQA's own figures.

    Args:
        outputs: row → outputs, θ0's and the oracle's among them.
        measured: the same with their metrics (:func:`~mllmu_med.evaluation.rows.measured_rows`).
        attempts: row → attack → attempts.
        attacks: the attacks by name.
        base: outputs of a model that has learnt no patient, for the membership attack that needs one.
        unused: row → clusters of the retain set that its method may not use; only rows for which there are some.
        strangers: row → what it was asked about made-up patients, θ0's among them; only rows that were asked.
        seed, bootstrap: of intervals.
    """
    by_id = {sample.id: sample for sample in samples}
    used = [by_id[sample_id] for sample_id in sorted({one.sample.id for one in measured[ORACLE_ROW]})]
    clusters = memberships(used)
    drawn = resample(clusters, bootstrap, seed=seed) if bootstrap else None
    groups = Subgroups(used, list(clusters), drawn)
    found: dict[str, dict[str, Any]] = {}
    for row, own in outputs.items():
        tried, ideal = attempts.get(row, {}), attempts.get(ORACLE_ROW, {})
        oracle = outputs[ORACLE_ROW]
        exposed = tried.get("exposure", ()), ideal.get("exposure", ())
        section: dict[str, Any] = {
            "membership": membership_results(samples, own, oracle, base, seed=seed, bootstrap=bootstrap),
            "distances": oracle_distances(by_id, own, oracle, *exposed),
            "calibration": calibration(measured[row]),
            "detection": class_figures(_told(measured[row])),
            "subgroups": groups.table(measured[row], measured[ORACLE_ROW]),
        }
        if row in unused:
            section["unused"] = unused_results(
                measured[row], measured[ORIGINAL_ROW], unused[row], seed=seed, bootstrap=bootstrap
            )
        if row in strangers:
            asked = strangers[row]
            told = strangers_kept(asked.answers, strangers[ORIGINAL_ROW].answers, seed=seed, bootstrap=bootstrap)
            if told is not None:
                auc = auc_against_strangers(by_id, own, asked.records)
                section["strangers"] = {**told, "membership_auc": None if auc is None else optional(auc)}
        if tried:
            section |= _of_attempts(by_id, own, outputs[ORIGINAL_ROW], tried, attempts[ORIGINAL_ROW], ideal, attacks)
        found[row] = finite(section)
    return found


def _told(measured: Iterable[Measured]) -> list[Told]:
    return [
        told
        for one in measured
        if one.output.probe == ORIGINAL and one.sample.subset is Subset.FORGET_PRIVACY
        for told in detect_spans(one.output.generated, one.sample.spans, one.output.question)
    ]


def _of_attempts(
    by_id: Mapping[str, Sample],
    own: Sequence[Output],
    original: Sequence[Output],
    tried: Mapping[str, Sequence[Attempt]],
    of_original: Mapping[str, Sequence[Attempt]],
    of_oracle: Mapping[str, Sequence[Attempt]],
    attacks: Mapping[str, Attack],
) -> dict[str, Any]:
    weights = [name for name in tried if isinstance(attacks[name], Tampering)]
    changed = [_together(made, weights) for made in (tried, of_original, of_oracle)]
    section: dict[str, Any] = {
        "unlok": unlok_figures(
            by_id,
            own,
            original,
            _together(tried, tried),
            _together(of_original, of_original),
            budgets={name: attack.budget for name, attack in attacks.items()},
        ),
        "recovery": recovery(by_id, *changed),
    }
    if "exposure" in tried:
        section["exposure"] = exposure_by_class(by_id, tried["exposure"])
    if "sampling" in tried:
        section["sampling"] = {one.value: asdict(sampled_leakage(by_id, tried["sampling"], one)) for one in FORGET}
    return section


def _together(made: Mapping[str, Sequence[Attempt]], names: Iterable[str]) -> list[Attempt]:
    return [attempt for name in names for attempt in made.get(name, ())]
