"""Two records and three answer tokens whose losses can be found by hand, in powers of two.

                 p_θ(y_t)       −log p_θ(y_t)      log p_θ(y|x)     ℓ̄ = −log p_θ(y|x) / |y|
    record 0     1/2, 1/4       1, 2  · ln 2        −3 ln 2          1.5 ln 2
    record 1     1/8            3     · ln 2        −3 ln 2          3   ln 2

    mean over records   ℓ̄ = (1.5 + 3) / 2 · ln 2 = 2.25 ln 2         (a mean over tokens would be 2 ln 2)

The retain records use the same tokens with p_θ = 1/2 everywhere, so ℓ̄_r = ln 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mllmu_med.methods.interface import Answers, Batch

LN2 = math.log(2)
TARGET = (0, 2, 1)
OWNER = (0, 0, 1)

# Distributions over four tokens; the answer token's share is the one in the table above.
FORGET = ((1 / 2, 1 / 4, 1 / 8, 1 / 8), (1 / 2, 1 / 8, 1 / 4, 1 / 8), (1 / 4, 1 / 8, 1 / 8, 1 / 2))
RETAIN = ((1 / 2, 1 / 4, 1 / 8, 1 / 8), (1 / 4, 1 / 8, 1 / 2, 1 / 8), (1 / 8, 1 / 2, 1 / 8, 1 / 4))
SAID = (1 / 2, 1 / 4, 1 / 8)


def logits_of(distributions: Sequence[Sequence[float]]) -> Tensor:
    """Logits [K, V] in float64, each row shifted by a constant of its own, as a model's are."""
    probabilities = torch.tensor(distributions, dtype=torch.float64)
    return probabilities.log() + torch.arange(len(probabilities), dtype=torch.float64)[:, None]


def answers(
    logits: Tensor, weight: Sequence[float] = (1, 1, 1), *, logprob: Sequence[float] | None = None,
    reference: Sequence[Sequence[float]] | None = None,
) -> Answers:  # fmt: skip
    """The two records with these logits, and θ0's log-probabilities or distributions if given."""
    return Answers(
        logits=logits,
        target=torch.tensor(TARGET),
        owner=torch.tensor(OWNER),
        weight=torch.tensor(weight, dtype=logits.dtype),
        records=2,
        reference_logprob=None if logprob is None else torch.tensor(logprob, dtype=logits.dtype),
        reference_logits=None if reference is None else logits_of(reference).to(logits.dtype),
    )


# θ0's distributions on the retain answers; KL(p_θ0 ‖ p_θ) by hand, in units of ln 2:
#   token 0:  p_θ0 = (1/4, 1/2, 1/8, 1/8), p_θ = (1/2, 1/4, 1/8, 1/8):   1/4·(−1) + 1/2·1                 = 1/4
#   token 1:  p_θ0 = p_θ                                                                                   = 0
#   token 2:  p_θ0 = (1/2, 1/4, 1/8, 1/8), p_θ = (1/8, 1/2, 1/8, 1/4):   1/2·2 + 1/4·(−1) + 0 + 1/8·(−1)   = 5/8
# The other way round token 2 gives 1/8·(−2) + 1/2·1 + 0 + 1/4·1 = 1/2, so swapped arguments show.
# Mean over each record's tokens, then over records: ((1/4 + 0)/2 + 5/8) / 2 = 3/8.
RETAIN_REFERENCE = ((1 / 4, 1 / 2, 1 / 8, 1 / 8), (1 / 4, 1 / 8, 1 / 2, 1 / 8), (1 / 2, 1 / 4, 1 / 8, 1 / 8))
KL = 3 / 8 * LN2

# θ0's log-probabilities of the forget tokens: −1/2, −1/2 and −2 · ln 2, so that the records' ratios
# log p_θ(y|x) − log p_θ0(y|x) are −3 − (−1) = −2 and −3 − (−2) = −1 · ln 2.
FORGET_REFERENCE = (-LN2 / 2, -LN2 / 2, -2 * LN2)


def batch(dtype: torch.dtype = torch.float64) -> Batch:
    """Everything any method may ask for. Refusals and normal answers: p_θ = 1/2, 1/2 and 1/4, ℓ̄ = 1.5 ln 2."""
    alternate = ((1 / 2, 1 / 4, 1 / 8, 1 / 8), (1 / 4, 1 / 8, 1 / 2, 1 / 8), (1 / 2, 1 / 4, 1 / 8, 1 / 8))
    return Batch(
        forget=answers(logits_of(FORGET).to(dtype), logprob=FORGET_REFERENCE),
        retain=answers(logits_of(RETAIN).to(dtype), reference=RETAIN_REFERENCE),
        refusals=answers(logits_of(alternate).to(dtype)),
        normals=answers(logits_of(alternate).to(dtype)),
    )
