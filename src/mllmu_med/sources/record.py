"""The record: one question about one image (or none), as every source yields it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class ImageRef:
    """Where an image's encoded bytes are: a file, or a function that makes them (never both).

    ``key`` names the image within its source and is equal for all records about it, so that it is read once.
    """

    key: str
    path: Path | None = None
    make: Callable[[], bytes] | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One question. What a source does not say is ``None``; nothing is guessed.

    Attributes:
        id: unique within the source.
        image: the image, or None for a text-only question.
        answer: the published answer, stripped.
        language: ISO 639-1, e.g. ``en``, ``zh``.
        answer_type: ``open`` or ``closed``.
        content_type: what is asked, as the source names it in lower case (``modality``, ``organ``, ``finding``,
            ``presence``, ``laterality``, ``size``, ``count``, …).
        source_split: ``train``, ``validation``, ``test`` or None.
        group: the smallest unit that must not be split over subsets (image, study or patient).
        hierarchy: ``institution``/``patient``/``study``/``section`` → name, where known.
        options: choices of a multiple-choice question.
        extra: the source's other fields, JSON-able.
    """

    id: str
    image: ImageRef | None
    question: str
    answer: str
    group: str
    source: str
    language: str = "en"
    answer_type: str | None = None
    modality: str | None = None
    body_part: str | None = None
    content_type: str | None = None
    source_split: str | None = None
    hierarchy: Mapping[str, str] | None = None
    options: tuple[str, ...] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class About:
    """What a dataset card says of where the data comes from.

    Attributes:
        title: e.g. ``SLAKE: a semantically-labeled knowledge-enhanced dataset``.
        licence: SPDX or the licence's name as its authors publish it; None where it is the user's own data.
        url: where it is published.
        citation: one line, with the arXiv number or DOI.
    """

    title: str
    licence: str | None = None
    url: str | None = None
    citation: str | None = None


class Source(Protocol):
    """A dataset that can be streamed more than once.

    Attributes:
        name: as registered.
        skipped: the records left out in the last pass, counted by reason.
        about: for the dataset card.
    """

    name: str
    skipped: Counter[str]
    about: About

    def fingerprint(self) -> str:
        """Changes whenever the yielded records or images would, not for a copy of the same data; cheap, because a run
        asks before it does anything.

        Of the parameters, the text files and, by :func:`~mllmu_med.sources.content.content_digest`, the images. It says
        whether a stage is up to date; a benchmark's own identity is the digest of the records and images that were
        read.
        """
        ...

    def records(self) -> Iterator[Record]:
        """The records, one after the other; never all of them, nor an image, in memory."""
        ...
