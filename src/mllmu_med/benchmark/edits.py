"""Typed edits: from a true answer to a plausible wrong one of the same kind, or to nothing where none is safe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from random import Random
from typing import NamedTuple

from mllmu_med.benchmark.answers import (
    NEGATIVES,
    contradicts,
    fits_choice,
    flipped,
    is_yes_no_question,
    items,
    normalise,
    number,
    opposite_size,
    other_side,
    severity,
)
from mllmu_med.benchmark.catalogue import Entry
from mllmu_med.sources.record import Record

CONTENT_TYPES = {
    "modality": "modality", "organ": "organ", "organ_system": "organ", "position": "location", "location": "location",
    "finding": "finding", "abnormality": "finding", "disease": "finding", "diagnosis": "finding",
    "pathology": "finding", "count": "count", "quantity": "count", "number": "count", "size": "size", "grade": "size",
    "laterality": "laterality", "side": "laterality", "presence": "presence", "drug": "drug", "dose": "drug",
    "medication": "drug",
}  # fmt: skip
"""A source's content type → the kind of error that fits it. Types that are not listed are left alone."""

_KEY_WITH_MODALITY = 4
_MOST_PLAUSIBLE = 8
_LONGEST_SIDE = 6  # words; a side in a longer text is a detail of it


class Edit(NamedTuple):
    """A wrong answer, its kind, and its severity (low, medium, high)."""

    error_type: str
    wrong: str
    severity: str


def is_yes_no(record: Record) -> bool:
    """Whether the answer is a yes or no (or present, normal, …) to a question that asks for one."""
    closed = record.answer_type == "closed" or is_yes_no_question(record.question)
    return closed and flipped(record.answer, record.language) is not None


def error_types(record: Record) -> tuple[str, ...]:
    """The kinds of error that could fit the record; empty if none is known to."""
    if is_yes_no(record):
        return ("presence",)
    by_content = CONTENT_TYPES.get((record.content_type or "").lower().replace(" ", "_"))
    if record.image is None:
        return (by_content if by_content == "drug" else "knowledge",)
    found = [] if by_content in (None, "presence") else [by_content]
    if len(record.answer.split()) <= _LONGEST_SIDE and other_side(record.answer, record.language) is not None:
        found.insert(0, "laterality")
    if not found and number(record.answer) is not None:
        found.append("count")
    return tuple(kind for kind in dict.fromkeys(found) if kind is not None)


class AnswerPools:
    """Answers of the source, by what they answer: where plausible wrong answers come from."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._pools: dict[tuple[str, ...], Counter[str]] = {}
        self._types: dict[str, Counter[str]] = {}
        for entry in entries:
            record = entry.record
            if is_yes_no(record):
                continue
            kind = CONTENT_TYPES.get(record.content_type or "", record.content_type or "")
            self._types.setdefault(normalise(record.answer), Counter())[kind] += 1
            for key in self._keys(record):
                self._pools.setdefault(key, Counter())[record.answer] += 1

    @staticmethod
    def _keys(record: Record) -> list[tuple[str, ...]]:
        """From the most to the least specific: same question, then same content type, in the same modality first."""
        template = record.extra.get("template")
        asked = template if isinstance(template, str) else normalise(record.question)
        content, modality, language = record.content_type or "", record.modality or "", record.language
        keys = [("question", language, asked, modality), ("question", language, asked)]
        return keys + ([("content", language, content, modality), ("content", language, content)] if content else [])

    def mostly(self, answer: str, error_type: str) -> bool:
        """Whether the source gives this answer mostly to questions of this kind ("lung" is an organ, not a finding)."""
        kinds = self._types.get(normalise(answer))
        return kinds is not None and kinds[error_type] * 2 > kinds.total()

    def draw(
        self,
        record: Record,
        error_type: str,
        accepted: Collection[str],
        random: Random,
        *,
        same_modality: bool = False,
    ) -> str | None:
        """A wrong answer of the same kind, among the commonest that fit; None if the source has none.

        It contradicts the record's answer, is not among ``accepted`` (normalised), is a number if the answer is one,
        and is one of the options where the question has some. With ``same_modality`` it is one that the source gives
        in the record's modality.
        """
        if record.options:
            return _choose(Counter(record.options), record, error_type, accepted, self, random)
        for key in self._keys(record):
            if same_modality and len(key) < _KEY_WITH_MODALITY:
                continue
            chosen = _choose(self._pools.get(key, Counter()), record, error_type, accepted, self, random)
            if chosen is not None:
                return chosen
        return None


def _choose(
    pool: Counter[str], record: Record, error_type: str, accepted: Collection[str], pools: AnswerPools, random: Random
) -> str | None:
    counted = number(record.answer) is not None
    fitting = [
        answer
        for answer, _ in sorted(pool.items(), key=lambda item: (-item[1], item[0]))
        if normalise(answer) not in accepted
        and normalise(answer) not in NEGATIVES
        and contradicts(answer, record.answer)
        and fits_choice(record.question, record.answer, answer)
        and (number(answer) is not None) == counted
        and (not counted or answer.strip().isdigit() == record.answer.strip().isdigit())
        and (error_type != "finding" or (len(items(answer)) == 1 and pools.mostly(answer, "finding")))
        and not _names_modality(answer, record, error_type)
    ]
    return random.choice(fitting[:_MOST_PLAUSIBLE]) if fitting else None


def _names_modality(answer: str, record: Record, error_type: str) -> bool:
    """Whether a wrong modality is in truth the image's own, under another name."""
    return error_type == "modality" and record.modality is not None and not contradicts(answer, record.modality)


def edit(record: Record, error_type: str, pools: AnswerPools, accepted: Collection[str], random: Random) -> Edit | None:
    """A wrong answer of the given kind, or None where no safe one exists.

    Args:
        accepted: normalised answers that count as true for this question about this image.
    """
    if error_type not in error_types(record):
        return None
    if error_type == "presence":
        wrong = flipped(record.answer, record.language)
    elif error_type == "laterality":
        wrong = other_side(record.answer, record.language)
    elif error_type == "size":
        wrong = opposite_size(record.answer, record.language) or pools.draw(record, error_type, accepted, random)
    elif normalise(record.answer) in NEGATIVES:
        return None  # "none" has no counterpart of its own kind
    else:
        wrong = pools.draw(record, error_type, accepted, random)
    if wrong is None or normalise(wrong) in accepted or normalise(wrong) == normalise(record.answer):
        return None
    if record.options and wrong not in record.options:
        return None
    if error_type != "presence" and not fits_choice(record.question, record.answer, wrong):
        return None
    return Edit(error_type, wrong, severity(error_type, wrong, record.answer))
