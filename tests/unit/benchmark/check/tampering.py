"""A good benchmark, and copies of it with planted faults that are sealed anew, so that nothing but the fault shows."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from mllmu_med.benchmark.check import CheckReport, Finding, check_benchmark
from mllmu_med.benchmark.croissant import write_croissant
from mllmu_med.benchmark.ledger import ledger_rows
from mllmu_med.benchmark.sample import Sample, Stratum, Subset
from mllmu_med.benchmark.writing import write_images, write_ledger, write_samples
from mllmu_med.folders import contents, file_digest, read_manifest, write_json
from mllmu_med.sources.images import EncodedImage, image_digest


@dataclass(frozen=True)
class Good:
    """A sound benchmark; nobody writes to it."""

    path: Path
    manifest: dict[str, Any]
    samples: tuple[Sample, ...]
    images: tuple[EncodedImage, ...]

    def some(self, count: int, **wanted: object) -> list[Sample]:
        """The first samples with these fields."""
        found = [s for s in self.samples if all(getattr(s, name) == value for name, value in wanted.items())]
        assert len(found) >= count, (wanted, len(found))
        return found[:count]

    def one(self, **wanted: object) -> Sample:
        """The first sample with these fields."""
        return self.some(1, **wanted)[0]

    def image(self, image_id: str | None) -> EncodedImage:
        """A stored image."""
        return next(image for image in self.images if image.id == image_id)

    def picture(self, image_id: str | None) -> Image.Image:
        """A stored image, decoded."""
        return Image.open(io.BytesIO(self.image(image_id).data))

    def tampered(
        self,
        path: Path,
        samples: Sequence[Sample] | None = None,
        *,
        ledger: Sequence[dict[str, Any]] | None = None,
        images: Iterable[EncodedImage] | None = None,
        manifest: dict[str, Any] | None = None,
        files: Callable[[Path], object] = lambda folder: None,
        shown: int | None = 20,
    ) -> CheckReport:
        """The report on a copy with other samples, ledger, images, manifest entries or files.

        Counts in the manifest and the ledger follow the samples, unless they are given too.
        """
        samples = list(self.samples if samples is None else samples)
        images = list(self.images if images is None else images)
        path.mkdir()
        write_samples(path, samples)
        write_ledger(path, list(ledger_rows(samples) if ledger is None else ledger))
        write_images(path, images)
        (path / "README.md").write_text("card", encoding="utf-8")
        stated = {**self.manifest, **counted(samples), "images": len(images), **(manifest or {})}
        seal(path, stated, files)
        return check_benchmark(path, shown=shown)


def seal(path: Path, manifest: dict[str, Any], files: Callable[[Path], object] = lambda folder: None) -> None:
    """Write the Croissant metadata, change files if asked to, and write a manifest of what is there."""
    write_croissant(path, manifest)
    files(path)
    hashes = {str(file.relative_to(path)): file_digest(file) for file in contents(path)}
    write_json(path / "manifest.json", {**manifest, "files": hashes})


def counted(samples: Sequence[Sample]) -> dict[str, Any]:
    """What the manifest says of these samples."""
    counts: dict[str, Counter[str]] = {}
    roles: dict[str, set[Subset]] = {}
    for sample in samples:
        counts.setdefault(sample.subset.value, Counter())[sample.stratum.value] += 1
        if sample.patient_id is not None:
            roles.setdefault(sample.patient_id, set()).add(sample.subset)
    private = [s for s in samples if s.subset is Subset.FORGET_PRIVACY]
    forgotten = sum(Subset.FORGET_PRIVACY in subsets for subsets in roles.values())
    holdout = sum(subsets == {Subset.HOLDOUT} for subsets in roles.values())
    return {
        "counts": {subset: dict(strata) for subset, strata in counts.items()},
        "phi_classes": dict(Counter(span.phi_class for s in private for span in s.spans)),
        "forms": dict(Counter(str(s.form) for s in private)),
        "error_types": dict(Counter(str(s.error_type) for s in samples if s.subset is Subset.FORGET_INCORRECTNESS)),
        "languages": dict(Counter(s.language for s in samples)),
        "probes": dict(Counter(probe.name.partition("-")[0] for s in samples for probe in s.probes)),
        "patients": {"forgotten": forgotten, "retained": len(roles) - forgotten - holdout, "holdout": holdout},
        "burned_images": len({s.image_id for s in samples if s.regions}),
    }


def changed(samples: Iterable[Sample], changes: dict[str, dict[str, Any]]) -> list[Sample]:
    """The samples, those named by their ids with other fields."""
    made = [replace(sample, **changes.get(sample.id, {})) for sample in samples]
    assert set(changes) <= {sample.id for sample in samples}
    return made


def told(report: CheckReport) -> list[str]:
    """The findings, as they are printed."""
    return [str(finding) for finding in report.findings]


def checks(report: CheckReport) -> set[str]:
    """The names of the checks that found something."""
    return {finding.check for finding in report.findings}


def about(report: CheckReport, sample_id: str | None) -> list[str]:
    """What is found about one sample."""
    return [finding.text for finding in report.findings if finding.sample_id == sample_id]


def ordinary(samples: Iterable[Sample], subset: Subset) -> list[Sample]:
    """Ordinary samples about images, one per image."""
    firsts: dict[str, Sample] = {}
    for sample in samples:
        if sample.subset is subset and sample.stratum is Stratum.GENERAL and sample.image_id is not None:
            firsts.setdefault(sample.image_id, sample)
    return list(firsts.values())


def encoded(picture: Image.Image, **settings: Any) -> EncodedImage:
    """A picture encoded anew, as PNG unless told otherwise."""
    buffer = io.BytesIO()
    picture.save(buffer, **{"format": "PNG", **settings})
    return EncodedImage(buffer.getvalue(), image_digest(buffer.getvalue()), *picture.size)


def rewrite_json(path: Path, change: Callable[[Any], object]) -> None:
    """Change a JSON file in place."""
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value), encoding="utf-8")


def errors(report: CheckReport) -> list[Finding]:
    """The findings that are errors."""
    return [finding for finding in report.findings if finding.severity == "error"]


def manifest_of(path: Path) -> dict[str, Any]:
    """The manifest without the files' hashes."""
    return {name: value for name, value in read_manifest(path).items() if name != "files"}
