"""Calendar dates in free text, whatever the way they are written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from mllmu_med.evaluation.normalise import CACHE, fold
from mllmu_med.evaluation.private.numerals import in_digits

# Folded, so without accents ("août": aout). No name means two different months in two of the languages.
_MONTHS = {
    name: number
    for names in (
        "january february march april may june july august september october november december",
        "jan feb mar apr may jun jul aug sep oct nov dec",
        "januar februar marz april mai juni juli august september oktober november dezember",
        "janvier fevrier mars avril mai juin juillet aout septembre octobre novembre decembre",
        "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
        "janv fevr maerz avr - juni juil - sept okt - dez",
    )
    for number, name in enumerate(names.split(), start=1)
}
_ERAS = {"明治": 1867, "大正": 1911, "昭和": 1925, "平成": 1988, "令和": 2018}
_NAME = "|".join(sorted((name for name in _MONTHS if name != "-"), key=len, reverse=True))
_ORDINAL = r"(?:st|nd|rd|th|er)?"
_LINK = r"(?:\s?[-./,]\s?|\s)"  # between the parts of a date with a month's name
_OF = r"(?:(?:day\s)?(?:of|de|del)\s)?"
_YEAR = r"(?:(?:of|de|in)\s(?:the\s)?(?:year\s)?)?(?P<year>\d{4}|'\d{2}|\d{2})(?![\d:])"
_FORMS = (
    re.compile(
        r"(?<!\d)(?P<year>\d{4})\s?[-./年]\s?(?P<month>\d{1,2})\s?[-./月]\s?(?P<day>\d{1,2})(?!\d)(?:\s?[日号])?"
    ),
    re.compile(
        rf"(?P<era>{'|'.join(_ERAS)})\s?(?P<count>\d{{1,2}}|元)\s?[-./年]\s?(?P<month>\d{{1,2}})\s?[-./月]\s?"
        r"(?P<day>\d{1,2})(?!\d)(?:\s?日)?"
    ),
    re.compile(rf"(?<!\d)(?P<day>\d{{1,2}}){_ORDINAL}\.?(?:{_LINK})?{_OF}(?P<name>{_NAME})(?![a-z])\.?{_LINK}{_YEAR}"),
    re.compile(rf"(?<![a-z])(?P<name>{_NAME})(?![a-z])\.?{_LINK}(?:the\s)?(?P<day>\d{{1,2}}){_ORDINAL}{_LINK}{_YEAR}"),
    re.compile(rf"(?<!\d)(?P<year>\d{{4}}){_LINK}(?P<name>{_NAME})(?![a-z])\.?{_LINK}(?P<day>\d{{1,2}})(?!\d)"),
    re.compile(r"(?<!\d)(?P<first>\d{1,2})\s?[-./]\s?(?P<second>\d{1,2})\s?[-./]\s?(?P<year>\d{4})(?!\d)"),
    re.compile(r"(?<![\d.-])(?P<first>\d{2})\s(?P<second>\d{2})\s(?P<year>\d{4})(?!\d)"),
    re.compile(r"(?<![\d.-])(?P<year>\d{4})\s(?P<month>\d{2})\s(?P<day>\d{2})(?!\d)"),
    re.compile(
        r"(?<![\d./-])(?P<first>\d{1,2})\s?(?P<sign>[-./])\s?(?P<second>\d{1,2})\s?(?P=sign)\s?(?P<year>\d{2})"
        r"(?![\d:]|[./-]\d)"
    ),
    re.compile(r"(?<!\d)(?P<joined>\d{8})(?!\d)"),
)
_LONGEST_DAY = 31


class Date(NamedTuple):
    """A date found in the folded text: its readings as (year, month, day) and its place."""

    readings: frozenset[tuple[int, int, int]]
    start: int
    end: int


def _years(text: str) -> list[int]:
    """A year as written; one of two digits in both centuries."""
    digits = text.lstrip("'")
    return [int(digits)] if len(digits) == 4 else [1900 + int(digits), 2000 + int(digits)]


def _candidates(parts: dict[str, str]) -> Iterator[tuple[int, int, int]]:
    if "joined" in parts:
        digits = parts["joined"]
        yield int(digits[:4]), int(digits[4:6]), int(digits[6:])
        yield int(digits[4:]), int(digits[2:4]), int(digits[:2])
        yield int(digits[4:]), int(digits[:2]), int(digits[2:4])
    elif "era" in parts:
        count = 1 if parts["count"] == "元" else int(parts["count"])
        yield _ERAS[parts["era"]] + count, int(parts["month"]), int(parts["day"])
    elif "sign" in parts:
        first, second, last = (int(parts[name]) for name in ("first", "second", "year"))
        if last > _LONGEST_DAY:
            for year in _years(parts["year"]):
                yield from ((year, first, second), (year, second, first))
        # Three small numbers may be in any order; that is no date one could name.
    elif "first" in parts:
        first, second = int(parts["first"]), int(parts["second"])
        yield from ((int(parts["year"]), first, second), (int(parts["year"]), second, first))
    else:
        month = _MONTHS[parts["name"]] if "name" in parts else int(parts["month"])
        yield from ((year, month, int(parts["day"])) for year in _years(parts["year"]))


def _plausible(year: int, month: int, day: int) -> bool:
    return 1800 <= year <= 2199 and 1 <= month <= 12 and 1 <= day <= _LONGEST_DAY


def _year_first(text: str) -> Iterator[Date]:
    """ "57-03-24": two digits that can only be a year, then month and day."""
    for match in re.finditer(r"(?<![\d./-])(\d{2})([-./])(\d{2})\2(\d{2})(?![\d:]|[./-]\d)", text):
        year, month, day = int(match[1]), int(match[3]), int(match[4])
        if year > _LONGEST_DAY and _plausible(1900 + year, month, day):
            yield Date(frozenset({(1900 + year, month, day), (2000 + year, month, day)}), match.start(), match.end())


def _dates(text: str) -> Iterator[Date]:
    for form in _FORMS:
        for match in form.finditer(text):
            parts = {name: part for name, part in match.groupdict().items() if part is not None}
            readings = frozenset(date for date in _candidates(parts) if _plausible(*date))
            if readings:
                yield Date(readings, match.start(), match.end())
    yield from _year_first(text)


@lru_cache(CACHE)
def find_dates(text: str) -> tuple[Date, ...]:
    """Every full date (year, month, day) in the folded text.

    - year first: "1957-03-24", "1957/3/24", "1957年3月24日", "1957 March 24", "昭和32年3月24日";
    - with the month's name in English, German, French or Spanish, short or long: "24 March 1957", "24th of March 1957",
      "Mar. 24th '57", "24-Mar-57", "24. März 1957", "24 de marzo de 1957";
    - year last: "24/03/1957", "24 03 1957", read both as day/month and as month/day where both are possible;
    - eight digits in one run: "19570324", "24031957", "03241957";
    - all of these with numbers in words: "the twenty-fourth of March nineteen fifty-seven", "一九五七年三月二十四日".

    A year of two digits is read (in both centuries) where it can be nothing else: behind a month's name, or above 31.
    Years from 1800 to 2199; anything else is no date but a number.
    """
    folded = fold(text)
    found = list(_dates(folded))
    rewritten = in_digits(folded)
    if rewritten is not None:
        said = (
            Date(date.readings, rewritten.starts[date.start], rewritten.ends[date.end - 1])
            for date in _dates(rewritten.text)
        )
        found += [date for date in said if date not in found]
    return tuple(found)
