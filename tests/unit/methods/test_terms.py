"""The retain term prompt_decouple and the parameterisation sine_project, by hand in float64."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mllmu_med.methods.addons.prompt_decouple import PromptDecoupling
from mllmu_med.methods.addons.sine_project import SineProjection
from mllmu_med.methods.composition import Composite
from mllmu_med.methods.interface import Answers, Batch
from mllmu_med.methods.objectives.ascent import GradientDifference
from tests.unit.methods.rule_steps import close
from tests.unit.methods.worked_example import KL, batch

# --- prompt_decouple and sine_project


def test_prompt_decouple_by_hand() -> None:
    """The anchors' KL, mean over their records, is 3/8 ln 2 (worked_example.KL); two anchors, two forget records."""
    assert PromptDecoupling(weight=4.0).term(batch()).item() == close(4 * KL)


def with_anchors(forget: int, anchors: Answers | None) -> Batch:
    whole = batch()
    return whole._replace(forget=replace(whole.forget, records=forget), anchors=anchors)


def test_prompt_decouple_counts_by_forget_record_so_that_shares_average_to_the_batch() -> None:
    """One record has two anchors, the other none: the shares' terms are 2 · KL and 0, their mean the batch's."""
    whole = batch().anchors
    assert whole is not None
    none = replace(
        whole, logits=whole.logits[:0], target=whole.target[:0], owner=whole.owner[:0], weight=whole.weight[:0],
        records=0, reference_logits=whole.logits[:0],
    )  # fmt: skip
    rule = PromptDecoupling(weight=1.0)
    shares = [rule.term(with_anchors(1, whole)).item(), rule.term(with_anchors(1, none)).item()]
    assert shares == [close(2 * KL), 0]
    assert rule.term(with_anchors(2, whole)).item() == close(sum(shares) / 2)


def test_prompt_decouple_is_a_part_of_the_retain_side() -> None:
    plain, whole = (
        GradientDifference().loss(batch()),
        Composite(GradientDifference(), (PromptDecoupling(),)).loss(batch()),
    )
    assert plain.kept is not None
    assert whole.kept is not None
    assert whole.forget.item() == plain.forget.item()
    assert (whole.kept - plain.kept).item() == close(KL)


def test_prompt_decouple_pulls_towards_theta0_and_theta0_gets_no_gradient() -> None:
    anchors = batch().anchors
    assert anchors is not None
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(2)).double().requires_grad_()

    def value(own: Tensor) -> Tensor:
        return PromptDecoupling(weight=2.0).term(with_anchors(2, replace(anchors, logits=own)))

    assert torch.autograd.gradcheck(value, [logits])
    same = replace(anchors, logits=anchors.reference_logits.clone().requires_grad_())  # type: ignore[union-attr]
    value(same.logits).backward()
    assert value(same.logits).item() == 0
    assert same.logits.grad is not None
    assert same.logits.grad.abs().max() < 1e-15


def test_prompt_decouple_is_finite_at_the_extremes() -> None:
    for level in (0.0, -1e4):
        anchors = batch(torch.float32).anchors
        assert anchors is not None
        logits = torch.full((3, 4), -2e4) if level == 0 else torch.zeros(3, 4)
        logits[range(3), anchors.target] = level
        logits.requires_grad_()
        loss = PromptDecoupling().term(with_anchors(2, replace(anchors, logits=logits)))
        loss.backward()
        assert logits.grad is not None
        assert torch.isfinite(loss)
        assert torch.isfinite(logits.grad).all()


def test_prompt_decouple_does_not_go_on_in_silence_without_its_needs() -> None:
    anchors = batch().anchors
    assert anchors is not None
    with pytest.raises(RuntimeError, match="declares"):
        PromptDecoupling().term(with_anchors(2, None))
    with pytest.raises(RuntimeError, match="declares"):
        PromptDecoupling().term(with_anchors(2, replace(anchors, reference_logits=None)))


def test_sine_project_by_hand() -> None:
    """sin(π/6) = ½, sin(−π/2) = −1: W + those; W itself, bit by bit, at 0."""
    frozen = torch.tensor([[1.0, 2.0], [-3.0, 1e-20]], dtype=torch.float64)
    free = torch.tensor([[math.pi / 6, -math.pi / 2], [0, 0]], dtype=torch.float64)
    assert SineProjection().weight(frozen, free).flatten().tolist() == close([1.5, 1, -3, 1e-20])
    assert torch.equal(SineProjection().weight(frozen, torch.zeros_like(frozen)), frozen)


def test_sine_project_moves_by_one_at_most_and_starts_as_the_identity() -> None:
    frozen = torch.randn(4, 4, generator=torch.Generator().manual_seed(1)).double()
    assert (SineProjection().weight(frozen, 1e3 * frozen) - frozen).abs().max() <= 1
    free = torch.zeros_like(frozen).requires_grad_()
    SineProjection().weight(frozen, free).sum().backward()
    assert torch.equal(free.grad, torch.ones_like(free))  # type: ignore[arg-type]
