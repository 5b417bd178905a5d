"""The forms of a private value: what remains of it without separators, in every way that people write its kind."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import NamedTuple

from mllmu_med.evaluation.normalise import CACHE, NUMBER_WORDS, fold, has_cjk
from mllmu_med.evaluation.private.moments import whole_date, whole_moment
from mllmu_med.evaluation.private.numerals import TOKEN

_TITLES = frozenset({"dr", "mr", "mrs", "ms", "prof", "professor", "doctor", "docteur", "doktor", "herr", "frau"})
_DEGREES = frozenset({"md", "frcr", "phd", "mbbs", "do"})
_HAN_TITLES = re.compile("(?:医生|主任|医师|医師|先生|女士)$")
_INITIAL = re.compile(r"^[^\W\d_]\.$")
_SCHEME = re.compile(r"^(?:https?://)?(?:www\.)?")
_IPV4 = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
_PHONE_SHAPE = re.compile(r"(?:\+\d{1,3}[\s.-]?)?\(?\d[\d\s().-]*\d")
_LEAST_NATIONAL, _MOST_NATIONAL = 9, 11
"""Digits of a telephone number without its trunk zero and country code."""

CALLING_CODES = frozenset(
    {"1", "7", "20", "27", "30", "31", "32", "33", "34", "36", "39", "40", "41", "43", "44", "45", "46", "47", "48",
     "49", "51", "52", "53", "54", "55", "56", "57", "58", "60", "61", "62", "63", "64", "65", "66", "81", "82", "84",
     "86", "90", "91", "92", "93", "94", "95", "98", "351", "352", "353", "354", "358", "420", "421", "852", "886"}
)  # fmt: skip
"""International calling codes (ITU-T E.164): the zones of one and two digits, and the larger ones of three."""

_GERMAN = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa", "æ": "ae", "œ": "oe"})
_STREETS = {
    "street": ("st",), "road": ("rd",), "avenue": ("ave", "av"), "lane": ("ln",), "avenida": ("av", "avda", "avd"),
    "calle": ("c",), "camino": ("cno",), "paseo": ("po", "ps"), "rue": ("r",), "chemin": ("ch", "che"),
    "allee": ("all",), "impasse": ("imp",), "unit": ("u", "apt", "apartment", "flat"),
}  # fmt: skip
_CHOME = re.compile(r"(?<=\d)(?:丁目|番地|番|号)(?=\d|$|-)")


def compact(text: str) -> str:
    """The folded text's letters and digits alone, number words of one digit as digits."""
    return "".join(NUMBER_WORDS.get(unit, unit) for unit in TOKEN.findall(fold(text)))


def _plain(words: list[str]) -> str:
    return "".join(unit for word in words for unit in TOKEN.findall(word))


def _orders(words: list[str]) -> Iterator[str]:
    """A name as it stands and with its last one, two, … words in front: "Lopez, Maria"."""
    yield _plain(words)
    if 2 <= len(words) <= 4:
        yield from (_plain(words[turn:] + words[:turn]) for turn in range(1, len(words)))


def _name_forms(folded: str) -> Iterator[str]:
    """Names: without title and degree, without initials, last name first."""
    words = [word.strip(",;") for word in folded.split()]
    words = [word for word in words if word]
    bare = [word for word in words if word.strip(".") not in _TITLES and word.strip(".") not in _DEGREES]
    if not bare or not all(_plain([word]).isalpha() for word in bare):
        return
    yield from _orders(bare)
    full = [word for word in bare if not _INITIAL.match(word)]
    if len(full) >= 2:
        yield from _orders(full)
    shorter = _HAN_TITLES.sub("", folded)
    if has_cjk(folded) and len(shorter) >= 2:
        yield _plain([shorter])


class Phone(NamedTuple):
    """A telephone number without country code and trunk zero; ``code``: the country code that it was written with;
    ``trunk``: it was written with a zero in front."""

    digits: str
    code: str | None
    trunk: bool


def national_number(folded: str) -> Phone | None:
    """What a text of the shape of a telephone number is without country code and trunk zero, where that is at least
    nine digits long; None for any other text."""
    if not _PHONE_SHAPE.fullmatch(folded):
        return None
    digits = "".join(sign for sign in folded if sign.isdigit())
    if folded.startswith("+"):
        code = next((digits[:size] for size in (1, 2, 3) if digits[:size] in CALLING_CODES), "")
        number = Phone(digits[len(code) :], code, trunk=False)
    elif digits.startswith("00"):
        return None
    else:
        number = Phone(digits.removeprefix("0"), None, digits.startswith("0"))
    return (
        number
        if (number.code or folded[0] != "+") and _LEAST_NATIONAL <= len(number.digits) <= _MOST_NATIONAL
        else None
    )


def _short_street(word: str) -> tuple[str, ...]:
    return (word.removesuffix("asse"),) if word.endswith("strasse") else ()


def _address_forms(folded: str) -> Iterator[str]:
    """Addresses with the usual short words for street and unit, and Japanese blocks as "1-2-3"."""
    words = TOKEN.findall(folded)
    if not any(word.isdigit() for word in words) or folded.isdigit():
        return
    choices = [(word, *_STREETS.get(word, ()), *_short_street(word)) for word in words]
    if any(len(ways) > 1 for ways in choices):
        yield from map("".join, product(*choices))
    if words[0] == "unit":
        yield "".join(words[1:])
    if "丁目" in folded:
        yield "".join(TOKEN.findall(_CHOME.sub("", folded)))


def _day_forms(value: str) -> Iterator[str]:
    """Days in digits, year first, for answers that read them out one by one; with the clock where there is one."""
    date, clock = whole_date(value), ""
    moment = whole_moment(value) if date is None else None
    if moment is not None:
        date, clock = moment[0], f"{moment[1].minute // 60:02}{moment[1].minute % 60:02}"
    if date is not None:
        yield from (f"{year}{month:02}{day:02}{clock}" for year, month, day in sorted(date.readings))


def _without_accents(text: str) -> str:
    return "".join(sign for sign in unicodedata.normalize("NFD", text) if not unicodedata.combining(sign))


@lru_cache(CACHE)
def forms(value: str) -> tuple[str, ...]:
    """Every text, without separators, by which the value is known; the value's own first.

    Names without title, degree and initials, and last name first; umlauts as two letters ("Mueller"); telephone numbers
    without country code or trunk zero; web addresses without scheme and "www."; addresses with "St", "Rd", …; days in
    digits.
    """
    folded = fold(value)
    found = [compact(value), *_name_forms(folded), *_address_forms(folded), *_day_forms(value)]
    letters = unicodedata.normalize("NFC", unicodedata.normalize("NFKC", value).casefold())
    spelt = letters.translate(_GERMAN)
    if spelt != letters:
        spelt = fold(_without_accents(spelt))
        found += [_plain([spelt]), *_name_forms(spelt), *_address_forms(spelt)]
    if "/" in folded or folded.startswith("www."):
        found.append(_plain([_SCHEME.sub("", folded)]))
    number = national_number(folded)
    if number is not None:
        found.append(number.digits)
    return tuple(dict.fromkeys(form for form in found if form))


@lru_cache(CACHE)
def groups(value: str) -> frozenset[int] | None:
    """Where the groups of an IPv4 address end, counted in digits; None for other values.

    Elsewhere grouping is a matter of taste; in 192.0.2.17 and 192.0.21.7 it makes two addresses.
    """
    folded = fold(value)
    if not _IPV4.fullmatch(folded):
        return None
    ends, total = set(), 0
    for group in folded.split("."):
        total += len(group)
        ends.add(total)
    return frozenset(ends)


@lru_cache(CACHE)
def parts(value: str) -> tuple[str, ...]:
    """The parts of an address, which may be told in any order: "12 Willow Street" and "Neskaford". Empty where it has
    one part only, or a part too short to be looked for alone."""
    found = tuple(part.strip() for part in fold(value).split(",") if part.strip())
    numbered = any(sign.isdigit() for sign in value)
    return found if len(found) == 2 and numbered and all(len(compact(part)) >= 4 for part in found) else ()
