"""Names of patients, from Faker's lists and a few of our own where those are short."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from importlib import import_module
from itertools import product
from typing import NamedTuple

from mllmu_med.benchmark.identities import japanese
from mllmu_med.benchmark.identities.formats import Format, Pattern
from mllmu_med.benchmark.identities.invented import WORDS
from mllmu_med.benchmark.identities.taken import compact

_WHY = "first and last name are drawn apart, with no person in mind"
_FAKER = {"en_AU": "en_GB"}  # Faker has no list of Australian names
_ORDER = ("en_US", "en_GB", "de_DE", "fr_FR", "es_ES", "zh_CN", "ja_JP")
_INITIALS = "ABCDEFGHJKLMNPRSTVW"
_LONGEST, _LONGEST_PLAIN = 11, 8

# Pinyin of given names: one or two of these syllables.
_PINYIN = (
    "bei", "bin", "bo", "chang", "chun", "dan", "fei", "guo", "hai", "han", "hong", "hua", "hui", "jian", "jin", "jun",
    "kai", "lan", "lei", "li", "lin", "mei", "min", "ning", "ping", "qing", "rui", "shan", "ting", "wei", "wen", "xia",
    "xin", "xue", "yan", "yang", "yi", "ying", "yu", "zhen",
)  # fmt: skip

_ENGLISH = ("{first} {last}", "{first} {initial}. {last}")
_SHAPES = {
    "en_US": _ENGLISH,
    "en_GB": _ENGLISH,
    "de_DE": ("{first} {last}", "{first} {one}-{other}"),
    "fr_FR": ("{first} {last}", "{first} {one}-{other}"),
    "es_ES": ("{first} {last}", "{first} {one} {other}"),
    "zh_CN": ("{first} {last}",),
    "ja_JP": ("{first} {last}",),
}
_NATIVE_SHAPES = {"zh_CN": ("{last}{first}",), "ja_JP": ("{last} {first}",)}


class Lists(NamedTuple):
    """First and last names, each sorted and without repeats."""

    first: tuple[str, ...]
    last: tuple[str, ...]


def _sorted(names: Sequence[str]) -> tuple[str, ...]:
    """One word each, neither long nor one of the words that addresses are made of."""
    fitting = {name for name in names if name.isalpha() and (len(name) >= 3 or not name.isascii())}
    return tuple(sorted(n for n in fitting if len(n) <= _LONGEST and n.lower() not in WORDS))


def _raw(locale: str, native: bool) -> Lists:
    provider = import_module(f"faker.providers.person.{_FAKER.get(locale, locale)}").Provider
    if locale == "zh_CN" and not native:
        syllables = [*_PINYIN, *(first + second for first, second in product(_PINYIN, _PINYIN))]
        return Lists(_sorted([name.capitalize() for name in syllables]), _sorted(provider.last_romanized_names))
    if locale == "ja_JP":
        script = 0 if native else 2
        firsts = [pair[script] for pair in provider.first_name_pairs] + japanese.FIRST_NAMES.split()[script // 2 :: 2]
        lasts = [pair[script] for pair in provider.last_name_pairs] + japanese.LAST_NAMES.split()[script // 2 :: 2]
        return Lists(_sorted(firsts), _sorted(lasts))
    return Lists(_sorted(provider.first_names), _sorted(provider.last_names))


@lru_cache(maxsize=16)
def _lists(locale: str, native: bool) -> Lists:
    """A locale's names. No last name is in two locales' lists, so that names of several locales can be counted."""
    lists = _raw(locale, native)
    if native:
        return lists
    before = {compact(last) for earlier in _ORDER[: _ORDER.index(locale)] for last in _raw(earlier, native=False).last}
    return Lists(lists.first, tuple(last for last in lists.last if compact(last) not in before))


def _other_order(value: str) -> tuple[str, ...]:
    """ "Lopez Maria" for "Maria Lopez", and the name without initials: a reader takes them for the same person."""
    parts = [part for part in value.split() if not part.endswith(".")]
    if len(parts) < 2:
        return ()
    return " ".join(parts), " ".join([parts[-1], *parts[:-1]])


@cache  # the same locale gives the same formats: they are counted once
def names(locale: str, native: bool, varied: bool) -> tuple[Format, ...]:
    """Ways of writing a patient's name in one locale; ``native`` in the locale's own script."""
    if locale in _FAKER:
        return names(_FAKER[locale], native, varied)
    first, last = _lists(locale, native)
    if not varied and not native:
        tables = {"first": _short(first), "last": _short(last)}
        return (Pattern("{first} {last}", _WHY, tables, also=_other_order),)
    tables = {"first": first, "last": last, "initial": tuple(_INITIALS), "one": last[::2], "other": last[1::2]}
    shapes = _NATIVE_SHAPES[locale] if native else _SHAPES[locale]
    return tuple(Pattern(shape, _WHY, tables, also=_other_order) for shape in shapes)


def _short(all_names: tuple[str, ...]) -> tuple[str, ...]:
    """Names that a tiny model can learn to spell."""
    return tuple(name for name in all_names if name.isascii() and len(name) <= _LONGEST_PLAIN)
