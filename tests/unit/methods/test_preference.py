"""Preference objectives: values by hand, limits, and what they need."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mllmu_med.methods import METHODS
from mllmu_med.methods.interface import Answers, Batch, Needs, Objective
from mllmu_med.methods.objectives.dpo import DPO, AltPO, preference
from mllmu_med.methods.objectives.preference import NPO, negative_preference
from mllmu_med.methods.objectives.sim_npo import SimNPO
from tests.unit.methods import objective_checks as checks
from tests.unit.methods.worked_example import BESIDE, FORGET, LN2, TARGET, answers, batch, close, logits_of

MADE: dict[str, Objective] = {
    "dpo": DPO(beta=0.5), "alt_po": AltPO(beta=0.5), "sim_npo": SimNPO(beta=2.0, delta=0.5, forget_weight=0.75)
}  # fmt: skip
NAMES = tuple(MADE)
PAIRED: dict[str, type[DPO] | type[AltPO]] = {"dpo": DPO, "alt_po": AltPO}


def gradient(objective: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    at = at.clone().requires_grad_()
    [found] = torch.autograd.grad(objective(at), at)
    return found


# --- values


@pytest.mark.parametrize("name", PAIRED)
def test_preference_with_beta_one(name: str) -> None:
    """Δ(y_f) = −2 and −1 · ln 2, Δ(y) = −2 − (−3) = 1 · ln 2 for both, so the margins are 3 and 2 · ln 2.

    −2/1 · (ln σ(3 ln 2) + ln σ(2 ln 2))/2 = −(ln 8/9 + ln 4/5) = ln 45/32; λ = 2: + 2 ln 2. A plain NLL of the
    preferred answers, as one public port gives, would be 1.5 ln 2.
    """
    loss = PAIRED[name](beta=1.0, retain_weight=2.0).loss(batch())
    assert loss.forget.item() == close(math.log(45 / 32))
    assert loss.total.item() == close(math.log(45 / 32) + 2 * LN2)
    assert loss.retain is not None
    assert loss.retain.item() == close(LN2)


@pytest.mark.parametrize("name", PAIRED)
def test_preference_with_beta_two(name: str) -> None:
    """Margins 6 and 4 · ln 2: −2/2 · (ln 64/65 + ln 16/17)/2 = ½ ln 1105/1024."""
    assert PAIRED[name](beta=2.0).loss(batch()).forget.item() == close(math.log(1105 / 1024) / 2)


def three_alternates() -> Answers:
    """One to record 1, then two to record 0: p_θ = 1/2, 1/2, 1/4; θ0's 1/2, 1/4, 1/16, so Δ = 0, 1, 2 · ln 2."""
    made = answers(logits_of(BESIDE), logprob=(-LN2, -2 * LN2, -4 * LN2))
    return replace(made, owner=torch.tensor([0, 1, 2]), records=3, of=torch.tensor([1, 0, 0]))


def test_alt_po_takes_the_mean_over_a_records_alternates_and_then_over_records() -> None:
    """Record 0: margins 1 + 2 = 3 and 2 + 2 = 4 · ln 2, (ln 8/9 + ln 16/17)/2; record 1: margin 0 + 1, ln 2/3; β = 1.

    −2 · (½ ln 128/153 + ln 2/3)/2. A mean over the three alternates would give −2/3 · ln 256/459.
    """
    loss = AltPO(beta=1.0).loss(batch()._replace(alternates=three_alternates()))
    assert loss.forget.item() == close(-math.log(128 / 153) / 2 - math.log(2 / 3))
    assert loss.per_record is not None
    assert loss.per_record.tolist() == [close(-math.log(128 / 153)), close(-2 * math.log(2 / 3))]


def test_alt_po_records_without_alternates_count_in_the_mean() -> None:
    """So that equal shares of a batch average to the batch, however its alternates are spread."""
    some = replace(three_alternates(), of=torch.tensor([0, 0, 0]))
    loss = AltPO(beta=1.0).loss(batch()._replace(alternates=some))
    assert loss.per_record is not None
    assert loss.per_record[1].item() == 0
    assert loss.forget.item() == close(loss.per_record[0].item() / 2)


def test_sim_npo_by_hand() -> None:
    """ℓ̄ = 1.5 and 3 · ln 2; β = 2: σ(3 ln 2) = 8/9, σ(6 ln 2) = 64/65; −2/2 · (ln 8/9 + ln 64/65)/2 = ½ ln 585/512."""
    loss = SimNPO(beta=2.0, forget_weight=1.0, retain_weight=3.0).loss(batch())
    assert loss.forget.item() == close(math.log(585 / 512) / 2)
    assert loss.total.item() == close(math.log(585 / 512) / 2 + 3 * LN2)
    assert SimNPO(beta=2.0).loss(batch()).forget.item() == close(math.log(585 / 512) / 16), "weight 1/8 by default"


def test_sim_npo_with_a_margin() -> None:
    """δ = ln 2 takes it off: σ(2 ln 2) = 4/5, σ(5 ln 2) = 32/33: ½ ln 165/128, more than without."""
    loss = SimNPO(beta=2.0, delta=LN2, forget_weight=1.0).loss(batch())
    assert loss.forget.item() == close(math.log(165 / 128) / 2)


# --- limits


@pytest.mark.parametrize("beta", [0.1, 1.0, 4.5])
@pytest.mark.parametrize("name", PAIRED)
def test_preference_at_theta0_is_two_over_beta_log_two(name: str, beta: float) -> None:
    whole = batch()

    def at_theta0(own: Answers) -> Answers:
        return replace(own, reference_logprob=own.token_logprob)

    start = Batch(at_theta0(whole.forget), whole.retain)
    start = start._replace(refusals=at_theta0(whole.refusals), alternates=at_theta0(whole.alternates))  # type: ignore[arg-type]
    assert PAIRED[name](beta=beta).loss(start).forget.item() == close(2 / beta * LN2)


@pytest.mark.parametrize("name", PAIRED)
def test_preference_is_npo_where_the_preferred_answers_are_as_likely_as_before(name: str) -> None:
    whole = batch()
    still = replace(whole.refusals, reference_logprob=whole.refusals.token_logprob)  # type: ignore[type-var, union-attr]
    found = PAIRED[name](beta=0.7).loss(whole._replace(refusals=still, alternates=still)).forget
    assert found.item() == close(NPO(beta=0.7).loss(whole).forget.item())


@pytest.mark.parametrize("name", PAIRED)
def test_preference_tends_to_ascent_and_descent_on_sequence_sums_as_beta_vanishes(name: str) -> None:
    """The gradient of −mean (log p(y) − log p(y_f)); for large β it does not."""
    group = "refusals" if name == "dpo" else "alternates"
    for beta, near in ((1e-7, True), (1.0, False)):
        found, expected = [], []
        for side in ("forget", group):
            whole = batch()
            logits = getattr(whole, side).logits.clone().requires_grad_()
            changed = checks.with_logits(whole, {side: logits})
            found += torch.autograd.grad(PAIRED[name](beta=beta).loss(changed).forget, logits)
            plain = getattr(checks.with_logits(whole, {side: logits}), side).logprob.mean()
            expected += torch.autograd.grad(plain if side == "forget" else -plain, logits)
        distance = max(float((a - b).abs().max()) for a, b in zip(found, expected, strict=True))
        assert (distance < 1e-6) == near


@pytest.mark.parametrize("name", PAIRED)
def test_preference_takes_sequence_sums(name: str) -> None:
    """Twice the forget answer, token by token, twice Δ(y_f): a mean over tokens would not notice."""
    whole = batch()
    long = whole._replace(forget=doubled(whole.forget))
    assert long.forget.logprob.tolist() == [close(2 * value) for value in whole.forget.logprob.tolist()]
    method = PAIRED[name](beta=1.0)
    assert method.loss(long).forget.item() == close(-math.log(32 / 33) - math.log(8 / 9))


def doubled(own: Answers) -> Answers:
    """Every token of every answer twice."""
    twice = torch.arange(len(own.target)).repeat_interleave(2)
    reference = None if own.reference_logprob is None else own.reference_logprob[twice]
    return Answers(
        own.logits[twice], own.target[twice], own.owner[twice], own.weight[twice], own.records,
        reference_logprob=reference,
    )  # fmt: skip


def test_sim_npo_is_normalised_by_length() -> None:
    """Answers twice as long with the same log-probability a token give the same loss; in NPO they count twice."""
    plain = batch()
    long = plain._replace(forget=doubled(plain.forget))
    for method in (SimNPO(), SimNPO(delta=1.0)):
        assert method.loss(long).forget.item() == close(method.loss(plain).forget.item())
    assert NPO(beta=1.0).loss(long).forget.item() < 0.7 * NPO(beta=1.0).loss(plain).forget.item()


@pytest.mark.parametrize("delta", [0.0, 0.7, 3.0])
def test_sim_npo_is_npo_against_a_fixed_likelihood_a_token(delta: float) -> None:
    """With β/|y| for β and −δ |y| / β for log p_θ0, divided by |y|: what the margin stands for."""
    beta, whole = 1.3, batch()
    own = SimNPO(beta=beta, delta=delta, forget_weight=1.0).loss(whole).per_record
    assert own is not None
    for record, length in enumerate((2, 1)):
        reference = torch.tensor([-delta * length / beta], dtype=torch.float64)
        npo = negative_preference(whole.forget.logprob[record : record + 1], reference, beta / length)
        assert own[record].item() == close(npo.item() / length)


def test_sim_npo_tends_to_ascent_on_token_means_as_beta_vanishes() -> None:
    ascent = gradient(lambda z: -answers(z).nll.mean(), logits_of(FORGET))
    for beta, near in ((1e-7, True), (1.0, False)):
        method = SimNPO(beta=beta, forget_weight=1.0)
        found = checks.slope(method, batch())
        assert (float((found - ascent).abs().max()) < 1e-6) == near


def test_sim_npo_needs_more_forgetting_with_a_larger_margin() -> None:
    pulls = [checks.slope(SimNPO(delta=delta), batch()).abs().sum().item() for delta in (0.0, 2.0, 8.0)]
    assert pulls == sorted(pulls)
    assert pulls[0] < 0.5 * pulls[2]


@pytest.mark.parametrize("name", PAIRED)
def test_preference_pulls_both_ways_and_less_once_it_is_won(name: str) -> None:
    """The forget answer goes down and the preferred one up; both pulls vanish as the margin grows."""
    group = "refusals" if name == "dpo" else "alternates"
    pulls = []
    for lead in (0.0, 5.0, 500.0):
        whole = batch()
        others = getattr(whole, group)
        others = replace(others, reference_logprob=others.reference_logprob - lead)
        forget = whole.forget.logits.clone().requires_grad_()
        chosen = others.logits.clone().requires_grad_()
        changed = whole._replace(forget=replace(whole.forget, logits=forget), **{group: replace(others, logits=chosen)})
        down, up = torch.autograd.grad(PAIRED[name](beta=0.5).loss(changed).forget, (forget, chosen))
        picked = torch.arange(3), torch.tensor(TARGET)
        assert (down[picked] >= 0).all()
        assert (up[picked] <= 0).all()
        pulls.append((down[picked].sum().item(), -up[picked].sum().item()))
    for side in zip(*pulls, strict=True):
        assert list(side) == sorted(side, reverse=True)
        assert side[0] > 0.1
        assert side[2] < 1e-50


def test_preference_asks_whose_answer_each_is() -> None:
    with pytest.raises(RuntimeError, match="declare"):
        preference(replace(three_alternates(), of=None), batch().forget, 0.1)


# --- what holds of all of them


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_the_value(name: str) -> None:
    checks.check_gradient(MADE[name])


@pytest.mark.parametrize("level", [0.0, -1e4])
@pytest.mark.parametrize("name", NAMES)
def test_value_and_gradient_are_finite_for_certain_and_for_impossible_answers(name: str, level: float) -> None:
    checks.check_extremes(MADE[name], level)


@pytest.mark.parametrize("name", NAMES)
def test_token_weights_choose_the_tokens(name: str) -> None:
    checks.check_token_weights(MADE[name])


def test_token_weights_are_shares_in_sim_npo() -> None:
    checks.check_weights_are_shares(MADE["sim_npo"])


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
    """``dpo``, ``alt_po`` and ``sim_npo``."""
    pair = Needs.RETAIN | Needs.REFERENCE_LOGPROB | Needs.OTHERS_LOGPROB
    found = {name: (METHODS.get(name).needs, METHODS.get(name)()) for name in NAMES}
    assert found == {
        "dpo": (pair | Needs.REFUSALS, DPO(beta=0.1, retain_weight=1.0)),
        "alt_po": (pair | Needs.ALTERNATES, AltPO(beta=0.1, retain_weight=2.0)),
        "sim_npo": (Needs.RETAIN, SimNPO(beta=4.5, delta=0.0, forget_weight=0.125, retain_weight=1.0)),
    }
