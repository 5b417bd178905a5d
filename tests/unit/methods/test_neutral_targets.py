"""Objectives towards neutral targets: JensUn, FLAT, VGID, Who's Harry Potter. Values by hand and limits."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from mllmu_med.methods.divergences import js
from mllmu_med.methods.interface import Objective
from mllmu_med.methods.objectives.flat import FLAT, VARIATIONAL, Divergence
from mllmu_med.methods.objectives.jensun import JensUn, js_to_token
from mllmu_med.methods.objectives.vgid import VGID
from mllmu_med.methods.objectives.whp import WhosHarryPotter, generic_logits
from mllmu_med.models.groups import set_trainable
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.training.feeding import UnlearnSettings
from mllmu_med.training.learn import LearnSettings, learn
from mllmu_med.training.settings import LoopSettings
from mllmu_med.training.unlearn import unlearn
from tests.invariant.jobs import FORGET, RETAIN
from tests.unit.methods import objective_checks as checks
from tests.unit.methods.worked_example import FORGET as SAID
from tests.unit.methods.worked_example import FORGET_THETA0, KL, LN2, NOISED, batch, close, logits_of

LN3, LN5, LN7 = math.log(3), math.log(5), math.log(7)
MADE: dict[str, Objective] = {
    "jensun": JensUn(forget_weight=1.5), "flat": FLAT(divergence="kl"), "vgid": VGID(forget_weight=0.75),
    "whp": WhosHarryPotter(strength=2.0),
}  # fmt: skip
NAMES = tuple(MADE)
ON_THE_ANSWER = ("flat", "vgid", "whp")
PROBABLE = (3 / 8, 1 / 8)  # mean token probabilities of the two forget answers; of the refusals 1/2 and 1/4


def at_theta0(**changes: Any) -> Any:
    """The worked example with θ0's outputs where the model is now."""
    whole = batch()
    assert whole.retain is not None
    forget = replace(whole.forget, reference_logits=whole.forget.logits.clone())
    retain = replace(whole.retain, reference_logits=whole.retain.logits.clone())
    return whole._replace(forget=replace(forget, **changes), retain=retain)


# --- JensUn

# JSD(p ‖ onehot) = ln 2 + ½ (p ln p − (1 + p) ln(1 + p)):
#   p = 1/2:  ln 2 − ¼ ln 2 − ¾ (ln 3 − ln 2)      = 1.5 ln 2 − ¾ ln 3
#   p = 1/4:  ln 2 − ¼ ln 2 − ⅝ (ln 5 − 2 ln 2)    = 2 ln 2 − ⅝ ln 5
HALF, QUARTER = 1.5 * LN2 - 0.75 * LN3, 2 * LN2 - 0.625 * LN5
# Retain, JSD(p_θ ‖ p_θ0) = ½ KL(p ‖ m) + ½ KL(p_θ0 ‖ m):
#   token 0:  m = (3, 3, 1, 1)/8, both KLs are ½ ln 4/3 + ¼ ln 2/3                           = 5/4 ln 2 − ¾ ln 3
#   token 1:  0
#   token 2:  m = (5, 6, 2, 3)/16: ½ (⅛ ln 2/5 + ¾ ln 4/3) + ½ (½ ln 8/5 + ⅜ ln 2/3)
#                                                                            = 7/4 ln 2 − 9/16 ln 3 − 5/16 ln 5
RETAINED = ((1.25 * LN2 - 0.75 * LN3) / 2 + 1.75 * LN2 - 9 / 16 * LN3 - 5 / 16 * LN5) / 2


def test_jensun_value() -> None:
    """Refusals: tokens ½, ½ and ¼, so the records have HALF and QUARTER."""
    loss = JensUn(forget_weight=2.0, retain_weight=3.0).loss(batch())
    assert loss.forget.item() == close(HALF + QUARTER)
    assert loss.retain is not None
    assert loss.retain.item() == close(RETAINED)
    assert loss.total.item() == close(HALF + QUARTER + 3 * RETAINED)
    assert loss.per_record is not None
    assert loss.per_record.tolist() == [close(2 * HALF), close(2 * QUARTER)]


def test_jensun_closed_form_is_the_divergence_from_the_one_hot_target() -> None:
    logprobs = torch.randn(7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64).log_softmax(-1)
    target = torch.tensor([0, 1, 2, 3, 4, 0, 1])
    onehot = torch.nn.functional.one_hot(target, 5).double().log()
    own = js_to_token(logprobs.gather(-1, target[:, None])[:, 0])
    torch.testing.assert_close(own, js(logprobs, onehot), rtol=1e-12, atol=1e-12)


def test_jensun_is_bounded_and_zero_where_the_refusal_is_certain() -> None:
    found = js_to_token(torch.tensor([0.0, -1e-9, -5.0, -1e4], dtype=torch.float64)).tolist()
    assert found[0] == pytest.approx(0, abs=1e-15)
    assert found == sorted(found)
    assert found[-1] == close(LN2)


def test_jensun_retain_term_is_zero_without_slope_at_theta0() -> None:
    whole = at_theta0()
    logits = whole.retain.logits.clone().requires_grad_()
    retain = JensUn().loss(checks.with_logits(whole, {"retain": logits})).retain
    assert retain is not None
    assert retain.item() == 0
    [slope] = torch.autograd.grad(retain, logits)
    assert slope.abs().max() < 1e-15


def test_jensun_slope_of_an_unlikely_refusal_vanishes() -> None:
    """dJSD/d log p = ½ p (log p − log(1 + p)); at p = ½: ¼ ln ⅓."""
    for logprob in (-LN2, -30.0):
        at = torch.tensor([logprob], dtype=torch.float64, requires_grad=True)
        [slope] = torch.autograd.grad(js_to_token(at).sum(), at)
        chance = math.exp(logprob)
        assert slope.item() == pytest.approx(chance / 2 * (logprob - math.log1p(chance)), rel=1e-9)


def test_jensun_the_forget_answers_do_not_enter() -> None:
    """The refusal's own tokens are the targets; a port that kept the true answer's labels would see these logits."""
    other = checks.with_logits(batch(), {"forget": torch.randn(3, 4, dtype=torch.float64)})
    assert JensUn().loss(other).total.item() == JensUn().loss(batch()).total.item()


# --- FLAT


@pytest.mark.parametrize(
    ("divergence", "expected"),
    [
        ("kl", (math.exp(-5 / 8) + math.exp(-7 / 8)) / 2 - 3 / 8),
        ("tv", (math.tanh(3 / 8) + math.tanh(1 / 8)) / 4 - (math.tanh(1 / 2) + math.tanh(1 / 4)) / 4),
        ("pearson", -27 / 256),  # (9/64/4 + 3/8 + 1/64/4 + 1/8)/2 − 3/8
    ],
)
def test_flat_value(divergence: Divergence, expected: float) -> None:
    """P of the refusals: ½ and ¼, of the forget answers: (½ + ¼)/2 = ⅜ and ⅛; −g*(P) + f*(g*(P)), record by record.

    The function is taken of each record's mean, not of the batch's: f*(g*(¼)) would be another number for kl.
    """
    loss = FLAT(divergence=divergence).loss(batch())
    assert loss.total.item() == close(expected)
    assert loss.retain is None


@pytest.mark.parametrize(("divergence", "f"), [
    ("kl", lambda r: r * math.log(r)), ("tv", lambda r: abs(r - 1) / 2), ("pearson", lambda r: (r - 1) ** 2),
])  # fmt: skip
def test_flat_conjugates_are_those_of_their_divergence(divergence: Divergence, f: Any) -> None:
    """f*(u) = sup_r ru − f(r), over a fine grid of ratios r ≥ 0; the domain of tv's u is ±½, which g* keeps to."""
    variational, conjugate = VARIATIONAL[divergence]
    ratios = [index / 1000 for index in range(1, 6000)]
    for value in (0.0, 0.2, 0.7, 1.0):
        u = variational(torch.tensor(value, dtype=torch.float64)).item()
        best = max(r * u - f(r) for r in ratios)
        assert conjugate(torch.tensor(u, dtype=torch.float64)).item() == pytest.approx(best, abs=1e-3)
    extreme = [variational(torch.tensor(v, dtype=torch.float64)).item() for v in (-50.0, 50.0)]
    assert (divergence != "tv") or extreme == [-0.5, 0.5]


@pytest.mark.parametrize("divergence", list(VARIATIONAL))
def test_flat_raises_the_refusal_and_lowers_the_answer(divergence: Divergence) -> None:
    whole, method = batch(), FLAT(divergence=divergence)
    assert whole.refusals is not None
    logits = {"forget": whole.forget.logits.requires_grad_(), "refusals": whole.refusals.logits.requires_grad_()}
    total = method.loss(checks.with_logits(whole, logits)).total
    forget, refusals = torch.autograd.grad(total, list(logits.values()))
    assert (forget.gather(-1, whole.forget.target[:, None]) > 0).all()
    assert (refusals.gather(-1, whole.refusals.target[:, None]) < 0).all()


# --- VGID


def test_vgid_value() -> None:
    """KL(noised ‖ p_θ), in ln 2: −¼ + ½ + ¼ = ½;  ¼ (−1 + 1 + 0 + 1) = ¼;  ½ + 0 + 0 − ¼ = ¼.

    Mean ((½ + ¼)/2 + ¼)/2 = 5/16, times α = 4; retain KL 3/8, times λ = 2.
    """
    loss = VGID(forget_weight=4.0, retain_weight=2.0).loss(batch())
    assert loss.forget.item() == close(1.25 * LN2)
    assert loss.retain is not None
    assert loss.retain.item() == close(KL)
    assert loss.total.item() == close(2 * LN2)
    assert loss.per_record is not None
    assert loss.per_record.tolist() == [close(1.5 * LN2), close(LN2)]


def test_vgid_distils_from_the_teacher_and_not_the_other_way() -> None:
    """Swapped: ½ · 2 − ¼ − ⅛ + 0 = ⅝;  ½ − ⅛ + 0 − ⅛ = ¼;  −¼ + 0 + 0 + ½ = ¼: mean ((⅝ + ¼)/2 + ¼)/2 = 11/32."""
    turned = replace(batch().forget, logits=logits_of(NOISED), noised_logits=logits_of(SAID))
    assert VGID().loss(batch()._replace(forget=turned)).forget.item() == close(11 / 32 * LN2)


def test_vgid_is_done_where_the_student_says_what_the_teacher_says() -> None:
    whole = batch()
    taught = whole._replace(forget=replace(whole.forget, logits=logits_of(NOISED) + 3))
    assert VGID().loss(taught).forget.item() == pytest.approx(0, abs=1e-15)
    assert checks.slope(VGID(), taught).abs().max() < 1e-15


# --- Who's Harry Potter


def test_whp_value() -> None:
    """α = 1. Token 0: θ0 uniform, reinforced raises the answer by ln 2, so the labels are (1, 2, 2, 2)/7:

    1/7 ln 2/7 + 2/7 (ln 8/7 + 2 ln 16/7) = 23/7 ln 2 − ln 7
    Token 1: reinforced = θ0, so the labels are θ0's: KL(θ0 ‖ p_θ) = ½ ln 2
    Token 2: labels (2, 1, 2, 2)/7: 2/7 ln 8/7 + 1/7 ln 8/7 + 2/7 ln 16/7 + 2/7 ln 4/7 = 3 ln 2 − ln 7
    """
    records = ((23 / 7 * LN2 - LN7 + LN2 / 2) / 2, 3 * LN2 - LN7)
    loss = WhosHarryPotter(strength=1.0).loss(batch())
    assert loss.total.item() == pytest.approx(sum(records) / 2, rel=1e-10)
    assert loss.per_record is not None
    assert loss.per_record.tolist() == pytest.approx(records, rel=1e-10)
    assert loss.retain is None


def test_whp_lowers_only_what_reinforcement_raises() -> None:
    theta0, reinforced = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.0, 2.0, 3.5]])
    assert generic_logits(theta0, reinforced, 5.0).tolist() == [[1.0, 2.0, 0.5]]


def test_whp_of_strength_zero_is_flat_at_theta0() -> None:
    whole = at_theta0()
    loss = WhosHarryPotter(strength=0.0).loss(whole)
    assert loss.total.item() == pytest.approx(0, abs=1e-15)
    assert checks.slope(WhosHarryPotter(strength=0.0), whole).abs().max() < 1e-15
    assert checks.slope(WhosHarryPotter(strength=1.0), whole).abs().max() > 1e-3


def test_whp_without_reinforcement_distils_theta0() -> None:
    """Reinforced = θ0: the labels are θ0's whatever α is: KL(θ0 ‖ p_θ) = 5/16 ln 2 (see test_scrub)."""
    whole = batch()
    same = replace(whole.forget, reinforced_logits=logits_of(FORGET_THETA0))
    found = WhosHarryPotter(strength=50.0).loss(whole._replace(forget=same)).total.item()
    assert found == close(5 / 16 * LN2)


# --- what holds of all


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_the_value(name: str) -> None:
    checks.check_gradient(MADE[name])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("level", [0.0, -1e4])
def test_value_and_gradient_are_finite_for_certain_and_for_impossible_answers(name: str, level: float) -> None:
    checks.check_extremes(MADE[name], level)


@pytest.mark.parametrize("name", ON_THE_ANSWER)
def test_tokens_of_weight_zero_have_no_say(name: str) -> None:
    checks.check_token_weights(MADE[name])
    checks.check_weights_are_shares(MADE[name])


@pytest.mark.parametrize("name", NAMES)
def test_records_average(name: str) -> None:
    checks.check_records(MADE[name])


@pytest.mark.parametrize("name", NAMES)
def test_nothing_undeclared_is_read_and_nothing_declared_may_be_missing(name: str) -> None:
    checks.check_needs(MADE[name])


@pytest.mark.parametrize("name", NAMES)
def test_every_method_says_what_it_is(name: str) -> None:
    checks.check_declaration(name)


@pytest.mark.parametrize("name", ["vgid", "whp"])
def test_what_theta0_said_is_constant(name: str) -> None:
    """Not even a reference that asks for a gradient gets one."""
    whole = batch()
    logits = whole.forget.logits.clone().requires_grad_()
    held = {key: getattr(whole.forget, key).clone().requires_grad_() for key in (
        "reference_logits", "noised_logits", "reinforced_logits"
    )}  # fmt: skip
    loss = MADE[name].loss(whole._replace(forget=replace(whole.forget, logits=logits, **held)))
    own, *theirs = torch.autograd.grad(loss.total, (logits, *held.values()), allow_unused=True)
    assert own.abs().sum() > 0
    assert theirs == [None, None, None]


@pytest.mark.parametrize("name", ["jensun", "vgid"])
def test_the_weights_of_both_terms(name: str) -> None:
    """α scales the forget side alone, λ the retain term alone."""
    method: Any = MADE[name]
    base = replace(method, forget_weight=1.0, retain_weight=1.0).loss(batch())
    more = replace(method, forget_weight=3.0, retain_weight=5.0).loss(batch())
    assert more.forget.item() == close(3 * base.forget.item())
    assert more.retain.item() == base.retain.item()
    assert more.total.item() == close(3 * base.forget.item() + 5 * base.retain.item())


# --- in the loop


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", ["full", "lora"])
def test_training_brings_the_loss_down(name: str, mode: str, llava: VisionLanguageModel) -> None:
    """The loop provides what each method needs, however the weights are held."""
    set_trainable(llava, {"language": mode})
    asked = [Question(s.image_id, s.question, s.answer) for s in FORGET]
    feeding = UnlearnSettings(forget_batch=4, retain_batch=4, branches=3, span_weights=False, reinforce_steps=8)
    loop = LoopSettings(24, 3e-3, warmup=2, log_every=4)
    if name == "flat":  # a random model gives neither answer any probability: nothing would move
        refusals = [question._replace(answer="I do not know.") for question in asked]
        learn(llava, [*asked, *refusals], LoopSettings(30, 3e-3, warmup=2), LearnSettings(batch=8), seed=0)
    log = unlearn(llava, type(MADE[name])(), FORGET, RETAIN, loop, feeding, seed=1)  # type: ignore[arg-type]
    assert log.curve[-1]["loss"] < log.curve[0]["loss"] - 0.01
