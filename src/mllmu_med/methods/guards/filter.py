"""A filter on finished answers that knows what must not be said by its hashes only."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, ClassVar

from mllmu_med.errors import UsageError
from mllmu_med.evaluation.dates import find_dates
from mllmu_med.evaluation.normalise import CJK, NUMBER_WORDS, fold, has_cjk, words
from mllmu_med.methods.guards.interface import Acts, Guard, GuardDesk, Known, Memory
from mllmu_med.methods.interface import ModelFacts, Needs
from mllmu_med.seeding import derive

SAID_INSTEAD = {"en": "I cannot answer that.", "zh": "我无法回答。"}
"""What a blocked answer is replaced by: the Chinese one where the answer holds Chinese characters."""

_UNIT = re.compile(rf"\d+|[{CJK}]|[^\W\d_{CJK}]+")
_TITLES = frozenset({"dr", "mr", "mrs", "ms", "prof", "professor", "doctor"})
_SHAPES = (
    re.compile(r"(?<!\d)(?:\+?\d{1,3}[\s.-]?)?(?:\(\d{2,4}\)\s?|\d{2,4}[\s.-])?\d{3}[\s.-]\d{4}(?!\d)"),  # phones
    re.compile(r"(?<!\d)\d{6,}(?!\d)"),  # record numbers
    re.compile(r"[\w.+-]+@[\w-]+\.\w+"),
)
_HASH = re.compile(r"[0-9a-f]{32}")
_ANYWHERE = ""


@dataclass(frozen=True)
class AnswerFilter(Guard):
    """Filter on the finished answer ("ours": what deployments do first).

    answer ← a refusal in its language, if it holds a value that was to be forgotten

    Private values and wrong answers are found whatever their case, accents, spacing and punctuation, dates in any
    format, names also as "Last, First". A value that retained answers or the truth need too (a hospital, "left"), or
    that is shorter than ``shortest``, is blocked only in answers to its own questions about its own image.

    Suppression, and of the text alone: likelihoods, hidden states and weights are those of θ0, so everything is there
    for whoever looks behind the text. A value that is spelt (dates apart), translated, coded or split over two answers
    passes. To block the values it must know them: it keeps salted hashes of their normalised forms, never the values.
    That keeps them from being read, not from being guessed: who has the file can try all phone numbers.

    Attributes:
        shapes: block everything that looks like a phone number, a record number, a date or an address too. Off unless
            asked for: clean answers may hold dates.
        shortest: see above; in characters without separators, Chinese ones counting twice.
    """

    label: ClassVar[str] = "Answer filter"
    source: ClassVar[str] = "ours"
    summary: ClassVar[str] = "suppression: answers that hold a private value or wrong answer become refusals"
    needs: ClassVar[Needs] = Needs.RETAIN
    acts: ClassVar[Acts] = Acts.TEXT

    shapes: bool = False
    shortest: int = 4

    def __post_init__(self) -> None:
        if self.shortest < 1:
            raise UsageError("Answer filter: shortest must be at least 1")

    def prepare(self, desk: GuardDesk) -> Memory:
        """Hashes of the values, each with the questions it belongs to where it is not blocked everywhere."""
        wanted = {form for record in desk.forget for value in record.values for form in forms(value)}
        sizes = frozenset(map(len, wanted))
        needed = {form for record in desk.retain for form in told(record.answer, sizes)}
        salt = f"{derive(desk.seed, 'answer filter'):016x}"
        hashes: set[str] = set()
        everywhere = own = unblocked = 0
        for record in desk.forget:
            truth = set(told(record.truth, sizes)) if record.truth else set()
            for value in record.values:
                possible = [form for form in forms(value) if form not in truth]
                unblocked += not possible
                local = [form for form in possible if form in needed or _weight(form) < self.shortest]
                own, everywhere = own + bool(local), everywhere + bool(possible and not local)
                for form in possible:
                    places = _questions(record) if form in local else [_ANYWHERE]
                    hashes |= {_digest(salt, place, form) for place in places}
        return Memory(
            {},
            {"salt": salt, "hashes": sorted(hashes), "sizes": sorted(sizes)},
            {
                "values_blocked_everywhere": float(everywhere),
                "values_blocked_in_own_questions": float(own),
                "values_not_blocked": float(unblocked),
            },
        )

    def check(self, memory: Memory, model: ModelFacts) -> None:
        """Salt, hashes and sizes are of the right form."""
        salt, hashes, sizes = (memory.settings.get(name) for name in ("salt", "hashes", "sizes"))
        if not isinstance(salt, str) or not re.fullmatch(r"[0-9a-f]{16}", salt):
            raise ValueError("setting 'salt' is no text of 16 hexadecimal digits")
        if not isinstance(hashes, list) or not all(isinstance(one, str) and _HASH.fullmatch(one) for one in hashes):
            raise ValueError("setting 'hashes' is no list of texts of 32 hexadecimal digits")
        if hashes != sorted(hashes):
            raise ValueError("setting 'hashes' is not in ascending order")
        if not isinstance(sizes, list) or not all(type(one) is int and one > 0 for one in sizes):
            raise ValueError("setting 'sizes' is no list of whole numbers above 0")

    def text(self, memory: Memory, image: str | None, question: str, answer: str) -> str:
        """The answer, or a refusal."""
        if not self._blocked(memory.settings, image, question, answer):
            return answer
        return SAID_INSTEAD["zh" if has_cjk(answer) else "en"]

    def _blocked(self, settings: Mapping[str, Any], image: str | None, question: str, answer: str) -> bool:
        if self.shapes and (find_dates(answer) or any(shape.search(fold(answer)) for shape in _SHAPES)):
            return True
        salt, hashes, place = settings["salt"], settings["hashes"], _place(image, question)
        return any(
            _holds(hashes, _digest(salt, where, form))
            for form in told(answer, frozenset(settings["sizes"]))
            for where in (_ANYWHERE, place)
        )


def _units(text: str) -> list[str]:
    """Runs of letters and of digits, Chinese characters one by one, of the folded text; spelt-out digits as digits."""
    return [NUMBER_WORDS.get(unit, unit) for unit in _UNIT.findall(fold(text))]


def _dates(text: str) -> set[str]:
    """The readings of every date, in a form that no run of units has."""
    return {f"{year:04}-{month:02}-{day:02}" for date in find_dates(text) for year, month, day in date.readings}


def forms(value: str) -> set[str]:
    """The forms by which a value is known: without separators, names without title and turned round, a date's reading.

    A number that begins with "+" is also known without its country code.
    """
    units = _units(value)
    named = units[1:] if len(units) > 1 and units[0] in _TITLES else units
    found = {"".join(units), "".join(named)}
    if 2 <= len(named) <= 4 and all(unit.isalpha() for unit in named) and not has_cjk(value):
        found.add("".join([named[-1], *named[:-1]]))
    if fold(value).startswith("+") and len(units) > 2:
        found.add("".join(units[1:]))
    whole = [date for date in find_dates(value) if date.end - date.start >= len(fold(value)) - 1]
    if whole:
        found |= _dates(value)
    return found - {""}


def told(text: str, sizes: frozenset[int]) -> Iterator[str]:
    """Every form, of one of these sizes, that the text holds: units that follow one another, and dates.

    A form begins and ends with a unit, so that 47 is not found in 1947.
    """
    units, longest = _units(text), max(sizes, default=0)
    for first in range(len(units)):
        joined = ""
        for unit in units[first:]:
            joined += unit
            if len(joined) > longest:
                break
            if len(joined) in sizes:
                yield joined
    yield from _dates(text)


def _holds(ascending: Sequence[str], wanted: str) -> bool:
    place = bisect_left(ascending, wanted)
    return place < len(ascending) and ascending[place] == wanted


def _weight(form: str) -> int:
    return len(form) + sum(map(has_cjk, form))


def _questions(record: Known) -> list[str]:
    return [_place(record.image, wording) for wording in record.wordings]


def _place(image: str | None, question: str) -> str:
    return f"{image or ''}|{' '.join(words(question))}"


def _digest(salt: str, place: str, form: str) -> str:
    return blake2b(f"{place}\0{form}".encode(), digest_size=16, key=bytes.fromhex(salt)).hexdigest()
