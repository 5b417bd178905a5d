"""p-values: exact where they can be enumerated, 5 % under the null, Holm against published examples."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from mllmu_med.evaluation.comparing.significance import bootstrap_p, can_be_paired, holm, sign_flip

UTILITY = "retain.utility"


def exact(differences: list[float]) -> float:
    """Two-sided p-value over all 2^n exchanges."""
    seen = abs(sum(differences))
    exchanges = product((1, -1), repeat=len(differences))
    sums = [abs(sum(d * s for d, s in zip(differences, signs, strict=True))) for signs in exchanges]
    return sum(one >= seen - 1e-12 for one in sums) / len(sums)


@pytest.mark.parametrize("differences", [[0.3, 0.1, 0.2, 0.4, 0.25, 0.1], [0.3, -0.1, 0.2, -0.2, 0.5, 0.1, 0.4]])
def test_the_sign_flip_test_agrees_with_all_exchanges(make_plain, differences: list[float]) -> None:
    one, other = make_plain([0.5 + d for d in differences]), make_plain([0.5] * len(differences), "b")
    p = sign_flip(one, other, [UTILITY], draws=20_000, seed=0)[UTILITY]
    assert p == pytest.approx(exact(differences), abs=0.01)


def test_equal_rows_are_never_told_apart(make_plain) -> None:
    one = make_plain([0.1, 0.7, 0.4])
    assert sign_flip(one, make_plain([0.1, 0.7, 0.4], "b"), [UTILITY], draws=99, seed=0) == {UTILITY: 1.0}


def test_the_smallest_p_value_is_one_in_all_tosses(make_plain) -> None:
    p = sign_flip(make_plain([0.9] * 60), make_plain([0.1] * 60, "b"), [UTILITY], draws=199, seed=0)[UTILITY]
    assert p == pytest.approx(1 / 200)


def test_sides_may_change_places(make_plain) -> None:
    random = np.random.default_rng(0)
    one, other = make_plain(random.random(15)), make_plain(random.random(15), "b")
    first, second = (sign_flip(*pair, [UTILITY], draws=499, seed=1) for pair in ((one, other), (other, one)))
    assert first == second


def test_five_of_a_hundred_equal_methods_are_told_apart(make_plain) -> None:
    """Type-I error: both methods differ by noise alone, beside a large effect of the patient that they share."""
    random = np.random.default_rng(5)
    found = 0
    for repetition in range(400):
        patient = random.normal(0, 1, 20)
        one, other = (make_plain(patient + random.normal(0, 0.3, 20), name) for name in "ab")
        found += sign_flip(one, other, [UTILITY], draws=199, seed=repetition)[UTILITY] <= 0.05
    assert 0.028 <= found / 400 <= 0.075


def test_what_cannot_be_measured_has_no_p_value(make_plain) -> None:
    assert (
        sign_flip(make_plain([0.1, 0.2]), make_plain([0.3, 0.4], "b"), ["privacy", "test.bleu"], draws=9, seed=0) == {}
    )


def test_only_the_same_samples_are_paired(make_plain) -> None:
    assert can_be_paired(make_plain([0.1, 0.2]), make_plain([0.3, 0.4], "b"))
    assert not can_be_paired(make_plain([0.1, 0.2]), make_plain([0.3, 0.4, 0.5]))
    assert not can_be_paired(make_plain([0.1, 0.2]), make_plain([0.1, 0.2], benchmark="another"))


def test_the_bootstrap_p_value_is_twice_the_smaller_tail() -> None:
    drawn = np.array([0.1] * 96 + [-0.1] * 3)
    assert bootstrap_p(drawn) == bootstrap_p(-drawn) == pytest.approx(2 * 4 / 100)
    assert bootstrap_p(np.zeros(50)) == 1.0
    assert bootstrap_p(np.array([np.nan, np.nan])) is None
    assert bootstrap_p(np.array([np.nan] * 9 + [0.2] * 19)) == pytest.approx(2 / 20)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_of_a_worked_example() -> None:
    """The fifteen comparisons of Benjamini & Hochberg (1995, §4); Bonferroni and Holm both reject the first three."""
    p = [
        0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590,
        1.0,
    ]  # fmt: skip
    corrected = holm(p)
    assert [value < 0.05 for value in corrected if value is not None].count(True) == 3
    assert corrected[:4] == pytest.approx([0.0015, 0.0056, 0.0247, 0.1140])
    assert corrected[-1] == 1.0


def test_holm_leaves_out_what_was_not_tested_and_keeps_order() -> None:
    assert holm([None, 0.02, None, 0.5]) == [None, pytest.approx(0.04), None, 0.5]
    assert holm([]) == []
    assert holm([0.6, 0.6, 0.6]) == [1.0, 1.0, 1.0]
    p = [0.04, 0.01, 0.2, 0.01]
    turned = holm(p[::-1])
    assert holm(p) == turned[::-1]
