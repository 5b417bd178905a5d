"""Guards as pure functions: scopes, and what eco and steer remember and make of embeddings and states."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from mllmu_med.errors import UsageError
from mllmu_med.methods import METHODS
from mllmu_med.methods.guards.eco import ECO
from mllmu_med.methods.guards.filter import AnswerFilter
from mllmu_med.methods.guards.interface import Guard, Memory
from mllmu_med.methods.guards.logit_mask import LogitMask
from mllmu_med.methods.guards.scope import (
    RIDGE,
    LinearScope,
    NearestScope,
    fit_line,
    flagged,
    split_clusters,
    threshold_for,
)
from mllmu_med.methods.guards.steer import Steering
from mllmu_med.methods.interface import Family
from mllmu_med.recipe.arguments import check_arguments
from mllmu_med.seeding import torch_rng
from tests.unit.methods.fake_desk import MODEL, FakeDesk, known


@pytest.mark.parametrize("name", ["filter", "logit_mask", "eco", "steer"])
def test_every_guard_says_that_it_suppresses(name: str) -> None:
    kind = METHODS.get(name)
    assert issubclass(kind, Guard)
    assert kind.family is Family.INFERENCE
    assert kind.summary.startswith("suppression: ")


# --- scope


def test_scope_by_hand() -> None:
    """One number, +1 to forget and −1 to keep: log(1 + e^−w) + ½ r w² is least where 1 / (1 + e^w) = r w."""
    line = fit_line(torch.tensor([[3.0]]), torch.tensor([[1.0]]))  # mean 2, deviation 1
    weight = line.weight.item()
    assert line.mean.item() == 2
    assert 1 / (1 + math.exp(weight)) == pytest.approx(RIDGE * weight, rel=1e-5)
    assert line.bias == pytest.approx(0, abs=1e-7)


def test_scope_weighs_both_sides_alike() -> None:
    """Nine times as many to keep: the boundary between two equal clouds stays between them."""
    forget, retain = torch.tensor([[1.0], [2.0]]), torch.tensor([[-1.0], [-2.0]]).repeat(9, 1)
    line = fit_line(forget, retain)
    scope = LinearScope(0, "last", 0.0, *line)
    assert flagged(scope, torch.tensor([[0.5], [-0.5]])).tolist() == [True, False]


def test_nearest_scope_by_hand() -> None:
    """Standardised (h − 1) / 2: forgotten at 3, retained at 0 and 7. Of h = 5, z = 2: |2 − 0| − |2 − 3| = 1."""
    scope = NearestScope(
        0, "last", 0.5, torch.tensor([1.0]), torch.tensor([2.0]), torch.tensor([[3.0]]), torch.tensor([[0.0], [7.0]])
    )
    states = torch.tensor([[5.0], [7.0], [15.0], [1.0], [4.5]])
    assert scope.scores(states).tolist() == pytest.approx([1, 3, -4, -3, 0.5], abs=1e-5)
    assert flagged(scope, states).tolist()[:4] == [True, True, False, False]


def test_scope_ignores_numbers_that_do_not_vary() -> None:
    line = fit_line(torch.tensor([[1.0, 1e4]]), torch.tensor([[0.0, 1e4]]))
    assert line.weight.isfinite().all()
    assert line.weight[1].item() == 0


@pytest.mark.parametrize(
    ("count", "rate", "expected"),
    [(99, 0.01, 99), (99, 0.05, 95), (10, 0.01, 10), (19, 0.05, 19), (20, 0.05, 20), (199, 0.05, 190)],
)  # fmt: skip
def test_scope_threshold_is_the_conformal_one(count: int, rate: float, expected: float) -> None:
    scores = torch.arange(count, 0, -1).double()
    assert threshold_for(scores, rate) == expected


def test_scope_threshold_is_never_below_even_odds() -> None:
    assert threshold_for(torch.tensor([-9.0, -8.0, -7.0]), 0.5) == 0


def test_scope_holds_out_whole_clusters() -> None:
    clusters = [f"p{number // 3}" for number in range(24)]
    held = split_clusters(clusters, 0.25, 5)
    assert {clusters[i] for i in range(24) if held[i]}.isdisjoint(clusters[i] for i in range(24) if not held[i])
    assert sum(held) == 6
    assert held == split_clusters(clusters, 0.25, 5)
    assert len({tuple(split_clusters(clusters, 0.25, seed)) for seed in range(9)}) > 1
    assert sum(split_clusters(["a", "b"], 0.99, 0)) == 1
    with pytest.raises(UsageError, match="at least two"):
        split_clusters(["a", "a"], 0.5, 0)


def cloud_desk(forget: int = 20, retain: int = 40) -> FakeDesk:
    """Prompts to be forgotten around +1 in the first number, two wordings of each record."""
    draw = torch.Generator().manual_seed(1)
    states = {
        "forget": torch.randn(2 * forget, 6, generator=draw),
        "retain": torch.randn(2 * retain, 6, generator=draw),
    }
    states["forget"][:, 0] += 8
    states["refusals answers"] = torch.tensor([[1.0, 2, 3, 4, 5, 6], [3.0, 2, 3, 4, 5, 6]])
    states["forget answers"] = torch.tensor([[1.0, 1, 1, 1, 1, 1]])
    return FakeDesk(
        [known("f", "f", cluster=f"f{i}") for i in range(forget)],
        [known("r", cluster=f"r{i // 2}") for i in range(retain)],
        states=states,
    )


@pytest.mark.parametrize(
    "guard",
    [
        ECO(false_positives=0.1, pooling="last"),
        Steering(false_positives=0.1, pooling="last", classifier="logistic"),
        ECO(false_positives=0.1, pooling="both", classifier="logistic"),
        Steering(false_positives=0.1),
    ],
    ids=["eco", "steer-logistic", "eco-both-logistic", "steer-both"],
)
def test_scope_flags_what_is_to_be_forgotten_and_hardly_anything_else(guard: ECO | Steering) -> None:
    desk = cloud_desk()
    memory = guard.prepare(desk)
    guard.check(memory, MODEL)
    scope = guard.scope(memory)
    assert scope is not None
    assert ("forget", 3, guard.pooling) in desk.asked, "the last layer unless another one is chosen"
    assert flagged(scope, desk.prompts("forget", 3, guard.pooling)).all()
    assert flagged(scope, desk.prompts("retain", 3, guard.pooling)).double().mean() < 0.1
    assert memory.numbers["forget_prompts_flagged"] == 1
    assert memory.numbers["retained_prompts_held_out"] == 20


@pytest.mark.parametrize("guard", [ECO(), Steering()], ids=["eco", "steer"])
def test_a_scope_needs_retained_records(guard: ECO | Steering) -> None:
    desk = cloud_desk()
    desk.retain = desk.retain[:2]  # one cluster
    desk.states["retain"] = desk.states["retain"][:4]
    with pytest.raises(UsageError, match="at least two patients or images"):
        guard.prepare(desk)


@pytest.mark.parametrize("guard", [ECO(classifier="logistic"), Steering()], ids=["eco", "steer"])
def test_with_nothing_to_forget_nothing_is_flagged(guard: ECO | Steering) -> None:
    memory = guard.prepare(FakeDesk())
    guard.check(memory, MODEL)
    scope = guard.scope(memory)
    assert scope is not None
    assert not flagged(scope, torch.randn(50, 12) * 1e3).any()


def test_filter_and_logit_mask_do_nothing_with_nothing_to_forget() -> None:
    empty = FakeDesk(retain=[known("r", tokens=(3,))])
    assert AnswerFilter().text(AnswerFilter().prepare(empty), None, "?", "Maria Lopez") == "Maria Lopez"
    assert len(LogitMask().prepare(empty).tensors["masked"]) == 0


def changed(memory: Memory, name: str, value: Any) -> Memory:
    parts = {"tensors": dict(memory.tensors), "settings": dict(memory.settings)}
    place = parts["tensors"] if name in memory.tensors else parts["settings"]
    if value is None:
        del place[name]
    else:
        place[name] = value
    return Memory(**parts)


@pytest.mark.parametrize(
    ("name", "value"),
    [("scope_mean", torch.zeros(5, dtype=torch.float64)), ("scope_weight", torch.zeros(6)),
     ("scope_weight", torch.full((6,), math.nan, dtype=torch.float64)), ("scope_bias", "1"), ("scope_threshold", True),
     ("scope_layer", 4), ("scope_layer", 1.5), ("embedding_scale", -1.0), ("scope_mean", None), ("scope_bias", None)],
)  # fmt: skip
def test_eco_refuses_a_memory_that_does_not_fit(name: str, value: Any) -> None:
    guard = ECO(pooling="last", classifier="logistic")
    memory = guard.prepare(cloud_desk())
    with pytest.raises(ValueError, match=name):
        guard.check(changed(memory, name, value), MODEL)


@pytest.mark.parametrize(
    ("name", "value"),
    [("scope_mean", torch.zeros(6)), ("scope_deviation", torch.zeros(12)), ("scope_forget", torch.zeros(3, 6)),
     ("scope_forget", torch.tensor(1.0)), ("scope_retain", None), ("scope_retain", torch.zeros(0, 12)),
     ("scope_retain", torch.full((2, 12), math.inf)), ("scope_threshold", None)],
)  # fmt: skip
def test_steer_refuses_exemplars_that_do_not_fit(name: str, value: Any) -> None:
    memory = Steering().prepare(cloud_desk())
    with pytest.raises(ValueError, match=name):
        Steering().check(changed(memory, name, value), MODEL)


# --- eco


def test_eco_adds_noise_to_the_first_dimensions() -> None:
    """σ = 3 · 0.5; what is added is the generator's own standard normal numbers."""
    guard = ECO(dims=2, strength=3.0)
    memory = Memory({}, {"embedding_scale": 0.5})
    vectors = torch.arange(24.0).reshape(4, 6)
    found = guard.embeddings(memory, vectors, torch_rng("eco test"))
    noise = torch.randn(4, 2, generator=torch_rng("eco test"))
    torch.testing.assert_close(found[:, :2] - vectors[:, :2], 1.5 * noise)
    assert torch.equal(found[:, 2:], vectors[:, 2:])
    everywhere = ECO(dims=None).embeddings(memory, vectors, torch_rng("eco test"))
    assert (everywhere != vectors).all()
    assert torch.equal(ECO(strength=0.0).embeddings(memory, vectors, torch_rng(1)), vectors)


def test_eco_can_zero_instead() -> None:
    vectors = torch.ones(3, 6)
    found = ECO(corruption="zero", dims=4).embeddings(Memory({}, {"embedding_scale": 0.5}), vectors, torch_rng(1))
    assert torch.equal(found, torch.tensor([[0.0, 0, 0, 0, 1, 1]] * 3))
    assert not ECO(corruption="zero", dims=None).embeddings(Memory(), vectors, torch_rng(1)).any()


def test_eco_keeps_the_precision_of_the_model() -> None:
    memory = Memory({}, {"embedding_scale": 0.5})
    assert ECO().embeddings(memory, torch.ones(2, 6, dtype=torch.bfloat16), torch_rng(1)).dtype == torch.bfloat16


@pytest.mark.parametrize(
    "numbers",
    [{"dims": 0}, {"strength": -1.0}, {"false_positives": 1.0}, {"held_out": 0.0}, {"held_out": 1.0}],
)
def test_eco_refuses_numbers_without_meaning(numbers: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="ECO"):
        ECO(**numbers)


@pytest.mark.parametrize(
    ("name", "parameter", "value"),
    [("eco", "pooling", "first"), ("steer", "pooling", "first"), ("eco", "scope_layer", "x"),
     ("eco", "corruption", "blur"), ("steer", "held_out", "x"), ("logit_mask", "rare", "x"),
     ("filter", "shortest", "x")],
)  # fmt: skip
def test_a_recipe_cannot_give_values_of_the_wrong_type(name: str, parameter: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"p.{parameter}"):
        check_arguments(METHODS.get(name), {parameter: value}, block="p", what=name)


def test_eco_refuses_what_the_model_has_not() -> None:
    with pytest.raises(UsageError, match="6 dimensions"):
        ECO(dims=7).prepare(cloud_desk())
    with pytest.raises(UsageError, match="layers 0 to 3"):
        ECO(scope_layer=4).prepare(cloud_desk())


# --- steer


def test_steer_adds_the_difference_of_the_means() -> None:
    """Refusals (2, 2, 3, 4, 5, 6) − own answers (1, 1, 1, 1, 1, 1), twice."""
    guard = Steering(strength=2.0)
    desk = cloud_desk()
    memory = guard.prepare(desk)
    assert ("refusals", 2, "answers") in desk.asked, "the middle layer of four"
    hidden = torch.zeros(3, 2, 6, dtype=torch.bfloat16)
    found = guard.states(memory, hidden)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, torch.tensor([2.0, 2, 4, 6, 8, 10]).bfloat16().expand(3, 2, 6))


def test_steer_without_a_gate_acts_on_everything_and_needs_no_retained_records() -> None:
    desk = cloud_desk()
    desk.retain = []
    guard = Steering(gated=False)
    memory = guard.prepare(desk)
    guard.check(memory, MODEL)
    assert guard.scope(memory) is None
    assert set(memory.tensors) == {"direction"}


def test_steer_refuses_what_does_not_fit() -> None:
    memory = Steering().prepare(cloud_desk())
    with pytest.raises(ValueError, match="direction"):
        Steering().check(memory._replace(tensors={**memory.tensors, "direction": torch.zeros(7)}), MODEL)
    with pytest.raises(UsageError, match="layer_index is 4"):
        Steering(layer_index=4).check(memory, MODEL)
