"""Numbers written as words, English and Chinese (the numerals are the Japanese ones too), read as digits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from mllmu_med.evaluation.normalise import CACHE, CJK

_DIGITS = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
}  # fmt: skip
_OH = frozenset({"oh", "o", "nought", "naught", "nil"})  # a zero only beside other digits
_TEENS = {
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19,
}  # fmt: skip
_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fourty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80,
    "ninety": 90,
}  # fmt: skip
_ORDINALS = {
    "first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9,
    "tenth": 10, "eleventh": 11, "twelfth": 12, "thirteenth": 13, "fourteenth": 14, "fifteenth": 15, "sixteenth": 16,
    "seventeenth": 17, "eighteenth": 18, "nineteenth": 19, "twentieth": 20, "thirtieth": 30,
}  # fmt: skip
_SCALES = {"thousand": 1000, "million": 1_000_000}
_LARGEST = 1_000_000_000
_TIMES = {"double": 2, "triple": 3, "treble": 3}
_CENTURIES = frozenset({"19", "20"})

_HAN_DIGITS = {
    "零": 0, "〇": 0, "○": 0, "一": 1, "壹": 1, "幺": 1, "二": 2, "两": 2, "贰": 2, "弐": 2, "三": 3, "叁": 3,
    "参": 3, "四": 4, "肆": 4, "五": 5, "伍": 5, "六": 6, "陆": 6, "七": 7, "柒": 7, "八": 8, "捌": 8, "九": 9,
    "玖": 9,
}  # fmt: skip
_HAN_TENS = {"十": 10, "拾": 10, "百": 100, "佰": 100, "千": 1000, "仟": 1000}
_HAN_NUMERAL = frozenset(_HAN_DIGITS) | frozenset(_HAN_TENS)
HAN_RUN = re.compile(f"[{''.join(sorted(_HAN_NUMERAL))}]+")

TOKEN = re.compile(rf"\d+|(?![・゠])[{CJK}〇○]|[^\W\d_{CJK}〇○]+")
"""A run of digits, one Chinese or Japanese character, or a run of other letters."""

_NUMBER_WORDS = frozenset(_DIGITS) | frozenset(_TEENS) | frozenset(_TENS) | frozenset(_ORDINALS) | frozenset(_TIMES)
SAID = _NUMBER_WORDS | _OH | _HAN_NUMERAL
"""Tokens that a number in words may begin with."""
_HAS_WORDS = re.compile(rf"(?<![a-z])(?:{'|'.join(sorted(_NUMBER_WORDS))})|{HAN_RUN.pattern}")


class Reading(NamedTuple):
    """Tokens ``first`` to ``end`` (exclusive) read as ``text``; ``ordinal`` for "fourth" and the like."""

    first: int
    end: int
    text: str
    ordinal: bool = False


def has_numerals(folded: str) -> bool:
    """Whether the folded text may hold a number written in words or Chinese numerals."""
    return _HAS_WORDS.search(folded) is not None


def positional(run: str) -> bool:
    """Whether a run of Chinese numerals is digits alone ("一九五七")."""
    return all(sign in _HAN_DIGITS for sign in run)


def han_number(run: str) -> str | None:
    """A run of Chinese numerals as digits: positional ("一九五七": 1957) or with tens ("三百二十一": 321).

    None where it is neither ("十百").
    """
    if positional(run):
        return "".join(str(_HAN_DIGITS[sign]) for sign in run)
    total, digit, last, zero = 0, None, 10_000, False
    for sign in run:
        if sign in _HAN_DIGITS:
            if digit is not None and not (zero and digit == 0):
                return None
            digit, zero = _HAN_DIGITS[sign], _HAN_DIGITS[sign] == 0
            continue
        unit = _HAN_TENS[sign]
        if unit >= last or digit == 0:
            return None
        total, digit, last = total + (1 if digit is None else digit) * unit, None, unit
    return str(total + (digit or 0))


def _below_hundred(tokens: tuple[str, ...], at: int) -> Iterator[tuple[int, int, bool]]:
    """(end, number, ordinal) of every reading below 100 that begins at a token, the longest last."""
    word = tokens[at] if at < len(tokens) else ""
    if word in _DIGITS:
        yield at + 1, _DIGITS[word], False
    elif word in _TEENS:
        yield at + 1, _TEENS[word], False
    elif word in _ORDINALS:
        yield at + 1, _ORDINALS[word], True
    elif word in _TENS:
        yield at + 1, _TENS[word], False
        following = tokens[at + 1] if at + 1 < len(tokens) else ""
        if _DIGITS.get(following, 0) > 0:
            yield at + 2, _TENS[word] + _DIGITS[following], False
        elif _ORDINALS.get(following, 10) < 10:
            yield at + 2, _TENS[word] + _ORDINALS[following], True


def _below_thousand(tokens: tuple[str, ...], at: int) -> Iterator[tuple[int, int, bool]]:
    """The same with hundreds: "four hundred and seven", "nineteen hundred fifty-seven"."""
    for end, number, ordinal in _below_hundred(tokens, at):
        yield end, number, ordinal
        if not ordinal and number and tokens[end : end + 1] == ("hundred",):
            yield end + 1, number * 100, False
            for last, small, is_ordinal in _below_hundred(tokens, _past_and(tokens, end + 1)):
                if small > 0:
                    yield last, number * 100 + small, is_ordinal


def _cardinals(tokens: tuple[str, ...], at: int, limit: int) -> Iterator[tuple[int, int, bool]]:
    """The same with thousands and millions, the largest below ``limit``."""
    for end, number, ordinal in _below_thousand(tokens, at):
        yield end, number, ordinal
        scale = _SCALES.get(tokens[end], limit) if end < len(tokens) else limit
        if ordinal or not 0 < number < 1000 or scale >= limit:
            continue
        yield end + 1, number * scale, False
        for last, small, is_ordinal in _cardinals(tokens, _past_and(tokens, end + 1), scale):
            if 0 < small < scale:
                yield last, number * scale + small, is_ordinal


def _past_and(tokens: tuple[str, ...], at: int) -> int:
    return at + 1 if tokens[at : at + 1] == ("and",) else at


def english_readings(tokens: tuple[str, ...], at: int) -> Iterator[Reading]:
    """Every reading of the English number words that begin at a token: "forty seven" as 40 and as 47, "double five" as
    55, "oh" as 0."""
    word = tokens[at]
    if word in _OH:
        yield Reading(at, at + 1, "0")
    elif word in _TIMES and at + 1 < len(tokens):
        digit = tokens[at + 1]
        said = "0" if digit in _OH else str(_DIGITS.get(digit, digit))
        if len(said) == 1 and said.isalnum():
            yield Reading(at, at + 2, said * _TIMES[word])
    elif word in _NUMBER_WORDS:
        for end, number, ordinal in _cardinals(tokens, at, _LARGEST):
            yield Reading(at, end, str(number), ordinal)


class Rewritten(NamedTuple):
    """A text with digits for its number words; ``starts[i]``, ``ends[i]``: where its character i was in the text."""

    text: str
    starts: tuple[int, ...]
    ends: tuple[int, ...]


@lru_cache(CACHE)
def in_digits(folded: str) -> Rewritten | None:
    """The folded text with digits for its number words, each phrase in its one natural reading, ordinals as "24th".

    Two phrases that name a year by its century are one number: "nineteen fifty-seven", "twenty oh eight". None where
    the text holds no number words.
    """
    if not has_numerals(folded):
        return None
    found = list(TOKEN.finditer(folded))
    tokens = tuple(match.group() for match in found)
    pieces: list[tuple[str, int, int]] = []
    at = position = 0
    while at < len(tokens):
        reading = _natural(folded, found, tokens, at)
        if reading is None:
            at += 1
            continue
        start, end = found[reading.first].start(), found[reading.end - 1].end()
        pieces += [(folded[place], place, place + 1) for place in range(position, start)]
        pieces += [(sign, start, end) for sign in reading.text + ("th" if reading.ordinal else "")]
        at, position = reading.end, end
    pieces += [(folded[place], place, place + 1) for place in range(position, len(folded))]
    return Rewritten("".join(p[0] for p in pieces), tuple(p[1] for p in pieces), tuple(p[2] for p in pieces))


def _joined(folded: str, found: Sequence[re.Match[str]], first: int, end: int) -> bool:
    """Whether only a space or a hyphen stands between each two of these tokens."""
    return all(folded[found[k].end() : found[k + 1].start()] in (" ", "-") for k in range(first, end - 1))


def _natural(folded: str, found: Sequence[re.Match[str]], tokens: tuple[str, ...], at: int) -> Reading | None:
    if tokens[at] in _HAN_NUMERAL:
        run = HAN_RUN.match(folded, found[at].start())
        number = han_number(run.group()) if run else None
        return Reading(at, at + len(run.group()), number) if run and number else None
    if tokens[at] not in _NUMBER_WORDS or tokens[at] in _TIMES:
        return None
    longest = max(
        (one for one in english_readings(tokens, at) if _joined(folded, found, at, one.end)), key=lambda one: one.end
    )
    if longest.text not in _CENTURIES or longest.end >= len(tokens) or not _joined(folded, found, at, longest.end + 1):
        return longest
    after = longest.end
    if tokens[after] in ("oh", "o", "zero") and after + 1 < len(tokens) and _DIGITS.get(tokens[after + 1], 0):
        return Reading(at, after + 2, f"{longest.text}0{_DIGITS[tokens[after + 1]]}")
    years = [one for one in _below_hundred(tokens, after) if one[1] >= 10 and not one[2]]
    years = [one for one in years if _joined(folded, found, at, one[0])]
    if not years:
        return longest
    end, last_two, _ = years[-1]
    return Reading(at, end, f"{longest.text}{last_two}")
