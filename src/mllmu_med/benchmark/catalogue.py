"""The catalogue: one pass over a source, after which every choice of a build can be made without holding a record."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mllmu_med.benchmark.facts.answer_pools import AnswerPools
from mllmu_med.benchmark.facts.answers import normalise
from mllmu_med.benchmark.facts.edits import error_types
from mllmu_med.benchmark.facts.findings import Findings, Place
from mllmu_med.benchmark.images.inspection import Inspector, inspect
from mllmu_med.benchmark.images.near_duplicates import near_pairs
from mllmu_med.benchmark.neighbours import SameQuestion
from mllmu_med.benchmark.plan import ERROR_TYPES
from mllmu_med.benchmark.requests import Request, Requests
from mllmu_med.benchmark.sample import Sample, Stratum, Subset
from mllmu_med.benchmark.spool import Spool
from mllmu_med.benchmark.wording.phrasing import ObservedWordings
from mllmu_med.errors import DataError
from mllmu_med.folders import canonical_json
from mllmu_med.progress import bar
from mllmu_med.sources.images import encoded_bytes
from mllmu_med.sources.record import ImageRef, Record, Source

PARTS = ("train", "validation", "test")
"""What a group can be for; a record without a stated split is for training."""

LONGEST_CLEAN_ANSWER = 120
"""An answer that private data is woven into has at most so many signs."""

_CACHED_RECORDS = 20_000


@dataclass(frozen=True, slots=True)
class Entry:
    """A record with its image's SHA-256, the group it ends up in, and further answers that the source accepts.

    ``position``: its place in the source.
    """

    record: Record
    image_id: str | None
    group: str
    accepted: tuple[str, ...] = ()
    position: int = 0

    @property
    def answers(self) -> set[str]:
        """Normalised answers that count as true for this question about this image."""
        return {normalise(answer) for answer in (self.record.answer, *self.accepted)}

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


class GroupFacts:
    """What is known of every group by number, in a few bytes each: per part, whether it has records of some kind.

    Bit ``part`` of ``stated``, ``imaged``, ``leaky``: it has a record, a record with an image, a record with an image
    that can leak. ``kinds[3 * group + part]``: bit per :data:`ERROR_TYPES` that fits one of its records. ``met``: the
    requests, and their ids, that name a record.
    """

    def __init__(self) -> None:
        self.stated, self.imaged, self.leaky, self.asked = bytearray(), bytearray(), bytearray(), bytearray()
        self.kinds = array("I")
        self.met: set[Request | str] = set()

    def add(self, group: int, record: Record, requests: Requests) -> None:
        """Note a record."""
        if group == len(self.stated):
            for flags in (self.stated, self.imaged, self.leaky, self.asked):
                flags.append(0)
            self.kinds.extend((0, 0, 0))
        part = part_of(record)
        bit = 1 << part
        self.stated[group] |= bit
        naming = requests.naming_patient(record)
        self.met.update(naming, requests.naming_fact(record))
        if naming:
            self.asked[group] |= bit
        if record.image is None:
            return
        self.imaged[group] |= bit
        if len(record.answer) <= LONGEST_CLEAN_ANSWER:
            self.leaky[group] |= bit
        if requests.name_fact(record):
            for kind in error_types(record):
                self.kinds[3 * group + part] |= 1 << ERROR_TYPES.index(kind)

    def merge(self, group: int, into: int) -> None:
        """``group`` is part of ``into`` from now on, and nothing of its own."""
        for flags in (self.stated, self.imaged, self.leaky, self.asked):
            flags[into] |= flags[group]
            flags[group] = 0
        for part in range(3):
            self.kinds[3 * into + part] |= self.kinds[3 * group + part]
            self.kinds[3 * group + part] = 0


def part_of(record: Record) -> int:
    """Index in :data:`PARTS` of the split that the source states."""
    return PARTS.index(record.source_split or "train")


class Catalogue:
    """All records of a source, on disk; groups are numbers, in the order in which the source first names them.

    Attributes:
        facts: what is known of each group without reading it.
        findings: where each finding is the answer.
        pools: answers of the source, by what they answer.
        wordings: how the source words its questions.
        same_question: where a question is asked again.
        languages: records by language.
        skipped: counts of the source, by reason.
        content: digest of all records and images; equal for equal data wherever it lies.
        merged: pairs of groups made one, by reason: the ``same`` image, a ``similar`` one, or the same ``text``.
    """

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.facts = GroupFacts()
        self.findings = Findings()
        self.pools = AnswerPools()
        self.wordings = ObservedWordings()
        self.same_question = SameQuestion()
        self.languages: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.merged: Counter[str] = Counter()
        self.content = ""
        self._cache: OrderedDict[int, list[Entry]] = OrderedDict()
        self._cached = 0

    def groups(self) -> Iterator[int]:
        """Every group, in order; none that was merged into another."""
        return (group for group in range(len(self.facts.stated)) if self.facts.stated[group])

    def entries(self, group: int) -> list[Entry]:
        """A group's entries, in source order. The last few groups are kept in memory."""
        if group in self._cache:
            self._cache.move_to_end(group)
            return self._cache[group]
        name = self.spool.group_name(group)
        spooled = self.spool.of_group(group)
        ids = {number: self.spool.image_id(number) for number in {s.image for s in spooled} if number is not None}
        answers: dict[tuple[str | None, str], dict[str, None]] = {}
        asked = []
        for _, record, image in spooled:
            asked.append((None if image is None else ids[image], normalise(record.question)))
            answers.setdefault(asked[-1], {}).update(dict.fromkeys(true_answers(record)))
        found = [
            Entry(record, key[0], name, tuple(a for a in answers[key] if a != record.answer), position)
            for (position, record, _), key in zip(spooled, asked, strict=True)
        ]
        self._cache[group] = found
        self._cached += len(found)
        while self._cached > _CACHED_RECORDS and len(self._cache) > 1:
            self._cached -= len(self._cache.popitem(last=False)[1])
        return found


def read_catalogue(
    source: Source, folder: Path, *, requests: Requests | None = None, merge_similar: bool = True, jobs: int = 1
) -> Catalogue:
    """Stream the source once into ``folder``. Every image is decoded once; none is kept.

    Groups that share an image become one, so that no image stands in two parts; so do groups with images that are
    the same to the eye (``merge_similar``): re-encoded, scaled, slightly brighter; and groups with records without an
    image that say the same in nearly the same words.

    Args:
        requests: what is to be forgotten by name, if anything.
        jobs: processes that decode images.

    Raises:
        DataError: no records, a repeated record id, or an image that cannot be used.
    """
    spool = Spool(folder)
    catalogue = Catalogue(spool)
    requests = requests or Requests(())
    content = hashlib.sha256()
    with Inspector(jobs, spool.inspected) as inspector, bar("Reading records", None) as progress:
        for record in source.records():
            group = spool.group(record.group)
            image = None if record.image is None else _image(spool, inspector, record.image, record.id)
            body = spool.add(record, group, image)
            content.update(f"{body}\0{record.image.key if record.image else ''}\n".encode())
            catalogue.facts.add(group, record, requests)
            catalogue.findings.observe(record, Place(spool.records - 1, group, part_of(record)))
            catalogue.pools.observe(record)
            catalogue.wordings.observe(record)
            catalogue.same_question.observe(record, spool.records - 1)
            catalogue.languages[record.language] += 1
            progress.advance()
    if not spool.records:
        raise DataError("no records", file=source.name, mend="Check the source's path, language and limit.")
    spool.finish()
    for key, image_id in spool.image_ids():
        content.update(canonical_json([key, image_id]).encode())
    catalogue.content = content.hexdigest()
    catalogue.skipped.update(source.skipped)
    _merge(catalogue, merge_similar=merge_similar)
    return catalogue


def _image(spool: Spool, inspector: Inspector, ref: ImageRef, record_id: str) -> int:
    """The image's number; a new one is inspected, and its bytes are kept if the source makes them."""
    number = spool.image(ref.key)
    if number is None:
        made = encoded_bytes(ref, record_id) if ref.path is None else None
        number = spool.add_image(ref.key, record_id, ref.path, made)
        if ref.path is not None:
            inspector.add(number, ref.path, record_id)
        elif made is not None:
            spool.inspected(number, inspect(made, file=ref.key, record=record_id))
    return number


class _Union:
    """Union of groups by number; the lowest stands for all."""

    def __init__(self, size: int) -> None:
        self._parent = array("I", range(size))

    def find(self, group: int) -> int:
        while self._parent[group] != group:
            self._parent[group] = self._parent[self._parent[group]]
            group = self._parent[group]
        return group

    def merge(self, first: int, second: int) -> bool:
        first, second = sorted((self.find(first), self.find(second)))
        self._parent[second] = first
        return first != second


def _merge(catalogue: Catalogue, *, merge_similar: bool) -> None:
    """Make groups one that share an image (the same key, the same bytes, or, if asked for, the same look) or a text."""
    import numpy as np

    spool = catalogue.spool
    union = _Union(spool.groups)
    home = array("I", bytes(4 * spool.images))  # image → a group that has it
    last = -1
    for image, group in spool.image_groups():
        if image == last:
            catalogue.merged["same"] += union.merge(home[image], group)
        else:
            home[image], last = group, image
    for first, later in spool.equal_images():
        catalogue.merged["same"] += union.merge(home[first], home[later])
    for one, other in spool.equal_texts():
        catalogue.merged["text"] += union.merge(one, other)
    if merge_similar and spool.images:
        bits = np.fromiter(spool.looks(), dtype=np.uint64, count=spool.images)
        for one, other in near_pairs(bits, spool.thumbnail):
            catalogue.merged["similar"] += union.merge(home[one], home[other])
    for group in range(spool.groups):
        into = union.find(group)
        if into != group:
            spool.merge(group, into)
            catalogue.facts.merge(group, into)
    catalogue.findings.regroup(union.find)


def true_answers(record: Record) -> list[str]:
    """The record's answer and those that ``extra["accepted"]`` (a list) adds."""
    further = record.extra.get("accepted", ())
    more: Iterable[object] = further if isinstance(further, list | tuple) else ()
    return [record.answer, *(str(answer) for answer in more)]


def of_image(entries: Sequence[Entry], image_id: str | None) -> list[Entry]:
    """The entries about one image."""
    return [entry for entry in entries if entry.image_id == image_id]
