"""The stored images: readable, named by their content, used, and not the same to the eye in two parts."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, NamedTuple

from mllmu_med.benchmark.check.family import Family
from mllmu_med.benchmark.check.findings import Finding, error, warning
from mllmu_med.benchmark.check.keys import KeySet, Places, key_of
from mllmu_med.benchmark.check.leaks import PART_NAMES, PARTS
from mllmu_med.benchmark.images.near_duplicates import SIDE, Look, look, near_pairs
from mllmu_med.benchmark.sample import Sample
from mllmu_med.errors import DataError
from mllmu_med.intact import intact
from mllmu_med.progress import bar
from mllmu_med.sources.images import decode, image_digest

_THUMBNAIL = SIDE * SIDE
_BLANK = Look(0, bytes(_THUMBNAIL))


class Stored(NamedTuple):
    """An image as stored; the size is what the columns say."""

    id: str
    data: bytes
    width: int | None
    height: int | None


def stored_images(path: Path) -> Iterator[Stored]:
    """Every stored image; one row group in memory."""
    import pyarrow.parquet as pq

    for file in sorted((path / "images").glob("images-*.parquet")):
        with intact(file), pq.ParquetFile(file) as opened:
            for group in range(opened.num_row_groups):
                for row in opened.read_row_group(group).to_pylist():
                    data = (row["image"] or {}).get("bytes") or b""
                    yield Stored(row["image_id"] or "", data, row["width"], row["height"])


class Images(Family):
    """What is wrong with images. ``survey`` reads each once, between the two passes over the samples.

    Args:
        stated: number of images in the manifest.
        sizes: image key → (width, height); filled in for the keys that are in it by the time of the survey.
        similar_kept: the plan looks at bytes alone, so that similar images in two parts are a warning.

    Attributes:
        count: images that are stored.
    """

    def __init__(
        self, path: Path, stated: object, sizes: dict[int, tuple[int, int] | None], *, similar_kept: bool
    ) -> None:
        self._path, self._stated, self._sizes, self._similar_kept = path, stated, sizes, similar_kept
        self._used, self._known, self._places = KeySet(), KeySet(), Places()
        self._bad: dict[int, str] = {}
        self._tie_of: dict[int, int] = {}
        self._firsts: dict[int, dict[int, str]] = {}
        self.count = 0

    def note(self, sample: Sample) -> None:
        for image_id in (sample.image_id, *(probe.image_id for probe in sample.probes)):
            if image_id is not None:
                self._used.add(key_of(image_id))
        if sample.image_id is not None:
            self._places.add(key_of(sample.image_id), PARTS[sample.subset])

    def survey(self, total: int) -> Iterator[Finding]:
        """Read every image; ``total`` is for the progress bar only."""
        keys, bits = array("Q"), array("Q")
        with TemporaryFile() as thumbnails, bar("Checking images", total) as progress:
            for image in stored_images(self._path):
                key = key_of(image.id)
                yield from self._read(key, image)
                seen = self._last_look
                keys.append(key)
                bits.append(seen.bits)
                thumbnails.write(seen.thumbnail)
                progress.advance()
            self._tie(keys, bits, thumbnails)
        self.count = len(keys)
        if self.count != self._stated:
            yield error("counts", None, f"{self.count} images are stored; the manifest says {self._stated}")
        for times in self._known.repeated().values():
            yield error("images", None, f"one image is stored {times} times")

    def _read(self, key: int, image: Stored) -> Iterator[Finding]:
        name = f"image {image.id[:12]}"
        self._known.add(key)
        self._last_look = _BLANK
        if image_digest(image.data) != image.id:
            self._bad[key] = "the bytes of its image have another hash"
            yield error("images", None, f"the bytes of {name} have another hash")
        try:
            picture = decode(image.data, file=self._path, record=image.id)
        except DataError as problem:
            self._bad[key] = "its image cannot be read"
            yield error("images", None, f"{name} cannot be read: {problem.reason}")
        else:
            self._last_look = look(picture)
            if key in self._sizes:
                self._sizes[key] = picture.size
            if picture.size != (image.width, image.height):
                stated = f"{image.width} × {image.height}"
                yield error("images", None, f"{name} is {picture.width} × {picture.height} pixels, not {stated}")
        if key not in self._used:
            yield warning("images", None, f"no sample uses {name}")

    def _tie(self, keys: array[int], bits: array[int], thumbnails: IO[bytes]) -> None:
        """Find images that are the same to the eye but not in bytes, in different parts."""
        import numpy as np

        def thumbnail(number: int) -> bytes:
            thumbnails.seek(number * _THUMBNAIL)
            return thumbnails.read(_THUMBNAIL)

        pairs = near_pairs(np.array(bits, dtype=np.uint64), thumbnail)
        for tied in _united((keys[one], keys[other]) for one, other in pairs):
            parts = self._places.of(tied)
            together = 0
            for part in parts.values():
                together |= part
            if len(tied) > 1 and together.bit_count() > 1:
                self._tie_of.update(dict.fromkeys(tied, min(tied)))

    def judge(self, sample: Sample) -> Iterator[Finding]:
        for image_id in (sample.image_id, *(probe.image_id for probe in sample.probes)):
            if image_id is not None and key_of(image_id) not in self._known:
                what = "its" if image_id == sample.image_id else "a probe's"
                yield error("images", sample.id, f"{what} image {image_id[:12]} is not stored")
        if sample.image_id is not None:
            key = key_of(sample.image_id)
            if key in self._bad:
                yield error("images", sample.id, self._bad[key])
            if key in self._tie_of:
                self._firsts.setdefault(self._tie_of[key], {}).setdefault(PARTS[sample.subset], sample.id)

    def conclude(self) -> Iterator[Finding]:
        finding = warning if self._similar_kept else error
        for firsts in self._firsts.values():
            (part, sample_id), *others = sorted(firsts.items())
            for other, other_id in others:
                yield finding(
                    "leak: similar image", other_id,
                    f"its image is the same to the eye as that of {sample_id} in {PART_NAMES[part]}; it stands in "
                    f"{PART_NAMES[other]} itself",
                )  # fmt: skip


def _united(pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Lists of what is tied by pairs, directly or through others."""
    parent: dict[int, int] = {}

    def root(key: int) -> int:
        parent.setdefault(key, key)
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for one, other in pairs:
        parent[root(other)] = root(one)
    tied: dict[int, list[int]] = {}
    for key in parent:
        tied.setdefault(root(key), []).append(key)
    return list(tied.values())
