from __future__ import annotations

import re
from itertools import combinations

import pytest

from mllmu_med.benchmark.identities.classes import LOCALES
from mllmu_med.benchmark.identities.invented import WORDS
from mllmu_med.benchmark.identities.names import _lists, names
from mllmu_med.benchmark.identities.taken import compact

LATIN = tuple(locale for locale in LOCALES if locale != "en_AU")


def test_no_last_name_is_in_two_locales_and_none_is_a_word_of_addresses() -> None:
    last = {locale: {compact(name) for name in _lists(locale, native=False).last} for locale in LATIN}
    assert all(not last[one] & last[other] for one, other in combinations(LATIN, 2))
    assert all(len(found) >= 60 for found in last.values())
    for locale in LATIN:
        first, second = _lists(locale, native=False)
        assert not {name.lower() for name in (*first, *second)} & set(WORDS)
        assert len(set(first)) == len(first) >= 60


@pytest.mark.parametrize("locale", LATIN)
def test_the_plain_name_is_two_short_words(locale: str) -> None:
    (plain,) = names(locale, native=False, varied=False)
    for index in range(0, plain.size, plain.size // 50):
        assert re.fullmatch(r"[A-Z][A-Za-z]{2,7} [A-Z][A-Za-z]{2,7}", plain.at(index).value)


def test_names_in_chinese_characters_are_all_different() -> None:
    (chinese,) = names("zh_CN", native=True, varied=True)
    values = {chinese.at(index).value for index in range(chinese.size)}
    assert len(values) == chinese.size > 50_000
    assert all(re.fullmatch("[\u4e00-\u9fff]{2,4}", value) for value in values)


def test_japanese_names_are_in_kanji_only_in_japanese_texts() -> None:
    (native,) = names("ja_JP", native=True, varied=True)
    (latin,) = names("ja_JP", native=False, varied=True)
    assert native.size > 10_000 < latin.size
    for index in range(0, native.size, 97):
        last, first = native.at(index).value.split(" ")
        assert re.fullmatch("[\u3040-\u30ff\u4e00-\u9fff々]+", last + first)
    assert all(latin.at(index).value.isascii() for index in range(0, latin.size, 97))


def test_the_other_order_and_the_name_without_initials_are_known() -> None:
    spaced, initial = names("en_US", native=False, varied=True)
    value, also = spaced.at(4321)
    assert {value, " ".join(reversed(value.split()))} == set(also)
    value, also = initial.at(4321)
    first, middle, last = value.split()
    assert re.fullmatch(r"[A-Z]\.", middle)
    assert also == (f"{first} {last}", f"{last} {first}")


def test_two_surnames_are_never_the_same_one() -> None:
    for locale in ("de_DE", "fr_FR", "es_ES"):
        double = names(locale, native=False, varied=True)[1]
        for index in range(0, double.size, double.size // 500):
            one, other = re.split("[ -]", double.at(index).value)[-2:]
            assert one != other


def test_australians_have_british_names() -> None:
    assert names("en_AU", False, True) is names("en_GB", False, True)
