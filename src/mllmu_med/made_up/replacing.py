"""Putting other values in the place of a patient's own, wherever a text names them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from mllmu_med.benchmark.identities.others import in_case_of
from mllmu_med.benchmark.sample import Span
from mllmu_med.evaluation.normalise import CJK, has_cjk

PEOPLE = ("name", "physician")
"""Classes whose values are names of people, who may be called by a part of them."""

_LETTERS = re.compile(r"[^\W\d_]+")
_NO_NAME = frozenset(
    {"dr", "mr", "mrs", "ms", "prof", "professor", "doctor", "doktor", "docteur", "herr", "frau", "phd", "frcr", "mbbs",
     "van", "von", "der", "den", "dos", "del", "las", "los", "und", "bin", "ibn", "abu", "the", "and", "md", "jr", "sr",
     "ii", "de", "la", "le", "du", "di", "da", "el", "al", "af", "av", "zu", "st"}
)  # fmt: skip
_SHORTEST = 2


class Slot(NamedTuple):
    """A place where a value or a part of a name stands.

    Attributes:
        key: the value, folded: what it is replaced by is found under this.
        written: as it stands in the text.
        span: the private value that the text marks here, if it does.
    """

    key: str
    written: str
    span: Span | None = None


Cut = tuple[str | Slot, ...]
"""A text in pieces: what stays, and the slots."""


class New(NamedTuple):
    """What is replaced, as its owner writes it, and by what."""

    old: str
    new: str


def name_parts(name: str) -> tuple[str, ...]:
    """What a person may be called by: the words of the name, but for titles, particles and initials; of a Chinese name
    in one word what follows its first character."""
    if has_cjk(name) and len(name.split()) == 1:
        return (name[1:],) if len(name) > _SHORTEST else ()
    words = _LETTERS.findall(name)
    return tuple(word for word in words if len(word) >= _SHORTEST and word.casefold() not in _NO_NAME)


def with_parts(values: Iterable[tuple[str, str, str]]) -> dict[str, New]:
    """Key → what it is replaced by, for the values and for the parts of names: the first part by the first one of the
    new name, every other part by the last.

    Args:
        values: class, value, and the other value in its place.
    """
    found: dict[str, New] = {}
    values = list(values)
    for _, old, new in values:
        found.setdefault(old.casefold(), New(old, new))
    for phi_class, old, new in values:
        if phi_class in PEOPLE:
            others = name_parts(new) or (new,)
            parts = name_parts(old)
            for place, part in enumerate(parts):
                other = others[0] if place == 0 and len(parts) > 1 else others[-1]
                found.setdefault(part.casefold(), New(part, other))
    return found


def finder(texts: Iterable[str]) -> re.Pattern[str]:
    """A pattern that finds any of the texts in whatever letter case, the longest first, and never inside a word or a
    number."""
    longest = sorted({text.casefold(): text for text in texts}.values(), key=lambda text: (-len(text), text))
    return re.compile("|".join(map(_bounded, longest)) or r"(?!)", re.IGNORECASE)


def _bounded(text: str) -> str:
    """No digit beside a digit, no letter beside a letter; Chinese and Japanese are written without gaps."""

    def beside(sign: str) -> str:
        if sign.isdigit():
            return r"\d"
        return rf"[^\W\d_{CJK}]" if sign.isalpha() and not has_cjk(sign) else r"(?!)"

    return rf"(?<!{beside(text[0])}){re.escape(text)}(?!{beside(text[-1])})"


def cut(text: str, pattern: re.Pattern[str], spans: Sequence[Span] = ()) -> Cut:
    """The text with slots for what its spans mark, and for what the pattern finds beside them. Of spans that overlap
    the first and longest is kept."""
    pieces: list[str | Slot] = []
    place = 0
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        if span.start >= place:
            pieces += [*_found(text[place : span.start], pattern), Slot(span.value.casefold(), span.value, span)]
            place = span.end
    pieces += _found(text[place:], pattern)
    return tuple(piece for piece in pieces if piece != "")


def _found(text: str, pattern: re.Pattern[str]) -> list[str | Slot]:
    pieces: list[str | Slot] = []
    place = 0
    for match in pattern.finditer(text):
        pieces += [text[place : match.start()], Slot(match[0].casefold(), match[0])]
        place = match.end()
    return [*pieces, text[place:]]


class Filled(NamedTuple):
    """A text with other values, and where the marked ones are now."""

    text: str
    spans: tuple[Span, ...]


def fill(pieces: Cut, new: Mapping[str, New]) -> Filled | None:
    """The text with other values in its slots, in the letter case that the old ones have there; None where a slot has
    none."""
    text = ""
    spans = []
    for piece in pieces:
        if isinstance(piece, str):
            text += piece
            continue
        found = new.get(piece.key)
        if found is None:
            return None
        other = found.new if piece.written == found.old else in_case_of(piece.written, found.new)
        if piece.span is not None:
            spans.append(Span(piece.span.phi_class, other, len(text), len(text) + len(other), piece.span.space))
        text += other
    return Filled(text, tuple(spans))
