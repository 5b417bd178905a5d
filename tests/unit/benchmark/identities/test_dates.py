from __future__ import annotations

import re
from datetime import date, datetime

import pytest

from mllmu_med.benchmark.identities.classes import LOCALES
from mllmu_med.benchmark.identities.dates import admissions, ages, births
from mllmu_med.benchmark.identities.formats import Format


def texts_of(kinds: tuple[Format, ...], index: int) -> list[str]:
    return [kind.at(index).value for kind in kinds]


BIRTH = (date(1961, 3, 4) - date(1925, 1, 1)).days


@pytest.mark.parametrize(
    ("locale", "texts"),
    [
        ("en_US", ["1961-03-04", "03/04/1961", "March 4, 1961"]),
        ("en_GB", ["1961-03-04", "4 March 1961", "04-Mar-1961"]),
        ("en_AU", ["1961-03-04", "4 March 1961", "04-Mar-1961"]),
        ("de_DE", ["1961-03-04", "04.03.1961", "4. März 1961"]),
        ("fr_FR", ["1961-03-04", "4 mars 1961"]),
        ("es_ES", ["1961-03-04", "4 de marzo de 1961"]),
        ("zh_CN", ["1961-03-04", "04-Mar-1961"]),
        ("ja_JP", ["1961-03-04", "1961/03/04"]),
    ],
)
def test_a_birth_date_in_each_locale(locale: str, texts: list[str]) -> None:
    assert texts_of(births(locale, False, True), BIRTH) == texts


def test_the_plain_date_is_iso_and_chinese_is_in_characters() -> None:
    assert texts_of(births("de_DE", False, False), BIRTH) == ["1961-03-04"]
    assert texts_of(births("zh_CN", True, True), BIRTH) == ["1961-03-04", "1961年3月4日"]


def test_births_go_from_1925_to_2009() -> None:
    for locale in LOCALES:
        for kind in births(locale, False, True):
            assert kind.size == 31_046
            assert "1925" in kind.at(0).value
            assert "2009" in kind.at(kind.size - 1).value
    iso = births("en_US", False, False)[0]
    assert {date.fromisoformat(iso.at(index).value) for index in range(iso.size)} == {
        date.fromordinal(day) for day in range(date(1925, 1, 1).toordinal(), date(2010, 1, 1).toordinal())
    }


def test_the_day_is_the_same_in_every_writing_and_ambiguous_ones_have_two_readings() -> None:
    iso, american, worded = (kind.at(BIRTH) for kind in births("en_US", False, True))
    assert iso.also == worded.also == ("19610304",)
    assert set(american.also) == {"19610304", "19610403"}
    clear = births("en_US", False, True)[1].at(BIRTH + 20)
    assert (clear.value, clear.also) == ("03/24/1961", ("19610324",))


def test_admissions_have_a_time_and_begin_where_births_ended() -> None:
    kinds = admissions("en_US", False, True)
    assert {kind.size for kind in kinds} == {3653 * 1440}
    assert texts_of(kinds, 62 * 1440 + 875)[:2] == ["2015-03-04 14:35", "03/04/2015 14:35"]
    assert kinds[1].at(62 * 1440 + 875).also == ("201503041435", "201504031435")
    plain = admissions("en_US", False, False)[0]
    assert datetime.fromisoformat(plain.at(0).value) == datetime(2015, 1, 1)
    assert datetime.fromisoformat(plain.at(plain.size - 1).value) == datetime(2024, 12, 31, 23, 59)


@pytest.mark.parametrize("native", [False, True])
def test_ages_are_over_89(native: bool) -> None:
    for kind in ages("zh_CN", native, True):
        found = [kind.at(index) for index in range(kind.size)]
        assert len({value for value, _ in found}) == kind.size
        assert {int(re.findall(r"\d+", value)[0]) for value, _ in found} == set(range(90, 110))


def test_the_same_age_in_two_writings_is_one() -> None:
    short, long = ages("en_US", False, True)
    also = {short.at(index).also: short.at(index).value for index in range(short.size)}
    value, key = long.at(0)
    assert (value, also[key]) == ("90 years 2 months 2 days", "90y 02m 02d")
