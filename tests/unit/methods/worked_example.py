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
from dataclasses import replace

import pytest
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


# θ0's distributions on the forget answers, those of θ0 behind a refusing instruction about a noisy image, and those of
# θ0 trained further on the forget set. The answer tokens are the columns of TARGET: 0, 2, 1.
FORGET_THETA0 = ((1 / 4, 1 / 4, 1 / 4, 1 / 4), (1 / 8, 1 / 8, 1 / 2, 1 / 4), (1 / 4, 1 / 4, 1 / 4, 1 / 4))
NOISED = ((1 / 8, 1 / 2, 1 / 4, 1 / 8), (1 / 4, 1 / 4, 1 / 4, 1 / 4), (1 / 2, 1 / 8, 1 / 8, 1 / 4))
REINFORCED = ((1 / 2, 1 / 4, 1 / 8, 1 / 8), (1 / 8, 1 / 8, 1 / 2, 1 / 4), (1 / 8, 1 / 2, 1 / 8, 1 / 4))

# Answers beside the true ones (refusals, normals, alternates, corrections): p_θ = 1/2, 1/2 and 1/4 of the tokens, so
# log p_θ(y|x) = −2 ln 2 for both records and ℓ̄ = (1 + 2)/2 = 1.5 ln 2; θ0's: −1, −2 and −3 · ln 2, so −3 ln 2 for both.
BESIDE = ((1 / 2, 1 / 4, 1 / 8, 1 / 8), (1 / 4, 1 / 8, 1 / 2, 1 / 8), (1 / 2, 1 / 4, 1 / 8, 1 / 8))
BESIDE_REFERENCE = (-LN2, -2 * LN2, -3 * LN2)

# Hidden states of width 2 behind layers 0 and 1, [K, 2]; θ0's are all ones. The lens is a fixed linear map to 4 tokens.
HIDDEN = {0: ((1.0, 0.0), (0.0, 1.0), (2.0, 2.0)), 1: ((0.0, 0.0), (1.0, 1.0), (3.0, 1.0))}
LENS = ((1.0, 0.0, 0.0, 1.0), (0.0, 1.0, 0.0, 1.0))


def with_layers(plain: Answers) -> Answers:
    """The answers with hidden states of both layers, θ0's, and the lens."""
    dtype = plain.logits.dtype
    lens = torch.tensor(LENS, dtype=dtype)
    hidden = {layer: torch.tensor(values, dtype=dtype) for layer, values in HIDDEN.items()}
    ones = {layer: torch.ones_like(values) for layer, values in hidden.items()}
    return replace(plain, layers=hidden, reference_layers=ones, lens=lambda states: states @ lens)


def beside(dtype: torch.dtype) -> Answers:
    """One further answer to each of the two records."""
    made = answers(logits_of(BESIDE).to(dtype), logprob=BESIDE_REFERENCE)
    return replace(made, of=torch.tensor([0, 1]))


def batch(dtype: torch.dtype = torch.float64) -> Batch:
    """Everything any method may ask for; forget records have level 4, the retain records levels 1 and 3."""
    forget = answers(logits_of(FORGET).to(dtype), logprob=FORGET_REFERENCE, reference=FORGET_THETA0)
    forget = replace(
        with_layers(forget),
        noised_logits=logits_of(NOISED).to(dtype),
        reinforced_logits=logits_of(REINFORCED).to(dtype),
        level=torch.tensor([4, 4]),
    )
    retain = answers(logits_of(RETAIN).to(dtype), reference=RETAIN_REFERENCE)
    return Batch(
        forget=forget,
        retain=replace(with_layers(retain), level=torch.tensor([1, 3])),
        refusals=beside(dtype),
        normals=beside(dtype),
        alternates=beside(dtype),
        corrections=beside(dtype),
        anchors=answers(logits_of(RETAIN).to(dtype), reference=RETAIN_REFERENCE),
    )


def forget_of(distributions: object, owner: tuple[int, ...] = (0, 0, 1)) -> Batch:
    """The worked example with these distributions on the forget answers, and these owners of the tokens."""
    whole = batch()
    forget = replace(answers(logits_of(distributions)), owner=torch.tensor(owner), records=max(owner) + 1)  # type: ignore[arg-type]
    return whole._replace(forget=forget)


def close(value: object) -> object:
    """Equal but for rounding in float64."""
    return pytest.approx(value, rel=1e-12)
