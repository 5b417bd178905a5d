"""Rows as such: names that are unique, columns that must not be empty, the right file, and the manifest's counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from mllmu_med.benchmark.check.family import Family
from mllmu_med.benchmark.check.findings import Finding, error, warning
from mllmu_med.benchmark.check.keys import KeySet, key_of
from mllmu_med.benchmark.sample import Sample, Subset

REQUIRED = ("id", "record_id", "question", "answer", "group", "language")
_PARTS = {
    "spans": ("phi_class", "value", "start", "end", "space"),
    "probes": ("name", "question", "image"),
    "hierarchy": ("level", "name"),
    "regions": ("phi_class", "x0", "y0", "x1", "y1"),
}


def empty_columns(sample: Sample) -> list[str]:
    """Columns that must hold something but do not; such a sample cannot be judged further."""
    empty = [name for name in REQUIRED if not getattr(sample, name)]
    empty += [name for name in ("phrasings", "accepted") if None in getattr(sample, name)]
    for name, parts in _PARTS.items():
        if any(getattr(item, part) is None for item in getattr(sample, name) for part in parts):
            empty.append(name)
    return empty


class Ids(Family):
    """No two samples have one id."""

    def __init__(self) -> None:
        self._ids = KeySet()
        self._repeated: dict[int, int] | None = None

    def note(self, sample: Sample) -> None:
        self._ids.add(key_of(sample.id))

    def judge(self, sample: Sample) -> Iterator[Finding]:
        if self._repeated is None:
            self._repeated = self._ids.repeated()
        times = self._repeated.pop(key_of(sample.id), None)  # told once
        if times is not None:
            yield error("ids", sample.id, f"the id occurs {times} times")


class Repetitions(Family):
    """A sample is presented once per wording."""

    def judge(self, sample: Sample) -> Iterator[Finding]:
        if sample.repetitions != 1 + len(sample.phrasings):
            yield warning("repetitions", sample.id, "repetitions do not match the training wordings")


class Counts(Family):
    """The numbers of the manifest are those of the samples."""

    def __init__(self, manifest: Mapping[str, Any]) -> None:
        self._manifest = manifest
        self._subsets: dict[str, Counter[str]] = {}
        self._found: dict[str, Counter[str]] = {
            name: Counter() for name in ("phi_classes", "forms", "error_types", "languages", "probes")
        }
        self._patients: dict[str, set[Subset]] = {}
        self._burned: set[str] = set()
        self._rules: Counter[tuple[str, Subset]] = Counter()

    def note(self, sample: Sample) -> None:
        self._subsets.setdefault(sample.subset.value, Counter())[sample.stratum.value] += 1
        found = self._found
        found["languages"][sample.language] += 1
        found["probes"].update(probe.family for probe in sample.probes)
        if sample.subset is Subset.FORGET_PRIVACY:
            found["phi_classes"].update(span.phi_class for span in sample.spans)
            found["forms"][str(sample.form)] += 1
        if sample.subset is Subset.FORGET_INCORRECTNESS:
            found["error_types"][str(sample.error_type)] += 1
        if sample.patient_id is not None:
            self._patients.setdefault(sample.patient_id, set()).add(sample.subset)
        if sample.regions and sample.image_id is not None:
            self._burned.add(sample.image_id)
        if sample.rule_id is not None:
            self._rules[sample.rule_id, sample.subset] += 1

    def conclude(self) -> Iterator[Finding]:
        numbers: dict[str, object] = {
            "counts": {subset: dict(strata) for subset, strata in self._subsets.items()},
            **{name: dict(counter) for name, counter in self._found.items()},
            "patients": self._roles(),
            "burned_images": len(self._burned),
        }
        for name, number in numbers.items():
            if self._manifest.get(name) != number:
                yield error("counts", None, f"{_WHAT[name]} differ from those in the manifest")
        for rule in self._manifest["rules"]:
            stated = rule["records"], rule["unseen"]
            if stated != tuple(self._rules[rule["id"], s] for s in (Subset.FORGET_INCORRECTNESS, Subset.TEST)):
                yield error("counts", None, f"the records of {rule['id']} differ from those in the manifest")

    def _roles(self) -> dict[str, int]:
        """A patient of whom anything is to be forgotten counts as forgotten."""
        roles = {"forgotten": 0, "retained": 0, "holdout": 0}
        for subsets in self._patients.values():
            forgotten, retained = Subset.FORGET_PRIVACY in subsets, Subset.RETAIN in subsets
            roles["forgotten" if forgotten else "retained" if retained else "holdout"] += 1
        return roles


_WHAT = {
    "counts": "the numbers of samples",
    "phi_classes": "the numbers of private values by class",
    "forms": "the numbers of samples by form",
    "error_types": "the numbers of wrong facts by kind",
    "languages": "the numbers of samples by language",
    "probes": "the numbers of probes",
    "patients": "the numbers of patients",
    "burned_images": "the numbers of images with burned-in values",
}
