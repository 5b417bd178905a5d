"""A look into a benchmark that shows no private value."""

from __future__ import annotations

from dataclasses import dataclass

from mllmu_med.benchmark.sample import Sample, Subset
from mllmu_med.report.benchmark_census import BenchmarkFolder, take_census
from mllmu_med.report.benchmark_filters import EVERYTHING, Filters, classes_of
from mllmu_med.report.benchmark_texts import Texts, texts_of

_LONGEST = 2000
"""Characters of one text."""


@dataclass(frozen=True, slots=True)
class MaskedSample:
    """A sample's texts with each private value replaced by its class, e.g. ``[mrn]``.

    Attributes:
        right: the clean or correct answer, where the answer is another.
        classes: of the private values that the sample is about.
    """

    id: str
    subset: str
    stratum: str
    question: str
    answer: str
    right: str | None = None
    form: str | None = None
    classes: tuple[str, ...] = ()
    error_type: str | None = None
    patient: str | None = None


@dataclass(frozen=True, slots=True)
class BenchmarkPreview:
    """Counts by subset and stratum of the whole benchmark, and samples of every stratum that meet the filters.

    Attributes:
        fitting: how many samples meet the filters.
    """

    folder: str
    counts: dict[str, dict[str, int]]
    fitting: int
    samples: tuple[MaskedSample, ...]


def preview_benchmark(benchmark: BenchmarkFolder, *, samples: int, filters: Filters = EVERYTHING) -> BenchmarkPreview:
    """Count all samples, and mask up to ``samples`` of each stratum of each subset that meet the filters.

    Raises:
        UsageError: a filter names what the benchmark has not.
    """
    census = take_census(benchmark, filters, limit=samples)
    texts = texts_of(benchmark, census, hide=True)
    counts: dict[str, dict[str, int]] = {subset.value: {} for subset in Subset}
    for (subset, stratum), number in sorted(census.strata.items()):
        counts[subset.value][stratum.value] = number
    shown = tuple(_masked(sample, texts) for sample in census.picked)
    return BenchmarkPreview(str(benchmark.path), counts, census.kept, shown)


def _masked(sample: Sample, texts: Texts) -> MaskedSample:
    def say(text: str | None) -> str | None:
        return None if text is None else texts.plain(text, sample, _LONGEST)

    right = sample.correct_answer if sample.correct_answer is not None else sample.clean_answer
    return MaskedSample(
        id=say(sample.id) or "",
        subset=sample.subset.value,
        stratum=sample.stratum.value,
        question=say(sample.question) or "",
        answer=say(sample.answer) or "",
        right=None if right == sample.answer else say(right),
        form=say(sample.form),
        classes=tuple(say(name) or "" for name in classes_of(sample)),
        error_type=say(sample.error_type),
        patient=say(sample.patient_id),
    )
