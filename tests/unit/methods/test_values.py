"""Every method's loss against the number found by hand (see worked_example.py)."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from mllmu_med.methods.interface import Loss
from mllmu_med.methods.objectives.ascent import GradientAscent, GradientDifference, KLMinimisation
from mllmu_med.methods.objectives.llmu import LLMU
from mllmu_med.methods.objectives.preference import NPO, negative_preference
from mllmu_med.methods.objectives.refusal import Refusal
from mllmu_med.methods.terms import forward_kl, mean_nll
from tests.unit.methods.worked_example import (
    FORGET,
    KL,
    LN2,
    RETAIN,
    RETAIN_REFERENCE,
    answers,
    batch,
    close,
    logits_of,
)


def parts(loss: Loss) -> tuple[float, float, float | None]:
    return loss.total.item(), loss.forget.item(), None if loss.retain is None else loss.retain.item()


def test_ga_by_hand() -> None:
    """−ℓ̄_f = −2.25 ln 2."""
    assert parts(GradientAscent().loss(batch())) == (close(-2.25 * LN2), close(-2.25 * LN2), None)


def test_grad_diff_by_hand() -> None:
    """−ℓ̄_f + λ ℓ̄_r = (−2.25 + 3 · 1) ln 2 for λ = 3."""
    found = parts(GradientDifference(retain_weight=3.0).loss(batch()))
    assert found == (close(0.75 * LN2), close(-2.25 * LN2), close(LN2))


def test_kl_min_by_hand() -> None:
    """−ℓ̄_f + λ KL_r = (−2.25 + 4 · 3/8) ln 2 for λ = 4."""
    found = parts(KLMinimisation(retain_weight=4.0).loss(batch()))
    assert found == (close(-0.75 * LN2), close(-2.25 * LN2), close(KL))


def test_idk_by_hand() -> None:
    """ℓ̄(x_f, y_idk) + λ ℓ̄_r: refusals (1 + 1)/2 and 2, mean 1.5; plus 2 · 1 for λ = 2, in ln 2.

    The true answers' loss, 2.25 ln 2, does not enter.
    """
    found = parts(Refusal(retain_weight=2.0).loss(batch()))
    assert found == (close(3.5 * LN2), close(1.5 * LN2), close(LN2))


def test_llmu_by_hand() -> None:
    """ε1 · (−ℓ̄_f) + ε2 · ℓ̄(normal) + ε3 · KL_r = (−0.5 · 2.25 + 2 · 1.5 + 3 · 3/8) ln 2 = 3 ln 2."""
    found = parts(LLMU(forget_weight=0.5, normal_weight=2.0, retain_weight=3.0).loss(batch()))
    assert found == (close(3 * LN2), close(1.875 * LN2), close(KL))
    assert LLMU().loss(batch()).parts["ascent"].item() == close(-2.25 * LN2)


def test_npo_with_beta_one() -> None:
    """Ratios −2 ln 2 and −ln 2, so σ(−β ratio) = 4/5 and 2/3: −2/1 · (ln 4/5 + ln 2/3)/2 = ln 15/8; λ = 2: + 2 ln 2."""
    found = parts(NPO(beta=1.0, retain_weight=2.0).loss(batch()))
    assert found == (close(math.log(15 / 8) + 2 * LN2), close(math.log(15 / 8)), close(LN2))


def test_npo_with_beta_two() -> None:
    """σ(2 · 2 ln 2) = 16/17 and σ(2 · ln 2) = 4/5: −2/2 · (ln 16/17 + ln 4/5)/2 = ½ ln 85/64."""
    assert NPO(beta=2.0).loss(batch()).forget.item() == close(math.log(85 / 64) / 2)


def test_the_divergence_is_from_theta0_to_theta() -> None:
    assert forward_kl(answers(logits_of(RETAIN), reference=RETAIN_REFERENCE)).item() == close(KL)
    swapped = forward_kl(answers(logits_of(RETAIN_REFERENCE), reference=RETAIN)).item()
    assert swapped == close(((0.25 + 0) / 2 + 0.5) / 2 * LN2)


def test_records_count_alike_however_long_their_answers() -> None:
    """A mean over tokens would give 2 ln 2."""
    assert mean_nll(answers(logits_of(FORGET))).item() == close(2.25 * LN2)


def test_token_weights_choose_the_tokens() -> None:
    """Weights (0, 1, 1): record 0 counts by its second token alone, ℓ̄ = (2 + 3)/2 · ln 2; log p = −2 ln 2 there."""
    weighted = answers(logits_of(FORGET), (0, 1, 1), logprob=(-9.0, -LN2, -2 * LN2))
    assert mean_nll(weighted).item() == close(2.5 * LN2)
    assert weighted.logprob.tolist() == [close(-2 * LN2), close(-3 * LN2)]
    assert weighted.reference.tolist() == [close(-LN2), close(-2 * LN2)], "θ0's sum over the same tokens"
    divergence = forward_kl(answers(logits_of(RETAIN), (0, 1, 1), reference=RETAIN_REFERENCE))
    assert divergence.item() == close((0 + 5 / 8) / 2 * LN2)


def test_token_weights_are_shares_not_sizes() -> None:
    """Doubling all weights of an answer changes no mean."""
    for distributions in (FORGET, RETAIN):
        single = mean_nll(answers(logits_of(distributions), (1, 3, 1))).item()
        assert mean_nll(answers(logits_of(distributions), (2, 6, 5))).item() == close(single)
    assert mean_nll(answers(logits_of(FORGET), (1, 3, 1))).item() == close(((1 + 3 * 2) / 4 + 3) / 2 * LN2)


def test_tokens_of_weight_zero_get_no_gradient() -> None:
    for method in (GradientAscent(), KLMinimisation(), NPO(), LLMU(), Refusal(), GradientDifference()):
        whole = batch()
        logits = whole.forget.logits.requires_grad_()
        weight = torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64)
        loss = method.loss(whole._replace(forget=replace(whole.forget, logits=logits, weight=weight)))
        if loss.total.requires_grad:
            [gradient] = torch.autograd.grad(loss.total, logits, allow_unused=True)
            assert gradient is None or gradient[0].tolist() == [0, 0, 0, 0]
            assert gradient is None or gradient[1].abs().sum() > 0


def test_negative_preference_takes_sequence_sums() -> None:
    """[N] in, scalar out: −2/β · mean log σ(−β Δ) with Δ = −ln 3 and 0, β = 1: −(ln 3/4 + ln 1/2)."""
    found = negative_preference(torch.tensor([-math.log(3), 0.0]).double(), torch.zeros(2).double(), 1.0)
    assert found.item() == pytest.approx(math.log(8 / 3), rel=1e-6)
