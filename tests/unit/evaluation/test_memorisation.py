from __future__ import annotations

import math

import pytest

from mllmu_med.evaluation.memorisation import exact_memorisation, extraction_strength, mean_logprob, probability


def test_probability_is_the_geometric_mean_of_the_tokens() -> None:
    assert probability([math.log(0.5), math.log(0.125)]) == pytest.approx(0.25)
    assert probability([0.0, 0.0]) == 1.0
    assert probability([-math.inf, 0.0]) == 0.0
    assert mean_logprob([-1.0, -3.0]) == -2.0


@pytest.mark.parametrize("logprobs", [None, (), (math.nan, -1.0)])
def test_no_probability_without_numbers(logprobs: tuple[float, ...] | None) -> None:
    assert probability(logprobs) is None
    assert mean_logprob(logprobs) is None


@pytest.mark.parametrize(
    ("greedy", "strength", "exact"),
    [
        ([True] * 4, 1.0, 1.0),
        ([False, True, True, True], 0.75, 0.75),
        ([True, True, True, False], 0.0, 0.75),  # where the miss stands matters to the strength alone
        ([True, False, True, True], 0.5, 0.75),
        ([False] * 4, 0.0, 0.0),
    ],
)
def test_extraction_strength_and_exact_memorisation(greedy: list[bool], strength: float, exact: float) -> None:
    assert extraction_strength(greedy) == strength
    assert exact_memorisation(greedy) == exact


@pytest.mark.parametrize("greedy", [None, ()])
def test_nothing_without_likelihoods(greedy: tuple[bool, ...] | None) -> None:
    assert extraction_strength(greedy) is None
    assert exact_memorisation(greedy) is None
