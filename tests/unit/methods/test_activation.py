"""Objectives on hidden states: RMU, adaptive RMU, head projection, lens entropy. Values by hand, layers, focus."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mllmu_med.methods.depth import layer_at, layers_between
from mllmu_med.methods.interface import Answers, Batch, ModelFacts
from mllmu_med.methods.objectives.head_projection import HeadProjection, rank_hinge
from mllmu_med.methods.objectives.lens_entropy import LensMaxEntropy
from mllmu_med.methods.objectives.rmu import RMU, AdaptiveRMU, random_direction
from tests.unit.methods import objective_checks as checks
from tests.unit.methods.activation_cases import MADE, NAMES, READING, STEERING
from tests.unit.methods.worked_example import LN2, batch, close

U = torch.tensor([0.6, 0.8], dtype=torch.float64)


def states(*layers: int, **forget: Any) -> Batch:
    """The worked example with the hidden states of these layers only, and u = (3, 4)/5."""
    whole = batch()._replace(state={"direction": U})

    def cut(answers: Answers) -> Answers:
        assert answers.layers is not None
        assert answers.reference_layers is not None
        return replace(
            answers,
            layers={layer: answers.layers[layer] for layer in layers},
            reference_layers={layer: answers.reference_layers[layer] for layer in layers},
        )

    assert whole.retain is not None
    return whole._replace(forget=replace(cut(whole.forget), **forget), retain=cut(whole.retain))


# --- RMU


@pytest.mark.parametrize(("layer", "forget", "retain"), [(0, 6.0, 0.75), (1, 7.0, 1.25)])
def test_rmu_value(layer: int, forget: float, retain: float) -> None:
    """c = 5, so the target is (3, 4), and squares are means over the width 2. θ0's states are all (1, 1).

    layer 0: (1,0) → (4 + 16)/2 = 10;  (0,1) → (9 + 9)/2 = 9;  (2,2) → (1 + 4)/2 = 5/2:  (19/2 + 5/2)/2 = 6
             retain: 1/2, 1/2 and 1: (1/2 + 1)/2 = 3/4
    layer 1: (0,0) → 25/2;  (1,1) → (4 + 9)/2 = 13/2;  (3,1) → 9/2:  (19/2 + 9/2)/2 = 7
             retain: 1, 0 and 2: (1/2 + 2)/2 = 5/4
    """
    loss = RMU(coefficient=5.0, retain_weight=4.0).loss(states(layer))
    assert loss.forget.item() == close(forget)
    assert loss.retain is not None
    assert loss.retain.item() == close(retain)
    assert loss.total.item() == close(forget + 4 * retain)


def test_adaptive_rmu_value() -> None:
    """β = 2; θ0's states (3,4), (0,0) and (0,2) have norms 5, 0 and 2, so the targets are (6,8), (0,0) and (2.4, 3.2).

    (1,0) → (25 + 64)/2 = 44.5;  (0,1) → 1/2;  (2,2) → (0.16 + 1.44)/2 = 0.8:  (22.5 + 0.8)/2 = 11.65
    """
    theta0 = {0: torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.0, 2.0]], dtype=torch.float64)}
    loss = AdaptiveRMU(scale=2.0, retain_weight=4.0).loss(states(0, reference_layers=theta0))
    assert loss.forget.item() == close(11.65)
    assert loss.total.item() == close(11.65 + 4 * 0.75)


def test_adaptive_rmu_is_rmu_where_all_norms_are_equal() -> None:
    """θ0's states are (1, 1) everywhere: β ‖h‖ = √2 β."""
    adaptive, plain = AdaptiveRMU(scale=3.0), RMU(coefficient=3 * math.sqrt(2))
    assert adaptive.loss(states(0)).total.item() == close(plain.loss(states(0)).total.item())


@pytest.mark.parametrize("name", STEERING)
def test_the_retain_term_is_zero_at_theta0(name: str) -> None:
    whole = states(0)
    assert whole.retain is not None
    same = whole._replace(retain=replace(whole.retain, layers=whole.retain.reference_layers))
    retain = MADE[name].loss(same).retain
    assert retain is not None
    assert retain.item() == 0


@pytest.mark.parametrize("name", STEERING)
def test_the_forget_term_is_zero_where_the_states_are_steered_to(name: str) -> None:
    length = 3.0 if name == "rmu" else 3.0 * math.sqrt(2)
    there = {0: (length * U).expand(3, 2)}
    assert MADE[name].loss(states(0, layers=there)).forget.item() == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("name", STEERING)
def test_the_direction_is_a_fixed_unit_vector_drawn_from_the_runs_seed(name: str) -> None:
    facts = ModelFacts(layers=4, width=64, vocabulary=9)
    first, again, other = (MADE[name].start(facts, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert set(first) == {"direction"}
    assert first["direction"].shape == (64,)
    assert first["direction"].norm().item() == pytest.approx(1, rel=1e-6)
    assert (first["direction"] >= 0).all(), "entries uniform in 0…1 before they are normalised, as in the paper"
    assert torch.equal(first["direction"], again["direction"])
    assert not torch.equal(first["direction"], other["direction"])
    assert MADE[name].advance(first, {})["direction"] is first["direction"]
    assert random_direction(3, torch.Generator().manual_seed(1)).std() > 0.01


# --- head projection


@pytest.mark.parametrize(("margin", "hinge"), [(1.0, 5 / 4), (0.5, 3 / 4)])
def test_head_projection_value(margin: float, hinge: float) -> None:
    """Lens logits (h1, h2, 0, h1 + h2); answer tokens 0, 2, 1; the second largest of the three others, margin 1:

    layer 0: (1,0,0,1): 1 − 0 + 1 = 2;  (0,1,0,1): 0 − 1 + 1 = 0;  (2,2,0,4): 2 − 2 + 1 = 1:  (1 + 1)/2 = 1
    layer 1: (0,0,0,0): 0 − 0 + 1 = 1;  (1,1,0,2): 0 − 1 + 1 = 0;  (3,1,0,4): 1 − 3 + 1 < 0:  (1/2 + 0)/2 = 1/4
    Sum over layers 5/4; margin ½ takes ½ off each positive one: (3/4 + 1/2)/2 + (1/4)/2 = 3/4.
    Fact erasure: 1/4 of mean probability, times ω = 2; λ = 3: + 3 ln 2.
    """
    method = HeadProjection(rank=2, margin=margin, erasure_weight=2.0, retain_weight=3.0)
    loss = method.loss(batch())
    assert loss.forget.item() == close(hinge + 1 / 2)
    assert loss.total.item() == close(hinge + 1 / 2 + 3 * LN2)


def test_head_projection_ends_where_k_others_are_likelier_by_the_margin() -> None:
    logits = torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0]], dtype=torch.float64)
    found = [rank_hinge(logits, torch.tensor([place]), 2, 0.5).item() for place in range(5)]
    assert found == [2.5, 1.5, 0, 0, 0]  # 5 − 3 + ½, 4 − 3 + ½ (others 5 and 3), 3 − 4 + ½ …
    assert rank_hinge(logits, torch.tensor([0]), 99, 0.0).item() == 4, "no more places than other tokens"


def test_head_projection_pulls_on_an_answer_that_holds_the_very_place_k() -> None:
    """Compared with itself it would have a constant loss, and no gradient."""
    logits = torch.tensor([[5.0, 4.0, 3.0]], dtype=torch.float64, requires_grad=True)
    [slope] = torch.autograd.grad(rank_hinge(logits, torch.tensor([1]), 2, 1.0).sum(), logits)
    assert slope.tolist() == [[0, 1, -1]]


# --- lens entropy


def test_lens_max_entropy_value() -> None:
    """Softmax of (h1, h2, 0, h1 + h2) is that of two independent bits with odds e^h1 and e^h2; ln V = 2 ln 2.

    layer 0: all states (0, 0): nothing is missing.
    layer 1: (ln 3, 0), (0, 0), (ln 3, ln 3): a bit of odds 3 misses ln 2 − (2 ln 2 − ¾ ln 3) = ¾ ln 3 − ln 2 =: m,
             so m, 0 and 2m: (m/2 + 2m)/2 = 5/4 m; mean over both layers 5/8 m. λ = 2: + 2 ln 2.
    """
    three = math.log(3)
    layers = {
        0: torch.zeros(3, 2, dtype=torch.float64),
        1: torch.tensor([[three, 0.0], [0.0, 0.0], [three, three]], dtype=torch.float64),
    }
    whole = batch()
    loss = LensMaxEntropy(retain_weight=2.0).loss(whole._replace(forget=replace(whole.forget, layers=layers)))
    missing = 0.75 * three - LN2
    assert loss.forget.item() == pytest.approx(5 / 8 * missing, rel=1e-10)
    assert loss.total.item() == pytest.approx(5 / 8 * missing + 2 * LN2, rel=1e-10)


# --- which layers


def test_layer_at_a_share_of_the_depth() -> None:
    assert [layer_at(0.22, layers) for layers in (32, 2, 3, 1)] == [7, 0, 0, 0], "the paper's layer 7 of 32"
    assert [layer_at(share, 5) for share in (-1, 0, 0.5, 1, 2)] == [0, 0, 2, 4, 4]


@pytest.mark.parametrize(
    ("first", "last", "layers", "most", "expected"),
    [
        (0.5, 1.0, 2, 8, (1,)),
        (0.5, 1.0, 3, 8, (1, 2)),
        (0.5, 1.0, 1, 8, (0,)),
        (0.5, 1.0, 32, 8, (17, 19, 21, 23, 25, 27, 29, 31)),
        (0.5, 1.0, 32, 1, (31,)),
        (0.0, 1.0, 4, 8, (0, 1, 2, 3)),
        (0.0, 0.5, 4, 8, (0, 1)),
        (1.0, 1.0, 4, 8, (3,)),
        (0.5, 0.5, 4, 8, (2,)),
        (0.0, 1.0, 7, 3, (2, 4, 6)),
    ],
)
def test_layers_between_shares_of_the_depth(
    first: float, last: float, layers: int, most: int, expected: tuple[int, ...]
) -> None:
    assert layers_between(first, last, layers, most) == expected


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("layers", [1, 2, 3, 28, 80])
def test_layers_exist_in_a_model_of_any_depth(name: str, layers: int) -> None:
    method = MADE[name]
    found = method.layers(ModelFacts(layers, 8, 16))
    assert found
    assert all(0 <= layer < layers for layer in found)
    assert list(found) == sorted(set(found))
    if name in READING:
        assert found[-1] == layers - 1
        assert found[0] >= layers // 2
        assert method.focus(ModelFacts(layers, 8, 16)) is None
    else:
        focus = method.focus(ModelFacts(layers, 8, 16))
        assert focus is not None
        assert focus.modules == ("down_proj",)
        assert focus.layers == tuple(range(max(0, found[0] - 2), found[0] + 1))


# --- what holds of all


def leaves(whole: Batch) -> tuple[Batch, list[Tensor]]:
    """The batch with live random hidden states and logits on both sides."""
    draw = torch.Generator().manual_seed(5)

    def live(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64).requires_grad_()

    assert whole.retain is not None
    made = [live(3, 2), live(3, 2), live(3, 2), live(3, 2), live(3, 4), live(3, 4)]
    return with_leaves(whole, made), made


def with_leaves(whole: Batch, made: list[Tensor]) -> Batch:
    assert whole.retain is not None
    return whole._replace(
        forget=replace(whole.forget, layers={0: made[0], 1: made[1]}, logits=made[4]),
        retain=replace(whole.retain, layers={0: made[2], 1: made[3]}, logits=made[5]),
    )


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_the_value(name: str) -> None:
    """Against finite differences, in hidden states and logits, with random token weights."""
    whole = checks.ready(MADE[name])
    weight = torch.rand(3, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    whole = whole._replace(forget=replace(whole.forget, weight=weight))
    _, made = leaves(whole)
    assert torch.autograd.gradcheck(lambda *own: MADE[name].loss(with_leaves(whole, list(own))).total, tuple(made))


@pytest.mark.parametrize("name", NAMES)
def test_tokens_of_weight_zero_have_no_gradient_in_any_layer(name: str) -> None:
    whole, made = leaves(checks.ready(MADE[name]))
    weight = torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64)
    loss = MADE[name].loss(whole._replace(forget=replace(whole.forget, weight=weight)))
    for found in torch.autograd.grad(loss.forget, made[:2], allow_unused=True):
        assert found is not None
        assert found[0].tolist() == [0, 0]
        assert found[1].abs().sum() + found[2].abs().sum() > 0


@pytest.mark.parametrize("name", STEERING)
def test_what_theta0_held_is_constant(name: str) -> None:
    whole = states(0)
    theta0 = {0: torch.ones(3, 2, dtype=torch.float64, requires_grad=True)}
    live = {0: torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)}
    assert whole.retain is not None
    changed = whole._replace(
        forget=replace(whole.forget, layers=live, reference_layers=theta0),
        retain=replace(whole.retain, layers=live, reference_layers=theta0),
    )
    own, theirs = torch.autograd.grad(MADE[name].loss(changed).total, (live[0], theta0[0]), allow_unused=True)
    assert own.abs().sum() > 0
    assert theirs is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [0.0, 1e4])
def test_finite_for_vanishing_and_for_huge_states(name: str, size: float) -> None:
    whole = checks.ready(MADE[name], dtype=torch.float32)
    live = {layer: torch.full((3, 2), size, requires_grad=True) for layer in (0, 1)}
    zeros = {layer: torch.zeros(3, 2) for layer in (0, 1)}
    loss = MADE[name].loss(whole._replace(forget=replace(whole.forget, layers=live, reference_layers=zeros)))
    assert torch.isfinite(loss.total)
    for found in torch.autograd.grad(loss.forget, list(live.values())):
        assert torch.isfinite(found).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("level", [0.0, -1e4])
def test_finite_for_certain_and_for_impossible_answers(name: str, level: float) -> None:
    if name in STEERING:  # the answers' logits do not enter
        whole = checks.ready(MADE[name])
        other = checks.with_logits(whole, {"forget": torch.full((3, 4), level, dtype=torch.float64)})
        assert MADE[name].loss(other).total.item() == MADE[name].loss(whole).total.item()
        return
    checks.check_extremes(MADE[name], level)


@pytest.mark.parametrize("name", STEERING)
def test_half_precision_states_are_compared_in_single_precision(name: str) -> None:
    """Neighbours in bfloat16, 1 and 1 + 2⁻⁷, are 2⁻¹⁴ apart in float32. (The lens gives float32 itself.)"""
    whole = states(0)
    assert whole.retain is not None
    live = {0: torch.full((3, 2), 1.0, dtype=torch.bfloat16)}
    theta0 = {0: torch.full((3, 2), 1.0078125, dtype=torch.bfloat16)}  # the next number above 1
    changed = whole._replace(
        forget=replace(whole.forget, layers=live), retain=replace(whole.retain, layers=live, reference_layers=theta0)
    )
    retain = MADE[name].loss(changed).retain
    assert retain is not None
    assert retain.dtype == torch.float32
    assert retain.item() == pytest.approx(2.0**-14, rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_records_average(name: str) -> None:
    """``per_record`` has the forget side's mean, and the value is a mean over records of means over tokens."""
    loss = MADE[name].loss(checks.ready(MADE[name]))
    assert loss.per_record is not None
    assert loss.per_record.shape == (2,)
    assert loss.per_record.mean().item() == close(loss.forget.item())


@pytest.mark.parametrize("name", READING)
def test_nothing_undeclared_is_read_and_nothing_declared_may_be_missing(name: str) -> None:
    checks.check_needs(MADE[name])


@pytest.mark.parametrize("name", STEERING)
def test_no_states_of_either_side_and_no_direction_may_be_missing(name: str) -> None:
    """The lens comes with the layers and is not looked at; of the forget side only the adaptive method asks θ0."""
    method, declared = MADE[name], checks.least(MADE[name])
    assert method.loss(declared).total.item() == method.loss(checks.ready(method)).total.item()
    assert declared.retain is not None
    lacking = [declared._replace(state={}), declared._replace(retain=None)]
    for what in ("layers", "reference_layers"):
        lacking.append(declared._replace(retain=replace(declared.retain, **{what: None})))
        if what == "layers" or name == "adaptive_rmu":
            lacking.append(declared._replace(forget=replace(declared.forget, **{what: None})))
    for without in lacking:
        with pytest.raises(RuntimeError, match="declare"):
            method.loss(without)


@pytest.mark.parametrize("name", NAMES)
def test_the_weight_of_the_retain_term(name: str) -> None:
    method: Any = MADE[name]
    losses = [replace(method, retain_weight=weight).loss(checks.ready(method)) for weight in (0.0, 1.0, 2.5)]
    retain = losses[0].retain.item()
    assert retain > 0
    assert [loss.total.item() - losses[0].total.item() for loss in losses] == pytest.approx([0, retain, 2.5 * retain])
    assert len({loss.forget.item() for loss in losses}) == 1


@pytest.mark.parametrize("name", NAMES)
def test_every_method_says_what_it_is(name: str) -> None:
    checks.check_declaration(name)
