from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from mllmu_med.benchmark.identities.classes import CLASSES, LOCALES, Setting, formats, settings, space
from mllmu_med.benchmark.identities.formats import Format, Pattern
from mllmu_med.benchmark.identities.recognising import format_of

ALL = [
    (phi_class, language, setting, kind)
    for phi_class in CLASSES
    for language in ("en", "zh", "ja")
    for varied in (True, False)
    for setting in settings(language, LOCALES, varied)
    for kind in formats(phi_class, setting)
]


def indices(size: int) -> list[int]:
    random = Random(size)
    return [0, size - 1, *(random.randrange(size) for _ in range(4))]


@pytest.mark.parametrize("phi_class", CLASSES)
def test_every_format_of_every_locale_finds_its_own_values_again(phi_class: str) -> None:
    mine = [(setting, kind) for known, _, setting, kind in ALL if known == phi_class]
    assert mine
    for setting, kind in mine:
        for index in indices(kind.size):
            value = kind.at(index).value
            assert kind.index(value) == index, (setting, kind.shape, value)


@pytest.mark.parametrize("phi_class", CLASSES)
def test_a_values_format_is_recognised(phi_class: str) -> None:
    for known, language, setting, kind in ALL:
        if known == phi_class:
            value = kind.at(kind.size // 3).value
            found = format_of(phi_class, value, language)
            assert found is not None
            assert found.index(value) is not None, (setting, kind.shape, value)


@pytest.mark.parametrize(
    ("phi_class", "value"),
    [
        ("mrn", "0123456"),  # {n7} begins with 1 to 9
        ("mrn", "MR-123-45"),
        ("mrn", "MR 123 456"),
        ("date", "2025-01-01"),  # births end in 2009
        ("date", "1957-02-30"),
        ("admission", "2016-03-04 24:00"),
        ("admission", "2016-03-04"),
        ("account", "9999 1234 5678 9019"),  # passes the Luhn check: not one of ours
        ("ip", "203.0.113.255"),
        ("name", "Edgar"),
        ("name", ""),
        ("custom", "AB-12"),
    ],
)
def test_what_no_format_writes_is_not_recognised(phi_class: str, value: str) -> None:
    assert format_of(phi_class, value) is None


def test_check_digits_are_read_over() -> None:
    value = "9999 1234 5678 9014"  # luhn_wrong of the first fifteen digits
    kind = format_of("account", value)
    assert isinstance(kind, Pattern)
    assert kind.shape == "9999 {d4} {d4} {d3}"
    assert kind.index(value) is not None
    assert kind.index(f"{value[:-1]}5") is None


def test_the_number_of_candidates_decides_between_formats() -> None:
    plain = Setting("en_US", native=False, varied=False)
    (short,) = formats("name", plain)
    varied = formats("name", plain._replace(varied=True))[0]
    value = short.at(5).value
    assert varied.index(value) is not None
    assert format_of("name", value, space=space("name", (plain,))) == short
    found = format_of("name", value)
    assert found is not None
    assert found.size == varied.size > short.size


def test_a_recognised_value_has_neighbours_of_its_shape() -> None:
    kind: Format | None = format_of("ssn", "926-03-0972")
    assert kind is not None
    index = kind.index("926-03-0972")
    assert index is not None
    near = [kind.at(other).value for other in (index - 1, index, index + 1)]
    assert near[1] == "926-03-0972"
    assert all(one != two and len(one) == len(two) for one, two in pairwise(near))
