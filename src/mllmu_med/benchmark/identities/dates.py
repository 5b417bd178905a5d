"""Dates of birth and admission, and ages over 89: the elements of dates that Safe Harbor names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property

from mllmu_med.benchmark.identities.formats import Drawn, Format, Pattern

_MINUTES = 24 * 60
_MONTHS = {
    "en": ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
           "November", "December"),
    "short": ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
    "de": ("Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "September", "Oktober", "November",
           "Dezember"),
    "fr": ("janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre",
           "novembre", "décembre"),
    "es": ("enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto", "septiembre", "octubre",
           "noviembre", "diciembre"),
}  # fmt: skip

_ISO = "{0.year}-{0.month:02}-{0.day:02}"
_AMERICAN = "{0.month:02}/{0.day:02}/{0.year}"
_CJK = "{0.year}年{0.month}月{0.day}日"
_WORDED = {  # month names → template; ``{1}`` is the month's name
    "en_US": ("en", "{1} {0.day}, {0.year}"),
    "en_GB": ("en", "{0.day} {1} {0.year}"),
    "short": ("short", "{0.day:02}-{1}-{0.year}"),
    "de_DE": ("de", "{0.day}. {1} {0.year}"),
    "fr_FR": ("fr", "{0.day} {1} {0.year}"),
    "es_ES": ("es", "{0.day} de {1} de {0.year}"),
}
_OF_LOCALE = {
    "en_US": (_ISO, _AMERICAN, "en_US"),
    "en_GB": (_ISO, "en_GB", "short"),
    "en_AU": (_ISO, "en_GB", "short"),
    "de_DE": (_ISO, "{0.day:02}.{0.month:02}.{0.year}", "de_DE"),
    "fr_FR": (_ISO, "fr_FR"),
    "es_ES": (_ISO, "es_ES"),
    "zh_CN": (_ISO, "short"),
    "ja_JP": (_ISO, "{0.year}/{0.month:02}/{0.day:02}"),
}


@dataclass(frozen=True)  # equal ones are one format
class DayFormat:
    """Days from ``first`` to ``last`` in one way of writing; with ``clock`` with hour and minute.

    ``also`` names the day as digits (year, month, day), in every reading of an ambiguous writing, so that no two
    patients hold the same day in different writings.
    """

    template: str
    months: tuple[str, ...]
    first: date
    last: date
    clock: bool
    why: str

    @property
    def shape(self) -> str:
        """The way of writing, shown on 4 March of the first year."""
        return self._text(date(self.first.year, 3, 4), 14 * 60 + 35)

    @property
    def size(self) -> int:
        """Number of values."""
        return ((self.last - self.first).days + 1) * (_MINUTES if self.clock else 1)

    def _text(self, day: date, minute: int) -> str:
        text = self.template.format(day, self.months[day.month - 1])
        return f"{text} {minute // 60:02}:{minute % 60:02}" if self.clock else text

    def at(self, index: int) -> Drawn:
        """The value number ``index``, in the order of time."""
        days, minute = divmod(index, _MINUTES) if self.clock else (index, 0)
        day = self.first + timedelta(days=days)
        clock = f"{minute // 60:02}{minute % 60:02}" if self.clock else ""
        also = [f"{day.year}{day.month:02}{day.day:02}{clock}"]
        if self.template == _AMERICAN and day.day <= 12:
            also.append(f"{day.year}{day.day:02}{day.month:02}{clock}")
        return Drawn(self._text(day, minute), tuple(also))

    @cached_property
    def _places(self) -> dict[str, int]:
        """Every day as written, without the time → its number."""
        days = [self.first + timedelta(days=number) for number in range((self.last - self.first).days + 1)]
        return {self.template.format(day, self.months[day.month - 1]): number for number, day in enumerate(days)}

    def index(self, value: str) -> int | None:
        """The number of a value; None for a text that is no value of this shape."""
        if not self.clock:
            return self._places.get(value)
        day, _, time = value.rpartition(" ")
        match = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)", time)
        if day not in self._places or match is None:
            return None
        return self._places[day] * _MINUTES + int(match[1]) * 60 + int(match[2])


_SHARED = "every day is shared by thousands of people; alone it names nobody"


def _days(locale: str, native: bool, varied: bool, first: date, last: date, clock: bool) -> tuple[Format, ...]:
    chosen: tuple[str, ...] = (_ISO,)
    if varied:
        chosen = (_ISO, _CJK) if native else _OF_LOCALE[locale]
    found = []
    for choice in chosen:
        months, template = _WORDED.get(choice, ("en", choice))
        found.append(DayFormat(template, _MONTHS[months], first, last, clock, _SHARED))
    return tuple(found)


def births(locale: str, native: bool, varied: bool) -> tuple[Format, ...]:
    """Dates of birth from 1925 to 2009. Two ways of writing never give the same text, whatever the locales."""
    return _days(locale, native, varied, date(1925, 1, 1), date(2009, 12, 31), clock=False)


def admissions(locale: str, native: bool, varied: bool) -> tuple[Format, ...]:
    """Times of admission from 2015 to 2024, to the minute: days alone would be too few to be unique."""
    return _days(locale, native, varied, date(2015, 1, 1), date(2024, 12, 31), clock=True)


def _age_in_numbers(value: str) -> tuple[str, ...]:
    years, months, days = (int(number) for number in re.findall(r"\d+", value))
    return (f"{years}y{months:02}m{days:02}d",)


_RECORD_AGE = "an age to the day fits many people; it names nobody without a name"
_AGES: tuple[Format, ...] = (
    Pattern("{d90to109}y {d00to11}m {d01to28}d", _RECORD_AGE, also=_age_in_numbers),
    Pattern("{d90to109} years {n2to11} months {n2to28} days", _RECORD_AGE, also=_age_in_numbers),
)
_NATIVE_AGES: tuple[Format, ...] = (Pattern("{d90to109}岁{n1to11}个月{n1to28}天", _RECORD_AGE, also=_age_in_numbers),)


def ages(locale: str, native: bool, varied: bool) -> tuple[Format, ...]:
    """Ages over 89, to the day: years alone would be too few to be unique."""
    if not varied:
        return _AGES[:1]
    return _NATIVE_AGES if native and locale == "zh_CN" else _AGES
