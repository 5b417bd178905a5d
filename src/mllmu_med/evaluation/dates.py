"""Calendar dates in free text, whatever the way they are written."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from mllmu_med.evaluation.normalise import CACHE, fold

_MONTHS = {
    "january": 1, "february": 2, "march": 3, "april": 4, "may": 5, "june": 6, "july": 7, "august": 8,
    "september": 9, "october": 10, "november": 11, "december": 12,
    "jan": 1, "feb": 2, "mar": 3, "apr": 4, "jun": 6, "jul": 7, "aug": 8, "sep": 9, "sept": 9, "oct": 10, "nov": 11,
    "dec": 12,
}  # fmt: skip
_NAME = "|".join(sorted(_MONTHS, key=len, reverse=True))
_ORDINAL = r"(?:st|nd|rd|th)?"
_FORMS = (
    re.compile(r"(?<!\d)(?P<year>\d{4})\s?[-./年]\s?(?P<month>\d{1,2})\s?[-./月]\s?(?P<day>\d{1,2})(?!\d)(?:\s?日)?"),
    re.compile(
        rf"(?<!\d)(?P<day>\d{{1,2}}){_ORDINAL}[\s.-]+(?:of )?(?P<name>{_NAME})\b\.?,?[\s-]+(?P<year>\d{{4}})(?!\d)"
    ),
    re.compile(rf"\b(?P<name>{_NAME})\b\.?\s+(?P<day>\d{{1,2}}){_ORDINAL},?\s+(?P<year>\d{{4}})(?!\d)"),
    re.compile(r"(?<!\d)(?P<first>\d{1,2})\s?[-./]\s?(?P<second>\d{1,2})\s?[-./]\s?(?P<year>\d{4})(?!\d)"),
)


class Date(NamedTuple):
    """A date found in the folded text: its readings as (year, month, day) and its place."""

    readings: frozenset[tuple[int, int, int]]
    start: int
    end: int


@lru_cache(CACHE)
def find_dates(text: str) -> tuple[Date, ...]:
    """Every full date (year, month, day) in the folded text.

    ISO ("1957-03-04"), Chinese ("1957年3月4日"), with the month's English name, and numeric with the year last, which
    is read both as day/month and as month/day where both are possible. Two-digit years are not read.
    """
    folded = fold(text)
    found = []
    for form in _FORMS:
        for match in form.finditer(folded):
            parts = match.groupdict()
            year = int(parts["year"])
            if "first" in parts:
                first, second = int(parts["first"]), int(parts["second"])
                pairs = [(first, second), (second, first)]
            else:
                month = _MONTHS[parts["name"]] if "name" in parts else int(parts["month"])
                pairs = [(month, int(parts["day"]))]
            readings = frozenset((year, month, day) for month, day in pairs if 1 <= month <= 12 and 1 <= day <= 31)
            if readings:
                found.append(Date(readings, match.start(), match.end()))
    return tuple(found)
