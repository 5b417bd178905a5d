"""Add-ons that are gradient rules, against numbers found by hand in float64."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import is_dataclass

import pytest
import torch
from torch import Tensor

from mllmu_med.errors import UsageError
from mllmu_med.methods import ADDONS, METHODS
from mllmu_med.methods.addons.gu import GeometricUnlearning, orthonormal, without
from mllmu_med.methods.addons.interface import GradientRule, Gradients
from mllmu_med.methods.addons.ng_diff import NormalisedGradients
from mllmu_med.methods.addons.prompt_decouple import PromptDecoupling
from mllmu_med.methods.addons.sam import SharpnessAware
from mllmu_med.methods.composition import Composite
from mllmu_med.methods.objectives.ascent import GradientAscent
from mllmu_med.methods.objectives.preference import NPO
from tests.unit.methods.rule_steps import A, B, close, numbers, step, tensors, view
from tests.unit.methods.worked_example import batch

# --- sam


def test_sam_takes_the_forget_gradient_where_the_loss_is_worst() -> None:
    """‖(3, 4)‖ = 5, so the offset is 2 · (3, 4)/5 = (1.2, 1.6); the gradient there is 10 × it; plus g_r."""
    asked: list[Gradients] = []

    def there(offsets: Gradients) -> Gradients:
        asked.append(offsets)
        return {name: 10 * value for name, value in offsets.items()}

    found, state = SharpnessAware(rho=2).combine(step(tensors([3], [4]), tensors([1], [-1]), forget_at=there))
    assert numbers(asked[0]) == close([1.2, 1.6])
    assert numbers(found) == close([13, 15])
    assert state == {}


def test_sam_raises_the_loss_on_the_way_there() -> None:
    """For L = ½ Σ c x² the offset is uphill: L grows by about ρ ‖∇L‖, and the gradient there is c (x + offset)."""
    curve, at = tensors([1, 2], [4]), tensors([1, -1], [0.5])

    def loss(x: Gradients) -> float:
        return sum(float((curve[n] * x[n] ** 2).sum()) for n in x) / 2

    gradient = {name: curve[name] * at[name] for name in at}
    seen: list[float] = []

    def there(offsets: Gradients) -> Gradients:
        moved = {name: at[name] + offsets[name] for name in at}
        seen.append(loss(moved))
        return {name: curve[name] * moved[name] for name in at}

    found, _ = SharpnessAware(rho=1e-4).combine(step(gradient, {}, forget_at=there))
    assert seen[0] - loss(at) == pytest.approx(1e-4 * 3, rel=1e-3)  # ‖(1, −2, 2)‖ = 3
    assert numbers(found) == close([1 * (1 + 1e-4 / 3), 2 * (-1 - 2e-4 / 3), 4 * (0.5 + 2e-4 / 3)])


def test_sam_stays_where_it_is_without_a_forget_gradient_and_without_a_radius() -> None:
    for rule, forget in ((SharpnessAware(), tensors([0], [0])), (SharpnessAware(rho=0), tensors([3], [4]))):
        asked: list[Gradients] = []

        def there(offsets: Gradients, forget: Gradients = forget, asked: list[Gradients] = asked) -> Gradients:
            asked.append(offsets)
            return forget

        found, _ = rule.combine(step(forget, {}, forget_at=there))
        assert numbers(asked[0]) == [0, 0]
        assert numbers(found) == numbers(forget)
    with pytest.raises(UsageError, match="rho"):
        SharpnessAware(rho=-1)


# --- ng_diff


def test_ng_diff_adds_both_sides_at_length_one() -> None:
    """(3, 4)/5 + (0, −2)/2, the norm taken over all parameters at once."""
    found, _ = NormalisedGradients().combine(step(tensors([3], [4]), tensors([0], [-2])))
    assert numbers(found) == close([0.6, 0.8 - 1])


def test_ng_diff_does_not_see_the_size_of_either_side() -> None:
    sides = tensors([3, -1], [4]), tensors([2, 5], [-2])
    once, _ = NormalisedGradients().combine(step(*sides))
    scaled = [{name: value * factor for name, value in side.items()} for side, factor in zip(sides, (1e3, 1e-3))]  # noqa: B905
    again, _ = NormalisedGradients().combine(step(*scaled))
    assert numbers(again) == close(numbers(once))


def test_ng_diff_of_a_gradient_of_zero_is_zero_and_without_a_retain_side_the_forget_side_is_alone() -> None:
    zero = tensors([0], [0])
    assert numbers(NormalisedGradients().combine(step(zero, tensors([3], [4])))[0]) == close([0.6, 0.8])
    assert numbers(NormalisedGradients().combine(step(tensors([3], [4]), zero))[0]) == close([0.6, 0.8])
    assert numbers(NormalisedGradients().combine(step(zero, zero))[0]) == [0, 0]
    assert numbers(NormalisedGradients().combine(step(tensors([3], [4]), {}))[0]) == close([0.6, 0.8])


# --- gu


def run_gu(rule: GeometricUnlearning, steps: list[tuple[Gradients, Gradients, Gradients]]) -> list[Gradients]:
    state = {name: value.double() for name, value in rule.start(view(steps[0][0])).items()}
    found = []
    for number, (forget, retain, scale) in enumerate(steps):
        made, changed = rule.combine(step(forget, retain, state, step=number, scale=lambda scale=scale: scale))
        state |= changed
        found.append(made)
    return found


def test_gu_removes_the_retain_direction_in_the_plain_geometry() -> None:
    """g_f = (3, 4), g_r = (0, 2), P = 1: g_f's second entry goes, then g_r is added."""
    [found] = run_gu(GeometricUnlearning(), [(tensors([3], [4]), tensors([0], [2]), tensors([1], [1]))])
    assert numbers(found) == close([3, 2])


def test_gu_projects_in_the_optimisers_geometry() -> None:
    """P = (1, 3), g_f = (1, 1), g_r = (1, 1/3): ⟨g_f, g_r⟩_P = 1 + 1 = 2, ⟨g_r, g_r⟩_P = 1 + 1/3 = 4/3, so
    g_f − 3/2 g_r = (−1/2, 1/2), and with g_r (1/2, 5/6). In the plain geometry it would be 1.2 in place of 3/2."""
    [found] = run_gu(GeometricUnlearning(), [(tensors([1], [1]), tensors([1], [1 / 3]), tensors([1], [3]))])
    assert numbers(found) == close([1 / 2, 5 / 6])


def randoms(seed: int) -> Callable[[], Gradients]:
    generator = torch.Generator().manual_seed(seed)

    def draw() -> Gradients:
        return {A: torch.randn(4, 3, generator=generator).double(), B: torch.randn(9, generator=generator).double()}

    return draw


def inner(left: Gradients, right: Gradients, scale: Gradients) -> float:
    return sum(float((left[n] * scale[n] * right[n]).sum()) for n in left)


def test_gu_leaves_the_last_retain_losses_unchanged_to_first_order() -> None:
    """⟨g', P r⟩ = 0 for the current and the two earlier retain gradients, and not for the one before them."""
    draw = randoms(2)
    steps = []
    for _ in range(6):
        scale = {name: value.abs() + 0.01 for name, value in draw().items()}
        steps.append((draw(), draw(), scale))
    found = run_gu(GeometricUnlearning(history=3), steps)
    for number in range(6):
        forget, retain, scale = steps[number]
        own = {name: found[number][name] - retain[name] for name in retain}
        size = math.sqrt(inner(forget, forget, scale))
        for back in range(number + 1):
            earlier = steps[number - back][1]
            cosine = inner(own, earlier, scale) / size / math.sqrt(inner(earlier, earlier, scale))
            assert (abs(cosine) < 1e-12) == (back < 3), (number, back)
        assert inner(own, own, scale) > 0.1 * size**2, "most of it stays"


def test_gu_keeps_a_retain_loss_to_first_order_by_finite_differences() -> None:
    """A logistic loss: behind the rule a step of size η along −P g' changes it by O(η²), before by O(η)."""
    draw = randoms(3)
    at, data = draw(), [draw() for _ in range(3)]
    scale = {name: value.abs() + 0.1 for name, value in draw().items()}

    def retain_loss(x: Gradients) -> Tensor:
        return torch.stack([torch.nn.functional.softplus(sum((x[n] * one[n]).sum() for n in x)) for one in data]).mean()

    leaves = {name: value.clone().requires_grad_() for name, value in at.items()}
    retain = dict(zip(leaves, torch.autograd.grad(retain_loss(leaves), list(leaves.values())), strict=True))
    forget = draw()
    [found] = run_gu(GeometricUnlearning(), [(forget, retain, scale)])

    def change(gradient: Gradients, size: float) -> float:
        moved = {name: at[name] - size * scale[name] * gradient[name] for name in at}
        return float(retain_loss(moved) - retain_loss(at))

    own = {name: found[name] - retain[name] for name in found}
    assert abs(change(forget, 1e-3)) > 1e-4, "the plain forget gradient moves it"
    assert abs(change(forget, 1e-3) / change(forget, 1e-4)) == pytest.approx(10, rel=0.1)
    assert abs(change(own, 1e-3)) < 0.05 * abs(change(forget, 1e-3))
    assert change(own, 1e-3) / change(own, 1e-4) == pytest.approx(100, rel=0.1), "second order is left"


def test_gu_is_safe_with_zero_repeated_and_opposite_retain_gradients() -> None:
    zero, one = tensors([0, 0], [0]), tensors([1, 0], [1])
    opposite = tensors([-1, 0], [-1])
    plain = tensors([1, 1], [1])
    found = run_gu(
        GeometricUnlearning(history=4),
        [(tensors([1, 2], [3]), retain, plain) for retain in (zero, one, one, opposite)],
    )
    assert numbers(found[0]) == [1, 2, 3], "no direction, nothing removed"
    for made, retain in zip(found[1:], (one, one, opposite), strict=True):
        assert numbers({n: made[n] - retain[n] for n in made}) == close([-1, 2, 1])  # (1, 2, 3) − 2 · (1, 0, 1)


def test_gu_takes_rounding_for_no_direction() -> None:
    """Multiples of one gradient in float32 differ by rounding: nothing but that one direction may be removed."""
    generator = torch.Generator().manual_seed(8)
    draws = [{A: torch.randn(50, generator=generator), B: torch.randn(50, generator=generator)} for _ in range(2)]
    plain = {name: torch.ones(50) for name in (A, B)}
    basis = orthonormal([{n: factor * g for n, g in draws[0].items()} for factor in (1.0, 0.3, 1e-3 / 7)], plain)
    found = without(draws[1], basis, plain)
    share = inner(draws[1], draws[0], plain) / inner(draws[0], draws[0], plain)
    for name in (A, B):
        torch.testing.assert_close(found[name], draws[1][name] - share * draws[0][name], rtol=0, atol=1e-5)


def test_gu_without_a_retain_term_says_so() -> None:
    with pytest.raises(UsageError, match="no retain term"):
        GeometricUnlearning().combine(step(tensors([1], [1]), {}))
    with pytest.raises(UsageError, match="history=0"):
        GeometricUnlearning(history=0)


# --- what each says of itself, and composition


@pytest.mark.parametrize("name", ["sam", "gu", "ng_diff", "prompt_decouple", "sine_project"])
def test_every_addon_says_what_it_is_and_where_it_comes_from(name: str) -> None:
    addon = ADDONS.get(name)
    assert is_dataclass(addon)
    assert addon.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert re.fullmatch(r"arXiv \d{4}\.\d{5}", addon.source)
    assert addon.source.split()[1] in (addon.__doc__ or "")
    assert addon.label
    assert addon.summary.strip().rstrip(".") == addon.summary
    assert all(hasattr(addon(), field) for field in addon.grid)


@pytest.mark.parametrize("rule", [SharpnessAware(), NormalisedGradients(), GeometricUnlearning()])
def test_rules_compose_with_objectives_and_not_with_each_other(rule: GradientRule) -> None:
    made = Composite(NPO(), (rule,))
    assert made.label == f"NPO + {rule.label}"
    assert made.rule is rule
    assert made.loss(batch()).total.item() == NPO().loss(batch()).total.item()
    with pytest.raises(UsageError, match="two gradient rules"):
        Composite(NPO(), (rule, SharpnessAware()))


def test_a_composition_names_the_source_of_each_part_once() -> None:
    assert Composite(NPO(), (SharpnessAware(),)).source == f"{NPO.source}, {SharpnessAware.source}"
    ours = METHODS.get("correct")(), ADDONS.get("siblings")()
    assert Composite(ours[0], ours[1:]).source == "ours"


def test_gu_is_refused_where_nothing_is_retained_before_any_model_is_loaded() -> None:
    with pytest.raises(UsageError, match=r"GA \+ GU: GU keeps the retain loss, but nothing here has a retain term"):
        Composite(GradientAscent(), (GeometricUnlearning(),))
    Composite(GradientAscent(), (GeometricUnlearning(), PromptDecoupling()))
    Composite(GradientAscent(), (NormalisedGradients(),))
