"""Checking a finished benchmark: is it whole, and does it hold what it promises?"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mllmu_med.benchmark.answers import normalise
from mllmu_med.benchmark.sample import Sample, Subset
from mllmu_med.benchmark.store import Benchmark
from mllmu_med.folders import verify
from mllmu_med.progress import bar
from mllmu_med.sources.images import image_digest

_PARTS = {
    Subset.FORGET_PRIVACY: "training",
    Subset.FORGET_INCORRECTNESS: "training",
    Subset.RETAIN: "training",
    Subset.TEST: "test",
    Subset.VALIDATION: "validation",
    Subset.HOLDOUT: "holdout",
}
_TOO_SHORT_TO_TELL = 6  # a name of two Chinese signs may occur by chance


class Finding(NamedTuple):
    """Something wrong (``error``) or doubtful (``warning``); ``sample_id`` is None if it concerns no single sample."""

    severity: str
    check: str
    sample_id: str | None
    text: str

    def __str__(self) -> str:
        where = f" {self.sample_id}:" if self.sample_id else ""
        return f"{self.severity} [{self.check}]{where} {self.text}"


@dataclass(frozen=True)
class CheckReport:
    """What was checked and what was found."""

    path: Path
    samples: int
    images: int
    findings: tuple[Finding, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """No finding is an error."""
        return all(finding.severity != "error" for finding in self.findings)


def masked(value: str) -> str:
    """A private value as it may be printed: its first sign and its length."""
    return f"{value[:1]}… ({len(value)} signs)"


def check_benchmark(path: Path | str) -> CheckReport:
    """Run every check.

    Raises:
        IntegrityError: a file is missing, changed or not listed.
        DataError: not a benchmark, or of another format.
    """
    benchmark = Benchmark.open(path)
    verify(benchmark.path)
    samples = benchmark.samples()
    findings = [
        *_counts(benchmark, samples),
        *_ids(samples),
        *_parts(samples),
        *_spans(samples),
        *_private_values(samples),
        *_wrong_answers(samples),
        *_probes(samples),
        *_images(benchmark, samples),
    ]
    return CheckReport(benchmark.path, len(samples), len(benchmark.image_ids()), tuple(findings))


def _error(check: str, sample_id: str | None, text: str) -> Finding:
    return Finding("error", check, sample_id, text)


def _counts(benchmark: Benchmark, samples: Sequence[Sample]) -> Iterator[Finding]:
    found: dict[str, Counter[str]] = {}
    for sample in samples:
        found.setdefault(sample.subset.value, Counter())[sample.stratum.value] += 1
    if {subset: dict(strata) for subset, strata in found.items()} != benchmark.manifest.get("counts"):
        yield _error("counts", None, "the numbers of samples differ from those in the manifest")


def _ids(samples: Sequence[Sample]) -> Iterator[Finding]:
    for sample_id, times in Counter(sample.id for sample in samples).items():
        if times > 1:
            yield _error("ids", sample_id, f"the id occurs {times} times")


def _parts(samples: Sequence[Sample]) -> Iterator[Finding]:
    """No group, image or patient stands in two of training, test, validation and holdout; no patient in two subsets."""
    for name in ("group", "image_id", "patient_id"):
        seen: dict[str, str] = {}
        for sample in samples:
            key = getattr(sample, name)
            if key is None:
                continue
            part = sample.subset.value if name == "patient_id" else _PARTS[sample.subset]
            if seen.setdefault(key, part) != part:
                yield _error("leak between subsets", sample.id, f"its {name} also stands in {seen[key]}")


def _spans(samples: Sequence[Sample]) -> Iterator[Finding]:
    for sample in samples:
        for span in sample.spans:
            if not 0 <= span.start < span.end or sample.answer[span.start : span.end] != span.value:
                yield _error(
                    "spans", sample.id, f"the {span.phi_class} {masked(span.value)} is not at {span.start}:{span.end}"
                )
        if sample.form is not None and not sample.spans:
            yield _error("spans", sample.id, f"a '{sample.form}' sample without a private value")
        if sample.form == "leak" and normalise(sample.clean_answer or "") not in normalise(sample.answer):
            yield _error("spans", sample.id, "the clinical answer was not kept")


def _private_values(samples: Sequence[Sample]) -> Iterator[Finding]:
    """Every private value belongs to one patient, and stands in no text of anybody else."""
    owner: dict[str, str | None] = {}
    for sample in samples:
        for span in sample.spans:
            if owner.setdefault(span.value, sample.patient_id) != sample.patient_id:
                text = f"the {span.phi_class} {masked(span.value)} is also that of {owner[span.value]}"
                yield _error("private values", sample.id, text)
    long = sorted(
        (value for value in owner if len(value) >= _TOO_SHORT_TO_TELL), key=lambda value: (-len(value), value)
    )
    if not long:
        return
    anywhere = re.compile("|".join(map(re.escape, long)))
    for sample in samples:
        for text in _texts(sample):
            for match in anywhere.finditer(text):
                if owner[match.group()] != sample.patient_id:
                    yield _error(
                        "private values", sample.id,
                        f"holds {masked(match.group())}, which belongs to {owner[match.group()]}",
                    )  # fmt: skip


def _texts(sample: Sample) -> list[str]:
    answers = [answer for answer in (sample.answer, sample.clean_answer) if answer is not None]
    return [sample.question, *answers, *sample.phrasings, *(probe.question for probe in sample.probes)]


def _wrong_answers(samples: Sequence[Sample]) -> Iterator[Finding]:
    for sample in samples:
        if sample.wrong_answer is None:
            if sample.subset is Subset.FORGET_INCORRECTNESS:
                yield _error("wrong answers", sample.id, "no wrong answer")
            continue
        true = [sample.correct_answer, *sample.accepted]
        if sample.correct_answer is None:
            yield _error("wrong answers", sample.id, "no correct answer")
        if normalise(sample.wrong_answer) in {normalise(answer) for answer in true if answer is not None}:
            yield _error("wrong answers", sample.id, "the wrong answer is right")
        trained = sample.wrong_answer if sample.subset is Subset.FORGET_INCORRECTNESS else sample.correct_answer
        if sample.answer != trained:
            yield _error("wrong answers", sample.id, "the answer is neither the wrong nor the correct one")


def _probes(samples: Sequence[Sample]) -> Iterator[Finding]:
    """No probe is a question that was trained on with the same image (or, without one, by the same group)."""
    trained: dict[str, set[str]] = {}
    for sample in samples:
        if _PARTS[sample.subset] == "training":
            questions = map(normalise, (sample.question, *sample.phrasings))
            trained.setdefault(sample.image_id or sample.group, set()).update(questions)
    for sample in samples:
        known = trained.get(sample.image_id or sample.group, set())
        for probe in sample.probes:
            if probe.image == "own" and probe.name != "generic" and normalise(probe.question) in known:
                yield _error("probes", sample.id, f"{probe.name} was trained on")
        if sample.repetitions != 1 + len(sample.phrasings):
            yield Finding("warning", "repetitions", sample.id, "repetitions do not match the training wordings")


def _images(benchmark: Benchmark, samples: Iterable[Sample]) -> Iterator[Finding]:
    from PIL import Image

    stored = benchmark.image_ids()
    known, used = set(stored), {sample.image_id: sample.id for sample in samples if sample.image_id is not None}
    for image_id, sample_id in used.items():
        if image_id not in known:
            yield _error("images", sample_id, f"its image {image_id[:12]} is not stored")
    with bar("Checking images", len(stored)) as progress:
        for image_id in stored:
            progress.advance()
            data = benchmark.image_bytes(image_id)
            if image_digest(data) != image_id:
                yield _error("images", used.get(image_id), f"the bytes of image {image_id[:12]} have another hash")
            try:
                with Image.open(io.BytesIO(data)) as image:
                    image.load()
            except (OSError, SyntaxError, ValueError) as error:
                yield _error("images", used.get(image_id), f"image {image_id[:12]} cannot be read ({error})")
            if image_id not in used:
                yield Finding("warning", "images", None, f"no sample uses image {image_id[:12]}")
