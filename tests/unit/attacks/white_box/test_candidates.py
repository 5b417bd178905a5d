"""Differences, orders and turns, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mllmu_med.attacks.white_box.candidates import both_ends, difference, take_turns

ORDERS = st.lists(st.lists(st.integers(0, 30), unique=True, max_size=12), min_size=1, max_size=6)


def test_differences_of_each_order() -> None:
    first, second, third = (torch.tensor(values) for values in ([1.0, 5.0], [2.0, 7.0], [10.0, 4.0]))
    assert difference([third]).tolist() == [10.0, 4.0]
    assert difference([second, third]).tolist() == [8.0, -3.0]
    assert difference([first, second, third]).tolist() == [10 - 2 * 2 + 1, 4 - 2 * 7 + 5]
    window = [torch.tensor([float(number**2)]) for number in range(4)]  # its third difference is 0
    assert difference(window).item() == 0


def test_one_end_goes_down_and_the_other_up_and_nan_is_last_in_both() -> None:
    scores = [0.1, math.nan, -2.0, 0.7, math.inf, -math.inf]
    assert both_ends(scores, bottom=False) == [[4, 3, 0, 2, 5, 1]]
    assert both_ends(scores, bottom=True) == [[4, 3, 0, 2, 5, 1], [5, 2, 0, 3, 4, 1]]


def test_equal_scores_keep_the_order_given_in_both_directions() -> None:
    assert both_ends([1.0, 1.0, 0.0, 1.0], bottom=True) == [[0, 1, 3, 2], [2, 0, 1, 3]]


@given(st.integers(1, 40), st.data())
def test_a_place_between_two_ends_is_the_nearer_end_counted_in_turns(count: int, data: st.DataObject) -> None:
    scores = data.draw(st.permutations([float(number) for number in range(count)]))
    order = take_turns(both_ends(scores, bottom=True))
    assert sorted(order) == list(range(count))
    for place, score in enumerate(scores):
        from_top = count - int(score)
        from_bottom = int(score) + 1
        assert order.index(place) + 1 == min(2 * from_top - 1, 2 * from_bottom)


def test_turns_by_hand() -> None:
    orders = [["a", "b", "c"], ["b", "d"], ["a", "e", "f"]]
    assert take_turns(orders) == ["a", "b", "d", "e", "c", "f"]
    assert take_turns(orders, 3) == ["a", "b", "d"]
    assert take_turns(orders, 0) == []
    assert take_turns([]) == []
    assert take_turns([[0, None, 1]]) == [0, None, 1]  # None is a guess like any other


@given(ORDERS, st.integers(0, 40))
def test_the_budget_holds_each_orders_fair_share(orders: list[list[int]], most: int) -> None:
    taken, whole = take_turns(orders, most), take_turns(orders)
    assert taken == whole[:most]  # a larger budget only adds
    assert len(set(taken)) == len(taken) <= most
    share = most // len(orders)
    assert all(set(order[:share]) <= set(taken) for order in orders)
    assert set(whole) == {one for order in orders for one in order}


@pytest.mark.parametrize("most", [1, 2, 3])
def test_the_first_order_is_served_first(most: int) -> None:
    assert take_turns([["late"], ["middle"], ["early"]], most) == ["late", "middle", "early"][:most]
