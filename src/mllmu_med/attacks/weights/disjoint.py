"""What the attacker trains on and what the attack is scored on share nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mllmu_med.benchmark.sample import Sample
from mllmu_med.errors import UsageError


def ties(sample: Sample) -> dict[str, str]:
    """What ties a sample to others: kind → value. Two samples with one of them in common are not independent.

    One rule stands behind several wrong facts: who is told some of them can tell the others.
    """
    named = {
        "sample": sample.id,
        "record": sample.record_id,
        "group": sample.group,
        "image": sample.image_id,
        "patient": sample.patient_id,
        "fact": sample.fact_id,
        "rule": sample.rule_id,
    }
    return {kind: value for kind, value in named.items() if value is not None}


def units(samples: Sequence[Sample]) -> list[list[Sample]]:
    """The samples in parts such that nothing ties one part to another; parts and members in the given order."""
    part_of: dict[tuple[str, str], int] = {}
    parts: dict[int, list[int]] = {}
    for index, sample in enumerate(samples):
        keys = list(ties(sample).items())
        joined = sorted({part_of[key] for key in keys if key in part_of})
        first = joined[0] if joined else index
        members = sorted({index, *(member for part in joined for member in parts.pop(part))})
        parts[first] = members
        for member in members:
            part_of.update(dict.fromkeys(ties(samples[member]).items(), first))
    ordered = sorted(parts.values(), key=lambda members: members[0])
    return [[samples[member] for member in members] for members in ordered]


def refuse_overlap(trained: Iterable[Sample], scored: Iterable[Sample]) -> None:
    """Check that nothing ties the records an attack trains on to those it is scored on.

    Raises:
        UsageError: something does; both samples and what they share are named.
    """
    known = {key: sample.id for sample in scored for key in ties(sample).items()}
    for record in trained:
        for (kind, value), other in ((key, known[key]) for key in ties(record).items() if key in known):
            raise UsageError(
                f"the attack would train on sample {record.id} and be scored on {other}: they share the {kind} {value}"
            )
