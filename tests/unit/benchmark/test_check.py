from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from mllmu_med.benchmark.check import check_benchmark, masked
from mllmu_med.benchmark.sample import Probe, Sample, Span, Subset
from mllmu_med.benchmark.store import Benchmark, write_images, write_ledger, write_samples
from mllmu_med.errors import DataError, IntegrityError
from mllmu_med.folders import staged
from mllmu_med.sources.images import EncodedImage, image_digest

Change = Callable[[list[Sample]], list[Sample]]


def tampered(
    built: Benchmark, path: Path, change: Change, images: Iterable[EncodedImage] | None = None
) -> tuple[bool, list[str]]:
    """The findings on a copy whose samples or images were changed before it was sealed anew."""
    stored = [EncodedImage(built.image_bytes(i), i, 8, 8) for i in built.image_ids()]
    manifest = {key: value for key, value in built.manifest.items() if key != "files"}
    with staged(path, manifest) as stage:
        write_samples(stage, change(built.samples()))
        write_ledger(stage, built.ledger())
        write_images(stage, stored if images is None else images)
    report = check_benchmark(path)
    return report.ok, [str(finding) for finding in report.findings]


def changed(pick: Callable[[Sample], bool], change: Callable[[Sample], Sample]) -> Change:
    """Change the first sample that fits."""

    def apply(samples: list[Sample]) -> list[Sample]:
        place = next(index for index, sample in enumerate(samples) if pick(sample))
        return [*samples[:place], change(samples[place]), *samples[place + 1 :]]

    return apply


def is_leak(sample: Sample) -> bool:
    return sample.subset is Subset.FORGET_PRIVACY and sample.form == "leak"


def test_a_fresh_benchmark_is_sound(built: Benchmark) -> None:
    report = check_benchmark(built.path)
    assert report.ok
    assert report.findings == ()
    assert (report.samples, report.images) == (len(built.samples()), built.manifest["images"])


def test_a_changed_file_is_an_integrity_error(built: Benchmark, tmp_path: Path) -> None:
    with staged(tmp_path / "b", {"format": built.manifest["format"]}) as stage:
        write_samples(stage, built.samples())
    (tmp_path / "b" / "samples" / "test-00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(IntegrityError, match=r"test-00000\.parquet has changed"):
        check_benchmark(tmp_path / "b")


def test_an_unknown_format_is_a_data_error(tmp_path: Path) -> None:
    with staged(tmp_path / "b", {"format": "mllmu-med/benchmark/0"}):
        pass
    with pytest.raises(DataError, match="the format is"):
        check_benchmark(tmp_path / "b")


def test_planted_faults_are_found(built: Benchmark, tmp_path: Path) -> None:
    samples = built.samples()
    test_sample = next(s for s in samples if s.subset is Subset.TEST)
    forgotten = next(s for s in samples if s.subset is Subset.FORGET_PRIVACY and s.form == "direct")
    value = forgotten.spans[0]
    foreign = next(s for s in samples if s.form == "direct" and s.patient_id != forgotten.patient_id)
    trained = next(s for s in samples if is_leak(s))
    plants: dict[str, tuple[str, Change]] = {
        "group": (
            "[leak between subsets]",
            changed(lambda s: s.subset is Subset.RETAIN, lambda s: replace(s, group=test_sample.group)),
        ),
        "image": (
            "its image_id also stands in",
            changed(lambda s: s.subset is Subset.HOLDOUT, lambda s: replace(s, image_id=test_sample.image_id)),
        ),
        "patient": (
            "its patient_id also stands in forget/privacy",
            changed(
                lambda s: s.subset is Subset.RETAIN and s.form == "direct",
                lambda s: replace(s, patient_id=forgotten.patient_id),
            ),
        ),
        "span": (
            f"is not at {trained.spans[0].start + 1}:",
            changed(is_leak, lambda s: replace(s, spans=(replace(s.spans[0], start=s.spans[0].start + 1),))),
        ),
        "no span": ("a 'leak' sample without a private value", changed(is_leak, lambda s: replace(s, spans=()))),
        "clean answer": ("the clinical answer was not kept", changed(is_leak, lambda s: replace(s, clean_answer="?x"))),
        "shared value": (
            "is also that of",
            changed(
                lambda s: s.id == foreign.id,
                lambda s: replace(s, answer=value.value, spans=(Span("mrn", value.value, 0, len(value.value), 1.0),)),
            ),
        ),
        "stray value": (
            f"which belongs to {forgotten.patient_id}",
            changed(lambda s: s.subset is Subset.TEST, lambda s: replace(s, question=f"Is this {value.value}?")),
        ),
        "right wrong answer": (
            "the wrong answer is right",
            changed(
                lambda s: s.subset is Subset.FORGET_INCORRECTNESS,
                lambda s: replace(s, accepted=(str(s.wrong_answer).upper(),)),
            ),
        ),
        "no wrong answer": (
            "no wrong answer",
            changed(lambda s: s.subset is Subset.FORGET_INCORRECTNESS, lambda s: replace(s, wrong_answer=None)),
        ),
        "trained probe": (
            "paraphrase-9 was trained on",
            changed(is_leak, lambda s: replace(s, probes=(Probe("paraphrase-9", s.phrasings[0].upper()),))),
        ),
        "id": ("the id occurs 2 times", lambda all_samples: [*all_samples, all_samples[-1]]),
        "counts": ("the numbers of samples differ", lambda all_samples: all_samples[:-1]),
        "missing image": (
            "is not stored",
            changed(lambda s: s.subset is Subset.TEST, lambda s: replace(s, image_id="0" * 64)),
        ),
    }
    for name, (words, change) in plants.items():
        ok, found = tampered(built, tmp_path / name, change)
        assert not ok, name
        assert any(words in text for text in found), (name, found)
        assert not any(span.value in text for s in samples for span in s.spans for text in found), name


def test_a_generic_probe_may_be_an_ordinary_question(built: Benchmark, tmp_path: Path) -> None:
    def ask(sample: Sample) -> Sample:
        generic = next(probe for probe in sample.probes if probe.name == "generic")
        return replace(sample, question=generic.question)

    assert tampered(built, tmp_path / "b", changed(is_leak, ask)) == (True, [])


def test_damaged_images_are_found(built: Benchmark, tmp_path: Path) -> None:
    ids = built.image_ids()
    stored = [EncodedImage(built.image_bytes(i), i, 8, 8) for i in ids]
    broken = [stored[0]._replace(data=b"not an image"), *stored[1:]]
    ok, found = tampered(built, tmp_path / "a", lambda samples: samples, broken)
    assert not ok
    assert any("have another hash" in text for text in found)
    assert any("cannot be read" in text for text in found)
    extra = b"".join([stored[0].data, b"\0"])
    ok, found = tampered(
        built, tmp_path / "b", lambda samples: samples, [*stored, EncodedImage(extra, image_digest(extra), 8, 8)]
    )
    assert ok  # a superfluous image is a warning
    assert any("no sample uses image" in text for text in found)


def test_a_private_value_is_shown_by_its_first_sign_only() -> None:
    assert masked("Maria Lopez") == "M… (11 signs)"
