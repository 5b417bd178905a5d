"""Guesses from numbers: finite differences over layers, orders from one or both ends, and how a budget is spent."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from itertools import zip_longest
from typing import TypeVar

from torch import Tensor

T = TypeVar("T", bound=Hashable)


def difference(window: Sequence[Tensor]) -> Tensor:
    """The finite difference of ``order = len(window) − 1`` of what consecutive layers show, the earliest first.

    Order 0: D(l); 1: D(l) − D(l−1); 2: D(l) − 2 D(l−1) + D(l−2). NaN wherever infinities cancel.
    """
    order = len(window) - 1
    total = window[-1]
    for back in range(1, order + 1):
        total = total + (-1) ** back * math.comb(order, back) * window[-1 - back]
    return total


def both_ends(scores: Sequence[float], *, bottom: bool) -> list[list[int]]:
    """Places of the scores from the highest down and, where ``bottom``, from the lowest up; NaN last in both.

    Equal scores stay in the order given, which must therefore say nothing about which is the true one.
    """
    down = sorted(range(len(scores)), key=lambda i: (math.isnan(scores[i]), -_number(scores[i])))
    if not bottom:
        return [down]
    return [down, sorted(range(len(scores)), key=lambda i: (math.isnan(scores[i]), _number(scores[i])))]


def _number(score: float) -> float:
    return 0.0 if math.isnan(score) else score


def take_turns(orders: Iterable[Sequence[T]], most: int | None = None) -> list[T]:
    """Every order's first, then every order's second, …, none twice, until there are ``most`` (None: until the end).

    With n orders the first B taken hold the first ⌊B/n⌋ of each order, which is the published candidate set; what
    several orders agree on leaves room for more.
    """
    taken: dict[T, None] = {}
    for turn in zip_longest(*orders, fillvalue=_NOTHING):
        for one in turn:
            if most is not None and len(taken) >= most:
                return list(taken)
            if one is not _NOTHING:
                taken.setdefault(one, None)  # type: ignore[arg-type]
    return list(taken)


_NOTHING = object()
