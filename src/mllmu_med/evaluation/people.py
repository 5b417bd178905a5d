"""What is known of the benchmark's patients beside their records: the sex that a name suggests, and the age."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from typing import NamedTuple

from mllmu_med.benchmark.identities.classes import LOCALES
from mllmu_med.benchmark.sample import Sample
from mllmu_med.evaluation.normalise import fold, has_cjk
from mllmu_med.evaluation.private.moments import whole_age, whole_date, whole_moment

FEMALE, MALE = "female", "male"
AGE_BANDS = ((0, "0-17"), (18, "18-39"), (40, "40-64"), (65, "65-89"), (90, "90+"))
"""Lowest age in years of each band. 90 and above is one group in the Safe Harbor rule too, 45 CFR 164.514(b)(2)."""
_TODAY = (2024, 12, 31)
"""The day to which ages are counted where no admission is known: the last on which an invented patient is admitted."""
_NO_LIST_OF_ITS_OWN = {"en_AU"}


class Person(NamedTuple):
    """A patient: ``sex`` (female, male) and ``age_band``, None where the values do not tell."""

    sex: str | None
    age_band: str | None


UNKNOWN = Person(None, None)
"""Nobody in particular: what is known of samples without a patient."""


@cache
def _first_names() -> tuple[frozenset[str], frozenset[str]]:
    """Female and male first names of every locale that patients are drawn from; in Latin letters and in their own."""
    lists: dict[str, set[str]] = {FEMALE: set(), MALE: set()}
    for locale in LOCALES:
        if locale in _NO_LIST_OF_ITS_OWN:
            continue
        provider = import_module(f"faker.providers.person.{locale}").Provider
        for sex, names in lists.items():
            for attribute in (f"first_names_{sex}", f"first_romanized_names_{sex}"):
                names.update(fold(name) for name in getattr(provider, attribute, ()))
    return frozenset(lists[FEMALE]), frozenset(lists[MALE])


def sex_of(name: str) -> str | None:
    """The sex that a full name suggests, by its first name; None for names of both sexes, of neither list, or unknown.

    A synthetic patient has no sex but the one that a reader would guess from the name, and that is what is asked here.
    """
    words = fold(name).split()
    if not words:
        return None
    if not has_cjk(name):
        given = [words[0]]
    elif len(words) > 1:  # Japanese: the given name is last
        given = [words[-1]]
    else:  # Chinese: behind a surname of one character, seldom of two
        given = [words[0][1:], words[0][2:]]
    female, male = _first_names()
    found = {sex for sex, names in ((FEMALE, female), (MALE, male)) for one in given if one in names}
    return found.pop() if len(found) == 1 else None


def _years_between(born: tuple[int, int, int], day: tuple[int, int, int]) -> int:
    return day[0] - born[0] - (day[1:] < born[1:])


def age_of(values: Mapping[str, str]) -> int | None:
    """Age in years: as the class ``age`` states it, or from the date of birth to the admission (without one, to the end
    of 2024). None where neither is among the values (PHI class → value)."""
    stated = whole_age(values.get("age", ""))
    if stated is not None:
        return stated.years
    born = whole_date(values.get("date", ""))
    if born is None:
        return None
    moment = whole_moment(values.get("admission", ""))
    day = min(moment[0].readings) if moment is not None else _TODAY
    years = _years_between(min(born.readings), day)
    return years if years >= 0 else None


def age_band(years: int) -> str:
    """The band that an age falls in."""
    return [name for lowest, name in AGE_BANDS if years >= lowest][-1]


def people(samples: Iterable[Sample]) -> dict[str, Person]:
    """Patient id → what is known of the patient, from the private values in the patient's samples; ids sorted.

    The ledger holds the same values; samples are at hand wherever scores are made.
    """
    values: dict[str, dict[str, str]] = {}
    for sample in sorted(samples, key=lambda one: one.id):
        if sample.patient_id is not None:
            own = values.setdefault(sample.patient_id, {})
            for span in sample.spans:
                own.setdefault(span.phi_class, span.value)
    found = {}
    for patient, own in sorted(values.items()):
        years = age_of(own)
        found[patient] = Person(sex_of(own.get("name", "")), None if years is None else age_band(years))
    return found
