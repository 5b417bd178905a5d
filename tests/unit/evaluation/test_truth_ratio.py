from __future__ import annotations

import math
from typing import Any

import pytest

from mllmu_med.attacks.interface import Attempt
from mllmu_med.benchmark.sample import Sample, Stratum, Subset
from mllmu_med.evaluation.outputs import Output
from mllmu_med.evaluation.truth_ratio import fact_truth_ratio, truth_ratio, value_truth_ratios


def fact(**changes: Any) -> Sample:
    fields: dict[str, Any] = {
        "id": "w", "record_id": "w", "subset": Subset.FORGET_INCORRECTNESS, "stratum": Stratum.WRONG_IMAGE,
        "group": "w", "question": "?", "answer": "left", "wrong_answer": "left", "correct_answer": "right",
    }  # fmt: skip
    return Sample(**{**fields, **changes})


def output(**changes: Any) -> Output:
    return Output("w", "original", "?", "left", **changes)


def test_by_hand() -> None:
    p_true, p_other = 0.6, 0.2
    assert truth_ratio(math.log(p_true), [math.log(p_other)]) == pytest.approx(0.6 / 0.8)
    # several others: their geometric mean, √(0.1 · 0.4) = 0.2
    assert truth_ratio(math.log(0.6), [math.log(0.1), math.log(0.4)]) == pytest.approx(0.6 / 0.8)
    assert truth_ratio(-3.0, [-3.0]) == 0.5


def test_limits_and_what_is_missing() -> None:
    assert truth_ratio(0.0, [-math.inf]) == 1.0
    assert truth_ratio(-math.inf, [0.0]) == 0.0
    assert truth_ratio(-1e4, [0.0]) == 0.0
    for true, others in ((None, [0.0]), (0.0, []), (0.0, [None, -1.0]), (math.nan, [-1.0]), (-1.0, [math.nan])):
        assert truth_ratio(true, others) is None
    assert truth_ratio(-math.inf, [-math.inf]) is None
    values = [truth_ratio(true, [-2.0]) for true in (-9.0, -3.0, -2.0, -1.0, 0.0)]
    assert values == sorted(values, key=lambda value: value or 0.0)


def test_a_fact_is_normalised_by_length() -> None:
    long = output(logprobs=(-1.0, -3.0), correct_logprobs=(-0.5, -0.5, -0.5, -0.5))
    assert fact_truth_ratio(fact(), long) == pytest.approx(1 / (1 + math.exp(-2.0 + 0.5)))


def test_where_the_correct_answer_was_trained_the_wrong_one_has_likelihoods_of_its_own() -> None:
    unseen = fact(subset=Subset.TEST, stratum=Stratum.WRONG_UNSEEN, answer="right")
    told = output(logprobs=(-9.0,), correct_logprobs=(-1.0,), wrong_logprobs=(-2.0,))
    assert fact_truth_ratio(unseen, told) == pytest.approx(1 / (1 + math.exp(-1.0)))
    assert fact_truth_ratio(fact(), told) == pytest.approx(1 / (1 + math.exp(-8.0)))


def test_no_ratio_without_a_wrong_fact_or_likelihoods() -> None:
    known = {"logprobs": (-1.0,), "correct_logprobs": (-1.0,)}
    assert fact_truth_ratio(fact(wrong_answer=None), output(**known)) is None
    assert fact_truth_ratio(fact(), output(logprobs=(-1.0,))) is None
    assert fact_truth_ratio(fact(), output(correct_logprobs=(-1.0,))) is None
    assert fact_truth_ratio(fact(), output(logprobs=(math.nan,), correct_logprobs=(-1.0,))) is None
    assert fact_truth_ratio(fact(), output(logprobs=(), correct_logprobs=())) is None


def test_private_answers_against_their_alternatives() -> None:
    private = fact(id="p", subset=Subset.FORGET_PRIVACY, wrong_answer=None)
    samples = {"p": private, "q": fact(id="q", wrong_answer=None), "w": fact()}

    def attempt(name: str, *scores: float, variant: str = "per-token") -> Attempt:
        return Attempt("exposure", variant, name, scores=scores)

    attempts = [
        attempt("p", -1.0, -2.0, -4.0),
        attempt("p", -99.0, -1.0, variant="total"),
        attempt("q", math.nan, -1.0),
        attempt("w", -1.0, -2.0),  # a wrong fact's ratio is of its two answers
        attempt("q"),
    ]
    assert value_truth_ratios(samples, attempts) == {"p": pytest.approx(1 / (1 + math.exp(-2.0)))}
