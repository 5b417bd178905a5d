"""Hierarchies: levels in order, one parent each, and the same path wherever a fact is told."""

from __future__ import annotations

from collections.abc import Iterator

from mllmu_med.benchmark.check.family import Family
from mllmu_med.benchmark.check.findings import Finding, error
from mllmu_med.benchmark.hierarchy import section_of
from mllmu_med.benchmark.plan import ADDITIONAL_CLASSES, PHI_CLASSES
from mllmu_med.benchmark.requests import FACT_LEVELS, PATIENT_LEVELS
from mllmu_med.benchmark.sample import Node, Sample, Subset

_CHECK = "hierarchy"
_INJECTED = (Subset.FORGET_PRIVACY, Subset.RETAIN, Subset.HOLDOUT)


class Paths(Family):
    """Memory grows with the number of facts, patients and studies."""

    def __init__(self) -> None:
        self._facts: dict[str, tuple[tuple[Node, ...], str]] = {}
        self._parents: dict[tuple[str, str], tuple[str, str]] = {}  # (level, name) → its parent's name, a sample

    def judge(self, sample: Sample) -> Iterator[Finding]:
        path = sample.hierarchy
        levels = [node.level for node in path]
        if not (_in_order(levels, PATIENT_LEVELS) or _in_order(levels, FACT_LEVELS)):
            yield error(_CHECK, sample.id, f"its levels are {' → '.join(levels)}, which is neither "
                        f"{' → '.join(PATIENT_LEVELS)} nor {' → '.join(FACT_LEVELS)}")  # fmt: skip
            return
        for node in path:
            if not node.name:
                yield error(_CHECK, sample.id, f"its {node.level} has no name")
        if sample.fact_id is not None:
            known = self._facts.setdefault(sample.fact_id, (path, sample.id))
            if known[0] != path:
                yield error(_CHECK, sample.id, f"its path differs from that of {known[1]}, which tells the same fact")
        if sample.patient_id is not None:
            yield from self._patient(sample)
        elif sample.wrong_answer is not None:
            yield from _instance(sample)

    def _patient(self, sample: Sample) -> Iterator[Finding]:
        """A patient's fact: the full path, one institution per patient and one patient per study, the right section."""
        path = {node.level: node.name for node in sample.hierarchy}
        missing = [level for level in PATIENT_LEVELS if level not in path]
        if missing:
            yield error(_CHECK, sample.id, f"its path lacks {', '.join(missing)}")
            return
        for level, name, parent_level, parent in (
            ("patient", sample.patient_id or "", "institution", path["institution"]),
            ("study", path["study"], "patient", path["patient"]),
        ):
            known = self._parents.setdefault((level, name), (parent, sample.id))
            if known[0] != parent:
                text = f"its {level} is in another {parent_level} than by {known[1]}"
                yield error(_CHECK, sample.id, text)
        classes = [span.phi_class for span in sample.spans]
        known_classes = (*PHI_CLASSES, *ADDITIONAL_CLASSES)
        sections = {section_of(phi_class) for phi_class in classes if phi_class in known_classes}
        if sections != set(path["section"].split("+")):
            yield error(_CHECK, sample.id, f"its section is {path['section']}, but it tells of "
                        f"{', '.join(sorted(sections)) or 'none'}")  # fmt: skip


def _instance(sample: Sample) -> Iterator[Finding]:
    names = {node.level: node.name for node in sample.hierarchy}
    if "instance" not in names:
        yield error(_CHECK, sample.id, "its path lacks the instance")
    elif names["instance"] != sample.record_id:
        yield error(_CHECK, sample.id, "its instance is not its record")


def _in_order(levels: list[str], known: tuple[str, ...]) -> bool:
    places = [known.index(level) if level in known else -1 for level in levels]
    return -1 not in places and places == sorted(set(places))
