"""A look into a benchmark that shows no private value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mllmu_med.benchmark.sample import Sample, Subset

if TYPE_CHECKING:
    from mllmu_med.benchmark.store import Benchmark


@dataclass(frozen=True, slots=True)
class MaskedSample:
    """A sample's text with each private value replaced by its class, e.g. ``[mrn]``."""

    id: str
    subset: str
    stratum: str
    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class BenchmarkPreview:
    """Counts by subset and stratum, and the first samples of every stratum."""

    folder: str
    counts: dict[str, dict[str, int]]
    samples: tuple[MaskedSample, ...]


def preview_benchmark(benchmark: Benchmark, *, samples: int) -> BenchmarkPreview:
    """Count all samples and mask the first ``samples`` of each stratum of each subset."""
    everything = benchmark.samples()
    values = _private_values(everything)
    counts: dict[str, dict[str, int]] = {}
    shown: list[MaskedSample] = []
    for subset in Subset:
        strata: dict[str, int] = {}
        for sample in (sample for sample in everything if sample.subset is subset):
            strata[sample.stratum.value] = strata.get(sample.stratum.value, 0) + 1
            if strata[sample.stratum.value] <= samples:
                shown.append(_masked(sample, values.get(sample.patient_id or "", {})))
        counts[subset.value] = strata
    return BenchmarkPreview(str(benchmark.path), counts, tuple(shown))


def _private_values(samples: Iterable[Sample]) -> dict[str, dict[str, str]]:
    """Patient → private value → its class. A patient's name stands in questions, its span in other samples' answers."""
    values: dict[str, dict[str, str]] = {}
    for sample in samples:
        for span in sample.spans:
            values.setdefault(sample.patient_id or "", {})[span.value] = span.phi_class
    return values


def _masked(sample: Sample, values: dict[str, str]) -> MaskedSample:
    question, answer = sample.question, sample.answer
    for value in sorted(values, key=lambda text: (-len(text), text)):
        question = question.replace(value, f"[{values[value]}]")
        answer = answer.replace(value, f"[{values[value]}]")
    return MaskedSample(sample.id, sample.subset.value, sample.stratum.value, question, answer)
