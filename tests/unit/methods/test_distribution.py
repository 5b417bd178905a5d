"""Objectives towards a distribution over the vocabulary: values by hand, limits, and what they need."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from mllmu_med.methods import METHODS
from mllmu_med.methods.divergences import kl
from mllmu_med.methods.interface import Needs, Objective
from mllmu_med.methods.objectives.ce_u import CEU
from mllmu_med.methods.objectives.ihl import InvertedHinge
from mllmu_med.methods.objectives.max_entropy import MaxEntropy
from mllmu_med.methods.objectives.pdu import PDU
from mllmu_med.methods.objectives.undial import UNDIAL
from mllmu_med.models.groups import set_trainable
from mllmu_med.models.vlm import VisionLanguageModel
from mllmu_med.training.feeding import UnlearnSettings
from mllmu_med.training.settings import LoopSettings
from mllmu_med.training.unlearn import unlearn
from tests.invariant.jobs import FORGET as FORGET_SAMPLES
from tests.invariant.jobs import RETAIN as RETAIN_SAMPLES
from tests.unit.methods import objective_checks as checks
from tests.unit.methods.worked_example import FORGET, FORGET_THETA0, LN2, TARGET, answers, batch, close, forget_of

MADE: dict[str, Objective] = {
    "undial": UNDIAL(gamma=1.5), "ce_u": CEU(), "pdu": PDU(), "max_entropy": MaxEntropy(), "ihl": InvertedHinge()
}  # fmt: skip
NAMES = tuple(MADE)
TIED = tuple(name for name in NAMES if name != "ce_u")


# --- ce_u


def test_ce_u_by_hand() -> None:
    """Token 0 is the first of record 0, and token 2 the only one of record 1, so token 1 alone is left.

    (1/2, 1/8, 1/4, 1/8) without the third: (4, 1, 0, 1)/6, −log p = (1, 3, 2, 3): 5/3; mean over two records 5/6.
    """
    loss = CEU().loss(batch())
    assert loss.forget.item() == close(5 / 6 * LN2)
    assert loss.total.item() == loss.forget.item()
    assert loss.kept is None


def test_ce_u_over_a_longer_answer() -> None:
    """Token 2, (1/4, 1/8, 1/8, 1/2) without the second: (2, 0, 1, 4)/7 · (2, 3, 3, 1) = 11/7; token 1 as above."""
    assert CEU().loss(forget_of(FORGET, (0, 0, 0))).forget.item() == close((5 / 3 + 11 / 7) / 2 * LN2)
    assert CEU().loss(forget_of(FORGET, (0, 1, 1))).forget.item() == close(11 / 14 * LN2)


def test_ce_u_gradient_is_the_models_share_less_the_targets() -> None:
    """p − q on the logits, q the distribution without the true token: p_t on the true token, whatever p_t is.

    The target is a constant: differentiated as well, the loss would be at rest where it should pull.
    """
    found = checks.slope(CEU(), forget_of(FORGET, (0, 0, 0)))
    expected = torch.zeros(3, 4, dtype=torch.float64)
    expected[1] = torch.tensor([1 / 2 - 4 / 6, 1 / 8 - 1 / 6, 1 / 4, 1 / 8 - 1 / 6], dtype=torch.float64) / 2
    expected[2] = torch.tensor([1 / 4 - 2 / 7, 1 / 8, 1 / 8 - 1 / 7, 1 / 2 - 4 / 7], dtype=torch.float64) / 2
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-15)


def test_ce_u_leaves_a_record_of_one_token_alone() -> None:
    """Nothing is left of it: 0, no gradient, no NaN, and it still counts in the mean."""
    loss = CEU().loss(batch())
    assert loss.per_record is not None
    assert loss.per_record.tolist() == [close(5 / 3 * LN2), 0]
    found = checks.slope(CEU(), batch())
    assert found[0].tolist() == found[2].tolist() == [0, 0, 0, 0]
    assert found[1].abs().sum() > 0.1
    alone = forget_of(FORGET[:1], (0,))
    alone = alone._replace(forget=replace(alone.forget, target=torch.tensor([0]), weight=torch.ones(1)))
    assert CEU().loss(alone).forget.item() == 0
    assert checks.slope(CEU(), alone).tolist() == [[0, 0, 0, 0]]


def test_ce_u_skips_the_first_token_of_the_answer_and_not_of_the_span() -> None:
    """With weights (0, 1, 1) on one answer the first token is out already, and no other is skipped for it."""
    whole = forget_of(FORGET, (0, 0, 0))
    weighted = replace(whole.forget, weight=torch.tensor([0, 1, 1], dtype=torch.float64))
    assert CEU().loss(whole._replace(forget=weighted)).forget.item() == close((5 / 3 + 11 / 7) / 2 * LN2)


def test_ce_u_weights_choose_the_tokens() -> None:
    """(1, 1, 3) on one answer: (5/3 + 3 · 11/7)/4; the size of the weights does not matter."""
    whole = forget_of(FORGET, (0, 0, 0))
    for size in (1, 2):
        weighted = replace(whole.forget, weight=size * torch.tensor([1, 1, 3], dtype=torch.float64))
        assert CEU().loss(whole._replace(forget=weighted)).forget.item() == close((5 / 3 + 33 / 7) / 4 * LN2)
    weighted = replace(whole.forget, weight=torch.tensor([1, 0, 1], dtype=torch.float64))
    found = checks.slope(CEU(), whole._replace(forget=weighted))
    assert found[:2].tolist() == [[0] * 4] * 2
    assert found[2].abs().sum() > 0.1


# --- pdu


def test_pdu_by_hand() -> None:
    """Largest less mean logit, for θ0's distributions: 0, −1 + 9/4 = 5/4, 0 in ln 2: ((0 + 25/16)/2 + 0)/2; λ = 3."""
    method = PDU(retain_weight=3.0)
    loss = method.loss(checks.ready(method, forget_of(FORGET_THETA0)))
    assert loss.forget.item() == close(25 / 64 * LN2**2)
    assert loss.total.item() == close(25 / 64 * LN2**2 + 3 * LN2)
    assert method.loss(checks.ready(method)).forget.item() == close(25 / 16 * LN2**2)


def test_pdu_is_zero_exactly_where_all_logits_are_equal() -> None:
    level = forget_of(((1 / 4,) * 4,) * 3)
    assert PDU().loss(checks.ready(PDU(), level)).forget.item() == pytest.approx(0, abs=1e-30)
    assert checks.slope(PDU(), checks.ready(PDU(), level)).abs().max() < 1e-14


def test_pdu_weighs_the_retain_term_by_its_state() -> None:
    """Not by the field, which is only where λ starts."""
    method = PDU(retain_weight=3.0)
    whole = checks.ready(method)._replace(state={"retain_weight": torch.tensor(0.5), "steps": torch.tensor(7)})
    loss = method.loss(whole)
    assert loss.total.item() == close(25 / 16 * LN2**2 + 0.5 * LN2)
    assert loss.parts["dual"].item() == 0.5


def duals(method: PDU, retain: list[float]) -> list[float]:
    """λ before the first step and after each, for these retain losses."""
    state = method.start(checks.FACTS, torch.Generator())
    found = [state["retain_weight"].item()]
    for value in retain:
        before = dict(state)
        after = method.advance(state, {"retain": torch.tensor(value)})
        assert state == before, "pure"
        state = after
        found.append(state["retain_weight"].item())
    return found


def test_pdu_dual_rises_exactly_while_the_bound_is_broken() -> None:
    """λ ← max(0, λ + η (R − ε)) by hand: ε = 1/2, η = 2, from 1."""
    found = duals(PDU(eta=2.0, epsilon=0.5, warmup=0), [0.75, 0.5, 0.25, 0.0, 0.25, 1.0])
    assert found == [1.0, 1.5, 1.5, 1.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize("warmup", [0, 1, 3])
def test_pdu_dual_never_moves_before_the_warm_up_ends(warmup: int) -> None:
    for retain in ([9.0] * 5, [0.0] * 5):
        found = duals(PDU(epsilon=0.5, warmup=warmup, retain_weight=4.0), retain)
        assert found[: warmup + 1] == [4.0] * (warmup + 1)
        assert found[warmup + 1] != 4.0


def test_pdu_carries_its_dual_through_training(llava: VisionLanguageModel) -> None:
    """Step by step: λ of the next loss is λ of this one, moved by this step's retain loss; the total uses it."""
    set_trainable(llava, {"language": "full"})
    method = PDU(eta=0.5, epsilon=1.0, warmup=2, retain_weight=0.25)
    loop = LoopSettings(6, 1e-3, warmup=0, log_every=1)
    feeding = UnlearnSettings(forget_batch=3, retain_batch=4, branches=3)
    curve = unlearn(llava, method, FORGET_SAMPLES, RETAIN_SAMPLES, loop, feeding, seed=2).curve
    assert [entry["dual"] for entry in curve[:3]] == [0.25] * 3
    for now, then in pairwise(curve[2:]):
        assert now["retain"] > 1.0, "the tiny model is untrained, so the bound is broken"
        assert then["dual"] == pytest.approx(now["dual"] + 0.5 * (now["retain"] - 1.0), rel=1e-5)
        assert then["loss"] == pytest.approx(then["forget"] + then["dual"] * then["retain"], rel=1e-5)


# --- max_entropy


def test_max_entropy_by_hand() -> None:
    """−log p = (1, 2, 3, 3), mean 9/4: KL(U ‖ p) = 9/4 − 2 = 1/4; uniform: 0. ((1/4 + 0)/2 + 1/4)/2 = 3/16; λ = 2."""
    whole = forget_of((FORGET[0], (1 / 4,) * 4, FORGET[2]))
    loss = MaxEntropy(retain_weight=2.0).loss(whole)
    assert loss.forget.item() == close(3 / 16 * LN2)
    assert loss.total.item() == close((3 / 16 + 2) * LN2)


def test_max_entropy_is_the_divergence_of_the_uniform_distribution_from_the_models() -> None:
    """(1/2, 1/6, 1/6, 1/6): KL(U ‖ p) = ¾ ln 3 − ln 2; the other way round, ln 2 − ½ ln 3, is another number."""
    whole = forget_of(((1 / 2, 1 / 6, 1 / 6, 1 / 6),) * 3)
    assert MaxEntropy().loss(whole).forget.item() == close(3 / 4 * math.log(3) - LN2)
    uniform = torch.full((3, 4), -2 * LN2, dtype=torch.float64)
    assert kl(uniform, whole.forget.logprobs).tolist() == [close(3 / 4 * math.log(3) - LN2)] * 3


def test_max_entropy_gradient_is_the_models_share_less_the_uniform() -> None:
    found = checks.slope(MaxEntropy(), batch())
    expected = (torch.tensor(FORGET, dtype=torch.float64) - 1 / 4) / torch.tensor([[4], [4], [2]])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-15)


# --- ihl


def test_ihl_by_hand() -> None:
    """1 + 1/2 − 1/4 = 5/4, 1 + 1/4 − 1/2 = 3/4 | 1 + 1/8 − 1/2 = 5/8: ((5/4 + 3/4)/2 + 5/8)/2 = 13/16; λ = 2."""
    loss = InvertedHinge(retain_weight=2.0).loss(batch())
    assert loss.forget.item() == close(13 / 16)
    assert loss.total.item() == close(13 / 16 + 2 * LN2)


def test_ihl_lets_the_strongest_rival_win_and_leaves_the_others() -> None:
    """d/dz of p_t − p_r: the true token falls, the rival rises, a third moves by p_v (p_r − p_t) only."""
    whole = forget_of(((1 / 2, 3 / 8, 1 / 16, 1 / 16),) * 3, (0, 1, 2))
    whole = whole._replace(forget=replace(whole.forget, target=torch.tensor([0, 0, 0])))
    found = 3 * checks.slope(InvertedHinge(), whole)[0]
    gap = 1 / 2 - 3 / 8
    expected = [1 / 2 * (1 - gap), 3 / 8 * (-1 - gap), -gap / 16, -gap / 16]
    assert found.tolist() == [close(value) for value in expected]


@pytest.mark.parametrize(("share", "expected"), [(1.0, 2.0), (0.0, 0.0)])
def test_ihl_lies_between_0_and_2(share: float, expected: float) -> None:
    """2 where the true token has everything, 0 where a rival has: never below, in float32 either."""
    logits = torch.zeros(3, 4)
    logits[range(3), TARGET if share else (1, 1, 2)] = 300.0
    whole = batch(torch.float32)._replace(forget=answers(logits))
    found = InvertedHinge().loss(whole).per_record
    assert found is not None
    assert found.tolist() == [expected] * 2


# --- what holds of all of them


@pytest.mark.parametrize("name", TIED)
def test_gradients_are_those_of_the_value(name: str) -> None:
    checks.check_gradient(MADE[name])


@pytest.mark.parametrize("level", [0.0, -1e4])
@pytest.mark.parametrize("name", NAMES)
def test_value_and_gradient_are_finite_for_certain_and_for_impossible_answers(name: str, level: float) -> None:
    checks.check_extremes(MADE[name], level)


@pytest.mark.parametrize("name", TIED)
def test_token_weights_choose_the_tokens(name: str) -> None:
    checks.check_token_weights(MADE[name])
    checks.check_weights_are_shares(MADE[name])


@pytest.mark.parametrize("name", NAMES)
def test_shares_of_a_batch_average_to_the_batch(name: str) -> None:
    checks.check_records(MADE[name])


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_used_undeclared_and_nothing_declared_may_lack(name: str) -> None:
    checks.check_needs(MADE[name])


@pytest.mark.parametrize("name", TIED)
def test_the_weight_of_the_retain_term_is_the_methods_own_number(name: str) -> None:
    checks.check_retain_weight(MADE[name])


@pytest.mark.parametrize("name", NAMES)
def test_the_declaration_is_complete(name: str) -> None:
    checks.check_declaration(name)


def test_needs_and_starting_values_are_those_of_the_papers() -> None:
    """``undial``, ``ce_u``, ``pdu``, ``max_entropy`` and ``ihl``."""
    found = {name: (METHODS.get(name).needs, METHODS.get(name)()) for name in NAMES}
    assert found == {
        "undial": (Needs.RETAIN | Needs.FORGET_REFERENCE, UNDIAL(gamma=10.0, retain_weight=1.0)),
        "ce_u": (Needs.NONE, CEU()),
        "pdu": (Needs.RETAIN, PDU(eta=1.0, epsilon=0.3, warmup=10, retain_weight=1.0)),
        "max_entropy": (Needs.RETAIN, MaxEntropy(retain_weight=1.0)),
        "ihl": (Needs.RETAIN, InvertedHinge(retain_weight=1.0)),
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_step_down_the_gradient_makes_the_forget_tokens_less_likely(name: str) -> None:
    """From where θ0 knows them: the direction of every objective, whatever its distribution looks like."""
    known = ((5 / 8, 1 / 8, 1 / 8, 1 / 8), (1 / 8, 1 / 8, 5 / 8, 1 / 8), (1 / 8, 5 / 8, 1 / 8, 1 / 8))
    whole = forget_of(known, (0, 0, 0))
    whole = checks.ready(
        MADE[name], whole._replace(forget=replace(whole.forget, reference_logits=whole.forget.logits.clone()))
    )
    moved = whole.forget.logits - 0.1 * checks.slope(MADE[name], whole)
    after = replace(whole.forget, logits=moved).token_logprob
    assert (after[1:] < whole.forget.token_logprob[1:]).all()
    assert (after[0] < whole.forget.token_logprob[0]) == (name != "ce_u")
