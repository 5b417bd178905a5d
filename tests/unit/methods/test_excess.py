"""The objective excess and the add-on siblings, by hand in float64 (see worked_example.py)."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mllmu_med.methods.addons.siblings import Siblings
from mllmu_med.methods.composition import Composite
from mllmu_med.methods.interface import Batch, Needs, Teacher
from mllmu_med.methods.objectives.ascent import GradientDifference
from mllmu_med.methods.objectives.excess import Excess, excess, teacher_kl
from mllmu_med.training.teacher import coarse
from tests.unit.methods.worked_example import (
    FORGET,
    FORGET_THETA0,
    KL,
    LN2,
    TARGET,
    answers,
    batch,
    close,
    logits_of,
)

# T is the worked example's θ0, known at two tokens of four: the answer token and another one.
TOKENS = ((0, 1), (2, 3), (1, 0))
TEACHER = Teacher(
    target=torch.tensor([1 / 4, 1 / 2, 1 / 4], dtype=torch.float64).log(),
    tokens=torch.tensor(TOKENS),
    logprobs=torch.tensor([[1 / 4, 1 / 4], [1 / 2, 1 / 4], [1 / 4, 1 / 4]], dtype=torch.float64).log(),
    rest=torch.tensor([1 / 2, 1 / 4, 1 / 2], dtype=torch.float64).log(),
)
# Σ over (first token, second token, the rest):
DIVERGENCE = (
    -LN2 / 4 + 0 + LN2 / 2,  # T (1/4, 1/4, 1/2), θ (1/2, 1/4, 1/4)
    LN2 / 2 + LN2 / 4 + math.log(2 / 5) / 4,  # T (1/2, 1/4, 1/4), θ (1/4, 1/8, 5/8)
    LN2 / 4 + 0 + math.log(4 / 5) / 2,  # T (1/4, 1/4, 1/2), θ (1/8, 1/4, 5/8)
)
OVER = (LN2, 0.0, 0.0)  # 1/2 against 1/4; 1/4 against 1/2; 1/8 against 1/4
RECORDS = ((DIVERGENCE[0] + DIVERGENCE[1]) / 2, DIVERGENCE[2])


def taught(*, corrected: tuple[int, ...] = ()) -> Batch:
    """The worked example with the teacher, and corrections of these records."""
    whole = batch()
    beside = whole.corrections
    assert beside is not None
    kept = [record for record in (0, 1) if record in corrected]
    pick = torch.tensor([t for t, owner in enumerate((0, 0, 1)) if owner in kept], dtype=torch.long)
    beside = replace(
        beside, logits=beside.logits[pick], target=beside.target[pick], weight=beside.weight[pick], records=len(kept),
        owner=torch.tensor([kept.index((0, 0, 1)[t]) for t in pick.tolist()], dtype=torch.long),
        of=torch.tensor(kept, dtype=torch.long), reference_logprob=None,
    )  # fmt: skip
    return whole._replace(forget=replace(whole.forget, teacher=TEACHER), corrections=beside)


def test_the_divergence_by_hand() -> None:
    found = teacher_kl(logits_of(FORGET), TEACHER.tokens, TEACHER.logprobs, TEACHER.rest)
    assert found.tolist() == close(list(DIVERGENCE))


def test_with_all_tokens_kept_it_is_the_divergence_over_the_vocabulary() -> None:
    """And never above it with fewer."""
    theta, full = logits_of(FORGET), logits_of(FORGET_THETA0).log_softmax(-1)
    whole = (full.exp() * (full - theta.log_softmax(-1))).sum(-1)
    everything = coarse(full, torch.tensor(TARGET), 4)
    assert "rest" not in everything
    assert teacher_kl(theta, everything["tokens"], everything["logprobs"], None).tolist() == close(whole.tolist())
    for top in (1, 2, 3):
        some = coarse(full, torch.tensor(TARGET), top)
        found = teacher_kl(theta, some["tokens"], some["logprobs"], some["rest"])
        assert (found <= whole + 1e-12).all()


def test_excess_is_one_sided() -> None:
    assert excess(answers(logits_of(FORGET)).token_logprob, TEACHER).tolist() == close(list(OVER))


def test_where_strangers_are_less_likely_than_the_teacher_says_they_are_the_ceiling() -> None:
    """1/2 against 1/8, not 1/4; 1/4 against 1/2; 1/8 against 1/4, where strangers would be likelier."""
    stranger = torch.tensor([1 / 8, math.inf, 1 / 2], dtype=torch.float64).log()
    beside = TEACHER._replace(stranger=stranger)
    assert excess(answers(logits_of(FORGET)).token_logprob, beside).tolist() == close([2 * LN2, 0.0, 0.0])
    whole = taught()
    whole = whole._replace(forget=replace(whole.forget, teacher=beside))
    for as_strangers, own in ((True, LN2), (False, LN2 / 2)):
        loss = Excess(as_strangers=as_strangers).loss(whole)
        assert loss.per_record is not None
        assert loss.per_record.tolist() == close([RECORDS[0] + own, RECORDS[1]])


def test_excess_by_hand() -> None:
    """Record 0: mean KL + g/2 · ln 2 with g = 2; record 1: its KL; λ = 3: + 3 ln 2."""
    loss = Excess(excess_weight=2.0, retain_weight=3.0).loss(taught())
    assert loss.per_record is not None
    assert loss.per_record.tolist() == close([RECORDS[0] + LN2, RECORDS[1]])
    assert loss.forget.item() == close((RECORDS[0] + LN2 + RECORDS[1]) / 2)
    assert loss.total.item() == close((RECORDS[0] + LN2 + RECORDS[1]) / 2 + 3 * LN2)


def test_a_known_truth_takes_the_teachers_place() -> None:
    """Record 1's answer is wrong and its truth known: no KL there, the truth's −log p = 2 ln 2 with κ = ½ instead."""
    loss = Excess(correction_weight=0.5).loss(taught(corrected=(1,)))
    assert loss.per_record is not None
    assert loss.per_record.tolist() == close([RECORDS[0] + LN2 / 2, LN2])


def test_each_part_can_be_left_out() -> None:
    """d = 0 leaves the excess, g = 0 the divergence; κ = 0 tells no truth, and the divergence stands in its place."""
    parts = {
        "divergence_weight": [LN2 / 2, LN2],
        "excess_weight": [RECORDS[0], LN2],
        "correction_weight": [RECORDS[0] + LN2 / 2, RECORDS[1]],
    }
    for name, expected in parts.items():
        loss = Excess(**{"correction_weight": 0.5, name: 0.0}).loss(taught(corrected=(1,)))
        assert loss.per_record is not None
        assert loss.per_record.tolist() == close(expected), name


def test_nothing_is_left_to_learn_where_theta_is_the_teacher() -> None:
    """The gradient of the forget side vanishes there: the loss cannot push a record below what a stranger's has."""
    whole = taught()
    logits = logits_of(FORGET_THETA0).requires_grad_()
    full = coarse(logits.detach().log_softmax(-1), torch.tensor(TARGET), 2)
    same = Teacher(full["target"], full["tokens"], full["logprobs"], full["rest"])
    loss = Excess().loss(whole._replace(forget=replace(whole.forget, logits=logits, teacher=same)))
    assert loss.forget.item() == pytest.approx(0, abs=1e-15)
    [gradient] = torch.autograd.grad(loss.forget, logits)
    assert gradient.abs().max() < 1e-15


def test_excess_pulls_harder_than_the_divergence_alone() -> None:
    """On a memorised answer the penalty adds g · (1 − p) to the slope on the token's own logit."""
    whole = taught()
    slopes = []
    for weight in (0.0, 2.0):
        logits = logits_of(FORGET).requires_grad_()
        loss = Excess(excess_weight=weight).loss(whole._replace(forget=replace(whole.forget, logits=logits)))
        [gradient] = torch.autograd.grad(loss.forget, logits)
        slopes.append(gradient)
    added = slopes[1] - slopes[0]
    assert added[0, 0].item() == close(2.0 * (1 - 1 / 2) / 2 / 2)  # one of two tokens, one of two records
    assert added[1:].abs().max() < 1e-15


def test_gradient_and_extremes() -> None:
    whole = taught(corrected=(1,))
    draw = torch.Generator().manual_seed(3)
    logits = torch.randn(3, 4, generator=draw, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda own: Excess().loss(whole._replace(forget=replace(whole.forget, logits=own))).total, [logits]
    )
    for level in (0.0, -1e4):
        extreme = torch.full((3, 4), -2e4) if level == 0 else torch.zeros(3, 4)
        extreme[range(3), list(TARGET)] = level
        extreme.requires_grad_()
        loss = Excess().loss(whole._replace(forget=replace(whole.forget, logits=extreme)))
        [gradient] = torch.autograd.grad(loss.forget, extreme)
        assert torch.isfinite(loss.total)
        assert torch.isfinite(gradient).all()


def test_the_teacher_gets_no_gradient_and_is_needed() -> None:
    whole = taught()
    assert not Excess().loss(whole).total.requires_grad
    with pytest.raises(RuntimeError, match="approximate oracle"):
        Excess().loss(batch())
    assert Needs.TEACHER in Excess.needs


def test_coarse_holds_the_answer_token_in_the_place_of_the_least_likely() -> None:
    logprobs = torch.tensor([[0.5, 0.3, 0.15, 0.05]], dtype=torch.float64).log()
    made = coarse(logprobs, torch.tensor([3]), 2)
    assert made["tokens"].tolist() == [[0, 3]]
    assert made["logprobs"].exp().tolist() == [close([0.5, 0.05])]
    assert made["rest"].exp().tolist() == close([0.45])
    assert made["target"].exp().tolist() == close([0.05])


# --- siblings


def with_siblings(logits: Tensor | None = None) -> Batch:
    whole = batch()
    made = whole.anchors
    assert made is not None
    return whole._replace(siblings=made if logits is None else replace(made, logits=logits))


def test_siblings_by_hand() -> None:
    """w · mean KL(p_θ0 ‖ p_θ): 4 · 3/8 ln 2; swapped arguments would give another number (worked_example.KL)."""
    assert Siblings(weight=4.0).term(with_siblings()).item() == close(4 * KL)


def test_siblings_are_a_part_of_the_retain_side() -> None:
    plain, whole = (
        GradientDifference().loss(with_siblings()),
        Composite(GradientDifference(), (Siblings(weight=2.0),)).loss(with_siblings()),
    )
    assert plain.kept is not None
    assert whole.kept is not None
    assert whole.forget.item() == plain.forget.item()
    assert (whole.kept - plain.kept).item() == close(2 * KL)


def test_siblings_hold_theta0_and_learn_nothing_made_up() -> None:
    """At θ0 there is no gradient, whatever the made-up answers are."""
    whole = with_siblings()
    assert whole.siblings is not None
    reference = whole.siblings.reference_logits
    assert reference is not None
    logits = reference.clone().requires_grad_()
    term = Siblings().term(with_siblings(logits))
    [gradient] = torch.autograd.grad(term, logits)
    assert term.item() == 0
    assert gradient.abs().max() < 1e-15
    with pytest.raises(RuntimeError, match="declares"):
        Siblings().term(batch())
