"""Edits by activations (CHIP, MANU, LUNAR): their pure parts by hand, and whole edits at a desk of given ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mllmu_med.methods.edits import chip, lunar, manu
from mllmu_med.methods.edits.chip import CHIP, project_rows, selected_rows, sibling_basis, token_means
from mllmu_med.methods.edits.interface import Siblings
from mllmu_med.methods.edits.lunar import LUNAR, Moments, moments, response
from mllmu_med.methods.edits.manu import MANU, Sums, differences, gathered, pruned, scores
from tests.unit.methods.given_desk import GivenDesk, close, random

# --- chip


def test_chip_means_are_over_tokens_whatever_the_chunks() -> None:
    """Two tokens, then one: means (1 − 2 + 4)/3 = 1 and of sizes 7/3; a mean of chunk means would be 1.75."""
    found = token_means([{0: torch.tensor([[1.0], [-2.0]])}, {0: torch.tensor([[4.0]])}])
    assert found[0].plain.tolist() == [close(1.0)]
    assert found[0].absolute.tolist() == [close(7 / 3)]


def test_chip_selects_the_highest_scores_and_at_least_one() -> None:
    found = torch.tensor([0.1, -9.0, 0.3, 0.2, 0.0])
    assert selected_rows(found, 0.4).tolist() == [2, 3]
    assert selected_rows(found, 0.01).tolist() == [2]
    assert selected_rows(found, 1.0).tolist() == [0, 1, 2, 3, 4]


def test_chip_directions_count_alike_and_energy_decides_how_many_stay() -> None:
    """At unit length: e1, e1, e2, so the squared singular values are 2 and 1, and 2/3 of the energy lies on e1."""
    gaps = torch.tensor([[1.0, 0.0], [5.0, 0.0], [0.0, 3.0], [0.0, 0.0]], dtype=torch.float64)
    first = sibling_basis(gaps, 0.6)
    assert first.abs().flatten().tolist() == [close(1), close(0)]
    assert sibling_basis(gaps, 0.7).shape == (2, 2)
    assert sibling_basis(torch.zeros(3, 2), 0.95).shape == (2, 0), "no node differs from its siblings"


def test_chip_projector_is_idempotent_and_removes_the_directions_from_these_rows_only() -> None:
    weight, rows = random(7, 5), torch.tensor([1, 4, 6])
    before = weight.clone()
    basis = sibling_basis(random(2, 3, seed=1), 1.0)
    projector = torch.eye(3).double() - basis @ basis.T
    torch.testing.assert_close(projector @ projector, projector)
    assert basis.shape == (3, 2)
    project_rows(weight, rows, basis)
    assert (basis.T @ weight[rows]).abs().max() < 1e-14
    torch.testing.assert_close(weight[rows], projector @ before[rows])
    others = [0, 2, 3, 5]
    assert torch.equal(weight[others], before[others])
    once = weight.clone()
    project_rows(weight, rows, basis)
    torch.testing.assert_close(weight, once)


def test_chip_edits_where_targets_differ_from_their_siblings() -> None:
    """Scores mean |a_target| − mean |a_siblings|, mean over both nodes: ((1, 2, 0) + (3, 0, −5)) / 2 = (2, 1, −2.5).

    Two of three rows are kept: 0 and 1. Gaps on them: node a (1, 2), node b (−3, 0); at unit length these span both
    rows, so both become 0. With one node alone, a, only the component along (1, 2)/√5 goes.
    """
    ones = torch.ones(2, 3)
    tables = {
        ("a", "outputs"): {0: ones, 1: torch.tensor([[1.0, 2.0, 4.0], [1.0, 2.0, 4.0]])},
        ("b", "outputs"): {0: ones, 1: torch.tensor([[-3.0, 0.0, 0.0]] * 3)},
        ("near", "outputs"): {0: ones, 1: torch.tensor([[0.0, 0.0, 4.0], [0.0, 0.0, -4.0]])},
        ("far", "outputs"): {0: ones, 1: torch.tensor([[0.0, 0.0, 5.0]])},
    }
    siblings = {"a": Siblings("near", "institution"), "b": Siblings("far", "kind")}
    both = GivenDesk(tables, {1: random(3, 4).float()}, siblings)
    before = both.weights[1].clone()
    numbers = CHIP(share=0.7, depth=0.5).edit(both)
    assert both.weights[1][:2].abs().max() < 1e-6
    assert torch.equal(both.weights[1][2], before[2])
    assert numbers == {
        "nodes": 2, "layers": 1, "rows": 2, "directions": 2, "siblings_institution": 1, "siblings_kind": 1,
        "weights_changed": 8,
    }  # fmt: skip
    one = GivenDesk(tables, {1: before.clone()}, {"a": siblings["a"]})
    assert CHIP(share=0.7, depth=0.5).edit(one)["directions"] == 1
    along = torch.tensor([1.0, 2.0]) / math.sqrt(5)
    assert (along @ one.weights[1][:2]).abs().max() < 1e-6
    torch.testing.assert_close(one.weights[1][:2], before[:2] - torch.outer(along, along @ before[:2]))


def test_chip_looks_at_siblings_once_and_at_all_layers_from_its_depth_on() -> None:
    table = {0: torch.ones(2, 3), 1: torch.ones(2, 3)}
    tables = {(name, "outputs"): table for name in ("a", "b", "near")}
    desk = GivenDesk(tables, {0: random(3, 4), 1: random(3, 4)}, dict.fromkeys("ab", Siblings("near", "study")))
    before = {layer: weight.clone() for layer, weight in desk.weights.items()}
    numbers = CHIP(depth=0.0).edit(desk)
    assert sorted(desk.read) == [("a", "outputs"), ("b", "outputs"), ("near", "outputs")]
    assert (numbers["layers"], numbers["directions"], numbers["weights_changed"]) == (2, 0, 0)
    assert all(torch.equal(desk.weights[layer], before[layer]) for layer in before), "targets equal their siblings"


# --- manu


def test_manu_importance_by_hand() -> None:
    """z = (1, 3) and (−3, 1): mean sizes 2, 2; shares beyond 1: ½, ½; deviations 1, 2; root mean squares √5, √5."""
    sums = Sums.of(torch.tensor([[1.0, -3.0], [3.0, 1.0]]), threshold=1.0)
    assert sums.importance("absolute").tolist() == [close(2), close(2)]
    assert sums.importance("frequency").tolist() == [0.5, 0.5]
    assert sums.importance("variance").tolist() == [close(1), close(2)]
    assert sums.importance("rms").tolist() == [close(math.sqrt(5)), close(math.sqrt(5))]


def test_manu_sums_do_not_depend_on_the_chunks() -> None:
    values = random(7, 3)
    whole = gathered([{0: values}], 0.1)[0]
    parts = gathered([{0: values[:2]}, {0: values[2:]}], 0.1)[0]
    for statistic in ("absolute", "frequency", "variance", "rms"):
        torch.testing.assert_close(parts.importance(statistic), whole.importance(statistic))  # type: ignore[arg-type]
    torch.testing.assert_close(whole.importance("variance"), values.std(0, correction=0))


def test_manu_scores_are_forget_over_retain_and_the_best_of_all_layers_go() -> None:
    """Sizes 4 and 1 on forget, 2 and 2 on retain: ratios 2 and ½, once for each of two statistics."""
    forget, retain = Sums.of(torch.tensor([[4.0, 1.0]]), 0.1), Sums.of(torch.tensor([[2.0, 2.0]]), 0.1)
    assert scores(forget, retain, ["absolute", "rms"]).tolist() == pytest.approx([4.0, 1.0], rel=1e-4)
    assert scores(retain, forget, ["absolute", "rms"]).tolist() == pytest.approx([1.0, 4.0], rel=1e-4)
    found = {0: torch.tensor([1.0, 5.0, 2.0]), 1: torch.tensor([9.0, 0.0, 3.0])}
    chosen = pruned(found, 0.5)
    assert {layer: own.tolist() for layer, own in chosen.items()} == {0: [1], 1: [0, 2]}
    assert {layer: own.tolist() for layer, own in pruned(found, 0.01).items()} == {1: [0]}


def test_manu_differences_are_of_the_same_tokens() -> None:
    [first] = differences([{0: torch.tensor([[3.0, 1.0]])}], [{0: torch.tensor([[1.0, 5.0]])}])
    assert first[0].tolist() == [[2.0, -4.0]]
    with pytest.raises(ValueError, match="shorter"):
        list(differences([{0: torch.ones(1, 1)}], []))


def manu_desk() -> GivenDesk:
    """Four neurons in layer 0 that act on one group more than on another, four in layer 1 that tell nothing apart."""

    def table(*rows: float) -> dict[int, Tensor]:
        return {0: torch.tensor([rows, rows]), 1: torch.full((2, 4), 0.5)}

    tables = {
        ("pictured", "inputs"): table(9.0, 1.0, 5.0, 5.0), ("text_only", "inputs"): table(1.0, 11.0, 20.0, 5.0),
        ("retain_pictured", "inputs"): table(1.5, 9.0, 1.0, 5.0),
        ("retain_text_only", "inputs"): table(1.0, 1.0, 2.0, 5.0),
    }  # fmt: skip
    return GivenDesk(tables, {0: random(3, 4).float(), 1: random(3, 4, seed=1).float()})


@pytest.mark.parametrize(("reading", "pruned_neurons"), [("difference", [0]), ("separate", [2])])
def test_manu_prunes_by_what_the_image_adds_or_by_each_modality(reading: Any, pruned_neurons: list[int]) -> None:
    """What the image adds: 8/½ = 16 in neuron 0, 10/8 in 1, 15/1 in 2. By modality, with the image and without it:
    9/1.5 + 1/1 = 7 in neuron 0, 1/9 + 11/1 in 1, 5/1 + 20/2 = 15 in 2; alone, these would choose 0 and 1."""
    desk = manu_desk()
    before = {layer: weight.clone() for layer, weight in desk.weights.items()}
    numbers = MANU(share=0.125, reading=reading, statistics=("absolute",)).edit(desk)
    assert numbers == {"neurons": 1, "of": 8, "layers": 1, "weights_changed": 3}
    assert desk.weights[0][:, pruned_neurons].abs().sum() == 0
    kept = [i for i in range(4) if i not in pruned_neurons]
    assert torch.equal(desk.weights[0][:, kept], before[0][:, kept])
    assert torch.equal(desk.weights[1], before[1])
    assert len(desk.read) == 4


# --- lunar


def refit_by_least_squares(
    weight: np.ndarray, forget: np.ndarray, retain: np.ndarray, shift: np.ndarray, ridge: float
) -> np.ndarray:
    """W' by numpy: rows of forget, of retain, and of √ridge · I, each with the output it ought to have."""
    inputs = np.concatenate([forget, retain, math.sqrt(ridge) * np.eye(weight.shape[1])])
    targets = np.concatenate([forget @ weight.T + shift, retain @ weight.T, math.sqrt(ridge) * weight.T])
    return np.linalg.lstsq(inputs, targets, rcond=None)[0].T


@pytest.mark.parametrize("ridge", [1e-3, 1.0, 50.0])
@pytest.mark.parametrize("tokens", [3, 30])
def test_lunar_refit_is_the_least_squares_solution(ridge: float, tokens: int) -> None:
    """Also with fewer tokens than inputs, where only the ridge makes the solution unique."""
    weight, shift = random(4, 6), random(4, seed=1)
    forget, retain = random(tokens, 6, seed=2), random(tokens + 1, 6, seed=3)
    g = response(moments([{0: forget}], 0), moments([{0: retain}], 0), ridge)
    expected = refit_by_least_squares(weight.numpy(), forget.numpy(), retain.numpy(), shift.numpy(), ridge)
    np.testing.assert_allclose((weight + torch.outer(shift, g)).numpy(), expected, rtol=1e-7, atol=1e-9)


def test_lunar_moves_forget_activations_and_leaves_retain_activations() -> None:
    """Forget inputs along e1, retain inputs along e2: with hardly a ridge all of r is reached, and nothing spills."""
    forget, retain = torch.tensor([[2.0, 0.0]] * 3).double(), torch.tensor([[0.0, 5.0]] * 2).double()
    g = response(moments([{0: forget}], 0), moments([{0: retain}], 0), 1e-9)
    assert (forget @ g).tolist() == pytest.approx([1.0] * 3)
    assert (retain @ g).abs().max() < 1e-12
    half = response(moments([{0: forget}], 0), moments([{0: retain}], 0), 12.0)
    assert (forget @ half).tolist() == pytest.approx([0.5] * 3), "12 / (12 + 12)"


def test_lunar_moments_do_not_depend_on_the_chunks() -> None:
    values = random(7, 3)
    whole, parts = moments([{1: values}], 1), moments([{1: values[:3]}, {1: values[3:]}], 1)
    assert whole.tokens == parts.tokens == 7
    torch.testing.assert_close(parts.gram, values.T @ values)
    torch.testing.assert_close(parts.total, values.sum(0))
    assert isinstance(whole, Moments)


def test_lunar_edits_one_layer_towards_the_refusals() -> None:
    inputs = {"forget": random(5, 6, seed=1).float(), "retain": random(9, 6, seed=2).float()}
    hidden = {"forget": random(5, 4, seed=3).float(), "refusals": random(3, 4, seed=4).float()}
    tables: dict[tuple[str, str], Mapping[int, Tensor]] = {
        **{(name, "inputs"): {1: values} for name, values in inputs.items()},
        **{(name, "hidden"): {1: values} for name, values in hidden.items()},
    }
    weight = random(4, 6).float()
    desk = GivenDesk(tables, {0: weight.clone(), 1: weight.clone()})
    method = LUNAR(strength=2.0, depth=1.0, ridge=0.1)
    numbers = method.edit(desk)
    wide = {name: values.double().numpy() for name, values in inputs.items()}
    shift = 2.0 * (hidden["refusals"].double().mean(0) - hidden["forget"].double().mean(0)).numpy()
    ridge = 0.1 * sum((values**2).sum() for values in wide.values()) / 6
    expected = refit_by_least_squares(weight.double().numpy(), wide["forget"], wide["retain"], shift, ridge)
    np.testing.assert_allclose(desk.weights[1].numpy(), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(desk.weights[0], weight)
    change = desk.weights[1].double().numpy() - weight.double().numpy()
    g = change.T @ shift / (shift @ shift)
    assert numbers["moved"] == pytest.approx((wide["forget"] @ g).mean(), rel=1e-4)
    assert numbers["spill"] == pytest.approx(math.sqrt(((wide["retain"] @ g) ** 2).mean()), rel=1e-4)
    assert numbers["shift"] == pytest.approx(np.linalg.norm(shift))
    assert (numbers["layer"], numbers["weights_changed"]) == (1, 24)
    assert 0 < numbers["moved"] < 1


def test_lunar_chip_and_manu_look_at_the_same_matrix() -> None:
    assert chip.MODULE == manu.MODULE == lunar.MODULE == "down_proj"
