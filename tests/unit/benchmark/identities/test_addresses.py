from __future__ import annotations

import re

import pytest

from mllmu_med.benchmark.identities import INSTITUTIONS, PHYSICIANS, institution, physician
from mllmu_med.benchmark.identities.invented import (
    FIRST_NAMES,
    HAN_PLACES,
    HAN_SURNAMES,
    HOSPITALS,
    KANJI_PLACES,
    KANJI_SURNAMES,
    PLACES,
    SURNAMES,
)
from mllmu_med.errors import UsageError


def test_institutions_are_many_and_all_different() -> None:
    names = {institution(number, 7) for number in range(INSTITUTIONS.size)}
    assert len(names) == INSTITUTIONS.size == len(PLACES) * len(HOSPITALS) > 5_000
    assert {name.split()[0] for name in names} == set(PLACES)


def test_physicians_are_many_and_all_different() -> None:
    names = {physician(number, 7) for number in range(0, PHYSICIANS.size, 7)}
    assert PHYSICIANS.size == len(FIRST_NAMES) * len(SURNAMES) > 30_000
    assert len(names) == len(range(0, PHYSICIANS.size, 7))
    for name in names:
        title, first, last = name.split()
        assert (title, first in FIRST_NAMES, last in SURNAMES) == ("Dr.", True, True)


def test_they_depend_on_the_keys_and_neighbours_are_unlike() -> None:
    assert institution(3, 1) == institution(3, 1)
    assert [institution(number, 1) for number in range(9)] != [institution(number, 2) for number in range(9)]
    assert len({institution(number, 1).split()[0] for number in range(9)}) == 9


@pytest.mark.parametrize("number", [-1, INSTITUTIONS.size])
def test_a_number_without_a_name_is_refused(number: int) -> None:
    with pytest.raises(UsageError, match="no institution number"):
        institution(number, 0)


def faker_names() -> set[str]:
    """Towns and surnames of every locale that Faker has."""
    from importlib import import_module
    from pkgutil import iter_modules

    found: set[str] = set()
    for kind in ("address", "person"):
        package = import_module(f"faker.providers.{kind}")
        for module in iter_modules(package.__path__):
            provider = import_module(f"faker.providers.{kind}.{module.name}").Provider
            for attribute in ("last_names", "cities", "city_names", "cities_names", "towns", "districts", "villages"):
                listed = getattr(provider, attribute, ())
                found |= {str(name) for name in listed if isinstance(name, str)}
    return found


def test_no_made_up_place_or_surname_is_in_fakers_lists() -> None:
    listed = faker_names()
    assert {"Smith", "王", "欧阳", "佐藤"} <= listed
    assert len(listed) > 30_000
    assert not {*PLACES, *SURNAMES, *HAN_SURNAMES, *HAN_PLACES, *KANJI_PLACES, *KANJI_SURNAMES} & listed
    assert not {f"{place}市" for place in (*HAN_PLACES, *KANJI_PLACES)} & listed


def test_the_parts_give_different_names() -> None:
    assert len(set(PLACES)) == len(PLACES)
    assert len(set(SURNAMES)) == len(SURNAMES)
    assert all(re.fullmatch(r"[A-Z][a-z]{5,14}", name) for name in (*PLACES, *SURNAMES))
