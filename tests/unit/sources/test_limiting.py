"""A limit takes images in fair shares, always the same ones, more of them if it is larger."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from mllmu_med.errors import UsageError
from mllmu_med.sources.limiting import check_limit, choose

IMAGES = [("a" if number < 60 else "b" if number < 90 else "c", f"image {number}") for number in range(100)]


def chosen(limit: int | None, images: list[tuple[str, str]] = IMAGES) -> list[tuple[str, str]]:
    """The images that a limit leaves."""
    kept = choose(images, limit)
    return [image for image in IMAGES if image[1] in kept]


def test_shares_of_the_strata_are_kept() -> None:
    for limit in (10, 20, 50):
        found = chosen(limit)
        assert len(found) == limit
        for stratum, share in (("a", 0.6), ("b", 0.3), ("c", 0.1)):
            assert abs(sum(one == stratum for one, _ in found) - share * limit) <= 1


def test_a_smaller_limit_takes_a_subset() -> None:
    found = [set(chosen(limit)) for limit in (1, 2, 3, 10, 37, 99, 100, 200)]
    assert [len(one) for one in found] == [1, 2, 3, 10, 37, 99, 100, 100]
    assert all(one <= other for one, other in pairwise(found))


def test_the_choice_does_not_depend_on_order_or_repetition() -> None:
    images = [*IMAGES, *IMAGES[:50]]
    random.Random(1).shuffle(images)
    assert chosen(30, images) == chosen(30)


def test_the_choice_is_not_the_first_images() -> None:
    assert chosen(10) != [*IMAGES[:6], *IMAGES[60:63], *IMAGES[90:91]]


def test_the_first_stratum_of_an_image_counts() -> None:
    images = [*IMAGES, *(("c", name) for _, name in IMAGES)]
    assert chosen(30, images) == chosen(30)


def test_without_a_limit_nothing_is_read() -> None:
    def fail() -> tuple[str, str]:
        raise AssertionError

    everything = choose((fail() for _ in range(1)), None)
    assert "anything" in everything
    assert len(chosen(None)) == 100


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_below_one_is_a_usage_error(limit: int) -> None:
    with pytest.raises(UsageError, match=f"limit is {limit}; at least one image is needed"):
        check_limit(limit)
    check_limit(1)
    check_limit(None)
