"""Telephone and fax numbers that ring nowhere, in the ranges kept for fiction or outside every numbering plan."""

from __future__ import annotations

from mllmu_med.benchmark.identities.formats import Format, Pattern
from mllmu_med.benchmark.identities.taken import compact

_TABLES = {
    # North America
    "a": tuple("23456789"), "b": tuple("012345678"), "c": tuple("123456789"),
    # United Kingdom: Leeds, Sheffield, Nottingham, Leicester, Bristol, Reading, Birmingham, Edinburgh, Glasgow, …
    "city": ("113", "114", "115", "116", "117", "118", "121", "131", "141", "151", "161"),
    # Germany: Berlin, Hamburg, Köln, Frankfurt, München
    "ort": ("30 23125", "40 66969", "221 4710", "69 90009", "89 99998"),
    "zone": ("1 99 00", "2 61 91", "3 53 01", "4 65 71", "5 36 49", "6 39 98"),  # France, and mobile
    "region": ("2", "3", "7", "8"), "block": ("5550", "7010"),  # Australia
    "chinese": ("10", "20", "21", "22", "23", "24", "25", "27", "28", "29"),
    "japanese": ("3", "6"),
}  # fmt: skip


def _national(value: str) -> tuple[str, ...]:
    """Without the trunk zero: what the same number holds when it is written with its country code."""
    digits = compact(value)
    return (digits.lstrip("0"),) if digits.startswith("0") else ()


def _pattern(shape: str, why: str) -> Pattern:
    return Pattern(shape, why, _TABLES, also=_national)


_US = "555-0100 to 555-0199 are kept for fiction in every area code (NANPA, ATIS-0300115)"
_GB = "kept for drama by Ofcom (National Telephone Numbering Plan)"
_DE = "kept for media productions by the Bundesnetzagentur (Vfg. 148/2021, „Drama Numbers“)"
_FR = "kept for audiovisual works by ARCEP (decision 2018-0881)"
_AU = "kept for fiction by the ACMA (numbers for use in TV shows, films and creative works)"
_ES = "no range of the Spanish plan begins with 4: subscribers have 6 to 9, personal numbers 5"
_CN = "China keeps none for fiction; subscriber numbers never begin with the trunk digit 0"
_JP = "Japan keeps none for fiction; exchange numbers never begin with the trunk digit 0"

_PLAIN: tuple[Format, ...] = (_pattern("{a}{b}{c}-555-01{d2}", _US),)
_LOCAL: dict[str, tuple[Format, ...]] = {
    "en_US": (
        *_PLAIN, _pattern("({a}{b}{c}) 555-01{d2}", _US), _pattern("{a}{b}{c}.555.01{d2}", _US),
        _pattern("+1 {a}{b}{c} 555 01{d2}", _US),
    ),
    "en_GB": (
        _pattern("01632 960{d3}", _GB), _pattern("020 7946 0{d3}", _GB), _pattern("07700 900{d3}", _GB),
        _pattern("(0{city}) 496 0{d3}", _GB), _pattern("+44 {city} 496 0{d3}", _GB), _pattern("+44 7700 900{d3}", _GB),
    ),
    "en_AU": (
        _pattern("(0{region}) {block} {d4}", _AU), _pattern("0{region} {block} {d4}", _AU),
        _pattern("+61 {region} {block} {d4}", _AU),
    ),
    "de_DE": (
        _pattern("0{ort} {d3}", _DE), _pattern("+49 {ort} {d3}", _DE), _pattern("0{ort}-{d3}", _DE),
        _pattern("0171 39200 {d2}", _DE), _pattern("+49 176 040690 {d2}", _DE),
    ),
    "fr_FR": (_pattern("0{zone} {d2} {d2}", _FR), _pattern("+33 {zone} {d2} {d2}", _FR)),
    "es_ES": (_pattern("4{d2} {d3} {d3}", _ES), _pattern("+34 4{d2} {d2} {d2} {d2}", _ES)),
    "zh_CN": (_pattern("0{chinese}-0{d3}{d4}", _CN), _pattern("+86 {chinese} 0{d3} {d4}", _CN)),
    "ja_JP": (_pattern("0{japanese}-0{d3}-{d4}", _JP), _pattern("+81 {japanese} 0{d3} {d4}", _JP)),
}  # fmt: skip


def phones(locale: str, native: bool, varied: bool) -> tuple[Format, ...]:
    """Telephone and fax numbers; the plain one is American in every locale."""
    return _LOCAL[locale] if varied else _PLAIN
