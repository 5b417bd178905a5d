"""How firmly a model holds the trained answer: from one teacher-forced pass. All 0..1, higher = memorised better.

The answer's tokens include the end token. None where the model has no likelihoods or the answer has no tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def mean_logprob(logprobs: Sequence[float] | None) -> float | None:
    """Mean log-probability of the answer's tokens in nats (≤ 0, higher = more likely): minus the per-token loss.

    None too where a diverged model gives NaN.
    """
    if not logprobs or any(math.isnan(one) for one in logprobs):
        return None
    return math.fsum(logprobs) / len(logprobs)


def probability(logprobs: Sequence[float] | None) -> float | None:
    """exp(mean log-probability): the geometric mean of the token probabilities (TOFU, arXiv 2401.06121)."""
    mean = mean_logprob(logprobs)
    return None if mean is None else min(1.0, math.exp(mean))


def extraction_strength(greedy: Sequence[bool] | None) -> float | None:
    """1 − k/T, k = the shortest prefix of the T answer tokens from which the rest is greedily exact.

    1: the answer comes from the question alone; 0: not even its last token follows. Carlini et al. (arXiv 2012.07805),
    as a graded score in Wang et al. (arXiv 2406.09179).
    """
    if not greedy:
        return None
    last_miss = max((place for place, right in enumerate(greedy, start=1) if not right), default=0)
    return 1 - last_miss / len(greedy)


def exact_memorisation(greedy: Sequence[bool] | None) -> float | None:
    """Share of the answer's tokens that are the most likely given those before (Tirumala et al., arXiv 2205.10770)."""
    return sum(greedy) / len(greedy) if greedy else None
