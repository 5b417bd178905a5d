"""The ledger: one row per injected fact, with everything that says where it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from mllmu_med.benchmark.sample import Sample, Subset

_ROLES = {
    Subset.FORGET_PRIVACY: "forget",
    Subset.FORGET_INCORRECTNESS: "forget",
    Subset.RETAIN: "retain",
    Subset.HOLDOUT: "holdout",
}


class Ledger:
    """Collects the facts of samples as they come; memory grows with the number of injected facts alone."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, Any]] = {}

    def add(self, sample: Sample) -> None:
        """Enter a sample; one without an injected fact leaves no trace."""
        if sample.fact_id is None:
            return
        row = self._rows.setdefault(sample.fact_id, _new_row(sample))
        row["sample_ids"].append(sample.id)
        _add(row["record_ids"], sample.record_id)
        _add(row["image_ids"], sample.image_id)
        _add(row["forms"], sample.form)
        if sample.subset is not Subset.HOLDOUT:
            row["repetitions"] += sample.repetitions
        for span in sample.spans:
            if span.phi_class not in row["phi_classes"]:
                row["phi_classes"].append(span.phi_class)
                row["values"].append(span.value)
                row["spaces"].append(span.space)
            row["spans"].append({"sample_id": sample.id, "phi_class": span.phi_class,
                                 "start": span.start, "end": span.end})  # fmt: skip

    def rows(self) -> list[dict[str, Any]]:
        """One row per fact, in the order in which the facts first occur.

        A row names its scenario (privacy, incorrectness), role (forget, retain, holdout), the forms or the error type,
        its place in the hierarchy, the samples, records and images that carry the fact, its private values with their
        candidate spaces and spans, or its wrong and correct answer, and how often a training epoch presents it (0 for
        holdout).
        """
        return list(self._rows.values())


def ledger_rows(samples: Iterable[Sample]) -> list[dict[str, Any]]:
    """The ledger of these samples."""
    ledger = Ledger()
    for sample in samples:
        ledger.add(sample)
    return ledger.rows()


def _new_row(sample: Sample) -> dict[str, Any]:
    return {
        "fact_id": sample.fact_id,
        "scenario": "incorrectness" if sample.error_type else "privacy",
        "role": _ROLES[sample.subset],
        "group": sample.group,
        "patient_id": sample.patient_id,
        "rule_id": sample.rule_id,
        "hierarchy": [asdict(node) for node in sample.hierarchy],
        "error_type": sample.error_type,
        "severity": sample.severity,
        "wrong_answer": sample.wrong_answer,
        "correct_answer": sample.correct_answer,
        "forms": [],
        "sample_ids": [],
        "record_ids": [],
        "image_ids": [],
        "phi_classes": [],
        "values": [],
        "spaces": [],
        "spans": [],
        "repetitions": 0,
    }


def _add(values: list[Any], value: object) -> None:
    if value is not None and value not in values:
        values.append(value)
