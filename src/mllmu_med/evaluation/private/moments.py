"""Times of the day and exact ages in folded text, whatever the way they are written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from mllmu_med.evaluation.dates import Date, find_dates
from mllmu_med.evaluation.normalise import CACHE, fold
from mllmu_med.evaluation.private.numerals import in_digits

NEAR = 40
"""Characters that may stand between a day and its time: "on 4 March 2015, when she was admitted, at 14:35"."""

_AFTER = r"(?P<after>pm|p\.\s?m\.?|in the (?:afternoon|evening)|at night)"
_BEFORE = r"(?P<before>am|a\.\s?m\.?|in the morning)"
_SPOKEN = r"(?:oh|o|0)\s\d"  # "five oh seven"
_HALF = re.compile(r"^(?:(?P<before>上午|凌晨|早上|午前)|(?P<after>下午|晚上|午後))$")
_CLOCKS = (
    re.compile(
        r"(?:(?P<half>上午|凌晨|早上|午前|下午|晚上|午後)\s?)?(?<!\d)(?<!\d[.:])(?P<hour>\d{1,2})\s?(?::|h|点|點|时|時)\s?(?P<minute>\d{1,2})"
        rf"(?![\d])(?:\s?分)?(?:\s?(?:{_AFTER}|{_BEFORE}))?"
    ),
    re.compile(
        rf"(?<!\d)(?<!\d[.:])(?P<hour>\d{{1,2}})[.\s](?P<minute>\d{{2}}|{_SPOKEN})\s?(?:{_AFTER}|{_BEFORE}|(?:uhr|hours|hrs?)(?![a-z]))"
    ),
    re.compile(r"(?<!\d)(?<!\d[.:])(?P<hour>\d{2})(?P<minute>\d{2})\s?(?:hours|hrs?|h)(?![a-z])"),
    re.compile(rf"(?<!\d)(?<!\d[.:])(?P<hour>\d{{1,2}})\s?(?:{_AFTER}|{_BEFORE})"),
    re.compile(
        r"(?<!\d)(?<!\d[.:])(?P<hour>\d{1,2})\s(?P<minute>\d{2}|(?:oh|o|0)\s\d)(?![\d:])(?!\s?[ap]\.?\s?m|\s(?:in|at)\s)"
    ),
)
_UNITS = (
    r"(?:y|yrs?|years?|ans?|jahren?|anos|岁|歳|才)",
    r"(?:m|mos?|mths?|months?|mois|monaten?|meses|个月|か月|ヶ月|カ月|月)",
    r"(?:d|days?|jours?|tagen?|dias|天|日)",
)  # fmt: skip
_GAP = r"[\s,;-]*(?:old\b|and\b|of age\b|et\b|und\b|y\b|零|又)?[\s,;-]*"
_AGE = re.compile(
    rf"(?<![\d.])(?P<years>\d{{1,3}})[\s-]?{_UNITS[0]}(?![^\W\d_])?{_GAP}"
    rf"(?:(?P<months>\d{{1,2}})[\s-]?{_UNITS[1]}{_GAP})?(?P<days>\d{{1,2}})[\s-]?{_UNITS[2]}(?![a-z])"
)


class Clock(NamedTuple):
    """A time of the day in the folded text: minutes since midnight, and its place."""

    minute: int
    start: int
    end: int


class Age(NamedTuple):
    """An age to the day in the folded text, and its place."""

    years: int
    months: int
    days: int
    start: int
    end: int


def _clocks(text: str) -> Iterator[Clock]:
    for form in _CLOCKS:
        for match in form.finditer(text):
            parts = match.groupdict()
            hour, minute = int(parts["hour"]), int((parts.get("minute") or "0").split()[-1])
            half = _HALF.match(parts.get("half") or "")
            afternoon = parts.get("after") or (half is not None and half["after"])
            morning = parts.get("before") or (half is not None and half["before"])
            if hour == 12 and morning:
                hour = 0
            elif hour < 12 and afternoon:
                hour += 12
            if hour < 24 and minute < 60:
                yield Clock(60 * hour + minute, match.start(), match.end())


@lru_cache(CACHE)
def find_clocks(text: str) -> tuple[Clock, ...]:
    """Every time of the day to the minute: "14:35", "2:35 p.m.", "14h35", "14.35 Uhr", "1435 hours", "下午2点35分",
    "fourteen thirty-five"."""
    folded = fold(text)
    found = list(_clocks(folded))
    rewritten = in_digits(folded)
    if rewritten is not None:
        found += [
            Clock(clock.minute, rewritten.starts[clock.start], rewritten.ends[clock.end - 1])
            for clock in _clocks(rewritten.text)
        ]
    return tuple(dict.fromkeys(found))


@lru_cache(CACHE)
def find_ages(text: str) -> tuple[Age, ...]:
    """Every age in years, months and days: "97y 03m 12d", "97 years, 3 months and 12 days", "97岁3个月12天"; months may
    be left out where there are none."""
    folded = fold(text)

    def ages(where: str) -> Iterator[Age]:
        for match in _AGE.finditer(where):
            yield Age(int(match["years"]), int(match["months"] or 0), int(match["days"]), match.start(), match.end())

    found = list(ages(folded))
    rewritten = in_digits(folded)
    if rewritten is not None:
        found += [
            age._replace(start=rewritten.starts[age.start], end=rewritten.ends[age.end - 1])
            for age in ages(rewritten.text)
        ]
    return tuple(dict.fromkeys(found))


@lru_cache(CACHE)
def whole_date(value: str) -> Date | None:
    """The date that a value is, None where it is something else. A bare run of eight digits is a number."""
    folded = fold(value)
    if folded.isdigit():
        return None
    return next((date for date in find_dates(value) if date.end - date.start >= len(folded) - 1), None)


@lru_cache(CACHE)
def whole_moment(value: str) -> tuple[Date, Clock] | None:
    """The day and the time behind it that a value consists of, None where it is something else."""
    folded = fold(value)
    for date in find_dates(value):
        for clock in find_clocks(value):
            if date.start == 0 and clock.end == len(folded) and 0 <= clock.start - date.end <= 2:
                return date, clock
    return None


@lru_cache(CACHE)
def whole_age(value: str) -> Age | None:
    """The age that a value is, None where it is something else."""
    folded = fold(value)
    return next((age for age in find_ages(value) if (age.start, age.end) == (0, len(folded))), None)


def moment_places(answer: str, date: Date, clock: Clock) -> list[tuple[int, int]]:
    """Where the answer tells this day and, within :data:`NEAR` characters of it, this time."""
    days = [one for one in find_dates(answer) if one.readings & date.readings]
    times = [one for one in find_clocks(answer) if one.minute == clock.minute] if days else []
    return [
        (min(day.start, time.start), max(day.end, time.end))
        for day in days
        for time in times
        if (time.start >= day.end and time.start - day.end <= NEAR)
        or (day.start >= time.end and day.start - time.end <= NEAR)
    ]
