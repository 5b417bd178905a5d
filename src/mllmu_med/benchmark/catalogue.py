"""The catalogue: one pass over a source, with images hashed and groups that share an image merged."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from mllmu_med.benchmark.answers import normalise
from mllmu_med.benchmark.phrasing import ObservedWordings
from mllmu_med.benchmark.sample import Sample, Stratum, Subset
from mllmu_med.errors import DataError
from mllmu_med.progress import bar
from mllmu_med.sources.images import EncodedImage, encoded_bytes, image_digest, read_image
from mllmu_med.sources.record import ImageRef, Record, Source


@dataclass(frozen=True, slots=True)
class Entry:
    """A record with its image's SHA-256, the group it ends up in, and further answers that the source accepts."""

    record: Record
    image_id: str | None
    group: str
    accepted: tuple[str, ...] = ()

    def sample(self, subset: Subset, stratum: Stratum, **changes: Any) -> Sample:
        """The record as a sample; ``changes`` are further fields of the sample."""
        record = self.record
        fields: dict[str, Any] = {
            "id": record.id,
            "record_id": record.id,
            "question": record.question,
            "answer": record.answer,
            "clean_answer": record.answer,
            "group": self.group,
            "image_id": self.image_id,
            "language": record.language,
            "answer_type": record.answer_type,
            "modality": record.modality,
            "body_part": record.body_part,
            "content_type": record.content_type,
            "accepted": self.accepted,
        }
        return Sample(subset=subset, stratum=stratum, **{**fields, **changes})


_KEPT_BYTES = 64 * 2**20


class ImageShelf:
    """Every image of a source by its SHA-256: where to read it again, its size, and no more bytes than a bound allows.

    Images that the source makes (instead of reading a file) are kept up to 64 MiB, so that a small benchmark does not
    make them twice.
    """

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}
        self._places: dict[str, tuple[ImageRef, str, int, int]] = {}
        self._kept: dict[str, bytes] = {}
        self._room = _KEPT_BYTES

    def add(self, ref: ImageRef, record_id: str) -> str:
        """Read, check and hash the image unless its key is known; returns its SHA-256."""
        if ref.key not in self._ids:
            image = read_image(ref, record_id)
            self._ids[ref.key] = image.id
            self._places.setdefault(image.id, (ref, record_id, image.width, image.height))
            if ref.path is None and image.id not in self._kept and len(image.data) <= self._room:
                self._kept[image.id] = image.data
                self._room -= len(image.data)
        return self._ids[ref.key]

    def take(self, image_id: str) -> EncodedImage:
        """The image once more.

        Raises:
            DataError: its bytes are no longer the same.
        """
        ref, record_id, width, height = self._places[image_id]
        data = self._kept.pop(image_id, None) or encoded_bytes(ref, record_id)
        if image_digest(data) != image_id:
            raise DataError(
                "the image changed while the benchmark was being built",
                file=ref.path or ref.key, record=record_id, mend="Build again.",
            )  # fmt: skip
        return EncodedImage(data, image_id, width, height)


@dataclass(frozen=True)
class Catalogue:
    """All records of a source, in its order.

    ``groups``: group → its entries. ``images``: where the images can be read again.
    """

    entries: list[Entry]
    groups: dict[str, list[Entry]]
    images: ImageShelf
    wordings: ObservedWordings
    skipped: Counter[str]

    def answers_to(self, entry: Entry) -> set[str]:
        """Normalised answers that count as true for the entry's question about its image."""
        return {normalise(answer) for answer in (entry.record.answer, *entry.accepted)}


class _Groups:
    """Union of groups: two groups that share an image are one, named after the first seen."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}
        self._place: dict[str, int] = {}

    def find(self, group: str) -> str:
        self._parent.setdefault(group, group)
        self._place.setdefault(group, len(self._place))
        while self._parent[group] != group:
            self._parent[group] = self._parent[self._parent[group]]
            group = self._parent[group]
        return group

    def merge(self, first: str, second: str) -> None:
        first, second = sorted((self.find(first), self.find(second)), key=self._place.__getitem__)
        self._parent[second] = first


def read_catalogue(source: Source) -> Catalogue:
    """Stream the source once. Every image is read and decoded once, and none is kept.

    Raises:
        DataError: no records, a repeated record id, or an image that cannot be used.
    """
    found: list[tuple[Record, str | None]] = []
    ids: set[str] = set()
    images = ImageShelf()
    first_group: dict[str, str] = {}
    union, wordings = _Groups(), ObservedWordings()
    with bar("Reading records", None) as progress:
        for record in source.records():
            if record.id in ids:
                raise DataError("the id occurs twice", file=source.name, record=record.id, mend="Make ids unique.")
            ids.add(record.id)
            wordings.observe(record)
            image_id = None
            if record.image is not None:
                image_id = images.add(record.image, record.id)
                union.merge(first_group.setdefault(image_id, record.group), record.group)
            found.append((record, image_id))
            progress.advance()
    if not found:
        raise DataError("no records", file=source.name, mend="Check the source's path, language and limit.")
    answers: dict[tuple[str, str], dict[str, None]] = {}
    for record, image_id in found:
        answers.setdefault(_asked(record, image_id), {}).update(dict.fromkeys(_true_answers(record)))
    entries = []
    groups: dict[str, list[Entry]] = {}
    for record, image_id in found:
        accepted = tuple(answer for answer in answers[_asked(record, image_id)] if answer != record.answer)
        entries.append(Entry(record, image_id, union.find(record.group), accepted))
        groups.setdefault(entries[-1].group, []).append(entries[-1])
    return Catalogue(entries, groups, images, wordings, Counter(source.skipped))


def _asked(record: Record, image_id: str | None) -> tuple[str, str]:
    """What a question is about, and the question: equal for two records that ask the same about the same image."""
    return image_id or record.group, normalise(record.question)


def _true_answers(record: Record) -> list[str]:
    """The record's answer and those that ``extra["accepted"]`` (a list) adds."""
    further = record.extra.get("accepted", ())
    return (
        [record.answer, *(str(answer) for answer in further)] if isinstance(further, list | tuple) else [record.answer]
    )
