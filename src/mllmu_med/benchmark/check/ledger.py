"""The ledger against the samples, in both directions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from mllmu_med.benchmark.check.family import Family
from mllmu_med.benchmark.check.findings import Finding, error
from mllmu_med.benchmark.ledger import Ledger
from mllmu_med.benchmark.sample import Sample, Subset

_CHECK = "ledger"
ROLES = (Subset.FORGET_PRIVACY, Subset.FORGET_INCORRECTNESS, Subset.RETAIN, Subset.HOLDOUT)
"""Subsets that hold injected facts."""

_LISTS = {"sample_ids": "samples", "record_ids": "records", "image_ids": "images"}


class LedgerRows(Family):
    """Every injected fact has one row, which says of it what its samples say, and no row is without samples.

    Args:
        rows: as stored.
    """

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self._rows, self._ledger = rows, Ledger()

    def note(self, sample: Sample) -> None:
        if sample.subset in ROLES:
            self._ledger.add(sample)

    def judge(self, sample: Sample) -> Iterator[Finding]:
        if sample.fact_id is None and (sample.spans or sample.form is not None):
            yield error(_CHECK, sample.id, "tells a private value but belongs to no fact")
        if sample.fact_id is not None and sample.subset not in ROLES:
            yield error(_CHECK, sample.id, f"belongs to a fact, but {sample.subset.value} holds none")

    def conclude(self) -> Iterator[Finding]:
        expected = {row["fact_id"]: row for row in self._ledger.rows()}
        times = Counter(str(row["fact_id"]) for row in self._rows)
        stored = {str(row["fact_id"]): row for row in self._rows}
        for fact_id, number in times.items():
            if number > 1:
                yield error(_CHECK, fact_id, f"has {number} rows")
        for fact_id in stored.keys() - expected.keys():
            yield error(_CHECK, fact_id, "has a row, but no sample tells it")
        for fact_id in expected.keys() - stored.keys():
            yield error(_CHECK, fact_id, "is told by samples, but has no row")
        for fact_id in expected.keys() & stored.keys():
            for difference in _differences(stored[fact_id], expected[fact_id]):
                yield error(_CHECK, fact_id, difference)


def _differences(row: dict[str, Any], expected: dict[str, Any]) -> Iterator[str]:
    for name, value in expected.items():
        if row.get(name) == value:
            continue
        what = _LISTS.get(name)
        if what is None:
            yield f"the row's {name} is not what its samples say"
        else:
            named, held = set(row.get(name) or ()), set(value)
            yield f"of the row's {what} {len(named - held)} do not tell it; {len(held - named)} that do are left out"
