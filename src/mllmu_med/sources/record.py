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


class Source(Protocol):
    """A dataset that can be streamed more than once.

    ``skipped`` counts, by reason, the records left out in the last pass. ``fingerprint`` changes whenever the yielded
    records or images would; it is part of the benchmark's identity.
    """

    name: str
    skipped: Counter[str]

    def fingerprint(self) -> str: ...

    def records(self) -> Iterator[Record]: ...
