"""One pass over a benchmark's samples: what there is of everything, and which samples to show."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, Protocol

from mllmu_med.benchmark.describing import holds_real_values
from mllmu_med.benchmark.sample import Region, Sample, Stratum, Subset
from mllmu_med.report.benchmark_filters import Filters, classes_of, requests_of
from mllmu_med.seeding import derive

ROLES = {
    Subset.FORGET_PRIVACY: "forget",
    Subset.RETAIN: "retain",
    Subset.HOLDOUT: "holdout",
}
"""What becomes of private values, by subset."""


class BenchmarkFolder(Protocol):
    """The part of a benchmark that is looked at."""

    @property
    def path(self) -> Path: ...

    @property
    def manifest(self) -> dict[str, Any]: ...

    def stream(self, *subsets: Subset) -> Iterable[Sample]: ...

    def image_ids(self) -> list[str]: ...

    def image_bytes(self, image_id: str) -> bytes: ...

    def ledger(self) -> list[dict[str, Any]]: ...


@dataclass(slots=True)
class Census:
    """Counts of the whole benchmark, and what is needed to mark or mask its private values.

    Attributes:
        strata: samples by (subset, stratum).
        classes, forms: samples by (name, forget | retain | holdout).
        errors: samples by (error type, stratum).
        names: condition of :class:`Filters` → name → samples.
        values: patient → private value → its class; the patient of samples without one is empty text.
        regions: image → where private values are burned into it, whichever sample says so.
        kept: how many samples meet the filters.
        picked: those that are to be shown, in the benchmark's order.
    """

    strata: Counter[tuple[Subset, Stratum]] = field(default_factory=Counter)
    classes: Counter[tuple[str, str]] = field(default_factory=Counter)
    forms: Counter[tuple[str, str]] = field(default_factory=Counter)
    errors: Counter[tuple[str, Stratum]] = field(default_factory=Counter)
    names: dict[str, Counter[str]] = field(default_factory=dict)
    values: dict[str, dict[str, str]] = field(default_factory=dict)
    regions: dict[str, dict[Region, None]] = field(default_factory=dict)
    kept: int = 0
    picked: list[Sample] = field(default_factory=list)

    def add(self, sample: Sample, *, requests: bool) -> None:
        """Count one sample; the nodes of its hierarchy only if a request is to be found among them."""
        classes = classes_of(sample)
        self.strata[sample.subset, sample.stratum] += 1
        role = ROLES.get(sample.subset)
        if role is not None:
            self.classes.update((phi_class, role) for phi_class in classes)
            if sample.form is not None:
                self.forms[sample.form, role] += 1
        if sample.error_type is not None:
            self.errors[sample.error_type, sample.stratum] += 1
        self._name("phi_class", *classes)
        self._name("error_type", sample.error_type)
        self._name("form", sample.form)
        self._name("patient", sample.patient_id)
        self._name("request", *(requests_of(sample) if requests else ()))
        if sample.spans:
            values = self.values.setdefault(sample.patient_id or "", {})
            values.update((span.value, span.phi_class) for span in sample.spans)
        if sample.regions and sample.image_id is not None:
            self.regions.setdefault(sample.image_id, {}).update(dict.fromkeys(sample.regions))

    def _name(self, condition: str, *names: str | None) -> None:
        self.names.setdefault(condition, Counter()).update(name for name in names if name is not None)


Part = Callable[[Sample], tuple[str, ...]]


def by_stratum(sample: Sample) -> tuple[str, ...]:
    """Each stratum of each subset is a part of its own."""
    return (sample.subset.value, sample.stratum.value)


def by_subset(sample: Sample) -> tuple[str, ...]:
    """Each subset is one part."""
    return (sample.subset.value,)


def patients_together(sample: Sample) -> int:
    """Draws whole patients and rules: their samples come one after the other."""
    return derive("show", sample.patient_id or sample.rule_id or sample.id)


def one_by_one(sample: Sample) -> int:
    """Draws sample by sample, of many images rather than of few."""
    return derive("show", sample.id)


_SPARE = 4

_Entry = tuple[int, int, Sample]
"""Rank, number in the benchmark, and the sample; no two have the same number."""


def _new_images_first(entries: list[_Entry]) -> list[_Entry]:
    """In the same order, but those whose image an earlier one has shown behind the others."""
    seen: set[str] = set()
    fresh: list[_Entry] = []
    again: list[_Entry] = []
    for entry in entries:
        image_id = entry[2].image_id
        (again if image_id in seen else fresh).append(entry)
        if image_id is not None:
            seen.add(image_id)
    return [*fresh, *again]


def _in_turn(lists: Iterable[list[_Entry]]) -> list[_Entry]:
    """The first of every list, then the second of every list, …"""
    turns = zip_longest(*lists)
    return [entry for turn in turns for entry in sorted(entry for entry in turn if entry is not None)]


class _Drawn:
    """At most ``limit`` samples of each part, drawn in turn from its kinds; of one kind it holds a few times as many.

    Kinds are the forms and types of error of each stratum; where one class is asked for, they are made up of classes.
    """

    def __init__(self, limit: int | None, part: Part, rank: Callable[[Sample], int]) -> None:
        self.limit, self.part, self.rank = limit, part, rank
        self.held = limit if limit is None or rank is not one_by_one else _SPARE * limit  # some will show one image
        self.parts: dict[tuple[str, ...], dict[tuple[str, ...], dict[str, list[_Entry]]]] = {}

    def offer(self, number: int, sample: Sample) -> None:
        """Consider sample ``number`` of the benchmark."""
        kind = (sample.stratum.value, sample.form or "", sample.error_type or "")
        asked = next(iter(classes_of(sample)), "") if sample.form not in (None, "leak") else ""
        held = self.parts.setdefault(self.part(sample), {}).setdefault(kind, {}).setdefault(asked, [])
        entry = (-self.rank(sample), -number, sample)  # negative: the heap's first is to be the last in rank
        if self.held is None or len(held) < self.held:
            heapq.heappush(held, entry)
        elif held and entry > held[0]:
            heapq.heapreplace(held, entry)

    def chosen(self) -> list[Sample]:
        """The samples in the benchmark's order."""
        picked: list[_Entry] = []
        for kinds in self.parts.values():
            turns = [_in_turn(_ranked(held) for held in classes.values()) for classes in kinds.values()]
            drawn = _in_turn(turns)
            picked += (_new_images_first(drawn) if self.rank is one_by_one else drawn)[: self.limit]
        return [sample for _, _, sample in sorted(picked, key=lambda entry: entry[1])]


def _ranked(held: Iterable[_Entry]) -> list[_Entry]:
    return sorted((-rank, -number, sample) for rank, number, sample in held)


def take_census(
    benchmark: BenchmarkFolder,
    filters: Filters,
    *,
    limit: int | None,
    part: Part = by_stratum,
    rank: Callable[[Sample], int] = patients_together,
) -> Census:
    """Count everything, and pick at most ``limit`` samples of each part among those that meet the filters.

    Which are picked is a function of the benchmark, the filters and the limit. No image is read.

    Raises:
        UsageError: a filter names what the benchmark has not.
    """
    census, drawn = Census(), _Drawn(limit, part, rank)
    for number, sample in enumerate(benchmark.stream()):
        census.add(sample, requests=filters.request is not None)
        if filters.keeps(sample):
            census.kept += 1
            drawn.offer(number, sample)
    filters.require(census.names, secret=holds_real_values(benchmark.manifest))
    census.picked = drawn.chosen()
    return census
