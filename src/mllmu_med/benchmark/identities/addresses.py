"""Home addresses, institutions and physicians, all in made-up places and with made-up surnames."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

from mllmu_med.benchmark.identities import invented, japanese
from mllmu_med.benchmark.identities.formats import Format, Pattern
from mllmu_med.errors import UsageError
from mllmu_med.seeding import Key, rng

_TABLES: dict[str, Sequence[str]] = {
    "word": tuple(word.capitalize() for word in invented.WORDS), "street": invented.STREETS,
    "place": invented.PLACES, "german": invented.GERMAN_STREETS, "french": invented.FRENCH_STREETS,
    "spanish": invented.SPANISH_STREETS, "chinese": invented.CHINESE_STREETS, "chinese_town": invented.CHINESE_TOWNS,
    "japanese": invented.JAPANESE_STREETS, "japanese_town": invented.JAPANESE_TOWNS,
    "hospital": invented.HOSPITALS, "first": invented.FIRST_NAMES, "last": invented.SURNAMES,
    "han_place": invented.HAN_PLACES, "han_street": invented.HAN_STREETS, "han_hospital": invented.HAN_HOSPITALS,
    "han_last": invented.HAN_SURNAMES, "han_first": invented.HAN_GIVEN,
    "kanji_place": invented.KANJI_PLACES, "kanji_hospital": invented.KANJI_HOSPITALS,
    "kanji_last": invented.KANJI_SURNAMES, "kanji_first": japanese.FIRST_NAMES.split()[::2],
}  # fmt: skip
_NO_TOWN = "a street without a town is no address"
_INVENTED = "the town is made up"
_NO_CODE = "the town is made up, and the postcode is outside every range in use"


def _pattern(shape: str, why: str) -> Pattern:
    return Pattern(shape, why, _TABLES)


_PLAIN_ADDRESS: tuple[Format, ...] = (_pattern("{n1to999} {word} {street}", _NO_TOWN),)
_BRITISH = (
    _pattern("{n1to199} {word} {street}, {place}", _INVENTED),
    _pattern("{n1to199} {word} {street}, {place} Q{L1}{n1} {d1}{L2}", _NO_CODE),  # postcode areas never begin with Q
)
_ADDRESSES: dict[str, tuple[Format, ...]] = {
    "en_US": (
        *_PLAIN_ADDRESS,
        _pattern("{n4} {word} {street}, {place} 000{d2}", _NO_CODE),  # ZIP codes begin at 00501
    ),
    "en_GB": _BRITISH,
    "en_AU": (_BRITISH[0], _pattern("Unit {n1to99}, {n1to199} {word} {street}, {place}", _INVENTED)),
    "de_DE": (_pattern("{german} {n1to99}, 00{d3} {place}", _NO_CODE),),  # postcodes begin at 01067
    "fr_FR": (_pattern("{n1to199} {french}, {place}", _INVENTED),),
    "es_ES": (_pattern("{spanish} {n1to199}, 00{d3} {place}", _NO_CODE),),  # postcodes begin at 01001
    "zh_CN": (_pattern("{n1to999} {chinese} Road, {chinese_town}", _INVENTED),),
    "ja_JP": (_pattern("{n1to9}-{n1to29}-{n1to29} {japanese}, {japanese_town}", _INVENTED),),
}  # fmt: skip
_NATIVE_ADDRESSES: dict[str, tuple[Format, ...]] = {
    "zh_CN": (
        _pattern("{han_place}市{han_street}{n1to999}号", _INVENTED),
        _pattern("{han_place}市{han_street}{n1to99}号{n1to29}栋{n3}室", _INVENTED),
    ),
    "ja_JP": (_pattern("{kanji_place}市{n1to9}丁目{n1to29}-{n1to29}", _INVENTED),),
}  # fmt: skip

_NO_HOSPITAL = "the hospital's town is made up"
_NO_DOCTOR = "the surname is made up"
_PLAIN_HOSPITAL = _pattern("{place} {hospital}", _NO_HOSPITAL)
_PLAIN_DOCTOR = _pattern("Dr. {first} {last}", _NO_DOCTOR)
_HOSPITALS: dict[str, tuple[Format, ...]] = {
    "en_US": (_PLAIN_HOSPITAL, _pattern("{hospital} of {place}", _NO_HOSPITAL)),
    "en_GB": (_PLAIN_HOSPITAL, _pattern("{place} Royal Infirmary", _NO_HOSPITAL)),
    "de_DE": (_PLAIN_HOSPITAL, _pattern("Klinikum {place}", _NO_HOSPITAL)),
    "fr_FR": (_PLAIN_HOSPITAL, _pattern("Clinique {place}", _NO_HOSPITAL)),
    "es_ES": (_PLAIN_HOSPITAL, _pattern("Hospital General de {place}", _NO_HOSPITAL)),
}
_DOCTORS: dict[str, tuple[Format, ...]] = {
    "en_US": (_PLAIN_DOCTOR, _pattern("{first} {last}, MD", _NO_DOCTOR)),
    "en_GB": (_PLAIN_DOCTOR, _pattern("{first} {last}, FRCR", _NO_DOCTOR)),
    "de_DE": (_PLAIN_DOCTOR, _pattern("Prof. Dr. {first} {last}", _NO_DOCTOR)),
    "fr_FR": (_pattern("Docteur {first} {last}", _NO_DOCTOR),),
}
_NATIVE_HOSPITALS: dict[str, tuple[Format, ...]] = {
    "zh_CN": (_pattern("{han_place}市{han_hospital}", _NO_HOSPITAL),),
    "ja_JP": (_pattern("{kanji_place}{kanji_hospital}", _NO_HOSPITAL),),
}
_NATIVE_DOCTORS: dict[str, tuple[Format, ...]] = {
    "zh_CN": (
        _pattern("{han_last}{han_first}医生", _NO_DOCTOR), _pattern("{han_last}{han_first}主任", _NO_DOCTOR),
    ),
    "ja_JP": (_pattern("{kanji_last}{kanji_first}医師", _NO_DOCTOR),),
}  # fmt: skip


def _chosen(
    local: dict[str, tuple[Format, ...]],
    in_script: dict[str, tuple[Format, ...]],
    plain: tuple[Format, ...],
    locale: str,
    native: bool,
    varied: bool,
) -> tuple[Format, ...]:
    if not varied:
        return plain
    return in_script[locale] if native else local.get(locale, plain)


def addresses(locale: str, native: bool, varied: bool) -> tuple[Format, ...]:
    """Home addresses."""
    return _chosen(_ADDRESSES, _NATIVE_ADDRESSES, _PLAIN_ADDRESS, locale, native, varied)


def facilities(locale: str, native: bool, varied: bool) -> tuple[Format, ...]:
    """Hospitals and clinics."""
    return _chosen(_HOSPITALS, _NATIVE_HOSPITALS, (_PLAIN_HOSPITAL,), locale, native, varied)


def physicians(locale: str, native: bool, varied: bool) -> tuple[Format, ...]:
    """Referring physicians."""
    return _chosen(_DOCTORS, _NATIVE_DOCTORS, (_PLAIN_DOCTOR,), locale, native, varied)


INSTITUTIONS = _PLAIN_HOSPITAL
PHYSICIANS = _PLAIN_DOCTOR


def institution(number: int, *keys: Key) -> str:
    """An invented hospital; numbers from 0 up to (not including) ``INSTITUTIONS.size`` give different ones.

    Raises:
        UsageError: there are not so many.
    """
    return _numbered(INSTITUTIONS, "institution", number, *keys)


def physician(number: int, *keys: Key) -> str:
    """An invented doctor; numbers from 0 up to (not including) ``PHYSICIANS.size`` give different ones.

    Raises:
        UsageError: there are not so many.
    """
    return _numbered(PHYSICIANS, "physician", number, *keys)


def _numbered(kind: Format, word: str, number: int, *keys: Key) -> str:
    """The value at place a·``number`` + b, with a (prime to the size) and b given by ``keys``."""
    if not 0 <= number < kind.size:
        raise UsageError(f"there is no {word} number {number:,}: {kind.size:,} names can be made; plan fewer")
    random = rng(*keys, word)
    start = random.randrange(kind.size)
    step = random.randrange(kind.size // 3, kind.size)
    while gcd(step, kind.size) != 1:
        step += 1
    return kind.at((start + step * number) % kind.size).value
