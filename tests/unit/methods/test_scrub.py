"""SCRUB: values by hand, turns, and the rule that ends a divergence without bound."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mllmu_med.methods.objectives.scrub import SCRUB
from mllmu_med.models.groups import set_trainable
from mllmu_med.models.vlm import VisionLanguageModel
from mllmu_med.training.feeding import UnlearnSettings
from mllmu_med.training.settings import LoopSettings
from mllmu_med.training.unlearn import unlearn
from tests.invariant.jobs import FORGET, RETAIN
from tests.unit.methods import objective_checks as checks
from tests.unit.methods.worked_example import FORGET as SAID
from tests.unit.methods.worked_example import FORGET_THETA0 as THETA0
from tests.unit.methods.worked_example import LN2, batch, close, logits_of


def gradients(method: SCRUB, step: int) -> tuple[float, float]:
    """Sizes of the gradients with respect to the forget and the retain logits."""
    whole = batch()._replace(step=step)
    assert whole.retain is not None
    logits = {"forget": whole.forget.logits.requires_grad_(), "retain": whole.retain.logits.requires_grad_()}
    total = method.loss(checks.with_logits(whole, logits)).total
    found = torch.autograd.grad(total, list(logits.values()), allow_unused=True)
    return tuple(0.0 if g is None else g.abs().sum().item() for g in found)  # type: ignore[return-value]


@pytest.mark.parametrize("step", [0, 1])
def test_scrub_value(step: int) -> None:
    """KL(p_θ0 ‖ p_θ) on forget, in ln 2:

    token 0: ¼ (−1 + 0 + 1 + 1) = ¼;  token 1: ⅛ (−2) + 0 + ½ + ¼ = ½;  token 2: ¼ (0 + 1 + 1 − 1) = ¼
    mean ((¼ + ½)/2 + ¼)/2 = 5/16. Retain: KL 3/8 + ℓ̄_r 1. With λ = 2: −5/16 + 22/8 = 39/16. The same in both turns.
    """
    loss = SCRUB(retain_weight=2.0).loss(batch()._replace(step=step))
    assert loss.forget.item() == close(-5 / 16 * LN2)
    assert loss.retain is not None
    assert loss.retain.item() == close(11 / 8 * LN2)
    assert loss.total.item() == close(39 / 16 * LN2)
    assert loss.per_record is not None
    assert loss.per_record.tolist() == [close(-3 / 8 * LN2), close(-1 / 4 * LN2)]


def test_scrub_diverges_from_theta0_and_not_towards_it() -> None:
    """With the arguments swapped: ¼; ½ · 2 − ¼ − ⅛ = ⅝; ¼, mean ((¼ + ⅝)/2 + ¼)/2 = 11/32."""
    whole = batch()
    turned = replace(whole.forget, logits=logits_of(THETA0), reference_logits=logits_of(SAID))
    assert SCRUB().loss(whole._replace(forget=turned)).forget.item() == close(-11 / 32 * LN2)


def test_scrub_takes_turns_until_the_max_steps_are_spent() -> None:
    method = SCRUB(max_steps=2)
    turns = []
    for step in range(8):
        forget, retain = gradients(method, step)
        assert (forget > 0) != (retain > 0), "one side or the other"
        turns.append("max" if forget > 0 else "min")
    assert turns == ["max", "min", "max", "min", "min", "min", "min", "min"]
    assert gradients(SCRUB(max_steps=0), 0)[0] == 0


def test_scrub_is_flat_at_theta0_where_only_the_likelihood_moves() -> None:
    whole = batch()
    assert whole.retain is not None
    same = whole._replace(
        forget=replace(whole.forget, reference_logits=whole.forget.logits.clone()),
        retain=replace(whole.retain, reference_logits=whole.retain.logits.clone()),
    )
    assert SCRUB().loss(same).forget.item() == 0
    assert checks.slope(SCRUB(), same).abs().max() < 1e-15
    loss = SCRUB().loss(same)
    assert loss.retain is not None
    assert loss.retain.item() == close(LN2), "the likelihood alone"


@pytest.mark.parametrize("step", [0, 1])
def test_scrub_gradients_are_those_of_the_side_whose_turn_it_is(step: int) -> None:
    """Against finite differences, in the logits of that side."""
    group = "retain" if step else "forget"
    draw = torch.Generator().manual_seed(4)
    logits = torch.randn(3, 4, generator=draw, dtype=torch.float64).requires_grad_()
    whole = batch()._replace(step=step)
    assert torch.autograd.gradcheck(
        lambda own: SCRUB(retain_weight=1.7).loss(checks.with_logits(whole, {group: own})).total, (logits,)
    )


@pytest.mark.parametrize("level", [0.0, -1e4])
def test_scrub_is_finite_at_extremes(level: float) -> None:
    checks.check_extremes(SCRUB(), level)


def test_scrub_declares_what_it_needs_and_respects_token_weights() -> None:
    checks.check_needs(SCRUB())
    checks.check_token_weights(SCRUB())
    checks.check_weights_are_shares(SCRUB())
    checks.check_records(SCRUB())
    checks.check_references_are_constants(SCRUB())
    checks.check_declaration("scrub")


def test_scrub_weight_of_the_retain_term() -> None:
    losses = [SCRUB(retain_weight=weight).loss(batch()._replace(step=1)) for weight in (0.0, 1.0, 2.5)]
    assert [loss.total.item() - losses[0].total.item() for loss in losses] == [
        0, close(11 / 8 * LN2), close(2.5 * 11 / 8 * LN2)
    ]  # fmt: skip


def test_scrub_stops_beyond_its_limit() -> None:
    """The curve holds the negative divergence."""
    assert SCRUB(stop_at=30).diverged({"forget": -30.1})
    assert not SCRUB(stop_at=30).diverged({"forget": -29.9})
    assert not SCRUB(stop_at=30).diverged({"forget": 30.1})


def test_scrub_in_the_loop_its_curve_is_whole_and_its_rule_ends_it(llava: VisionLanguageModel) -> None:
    """What grows without bound is stopped; until then every entry of the curve has both terms."""
    set_trainable(llava, {"language": "full"})
    loop, feeding = LoopSettings(60, 2e-2, warmup=0, log_every=3), UnlearnSettings(forget_batch=3, retain_batch=4)
    log = unlearn(llava, SCRUB(max_steps=60, stop_at=4.0), FORGET, RETAIN, loop, feeding, seed=1)
    assert log.stopped is not None
    assert log.steps < 60
    assert -log.curve[-1]["forget"] > 4
    assert all(-entry["forget"] <= 4 for entry in log.curve[:-1])
    for entry in log.curve:
        assert entry["loss"] == pytest.approx(entry["forget"] + entry["retain"], rel=1e-4)
