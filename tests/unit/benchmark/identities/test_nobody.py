"""That no value can be a real person's, checked from outside: by published ranges and by the checks of the numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from random import Random

import pytest

from mllmu_med.benchmark.identities import CLASSES, LOCALES
from mllmu_med.benchmark.identities.classes import draw, settings

DRAWS = 300


def values(phi_class: str, locale: str, language: str = "en", varied: bool = True) -> list[str]:
    (setting,) = settings(language, (locale,), varied)
    random = Random(f"{phi_class}{locale}")
    return [draw(phi_class, setting, random).value for _ in range(DRAWS)]


def everywhere(phi_class: str) -> Iterator[str]:
    for locale in LOCALES:
        yield from values(phi_class, locale)
        yield from values(phi_class, locale, varied=False)
    for language in ("zh", "ja"):
        yield from values(phi_class, "en_US", language)


PHONES = {
    "en_US": r"(\+1)?[2-9][0-8][1-9]55501\d\d",
    # Ofcom: no area, London, mobile, and eleven cities.
    "en_GB": r"(\+44|0)(1632960\d{3}|2079460\d{3}|7700900\d{3}|1(1[3-8]|[2-6]1)4960\d{3})",
    "en_AU": r"(\+61|0)[2378](5550|7010)\d{4}",
    # Bundesnetzagentur: Berlin, Hamburg, Köln, Frankfurt, München, two mobile networks.
    "de_DE": r"(\+49|0)(3023125|4066969|2214710|6990009|8999998)\d{3}|0?(\+49)?(17139200|176040690)\d\d",
    "fr_FR": r"(\+33|0)(19900|26191|35301|46571|53649|63998)\d{4}",
    "es_ES": r"(\+34)?4\d{8}",
    "zh_CN": r"(\+86|0)(10|2[0-57-9])0\d{7}",
    "ja_JP": r"(\+81|0)[36]0\d{7}",
}


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("phi_class", ["phone", "fax"])
def test_telephones_ring_nowhere(phi_class: str, locale: str) -> None:
    for value in values(phi_class, locale):
        assert re.fullmatch(PHONES[locale], re.sub(r"[^\d+]", "", value)), value


def test_domains_are_reserved() -> None:
    host = r"example\.(org|com|net)|[a-z.-]+\.(example|test|invalid)"
    for value in everywhere("email"):
        assert re.fullmatch(rf"[\w.-]+@({host})", value), value
    for value in everywhere("url"):
        assert re.fullmatch(rf"(https?://)?(www\.)?({host})/[\w./~-]+", value), value


def test_addresses_of_networks_are_for_documentation() -> None:
    reserved = [ip_network(net) for net in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")]
    for value in everywhere("ip"):
        address = ip_address(value)
        assert any(address in network for network in reserved if network.version == address.version)
        assert str(address) == value  # the one canonical form


def luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        number = int(digit) * (1 + place % 2)
        total += number if number < 10 else number - 9
    return total % 10 == 0


def iban(value: str) -> bool:
    bare = value.replace(" ", "")
    return int("".join(str(int(character, 36)) for character in bare[4:] + bare[:4])) % 97 == 1


def test_the_checks_of_this_test_accept_published_examples() -> None:
    assert luhn("4111111111111111")
    assert iban("GB29 NWBK 6016 1331 9268 19")
    assert iban("DE89 3704 0044 0532 0130 00")
    assert gtin("00614141123452")
    assert insurance("A123456780")
    assert tax_file("123456782")
    assert my_number("123456789018")


def gtin(digits: str) -> bool:
    return sum(int(digit) * (3 if place % 2 == 0 else 1) for place, digit in enumerate(digits)) % 10 == 0


def insurance(value: str) -> bool:
    digits = f"{ord(value[0]) - 64:02}{value[1:-1]}"
    products = [int(digit) * (1, 2)[place % 2] for place, digit in enumerate(digits)]
    return sum(product // 10 + product % 10 for product in products) % 10 == int(value[-1])


def tax_file(digits: str) -> bool:
    return sum(int(d) * w for d, w in zip(digits, (1, 4, 3, 7, 5, 8, 6, 9, 10), strict=True)) % 11 == 0


def my_number(digits: str) -> bool:
    left = sum(int(d) * w for d, w in zip(digits[:11], (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2), strict=True)) % 11
    return int(digits[11]) == (0 if left <= 1 else 11 - left)


def test_numbers_with_check_digits_fail_their_checks() -> None:
    cards = [value for value in everywhere("account") if value.startswith("9999 ")]
    ibans = [value for value in everywhere("account") if re.match(r"(GB|DE|ES)\d\d ", value)]
    trade = [value for value in everywhere("device") if value.startswith("(01)")]
    insured = [value for value in everywhere("health_plan") if re.fullmatch(r"[A-Z]\d{9}", value)]
    assert min(len(cards), len(ibans), len(trade), len(insured)) > 50
    assert not any(luhn(value.replace(" ", "")) for value in cards)
    assert not any(iban(value) for value in ibans)
    assert {len(value.replace(" ", "")) for value in ibans} == {22, 24}
    assert not any(gtin(value[4:18]) for value in trade)
    assert all(re.fullmatch(r"\(01\)002\d{11}\(21\)\d{5}", value) for value in trade)
    assert not any(insurance(value) for value in insured)


SOCIAL = {
    "en_US": r"9\d\d-(0[1-9]|[1-4]\d)-(?!0000)\d{4}|(666|000)-\d\d-\d{4}",
    "en_GB": r"QQ \d\d \d\d \d\d [A-D]",
    "en_AU": r"[1-9]\d\d \d{3} \d{3}",
    "de_DE": r"0\d \d{3} \d{3} \d{3}",
    "fr_FR": r"[12] \d\d 00 \d\d \d{3} \d{3} 9[89]",
    "es_ES": r"\d{8}-[IOU]",
    "zh_CN": r"99\d{4}19\d\d00\d{6}",
    "ja_JP": r"\d{4} \d{4} \d{4}",
}


@pytest.mark.parametrize("locale", LOCALES)
def test_social_security_numbers_were_never_issued(locale: str) -> None:
    for value in values("ssn", locale):
        assert re.fullmatch(SOCIAL[locale], value), value
        digits = value.replace(" ", "")
        assert locale != "en_AU" or not tax_file(digits)
        assert locale != "ja_JP" or not my_number(digits)


def test_a_tax_file_number_without_a_right_digit_is_finished_too() -> None:
    from mllmu_med.benchmark.identities.checksums import tax_file_wrong

    bodies = [f"{number:08}" for number in range(10_000_000, 10_000_500)]
    assert not any(tax_file(tax_file_wrong(body)) for body in bodies)


def test_plates_were_never_issued() -> None:
    shapes = (
        r"00-[A-Z]{3}-\d{3}",  # Turkish provinces are 01 to 81
        r"[A-Z]Q\d[A-Z]{2}\d\d[A-Z]\d[A-Z]{2}\d{6}",  # no Q in a VIN
        r"Q[A-Z]01 [A-Z]{3}",
        r"QX-[A-Z]{2} 0\d{3}",
        r"[IOU][A-Z]-\d{3}-[A-Z][IOU]",
        r"\d{4} [AEIOU][A-Z][AEIOU]",
        r"[\u4e00-\u9fff]I·\d{5}",
        r"[\u4e00-\u9fff]+ \d{3} [おしへん] \d\d-\d\d",
    )
    found = list(everywhere("vehicle"))
    for shape in shapes:
        assert sum(bool(re.fullmatch(shape, value)) for value in found) > 50, shape
    assert all(any(re.fullmatch(shape, value) for shape in shapes) for value in found)
    assert all(len(value) == 17 for value in found if re.fullmatch(shapes[1], value))


def test_other_public_numbers_were_never_issued() -> None:
    drivers = [value for value in values("licence", "en_GB") if " " in value]
    assert drivers
    assert all(re.fullmatch(r"[A-Z]{5} \d00\d{3} [A-Z]{2}9[A-Z]{2}", value) for value in drivers)
    medicare = [value for value in values("health_plan", "en_US") if value.startswith("0")]
    assert medicare
    assert all(re.fullmatch(r"0[A-Z]\d\d-[A-Z]\d\d-[A-Z]{2}\d\d", value) for value in medicare)
    hospital = [value for value in values("mrn", "en_GB") if " " in value]
    assert hospital
    assert all(re.fullmatch(r"999 \d{3} \d{4}", value) for value in hospital)


def test_postcodes_are_outside_every_range() -> None:
    forms = {
        "en_US": r" 000\d\d$",
        "en_GB": r" Q[A-Z][1-9] \d[A-Z]{2}$",
        "de_DE": r", 00\d{3} ",
        "es_ES": r", 00\d{3} ",
    }
    for locale, form in forms.items():
        coded = [value for value in values("geography", locale) if re.search(form, value)]
        assert len(coded) > 50
        rest = set(values("geography", locale)) - set(coded)
        assert not any(re.search(r"\d{5}", value) for value in rest)


PLAIN = {
    "name": r"[A-Z][A-Za-z]{2,7} [A-Z][A-Za-z]{2,7}",
    "geography": r"\d{1,3} [A-Z][a-z]+ (Street|Lane|Road|Avenue)",
    "date": r"\d{4}-\d\d-\d\d",
    "phone": r"[2-9][0-8][1-9]-555-01\d\d",
    "fax": r"[2-9][0-8][1-9]-555-01\d\d",
    "email": r"[a-z]+\d\d@example\.org",
    "ssn": r"9\d\d-(0[1-9]|[1-4]\d)-(?!0000)\d{4}",
    "mrn": r"[1-9]\d{6}",
    "health_plan": r"HP\d{6}",
    "account": r"AC-\d{6}",
    "licence": r"DL[A-Z]\d{5}",
    "vehicle": r"00-[A-Z]{3}-\d{3}",
    "device": r"SN\d{4}[A-Z]{2}",
    "url": r"example\.org/[a-z]+\d{3}",
    "ip": r"\d+\.\d+\.\d+\.\d+",
    "biometric": r"FP-[0-9A-F]{6}",
    "photo": r"IMG\d{5}",
    "other": r"TR\d{3}-[A-Z]{2}",
    "admission": r"\d{4}-\d\d-\d\d \d\d:\d\d",
    "age": r"\d{2,3}y \d\dm \d\dd",
    "facility": r"[A-Z][a-z]+ [A-Z][A-Za-z' ]+",
    "physician": r"Dr\. [A-Z][a-z]+ [A-Z][a-z]+",
}


@pytest.mark.parametrize("phi_class", CLASSES)
def test_the_plain_format_is_one_short_shape_in_every_locale(phi_class: str) -> None:
    for locale in LOCALES:
        assert len({*values(phi_class, locale, varied=False)}) > 50
        for value in values(phi_class, locale, varied=False):
            assert re.fullmatch(PLAIN[phi_class], value), value
            assert value.isascii()
            assert len(value) <= 36
