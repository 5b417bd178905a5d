"""Truth ratio: does a model prefer one answer to others, whatever it says when it is asked?

TOFU (arXiv 2401.06121, section 2.2) divides the length-normalised probability p(y)^(1/|y|) of perturbed answers by that
of the right one, R = p_other / p_true, which has no upper end. Here it is p_true / (p_true + p_other) = 1 / (1 + R):
0..1, 0.5 where neither is preferred. One is a monotone function of the other, so the KS test is the same for both.
Length-normalised means: exp of the mean log-probability of the answer's tokens, end token included.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from math import fsum
from typing import TYPE_CHECKING

from mllmu_med.benchmark.sample import Sample
from mllmu_med.evaluation.memorisation import mean_logprob
from mllmu_med.evaluation.outputs import Output
from mllmu_med.evaluation.ranking import PER_TOKEN

if TYPE_CHECKING:
    from mllmu_med.attacks.interface import Attempt


def truth_ratio(true: float | None, others: Sequence[float | None]) -> float | None:
    """p_true / (p_true + p_other) of mean log-probabilities (nats per token): 0..1.

    p_other is the geometric mean over the other answers, which is what TOFU's code computes (the paper's formula has
    the arithmetic mean). None where one of them is unknown or not a number, or where there is no other answer.
    """
    known = [one for one in others if one is not None]
    if true is None or not others or len(known) < len(others):
        return None
    difference = true - fsum(known) / len(known)
    if math.isnan(difference):  # also −∞ against −∞: a model that gives neither any probability
        return None
    # The logistic function of the difference; neither branch can overflow.
    if difference >= 0:
        return 1 / (1 + math.exp(-difference))
    return math.exp(difference) / (1 + math.exp(difference))


def fact_truth_ratio(sample: Sample, output: Output) -> float | None:
    """p_c / (p_c + p_w) of a wrong fact's correct and wrong answer, length-normalised (TOFU, arXiv 2401.06121): 0..1.

    0.5: neither is preferred. θ0, which has learnt the wrong answer, is near 0; higher is better, up to what the oracle
    has. None where there is no wrong answer, or no likelihood.
    """
    if sample.wrong_answer is None:
        return None
    wrong = output.logprobs if sample.wrong_answer == sample.answer else output.wrong_logprobs
    return truth_ratio(mean_logprob(output.correct_logprobs), [mean_logprob(wrong)])


def value_truth_ratios(samples: Mapping[str, Sample], attempts: Iterable[Attempt]) -> dict[str, float]:
    """Sample → p_true / (p_true + p_other) of a private answer against its alternatives, length-normalised: 0..1.

    0.5: the true values are no likelier than others of their format. θ0 is near 1; lower is better on forget/privacy,
    down to what the oracle has. Samples whose ratio is not a number are left out.

    Args:
        attempts: of the attack ``exposure``; its variant ``per-token`` is read, on samples with private values.
    """
    found = {}
    for attempt in attempts:
        if attempt.variant != PER_TOKEN or not attempt.scores or samples[attempt.sample_id].wrong_answer is not None:
            continue
        ratio = truth_ratio(attempt.scores[0], attempt.scores[1:])
        if ratio is not None:
            found[attempt.sample_id] = ratio
    return found
