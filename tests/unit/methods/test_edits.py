"""Edits: what they say of themselves, and those that subtract what was learnt, against numbers found by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mllmu_med.errors import UsageError
from mllmu_med.methods import METHODS
from mllmu_med.methods.edits.chip import CHIP
from mllmu_med.methods.edits.interface import Edit
from mllmu_med.methods.edits.lunar import LUNAR
from mllmu_med.methods.edits.manu import MANU
from mllmu_med.methods.edits.sku import SKU, Acquisition, bounded_divergence
from mllmu_med.methods.edits.task_vector import Overfit, TaskVector
from mllmu_med.methods.interface import Family, Supports
from tests.unit.methods.given_desk import GivenDesk, close, random
from tests.unit.methods.worked_example import KL, LN2, RETAIN, RETAIN_REFERENCE, answers, batch, logits_of

NAMES = ("task_vector", "sku", "chip", "manu", "lunar")


# --- what they say of themselves


@pytest.mark.parametrize("name", NAMES)
def test_every_edit_is_registered_and_says_what_it_is(name: str) -> None:
    method = METHODS.get(name)
    assert issubclass(method, Edit)
    assert method.source.split()[1] in (method.__doc__ or "")
    assert method.family in (Family.ARITHMETIC, Family.EDIT)
    assert not method.summary.endswith(".")
    assert set(method.grid), "there is something to tune"
    trains = name in ("task_vector", "sku")
    assert (Supports.LORA in method.supports) == trains, "frozen weights cannot be changed in place"
    assert Supports.FULL in method.supports


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: CHIP(share=0.0), "chip: share=0.0"), (lambda: CHIP(energy=1.5), "chip: energy=1.5"),
        (lambda: MANU(share=2.0), "manu: share=2.0"), (lambda: MANU(statistics=()), "manu: statistics"),
        (lambda: LUNAR(ridge=0.0), "lunar: ridge=0.0"),
    ],
)  # fmt: skip
def test_numbers_that_make_no_sense_are_refused(make: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make()


# --- task_vector


def test_task_vector_overfits_on_the_forget_answers_alone() -> None:
    """ℓ̄_f = 2.25 ln 2, with a plus sign; nothing is said of retain records."""
    loss = Overfit().loss(batch())
    assert (loss.total.item(), loss.retain, loss.added) == (close(2.25 * LN2), None, None)


@pytest.mark.parametrize("scale", [0.0, 0.5, 3.0])
def test_task_vector_subtracts_what_was_learnt_once(scale: float) -> None:
    desk = GivenDesk(learnt=8.0)
    TaskVector(scale).edit(desk)
    assert [type(objective) for objective in desk.tuned] == [Overfit]
    assert desk.applied == [-8.0 * scale]


# --- sku


def test_sku_acquires_by_three_losses() -> None:
    """ε1 ℓ̄_f + ε2 ℓ̄(normal) − λ · bounded KL = (0.5 · 2.25 + 2 · 1.5 − 4 · 1/4) ln 2 = 3.125 ln 2.

    KL by token 1/4, 0, 5/8 (worked_example.py); none counts more than 3/8: ((1/4 + 0)/2 + 3/8)/2 = 1/4, in ln 2.
    """
    loss = Acquisition(0.5, 2.0, 4.0, limit=3 / 8 * LN2).loss(batch())
    assert loss.forget.item() == close((0.5 * 2.25 + 2 * 1.5) * LN2)
    assert loss.retain is not None
    assert loss.retain.item() == close(-LN2 / 4)
    assert loss.total.item() == close(3.125 * LN2)
    assert loss.parts["distortion"].item() == close(2.25 * LN2)
    far = Acquisition(0.5, 2.0, 4.0, limit=10.0).loss(batch())
    assert far.total.item() == close((0.5 * 2.25 + 2 * 1.5) * LN2 - 4 * KL)


def test_sku_divergence_is_from_theta0_bounded_and_blind_beyond_the_limit() -> None:
    logits = logits_of(RETAIN).requires_grad_()
    own = answers(logits, reference=RETAIN_REFERENCE)
    bounded_divergence(own, 3 / 8 * LN2).backward()
    assert logits.grad is not None
    sizes = logits.grad.abs().sum(-1)
    assert sizes[0] > 0
    assert sizes[1] < 1e-15, "θ0's own token has no slope"
    assert sizes[2] == 0, "beyond the limit"
    weighted = answers(logits_of(RETAIN), (0, 1, 1), reference=RETAIN_REFERENCE)
    assert bounded_divergence(weighted, 10.0).item() == close((0 + 5 / 8) / 2 * LN2)
    same = answers(logits_of(RETAIN), reference=RETAIN)
    assert bounded_divergence(same, 1.0).item() == close(0)
    for scale in (10.0, 1e4):
        assert 0 <= bounded_divergence(answers(logits_of(RETAIN) * scale, reference=RETAIN_REFERENCE), 1.0).item() <= 1


def test_sku_gradients_are_those_of_the_value() -> None:
    logits = tuple(random(3, 4, seed=i).requires_grad_() for i in range(3))

    def total(*own: Tensor) -> Tensor:
        whole = batch()
        groups = zip(("forget", "normals", "retain"), own, strict=True)
        changed = {name: replace(getattr(whole, name), logits=values) for name, values in groups}
        return Acquisition(limit=0.7).loss(whole._replace(**changed)).total

    assert torch.autograd.gradcheck(total, logits)


@pytest.mark.parametrize("level", [0.0, -1e4])
def test_sku_is_finite_for_certain_and_for_impossible_answers(level: float) -> None:
    whole = batch(torch.float32)
    logits = []
    for name in ("forget", "normals", "retain"):
        own = getattr(whole, name)
        values = torch.full_like(own.logits, -2e4) if level == 0 else torch.zeros_like(own.logits)
        values[range(3), own.target] = 0.0 if level == 0 else level
        logits.append(values.requires_grad_())
        whole = whole._replace(**{name: replace(own, logits=logits[-1])})
    loss = Acquisition().loss(whole).total
    assert torch.isfinite(loss)
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(loss, logits, allow_unused=True) if g is not None)


def test_sku_without_what_it_needs_fails() -> None:
    whole = batch()
    assert whole.retain is not None
    bare = replace(whole.retain, reference_logits=None)
    for missing in (whole._replace(retain=None), whole._replace(normals=None), whole._replace(retain=bare)):
        with pytest.raises(RuntimeError, match="declares as a need"):
            Acquisition().loss(missing)


def test_sku_hands_its_numbers_on_and_subtracts() -> None:
    desk = GivenDesk(learnt=2.0)
    SKU(scale=3.0, forget_weight=0.1, normal_weight=0.2, retain_weight=0.3, limit=0.4).edit(desk)
    assert desk.tuned == [Acquisition(0.1, 0.2, 0.3, 0.4)]
    assert desk.applied == [-6.0]
