"""Checking a finished benchmark: is it whole, and does it hold what it promises?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mllmu_med.benchmark.check import folder, rows
from mllmu_med.benchmark.check.family import Family
from mllmu_med.benchmark.check.findings import SHOWN, CheckReport, Finding, Findings, error, masked
from mllmu_med.benchmark.check.images import Images
from mllmu_med.benchmark.check.leaks import leaks
from mllmu_med.benchmark.check.ledger import LedgerRows
from mllmu_med.benchmark.check.paths import Paths
from mllmu_med.benchmark.check.probes import Probes
from mllmu_med.benchmark.check.regions import Regions
from mllmu_med.benchmark.check.spans import Spans
from mllmu_med.benchmark.check.values import PrivateValues
from mllmu_med.benchmark.check.wrong import WrongAnswers
from mllmu_med.benchmark.describing import holds_real_values
from mllmu_med.benchmark.sample import Sample, Subset
from mllmu_med.benchmark.store import Benchmark
from mllmu_med.errors import DataError
from mllmu_med.folders import verify
from mllmu_med.progress import bar

__all__ = ["CheckReport", "Finding", "check_benchmark", "masked"]

_PARTLY_FORGOTTEN = ("study", "section")


def check_benchmark(path: Path | str, *, shown: int | None = SHOWN) -> CheckReport:
    """Run every check. The samples are streamed twice and the images once; none is held.

    Args:
        shown: findings of one kind that are told in full, all of them if None.

    Raises:
        IntegrityError: a file is missing, changed or not listed.
        DataError: not a benchmark, of an older or newer format, or with a manifest or rows that cannot be read.
    """
    path = Path(path)
    manifest = folder.check_format(path)
    verify(path)
    found = Findings(shown)
    found.add(folder.descriptions(path, manifest))
    broken = list(folder.columns(path))
    found.add(broken)
    if broken:  # nothing behind this could be read
        return CheckReport(path, 0, 0, found.told(), found.counts)
    return _check_content(Benchmark(path, manifest), found)


def _check_content(benchmark: Benchmark, found: Findings) -> CheckReport:
    manifest = benchmark.manifest
    plan, real = manifest["plan"], holds_real_values(manifest)
    regions = Regions()
    images = Images(
        benchmark.path, manifest["images"], regions.sizes, similar_kept=plan.get("similar_images") == "keep"
    )
    families: list[Family] = [
        rows.Ids(),
        rows.Repetitions(),
        rows.Counts(manifest),
        *leaks(patients_may_be_torn=plan.get("forget_level") in _PARTLY_FORGOTTEN),
        Spans(real=real),
        PrivateValues(real=real),
        WrongAnswers(manifest["rules"]),
        Probes(),
        Paths(),
        LedgerRows(benchmark.ledger()),
        regions,
        images,
    ]
    samples = 0
    for expected, sample in _stream(benchmark, "Reading samples"):
        samples += 1
        unfit = list(_unfit(sample, expected))
        found.add(unfit)
        for family in families if not unfit else ():
            family.note(sample)
    found.add(images.survey(manifest["images"]))
    for expected, sample in _stream(benchmark, "Checking samples"):
        for family in families if not any(_unfit(sample, expected)) else ():
            found.add(family.judge(sample))
    for family in families:
        found.add(family.conclude())
    return CheckReport(benchmark.path, samples, images.count, found.told(), found.counts)


def _stream(benchmark: Benchmark, title: str) -> Iterator[tuple[Subset, Sample]]:
    """All samples, with the subset whose file they stand in."""
    with bar(title, None) as progress:
        for subset in Subset:
            try:
                for sample in benchmark.stream(subset):
                    yield subset, sample
                    progress.advance()
            except (ValueError, TypeError) as problem:
                raise DataError(
                    f"a sample cannot be read ({problem})", file=benchmark.path / "samples" / subset.file_name,
                    mend="Build the benchmark again.",
                ) from None  # fmt: skip


def _unfit(sample: Sample, expected: Subset) -> Iterator[Finding]:
    """Why a sample cannot be judged at all."""
    if sample.subset is not expected:
        yield error("rows", sample.id, f"is of {sample.subset.value} but stands in the file of {expected.value}")
    for name in rows.empty_columns(sample):
        yield error("rows", sample.id or None, f"has nothing, or gaps, in its {name}")
