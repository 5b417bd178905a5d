"""Boxes of burned-in values: inside their image, of a patient of the image, and the same in all samples about it."""

from __future__ import annotations

from collections.abc import Iterator

from mllmu_med.benchmark.check.family import Family
from mllmu_med.benchmark.check.findings import Finding, error
from mllmu_med.benchmark.check.keys import key_of
from mllmu_med.benchmark.sample import Region, Sample

_CHECK = "regions"


class Regions(Family):
    """What is wrong with burned-in values.

    Attributes:
        sizes: image key → (width, height), for images that have boxes; somebody who reads the images fills them in.
    """

    def __init__(self) -> None:
        self.sizes: dict[int, tuple[int, int] | None] = {}
        self._boxes: dict[int, tuple[tuple[Region, ...], str]] = {}
        self._classes: dict[str, set[str]] = {}

    def note(self, sample: Sample) -> None:
        if sample.patient_id is not None:
            self._classes.setdefault(sample.group, set()).update(span.phi_class for span in sample.spans)
        if sample.regions and sample.image_id is not None:
            key = key_of(sample.image_id)
            self.sizes.setdefault(key, None)
            self._boxes.setdefault(key, (sample.regions, sample.id))

    def judge(self, sample: Sample) -> Iterator[Finding]:
        if sample.image_id is None:
            if sample.regions:
                yield error(_CHECK, sample.id, "has burned-in values but no image")
            return
        key = key_of(sample.image_id)
        known = self._boxes.get(key)
        if known is not None and known[0] != sample.regions:
            yield error(_CHECK, sample.id, f"says otherwise than {known[1]} what is burned into their image")
        for region in sample.regions:
            yield from self._judge(sample, region, self.sizes.get(key))
        if sample.form == "burned":
            burned = {region.phi_class for region in sample.regions}
            for span in sample.spans:
                if span.phi_class not in burned:
                    yield error(_CHECK, sample.id, f"asks for a {span.phi_class} that is not burned into its image")

    def _judge(self, sample: Sample, region: Region, size: tuple[int, int] | None) -> Iterator[Finding]:
        width, height = size or (region.x1, region.y1)  # that an image is missing or damaged is told elsewhere
        if not (0 <= region.x0 < region.x1 <= width and 0 <= region.y0 < region.y1 <= height):
            box = f"[{region.x0}, {region.x1}) × [{region.y0}, {region.y1})"
            text = f"the {region.phi_class} at {box} is not within {width} × {height} pixels"
            yield error(_CHECK, sample.id, text)
        if region.phi_class not in self._classes.get(sample.group, ()):
            text = f"a {region.phi_class} is burned into its image that no patient of its group has"
            yield error(_CHECK, sample.id, text)
