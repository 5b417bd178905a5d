"""What holds of every objective as a function of answers, whatever the numbers are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mllmu_med.errors import UsageError
from mllmu_med.methods import ADDONS
from mllmu_med.methods.addons.interface import Addon, GradientRule, Parameterisation
from mllmu_med.methods.composition import Composite
from mllmu_med.methods.interface import Answers, Loss, Needs, Objective, Supports
from mllmu_med.testing.batches import (
    FACTS,
    REFERENCES,
    chosen_batch,
    chosen_records,
    each_group,
    random_batch,
    teacher_of,
    tensors_of,
    with_live_outputs,
    without,
)
from mllmu_med.testing.naming import combinations, made, methods, trained

STEPS = range(4)
"""Methods may alternate between kinds of steps."""

SEEN_BY_LOSS = (
    Needs.RETAIN, Needs.REFERENCE_LOGPROB, Needs.FORGET_REFERENCE, Needs.RETAIN_REFERENCE, Needs.REFUSALS,
    Needs.NORMALS, Needs.ALTERNATES, Needs.CORRECTIONS, Needs.OTHERS_LOGPROB, Needs.ANCHORS, Needs.NOISED,
    Needs.REINFORCED, Needs.LAYERS, Needs.REFERENCE_LAYERS, Needs.HIERARCHY, Needs.SIBLINGS, Needs.TEACHER,
)  # fmt: skip


def terms(loss: Loss) -> dict[str, Tensor]:
    """All scalars of a loss that are there."""
    found = {"total": loss.total, "forget": loss.forget, "retain": loss.retain, "added": loss.added, **loss.parts}
    return {name: value for name, value in found.items() if value is not None}


def gradients(total: Tensor, leaves: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gradients by leaf; zeros where a leaf does not matter."""
    if not total.requires_grad:
        return {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    return {
        name: torch.zeros_like(leaf) if gradient is None else gradient
        for (name, leaf), gradient in zip(leaves.items(), found, strict=True)
    }


@pytest.mark.parametrize("name", trained())
def test_is_pure_and_reads_only_what_it_declares(name: str) -> None:
    """The batch holds what ``needs`` names and nothing else; it comes out as it went in, and the loss is a function."""
    method = made(name)
    for step in STEPS:
        batch = random_batch(method, step=step)
        before = {key: value.clone() for key, value in tensors_of(batch).items()}
        first, second = terms(method.loss(batch)), terms(method.loss(batch))
        assert all(value.dim() == 0 and torch.isfinite(value) for value in first.values())
        assert {k: v.item() for k, v in first.items()} == {k: v.item() for k, v in second.items()}
        assert all(torch.equal(value, before[key]) for key, value in tensors_of(batch).items())


@pytest.mark.parametrize("theirs", ["moderate", "same", "opposite"])
@pytest.mark.parametrize("level", [0.0, -1e4])
@pytest.mark.parametrize("name", trained())
def test_is_finite_for_certain_and_for_impossible_answers(name: str, level: float, theirs: str) -> None:
    """Answer tokens of log-probability 0, and of −10,000, in every group, in float32, whatever the reference says."""
    method = made(name)

    def extreme(answers: Answers, at: float) -> Tensor:
        # The other tokens share what the answer token leaves: none of it (−20,000), or all of it.
        values = torch.full_like(answers.logits, -2e4 if at == 0 else 0.0)
        values[torch.arange(len(values)), answers.target] = at
        return values

    def change(_: str, answers: Answers) -> Answers:
        changed = replace(answers, logits=extreme(answers, level))
        if theirs == "moderate":
            return changed
        at = level if theirs == "same" else -1e4 - level
        for reference in REFERENCES:
            held = getattr(answers, reference)
            if held is not None:
                single = reference == "reference_logprob"
                far: dict[str, Any] = {reference: torch.full_like(held, at) if single else extreme(answers, at)}
                changed = replace(changed, **far)
        if answers.teacher is not None:
            changed = replace(changed, teacher=teacher_of(extreme(answers, at), answers.target))
        return changed

    for step in STEPS:
        batch, leaves = with_live_outputs(each_group(random_batch(method, dtype=torch.float32, step=step), change))
        loss = method.loss(batch)
        assert all(torch.isfinite(value) for value in terms(loss).values())
        for side in (loss.forget, loss.kept):
            if side is not None:
                assert all(torch.isfinite(value).all() for value in gradients(side, leaves).values())


@pytest.mark.parametrize("name", trained())
def test_tokens_of_weight_zero_get_no_gradient_and_others_do(name: str) -> None:
    method = made(name)
    moved = dict.fromkeys(["forget side", "retain side"], False)

    def half(_: str, answers: Answers) -> Answers:
        weight = answers.weight.clone()
        weight[::2] = 0
        return replace(answers, weight=weight)

    for step in STEPS:
        batch, leaves = with_live_outputs(each_group(random_batch(method, step=step), half))
        loss = method.loss(batch)
        for key, gradient in gradients(loss.total, leaves).items():
            assert torch.isfinite(gradient).all(), key
            assert not gradient[::2].any(), f"{key}: tokens of weight 0 are none of its business"
            side = "retain side" if key.startswith(("retain", "anchors", "siblings")) else "forget side"
            moved[side] |= bool(gradient.any())
    assert moved["forget side"], "the forget records do not matter"
    assert moved["retain side"] == bool(method.needs & (Needs.RETAIN | Needs.ANCHORS | Needs.SIBLINGS))


@pytest.mark.parametrize("name", trained())
def test_without_any_retain_record_the_retain_term_is_0(name: str) -> None:
    """Where no record may be used, made-up siblings stand alone; the forget side is the same."""
    method = made(name)
    if Needs.RETAIN not in method.needs:
        return
    for step in STEPS:
        batch = random_batch(method, step=step)
        assert batch.retain is not None
        alone, leaves = with_live_outputs(batch._replace(retain=chosen_records(batch.retain, [])))
        loss, whole = method.loss(alone), method.loss(batch)
        assert loss.retain is None or loss.retain.item() == 0
        assert loss.forget.item() == whole.forget.item()
        assert all(torch.isfinite(value).all() for value in gradients(loss.total, leaves).values())


@pytest.mark.parametrize("name", trained())
def test_the_order_of_records_and_tokens_does_not_matter(name: str) -> None:
    method = made(name)
    for step in STEPS:
        batch = random_batch(method, step=step)
        expected = terms(method.loss(batch))
        turned = terms(method.loss(chosen_batch(batch, (2, 0, 3, 1))))
        assert {k: v.item() for k, v in turned.items()} == pytest.approx(
            {k: v.item() for k, v in expected.items()}, rel=1e-9
        )


@pytest.mark.parametrize("name", [name for name in trained() if Supports.DISTRIBUTED in made(name).supports])
def test_equal_shares_of_a_batch_average_to_the_batch(name: str) -> None:
    """What two processes compute; corrections and anchors may all fall to one of them."""
    method = made(name)
    for step in STEPS:
        batch, leaves = with_live_outputs(random_batch(method, step=step))
        whole = method.loss(batch).total
        halves = ((0, 3), (1, 2)) if step % 2 else ((0, 1), (2, 3))
        shares = torch.stack([method.loss(chosen_batch(batch, half)).total for half in halves]).mean()
        assert shares.item() == pytest.approx(whole.item(), rel=1e-9)
        expected = gradients(whole, leaves)
        for key, gradient in gradients(shares, leaves).items():
            torch.testing.assert_close(gradient, expected[key], rtol=1e-7, atol=1e-10, msg=key)


@pytest.mark.parametrize("name", methods(Objective))
def test_the_weight_of_the_retain_term_scales_that_term_alone(name: str) -> None:
    """λ is the field ``retain_weight`` (of the first step, where training moves it)."""
    method = made(name).objective
    if Needs.RETAIN not in method.needs:
        return
    weighed = False
    for step in STEPS:
        loss = method.loss(random_batch(Composite(method), step=step))
        if loss.retain is None:
            continue
        weighed = True
        for weight in (0.0, 0.5, 3.0):
            heavier = replace(method, retain_weight=weight)  # type: ignore[type-var]
            own = heavier.loss(random_batch(Composite(heavier), step=step))
            assert own.retain is not None
            assert own.retain.item() == loss.retain.item()
            assert own.forget.item() == loss.forget.item()
            added = 0.0 if own.added is None else own.added.item()
            kept = own.total.item() - own.forget.item() - added
            assert kept == pytest.approx(weight * loss.retain.item(), rel=1e-9, abs=1e-12)
    assert weighed, "it declares Needs.RETAIN and has no retain term"


@pytest.mark.parametrize("name", trained())
def test_a_missing_need_raises(name: str) -> None:
    """In silence it would be another method.

    Corrections and anchors stand beside some records only, so a batch may be without; but where they are, they count.
    """
    method = made(name)
    for need in [need for need in SEEN_BY_LOSS if need in method.needs]:
        raised = changed = False
        for step in STEPS:
            batch = random_batch(method, step=step)
            try:
                left = method.loss(without(batch, need)).total
                changed |= left.item() != method.loss(batch).total.item()
            except (RuntimeError, AssertionError):
                raised = True
        assert raised or (changed and need in (Needs.CORRECTIONS, Needs.ANCHORS)), f"goes on without {need.name}"


@pytest.mark.parametrize("name", methods(Objective))
def test_the_forget_side_record_by_record_averages_to_the_forget_side(name: str) -> None:
    method = made(name)
    for step in STEPS:
        loss = method.loss(random_batch(method, step=step))
        if loss.per_record is not None:
            assert loss.per_record.shape == (4,)
            assert loss.per_record.mean().item() == pytest.approx(loss.forget.item(), rel=1e-9)


@pytest.mark.parametrize("name", trained())
def test_states_are_tensors_that_keep_their_names(name: str) -> None:
    """What a checkpoint can hold, and pure: the state before is still there after."""
    method = made(name)
    first = method.start(FACTS, torch.Generator().manual_seed(3))
    again = method.start(FACTS, torch.Generator().manual_seed(3))
    assert all(torch.equal(value, again[key]) for key, value in first.items()), "drawn from the generator it is given"
    loss = {key: value.detach() for key, value in terms(method.loss(random_batch(method))).items()}
    before = {key: value.clone() for key, value in first.items()}
    after = method.advance(first, {"loss": loss["total"], **loss})
    assert after.keys() == before.keys()
    assert all(isinstance(value, Tensor) and value.shape == before[key].shape for key, value in after.items())
    assert all(torch.equal(value, before[key]) for key, value in first.items())


@pytest.mark.parametrize("name", combinations())
def test_every_addon_composes_or_says_why_not(name: str) -> None:
    """Two rules or two parameterisations exclude each other, and a rule for two sides needs both; nothing else does.

    No add-on touches the forget term.
    """
    first, addon = name.split("+")
    added: Addon = ADDONS.get(addon)()
    alone = made(first)
    taken = isinstance(added, GradientRule) and alone.rule is not None
    if taken or (isinstance(added, Parameterisation) and alone.parameterisation is not None):
        with pytest.raises(UsageError, match="only one can be used"):
            made(name)
        return
    if isinstance(added, GradientRule) and added.two_sided and Needs.RETAIN not in alone.needs:
        with pytest.raises(UsageError, match="nothing here has a retain term"):
            made(name)
        return
    method = made(name)
    assert method.label == f"{alone.label} + {added.label}"
    assert method.needs == alone.needs | added.needs
    both = alone.supports & added.supports
    assert method.supports in both
    assert both & ~method.supports in Supports.FSDP2, "only sharing the weights out can be lost by composing"
    batch = random_batch(method)
    assert method.loss(batch).forget.item() == alone.loss(batch).forget.item()
    assert torch.isfinite(method.loss(batch).total)
