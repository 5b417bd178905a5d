"""Other values of the format that a value has: what could as well have stood in its place."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from math import prod
from random import Random

from mllmu_med.benchmark.identities.classes import LOCALES, formats, settings
from mllmu_med.benchmark.identities.recognising import format_of

_FEWEST_DIGITS = 3
_SHUFFLED = 1 << 14  # values; a format with more of them is drawn from until there are enough new ones

_DAYS = ("date", "admission")
_WRITTEN_DAYS = (
    "%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d",
    "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%d.%m.%Y %H:%M", "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M",
)  # fmt: skip
_FURTHEST = 1826  # days: five years to either side
_DAY = 24 * 60  # minutes
_KANA = re.compile("[\u3040-\u30ff]")
_HAN = re.compile("[\u3400-\u9fff]")
_RUN = re.compile(r"[^\W\d_]{2,}")
_OF_ADDRESSES = frozenset({"http", "https", "www", "com", "org", "net", "edu", "gov"})
_VOWELS, _CONSONANTS = "aeiou", "bcdfghjklmnpqrstvwxz"
_PLAIN_CONSONANTS = "bdfgklmnprstv"  # any two of them can be said behind one another


def another(phi_class: str, value: str, language: str, space: float, random: Random) -> str | None:
    """Another value of the same format, drawn evenly; None where no format is known or the value is its only one."""
    kind = format_of(phi_class, value, language, space)
    if kind is None or kind.size < 2:
        return None
    own = kind.index(value)
    place = random.randrange(kind.size - 1)
    return kind.at(place + (own is not None and place >= own)).value


def values_like(phi_class: str, value: str, language: str, space: float, random: Random) -> Iterator[str]:
    """Values of the value's format, each once, in random order; the true one may be among them.

    A value in no known format (a real patient's) gets other digits, if it has three or more; such a name becomes one
    from the lists of names; for others there is nothing to draw from.
    """
    kind = format_of(phi_class, value, language, space)
    if kind is None and len(re.findall("[0-9]", value)) >= _FEWEST_DIGITS:
        yield from _other_digits(value, random)
        return
    if kind is None and phi_class == "name":
        kind = formats("name", settings(language, LOCALES, varied=True)[0])[0]
    if kind is not None:
        yield from (kind.at(index).value for index in _indices(kind.size, random))


def _indices(size: int, random: Random) -> Iterator[int]:
    """The numbers below ``size``, each once, in random order."""
    if size <= _SHUFFLED:
        yield from random.sample(range(size), size)
        return
    drawn: set[int] = set()
    while len(drawn) < size:
        index = random.randrange(size)
        if index not in drawn:
            drawn.add(index)
            yield index


def _other_digits(value: str, random: Random) -> Iterator[str]:
    """The value with other digits; a leading digit of a number that is not 0 stays so."""
    pieces = re.split(r"([0-9]+)", value)
    lowest = [10 ** (len(group) - 1) if group[0] != "0" and len(group) > 1 else 0 for group in pieces[1::2]]
    sizes = [10 ** len(group) - low for group, low in zip(pieces[1::2], lowest, strict=True)]
    for index in _indices(prod(sizes), random):
        for place, (low, size) in enumerate(zip(lowest, sizes, strict=True)):
            index, part = divmod(index, size)
            pieces[2 * place + 1] = f"{low + part:0{len(pieces[2 * place + 1])}d}"
        yield "".join(pieces)


def strangers_values(
    phi_class: str, value: str, language: str, space: float, random: Random, shared: Collection[str] = ()
) -> Iterator[str]:
    """As :func:`values_like`, for somebody who must share nothing with the patient: what a real value holds beside its
    digits (the street of an address, the name in a mail address) is made up as well.

    Values in no known format: a date in digits becomes one within five years of it; a name is written in its own script
    and letter case; in all others each run of two or more letters becomes :func:`word_like` it.

    Args:
        shared: runs of letters, in lower case, that belong to the format because several patients' values hold them
            ("acc" in ACC-2024-00017); they stay.
    """
    if phi_class == "name":
        language = _language_of_script(value, language)
    others = values_like(phi_class, value, language, space, random)
    if format_of(phi_class, value, language, space) is not None:
        yield from others
        return
    written = _written_day(value) if phi_class in _DAYS else None
    if written is not None:
        yield from _other_days(value, written, random)
    elif phi_class == "name" and not any(map(str.isdigit, value)):
        yield from (in_case_of(value, other) for other in others)
    else:
        for other in others:
            told = _with_other_words(other, random, shared)
            if told is None:
                return
            yield told


def _language_of_script(name: str, language: str) -> str:
    """The language whose lists of names are in the script of this one; headers do not say it."""
    if _KANA.search(name):
        return "ja"
    if _HAN.search(name):
        return language if language.lower()[:2] in ("zh", "ja") else "zh"
    return "en" if language.lower()[:2] in ("zh", "ja") and name.isascii() else language


def _written_day(value: str) -> str | None:
    """How a day is written in digits; None for what is no day."""
    for written in _WRITTEN_DAYS:
        try:
            if datetime.strptime(value, written).strftime(written) == value:
                return written
        except ValueError:
            continue
    return None


def _other_days(value: str, written: str, random: Random) -> Iterator[str]:
    """Other days near this one, each once; with another time of the day where there is one."""
    day = datetime.strptime(value, written)
    for index in _indices(2 * _FURTHEST, random):
        away = timedelta(index - _FURTHEST + (index >= _FURTHEST))
        clock = timedelta(minutes=random.randrange(_DAY)) if "%H" in written else timedelta(0)
        try:
            other = day.replace(hour=0, minute=0) + away + clock
        except OverflowError:  # 9999-12-31 stands for an open end: no day comes after it
            continue
        yield other.strftime(written)


def _with_other_words(value: str, random: Random, shared: Collection[str]) -> str | None:
    """The value with other words in it; None where one cannot be made up."""
    text, place = "", 0
    for match in _RUN.finditer(value):
        run = match[0].lower()
        word = match[0] if run in shared or run in _OF_ADDRESSES else word_like(match[0], random)
        if word is None:
            return None
        text, place = text + value[place : match.start()] + word, match.end()
    return text + value[place:]


def in_case_of(written: str, other: str) -> str:
    """``other`` in capitals or in small letters where ``written`` is; else as it is."""
    return other.upper() if written.isupper() else other.lower() if written.islower() else other


def word_like(word: str, random: Random) -> str | None:
    """A made-up word of the same length and shape: for each vowel another vowel, for each consonant another consonant,
    a capital for a capital; all other signs stay. A y before a vowel is a consonant, any other a vowel. None for a word
    with letters of another script than Latin, or with none at all."""
    bases = [unicodedata.normalize("NFD", sign).casefold()[:1] for sign in word]
    made, changed = "", False
    for sign, base, following in zip(word, bases, [*bases, ""][1:], strict=True):
        is_vowel = base in _VOWELS or (base == "y" and following not in tuple(_VOWELS))
        if not sign.isalpha():
            made += sign
        elif base not in _VOWELS + _CONSONANTS + "y":
            return None
        else:
            letter = random.choice([one for one in (_VOWELS if is_vowel else _PLAIN_CONSONANTS) if one != base])
            made, changed = made + (letter.upper() if sign.isupper() else letter), True
    return made if changed else None
