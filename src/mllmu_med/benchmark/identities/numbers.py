"""Numbers and codes: of insurers, authorities, hospitals, makers and networks, all invented or never issued."""

from __future__ import annotations

from collections.abc import Sequence

from mllmu_med.benchmark.identities.checksums import (
    german_insurance_wrong,
    gtin_wrong,
    iban_wrong,
    luhn_wrong,
    my_number_wrong,
    tax_file_wrong,
)
from mllmu_med.benchmark.identities.formats import Format, Pattern
from mllmu_med.benchmark.identities.invented import WORDS

_TABLES: dict[str, Sequence[str]] = {
    "word": WORDS,
    "net": ("192.0.2", "198.51.100", "203.0.113"),
    "unused": ("I", "O", "U"),
    "vowel": tuple("AEIOU"),
    "consonant": tuple("BCDFGHJKLMNPRSTVWXYZ"),
    "province": tuple("京津冀晋辽吉黑沪苏浙皖闽赣鲁豫鄂湘粤桂琼渝川贵云陕甘青"),
    "kana": tuple("おしへん"),
    "town": ("霧野台", "雪花浜", "風待原", "夕凪丘", "花霞沢"),
    "suffix": tuple("ABCD"),
}


def _pattern(shape: str, why: str) -> Pattern:
    return Pattern(shape, why, _TABLES)


_INVENTED_HOSPITAL = "a record number means something only in its hospital, and the hospitals are invented"
_INVENTED_INSURER = "a member number means something only with its insurer, and none is named"
_INVENTED_ARCHIVE = "the name of a file in an archive that does not exist"
_INVENTED_SYSTEM = "a code of a system that does not exist"
_RESERVED_NAME = "the domain is kept for examples and tests (RFC 2606, RFC 6761)"

# The first format of each class is the plain one. These serve every locale, unless LOCAL has others.
EVERYWHERE: dict[str, tuple[Format, ...]] = {
    "mrn": (
        _pattern("{n7}", _INVENTED_HOSPITAL),
        _pattern("MR-{d3}-{d3}", _INVENTED_HOSPITAL),
        _pattern("{L1}-{d5}-{d2}", _INVENTED_HOSPITAL),
    ),
    "health_plan": (
        _pattern("HP{d6}", _INVENTED_INSURER),
        _pattern("MBR-{d4}-{d5}", _INVENTED_INSURER),
        _pattern("{L3} {d3} {d4}", _INVENTED_INSURER),
    ),
    "account": (
        _pattern("AC-{d6}", "an account of an invented hospital"),
        _pattern("{d4}-{d6}-{L1}", "an account of an invented hospital"),
        Pattern("9999 {d4} {d4} {d3}", "card-shaped; fails the Luhn check on purpose", finish=luhn_wrong),
    ),
    "licence": (
        _pattern("DL{L1}{d5}", "a licence number means something only with its state, and none is named"),
        _pattern("LIC-{d4}-{d4}", "a certificate number means something only with its authority, and none is named"),
    ),
    "vehicle": (
        _pattern("00-{L3}-{d3}", "the shape of Turkish plates, whose first number is a province from 01 to 81"),
        _pattern("{L1}Q{d1}{L2}{d2}{L1}{d1}{L2}{d6}", "vehicle identification numbers never hold a Q (ISO 3779)"),
    ),
    "device": (
        _pattern("SN{d4}{L2}", "a serial number means something only with its maker, and none is named"),
        _pattern("{L2}-{d5}-{L1}{d1}", "a serial number means something only with its maker, and none is named"),
        Pattern(
            "(01)002{d10}*(21){n5}",
            "GS1 prefix 02 is for restricted circulation, in no product's trade number; fails its check on purpose",
            finish=gtin_wrong,
        ),
    ),
    "email": (
        _pattern("{word}{n2}@example.org", _RESERVED_NAME),
        _pattern("{word}.{word}@example.com", _RESERVED_NAME),
        _pattern("{word}_{n4}@{word}.example", _RESERVED_NAME),
        _pattern("{word}-{word}-{n2}@mail.test", _RESERVED_NAME),
        _pattern("{n3}.{word}@post.invalid", _RESERVED_NAME),
    ),
    "url": (
        _pattern("example.org/{word}{n3}", _RESERVED_NAME),
        _pattern("https://www.example.com/{word}-{word}", _RESERVED_NAME),
        _pattern("https://{word}.example/{n5}", _RESERVED_NAME),
        _pattern("http://{word}-{word}.test/p/{n3}", _RESERVED_NAME),
        _pattern("www.example.net/~{word}.{n4}", _RESERVED_NAME),
    ),
    "ip": (
        _pattern("{net}.{n1to254}", "networks kept for documentation (RFC 5737)"),
        _pattern("2001:db8:{h4}::{h4}", "addresses kept for documentation (RFC 3849)"),
        _pattern("2001:db8:{h4}:{h4}::{h3}", "addresses kept for documentation (RFC 3849)"),
    ),
    "biometric": (
        _pattern("FP-{H6}", _INVENTED_SYSTEM),
        _pattern("IRIS-{L4}-{d4}", _INVENTED_SYSTEM),
        _pattern("face:{x8}", _INVENTED_SYSTEM),
        _pattern("VP/{d3}/{H4}", _INVENTED_SYSTEM),
    ),
    "photo": (
        _pattern("IMG{d5}", _INVENTED_ARCHIVE),
        _pattern("photo-{d4}-{d3}.png", _INVENTED_ARCHIVE),
        _pattern("portrait_{x6}.jpg", _INVENTED_ARCHIVE),
        _pattern("PIC {d3}/{d4}", _INVENTED_ARCHIVE),
    ),
    "other": (
        _pattern("TR{d3}-{L2}", _INVENTED_SYSTEM),
        _pattern("SUBJ-{d3}-{d4}", _INVENTED_SYSTEM),
        _pattern("{L2}{d2}/{d5}", _INVENTED_SYSTEM),
        _pattern("case #{n6}", _INVENTED_SYSTEM),
    ),
}  # fmt: skip

_SSN = (
    _pattern(
        "9{d2}-{d01to49}-{d0001to9999}",
        "no area is above 899, and the taxpayer numbers that begin with 9 have groups from 50 on",
    ),
    _pattern("666-{d2}-{d4}", "area 666 is never issued"),
    _pattern("000-{d2}-{d4}", "area 000 is never issued"),
)
# In the order of the fallback: the plain format is American in every locale.
SSN: dict[str, tuple[Format, ...]] = {
    "en_US": _SSN,
    "en_GB": (_pattern("QQ {d2} {d2} {d2} {suffix}", "no national insurance number begins with Q"),),
    "en_AU": (Pattern("{n3} {d3} {d2}", "a tax file number that fails its check on purpose", finish=tax_file_wrong),),
    "de_DE": (_pattern("0{d1} {d3} {d3} {d3}", "no tax identification number begins with 0"),),
    "fr_FR": (
        _pattern("1 {d2} 00 {d2} {d3} {d3} 99", "month 00 is in no social security number, and keys end at 97"),
        _pattern("2 {d2} 00 {d2} {d3} {d3} 98", "month 00 is in no social security number, and keys end at 97"),
    ),
    "es_ES": (_pattern("{d8}-{unused}", "I, O and U are not among the check letters of identity numbers"),),
    "zh_CN": (_pattern("99{d4}19{d2}00{d2}{d4}", "no region begins with 99, and no birth month is 00"),),
    "ja_JP": (Pattern("{d4} {d4} {d3}", "fails the check of individual numbers on purpose", finish=my_number_wrong),),
}

LOCAL: dict[str, dict[str, tuple[Format, ...]]] = {
    "en_US": {
        "health_plan": (
            _pattern("0{L1}{d2}-{L1}{d2}-{L2}{d2}", "the first digit of a Medicare number is 1 to 9"),
        ),
    },
    "en_GB": {
        "mrn": (_pattern("999 {d3} {d4}", "NHS numbers from 999 000 0000 on are for tests and never issued"),),
        "account": (
            Pattern("GB**QQQQ{d6}{d8}", "an IBAN that fails its check on purpose", finish=iban_wrong),
        ),
        "licence": (
            _pattern("{L5} {d1}00{d3} {L2}9{L2}", "month 00 is in no British driver number"),
        ),
        "vehicle": (_pattern("Q{L1}01 {L3}", "no British plate of this shape begins with Q or has the age mark 01"),),
    },
    "de_DE": {
        "health_plan": (
            Pattern("{L1}{d8}", "a number that fails its check on purpose", finish=german_insurance_wrong),
        ),
        "account": (Pattern("DE**{d8}{d10}", "an IBAN that fails its check on purpose", finish=iban_wrong),),
        "vehicle": (_pattern("QX-{L2} 0{d3}", "there is no district QX, and no plate's number begins with 0"),),
    },
    "fr_FR": {
        "vehicle": (_pattern("{unused}{L1}-{d3}-{L1}{unused}", "I, O and U are in no French plate"),),
    },
    "es_ES": {
        "account": (Pattern("ES**{d10}{d10}", "an IBAN that fails its check on purpose", finish=iban_wrong),),
        "vehicle": (_pattern("{d4} {vowel}{consonant}{vowel}", "vowels are in no Spanish plate"),),
    },
    "zh_CN": {
        "mrn": (_pattern("ZY{n8}", _INVENTED_HOSPITAL), _pattern("BA-{d6}", _INVENTED_HOSPITAL)),
    },
}  # fmt: skip
"""Further formats of a locale."""

NATIVE: dict[str, dict[str, tuple[Format, ...]]] = {
    "zh_CN": {"vehicle": (_pattern("{province}I·{d5}", "the letter I is in no Chinese plate"),)},
    "ja_JP": {"vehicle": (_pattern("{town} {n3} {kana} {d2}-{d2}", "お, し, へ and ん are on no Japanese plate"),)},
}
"""Formats of a locale in its own script, in place of the shapes of Latin letters."""


def codes(phi_class: str, locale: str, native: bool, varied: bool) -> tuple[Format, ...]:
    """The formats of a class of :data:`EVERYWHERE`, the plain one first."""
    everywhere = EVERYWHERE[phi_class]
    if not varied:
        return everywhere[:1]
    if native and phi_class in NATIVE.get(locale, {}):
        return NATIVE[locale][phi_class]
    return (*everywhere, *LOCAL.get(locale, {}).get(phi_class, ()))


def social_security(locale: str, native: bool, varied: bool) -> tuple[Format, ...]:
    """Social security, or what a country has for it."""
    return SSN[locale] if varied else SSN["en_US"][:1]
