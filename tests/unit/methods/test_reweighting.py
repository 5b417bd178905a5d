"""Objectives that weigh the tokens of an ascent: values by hand, limits, and what they need."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mllmu_med.methods import METHODS
from mllmu_med.methods.interface import Answers, Batch, Needs, Objective
from mllmu_med.methods.objectives.ascent import GradientAscent
from mllmu_med.methods.objectives.reweighting import WGA, SatImp, weighted_ascent
from mllmu_med.methods.objectives.unlikelihood import Unlikelihood
from tests.unit.methods import objective_checks as checks
from tests.unit.methods.worked_example import LN2, TARGET, answers, batch, close

MADE: dict[str, Objective] = {"wga": WGA(), "sat_imp": SatImp(beta1=2.0, beta2=0.5), "unlikelihood": Unlikelihood()}
NAMES = tuple(MADE)
SAID = torch.tensor([1 / 2, 1 / 4, 1 / 8], dtype=torch.float64)


def pull(weights: Tensor) -> Tensor:
    """[K, V] gradient of Σ_t c_t log p_t on the logits, c the weights over each answer's length and two records."""
    logprobs = batch().forget.logprobs
    share = weights / torch.tensor([2, 2, 1]) / 2
    return share[:, None] * (torch.nn.functional.one_hot(torch.tensor(TARGET), 4) - logprobs.exp())


# --- values


def test_wga_by_hand() -> None:
    """p = 1/2, 1/4 | 1/8, −log p = 1, 2 | 3 · ln 2; β = 1: −((1/2 + 2/4)/2 + 3/8)/2 = −7/16; λ = 3: + 3."""
    loss = WGA(retain_weight=3.0).loss(batch())
    assert loss.forget.item() == close(-7 / 16 * LN2)
    assert loss.total.item() == close((3 - 7 / 16) * LN2)
    assert WGA(beta=2.0).loss(batch()).forget.item() == close(-15 / 128 * LN2), "−((1/4 + 2/16)/2 + 3/64)/2"


def test_sat_imp_by_hand() -> None:
    """p (1 − p) = 1/4, 3/16 | 7/64: −((1/4 + 6/16)/2 + 21/64)/2 = −41/128; λ = 2: + 2."""
    loss = SatImp(beta1=1.0, beta2=1.0, retain_weight=2.0).loss(batch())
    assert loss.forget.item() == close(-41 / 128 * LN2)
    assert loss.total.item() == close((2 - 41 / 128) * LN2)


def test_sat_imp_with_its_starting_values() -> None:
    """p⁵ (1 − p) = 1/64, 3/4096 | 7/2¹⁸: −((1/64 + 6/4096)/2 + 21/2¹⁸)/2 = −2261/2¹⁹."""
    assert SatImp().loss(batch()).forget.item() == close(-2261 / 2**19 * LN2)


def test_unlikelihood_by_hand() -> None:
    """1 − p = 1/2, 3/4 | 7/8: ((ln 2 + ln 4/3)/2 + ln 8/7)/2; λ = 2: + 2 ln 2."""
    loss = Unlikelihood(retain_weight=2.0).loss(batch())
    expected = (math.log(8 / 3) / 2 + math.log(8 / 7)) / 2
    assert loss.forget.item() == close(expected)
    assert loss.total.item() == close(expected + 2 * LN2)


# --- gradients: what is constant and what is not


@pytest.mark.parametrize(("name", "weights"), [
    ("wga", SAID), ("sat_imp", SAID**2 * (1 - SAID).sqrt()), ("unlikelihood", SAID / (1 - SAID)),
])  # fmt: skip
def test_gradients_are_those_of_ascent_with_constant_token_weights(name: str, weights: Tensor) -> None:
    """wga: p^β; sat_imp: p^β1 (1 − p)^β2; unlikelihood: p / (1 − p), since −d log(1 − p) = p / (1 − p) · d log p.

    Were the weights differentiated too, wga would pull with p (1 + log p) instead, upwards for small p.
    """
    torch.testing.assert_close(checks.slope(MADE[name], batch()), pull(weights), rtol=1e-12, atol=1e-15)


def test_unlikelihood_gradients_are_those_of_the_value() -> None:
    checks.check_gradient(MADE["unlikelihood"])


@pytest.mark.parametrize("name", ["wga", "sat_imp"])
def test_the_retain_gradient_is_that_of_the_nll(name: str) -> None:
    """Where the forget weights are constants, finite differences still hold on the retain side."""
    draw = torch.Generator().manual_seed(5)
    logits = torch.randn(3, 4, generator=draw, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: MADE[name].loss(checks.with_logits(batch(), {"retain": z})).total, logits)


# --- limits


@pytest.mark.parametrize("method", [WGA(beta=0.0), SatImp(beta1=0.0, beta2=0.0)], ids=["wga", "sat_imp"])
def test_without_exponents_it_is_gradient_ascent_exactly(method: Objective) -> None:
    whole = batch()
    assert method.loss(whole).forget.item() == GradientAscent().loss(whole).forget.item()
    assert checks.slope(method, whole).tolist() == checks.slope(GradientAscent(), whole).tolist()


def certain(dtype: torch.dtype = torch.float32) -> Batch:
    """Every forget token has probability 1 up to the last bit; 1 − p is 0 in floating point."""
    logits = torch.zeros(3, 4, dtype=dtype)
    logits[range(3), TARGET] = 200.0
    return batch(dtype)._replace(forget=answers(logits))


def gone() -> Batch:
    """Every forget token is practically impossible."""
    logits = torch.zeros(3, 4, dtype=torch.float64)
    logits[range(3), TARGET] = -200.0
    return batch()._replace(forget=answers(logits))


def test_unlikelihood_pulls_hardest_where_a_token_is_certain() -> None:
    """At p = 1 in float32: value 200 − ln 3, gradient 1 on the token and −1/3 on each other, over length and records.

    A clamp on p or on 1 − p would leave no gradient just where the value is known best.
    """
    whole = certain()
    assert whole.forget.token_logprob.tolist() == [0, 0, 0]
    assert Unlikelihood().loss(whole).forget.item() == pytest.approx(200 - math.log(3), rel=1e-6)
    share = torch.tensor([1 / 4, 1 / 4, 1 / 2])
    expected = torch.full((3, 4), -1 / 3)
    expected[range(3), TARGET] = 1.0
    torch.testing.assert_close(checks.slope(Unlikelihood(), whole), expected * share[:, None])


@pytest.mark.parametrize("name", NAMES)
def test_value_and_pull_vanish_once_the_tokens_are_forgotten(name: str) -> None:
    """Gradient ascent goes on for ever; these stop by themselves."""
    assert MADE[name].loss(gone()).forget.item() == pytest.approx(0, abs=1e-40)
    assert checks.slope(MADE[name], gone()).abs().max() < 1e-40
    assert checks.slope(GradientAscent(), gone()).abs().sum() > 0.9


def test_sat_imp_leaves_certain_tokens_alone_and_wga_does_not() -> None:
    """On the tokens' log-probabilities, (1 − p)^β2 = 0 at p = 1, but p^β = 1."""
    for method, expected in ((SatImp(), 0.0), (WGA(), 1.0)):
        [beta1, beta2] = [method.beta1, method.beta2] if isinstance(method, SatImp) else [method.beta, 0.0]
        own = certain().forget
        logprob = own.token_logprob.clone().requires_grad_()
        fixed = Answers(own.logits, own.target, own.owner, own.weight, own.records)
        object.__setattr__(fixed, "token_logprob", logprob)
        [found] = torch.autograd.grad(weighted_ascent(fixed, beta1, beta2).sum(), logprob)
        assert found.tolist() == [expected / 2, expected / 2, expected]


def test_wga_pulls_in_proportion_to_probability_and_sat_imp_most_in_between() -> None:
    """Pull of ascent, divided out: p for wga; for sat_imp largest at p = β1 / (β1 + β2) = 5/6."""
    ascent = pull(torch.ones(3)).abs().sum(-1)
    ratio = checks.slope(WGA(), batch()).abs().sum(-1) / ascent
    assert ratio.tolist() == [close(1 / 2), close(1 / 4), close(1 / 8)]
    weights = []
    for share in (0.7, 5 / 6, 0.95):
        logits = torch.tensor([[share, 1 - share]], dtype=torch.float64).log().requires_grad_()
        one = Answers(logits, torch.tensor([0]), torch.tensor([0]), torch.ones(1, dtype=torch.float64), 1)
        [found] = torch.autograd.grad(weighted_ascent(one, 5.0, 1.0).sum(), logits)
        weights.append((found[0, 0] / (1 - share)).item())
    assert weights == [close(0.7**5 * 0.3), close((5 / 6) ** 5 / 6), close(0.95**5 * 0.05)]
    assert weights[1] == max(weights)


def test_sat_imp_weight_keeps_its_digits_next_to_certainty() -> None:
    """1 − p at log p = −1e-9 is 1e-9 in float32 as well; from p, which is 1 there, it would be 0."""
    own = certain().forget
    fixed = Answers(own.logits, own.target, own.owner, own.weight, own.records)
    object.__setattr__(fixed, "token_logprob", torch.full((3,), -1e-9))
    assert weighted_ascent(fixed, 0.0, 1.0).tolist() == [pytest.approx(-1e-18, rel=1e-5)] * 2


def test_unlikelihood_is_bounded_below_and_ascent_is_not() -> None:
    for shift in (0.0, -50.0, -1e4):
        logits = batch().forget.logits.clone()
        logits[range(3), TARGET] += shift
        changed = checks.with_logits(batch(), {"forget": logits})
        assert Unlikelihood().loss(changed).forget.item() >= 0
    assert GradientAscent().loss(changed).forget.item() < -9000


# --- what holds of all of them


@pytest.mark.parametrize("level", [0.0, -1e4])
@pytest.mark.parametrize("name", NAMES)
def test_value_and_gradient_are_finite_for_certain_and_for_impossible_answers(name: str, level: float) -> None:
    checks.check_extremes(MADE[name], level)


@pytest.mark.parametrize(
    "method",
    [WGA(beta=0.5), SatImp(beta2=0.1), SatImp(beta1=0.0)],
    ids=["wga", "sat_imp", "sat_imp, β1 = 0"],
)
@pytest.mark.parametrize("level", [0.0, -1e4])
def test_small_exponents_are_finite_as_well(method: Objective, level: float) -> None:
    checks.check_extremes(method, level)


@pytest.mark.parametrize("name", NAMES)
def test_token_weights_choose_the_tokens(name: str) -> None:
    checks.check_token_weights(MADE[name])
    checks.check_weights_are_shares(MADE[name])


@pytest.mark.parametrize("name", NAMES)
def test_token_weights_by_hand(name: str) -> None:
    """Weights (1, 3, 1): record 0 is (a + 3b)/4 of its tokens' values a and b."""
    weighted = replace(batch().forget, weight=torch.tensor([1, 3, 1], dtype=torch.float64))
    values = {
        "wga": (-1 / 2 * LN2, -2 / 4 * LN2, -3 / 8 * LN2),
        "sat_imp": tuple(-(p**2) * (1 - p) ** 0.5 * -math.log(p) for p in SAID.tolist()),
        "unlikelihood": (math.log(2), math.log(4 / 3), math.log(8 / 7)),
    }[name]
    found = MADE[name].loss(batch()._replace(forget=weighted)).forget.item()
    assert found == close(((values[0] + 3 * values[1]) / 4 + values[2]) / 2)


@pytest.mark.parametrize("name", NAMES)
def test_shares_of_a_batch_average_to_the_batch(name: str) -> None:
    checks.check_records(MADE[name])


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_used_undeclared_and_nothing_declared_may_lack(name: str) -> None:
    checks.check_needs(MADE[name])


@pytest.mark.parametrize("name", NAMES)
def test_the_weight_of_the_retain_term_is_the_methods_own_number(name: str) -> None:
    checks.check_retain_weight(MADE[name])


@pytest.mark.parametrize("name", NAMES)
def test_the_declaration_is_complete(name: str) -> None:
    checks.check_declaration(name)


def test_needs_and_starting_values_are_those_of_the_papers() -> None:
    """``wga``, ``sat_imp`` and ``unlikelihood``."""
    found = {name: (METHODS.get(name).needs, METHODS.get(name)()) for name in NAMES}
    assert found == {
        "wga": (Needs.RETAIN, WGA(beta=1.0, retain_weight=1.0)),
        "sat_imp": (Needs.RETAIN, SatImp(beta1=5.0, beta2=1.0, retain_weight=1.0)),
        "unlikelihood": (Needs.RETAIN, Unlikelihood(retain_weight=1.0)),
    }
