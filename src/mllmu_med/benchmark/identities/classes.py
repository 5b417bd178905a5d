"""The classes of private data, and the formats that each is written in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from random import Random
from typing import NamedTuple

from mllmu_med.benchmark.identities.addresses import addresses, facilities, physicians
from mllmu_med.benchmark.identities.dates import admissions, ages, births
from mllmu_med.benchmark.identities.formats import Drawn, Format
from mllmu_med.benchmark.identities.names import names
from mllmu_med.benchmark.identities.numbers import EVERYWHERE, codes, social_security
from mllmu_med.benchmark.identities.phones import phones
from mllmu_med.errors import UsageError
from mllmu_med.registry import did_you_mean

LOCALES = ("en_US", "en_GB", "en_AU", "de_DE", "fr_FR", "es_ES", "zh_CN", "ja_JP")
"""Where patients can be from."""

SAFE_HARBOR = {
    "name": "A", "geography": "B", "date": "C", "phone": "D", "fax": "E", "email": "F", "ssn": "G", "mrn": "H",
    "health_plan": "I", "account": "J", "licence": "K", "vehicle": "L", "device": "M", "url": "N", "ip": "O",
    "biometric": "P", "photo": "Q", "other": "R", "admission": "C", "age": "C",
}  # fmt: skip
"""Class → paragraph of 45 CFR 164.514(b)(2)(i). ``date`` is the date of birth."""

CLASSES = (*SAFE_HARBOR, "facility", "physician")
"""Every class that can be drawn; facility and physician are not on the Safe Harbor list."""

_Maker = Callable[[str, bool, bool], tuple[Format, ...]]
_MAKERS: dict[str, _Maker] = {
    "name": names, "geography": addresses, "date": births, "admission": admissions, "age": ages, "phone": phones,
    "fax": phones, "ssn": social_security, "facility": facilities, "physician": physicians,
}  # fmt: skip
_OWN_SCRIPT = {"zh": "zh_CN", "ja": "ja_JP"}


class Setting(NamedTuple):
    """What decides a value's formats: the locale; whether in its own script; several ways of writing, or the plain."""

    locale: str
    native: bool
    varied: bool


@lru_cache(maxsize=256)
def settings(language: str, locales: tuple[str, ...], varied: bool) -> tuple[Setting, ...]:
    """The settings that patients of a text in ``language`` are drawn from.

    Chinese and Japanese texts have patients of China and Japan, in Chinese characters and kanji. In every other
    language the patients are of ``locales``, and all names are in Latin letters.

    Raises:
        UsageError: a locale is unknown or named twice, or there is none.
    """
    own = _OWN_SCRIPT.get(language.lower()[:2])
    if own is not None:
        return (Setting(own, True, varied),)
    for locale in locales:
        if locale not in LOCALES:
            raise UsageError(
                f"unknown locale '{locale}'{did_you_mean(locale, list(LOCALES))}; known: {', '.join(LOCALES)}"
            )
    if not locales or len(set(locales)) != len(locales):
        raise UsageError("name one or more locales, each once")
    return tuple(Setting(locale, False, varied) for locale in locales)


@lru_cache(maxsize=1024)
def formats(phi_class: str, setting: Setting) -> tuple[Format, ...]:
    """The formats of a class; one where the setting is not varied.

    Raises:
        UsageError: there is no such class.
    """
    if phi_class in _MAKERS:
        return _MAKERS[phi_class](*setting)
    if phi_class in EVERYWHERE:
        return codes(phi_class, *setting)
    raise UsageError(
        f"unknown class of private data '{phi_class}'{did_you_mean(phi_class, list(CLASSES))}; known: "
        f"{', '.join(CLASSES)}"
    )


@lru_cache(maxsize=1024)
def space(phi_class: str, of: tuple[Setting, ...]) -> float:
    """Number of values over all formats of these settings; formats that settings share count once."""
    shared = dict.fromkeys(kind for setting in of for kind in formats(phi_class, setting))
    return float(sum(kind.size for kind in shared))


def draw(phi_class: str, setting: Setting, random: Random) -> Drawn:
    """One value: every format is equally likely, and every value of a format."""
    kind = random.choice(formats(phi_class, setting))
    return kind.at(random.randrange(kind.size))


def candidate_space(
    phi_class: str, language: str = "en", *, locales: Sequence[str] = ("en_US",), varied: bool = True
) -> float:
    """Number of values that the class can take, over all formats and locales drawn from."""
    return space(phi_class, settings(language, tuple(locales), varied))


def candidate(
    phi_class: str, language: str, random: Random, *, locales: Sequence[str] = ("en_US",), varied: bool = True
) -> str:
    """One value as :class:`Identities` would draw it for a patient not yet known: what a guess is compared with."""
    return draw(phi_class, random.choice(settings(language, tuple(locales), varied)), random).value
