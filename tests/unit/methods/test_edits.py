"""Edits: their pure parts against numbers found by hand, and whole edits at a desk whose activations are given."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mllmu_med.errors import UsageError
from mllmu_med.methods import METHODS
from mllmu_med.methods.edits import chip, lunar, manu
from mllmu_med.methods.edits.chip import CHIP, project_rows, selected_rows, sibling_basis, token_means
from mllmu_med.methods.edits.interface import Edit, Siblings
from mllmu_med.methods.edits.lunar import LUNAR, Moments, moments, response
from mllmu_med.methods.edits.manu import MANU, Sums, differences, gathered, pruned, scores
from mllmu_med.methods.edits.sku import SKU, Acquisition, bounded_divergence
from mllmu_med.methods.edits.task_vector import Overfit, TaskVector
from mllmu_med.methods.interface import Family, ModelFacts, Objective, Supports
from tests.unit.methods.worked_example import KL, LN2, RETAIN, RETAIN_REFERENCE, answers, batch, logits_of

NAMES = ("task_vector", "sku", "chip", "manu", "lunar")


def close(value: object) -> object:
    return pytest.approx(value, rel=1e-12, abs=1e-15)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@dataclass
class Step:
    """A difference of one number."""

    value: float

    def __mul__(self, factor: float) -> Step:
        return Step(self.value * factor)

    def __add__(self, other: Step) -> Step:
        return Step(self.value + other.value)


FACTS = ModelFacts(layers=2, width=3, vocabulary=5)


@dataclass
class GivenDesk:
    """A desk whose activations are tables: (group, kind) → layer → [T, width]; they come in chunks of two tokens."""

    tables: Mapping[tuple[str, str], Mapping[int, Tensor]] = field(default_factory=dict)
    weights: dict[int, Tensor] = field(default_factory=dict)
    siblings: Mapping[str, Siblings] = field(default_factory=dict)
    learnt: float = 0.0
    facts: ModelFacts = FACTS
    generator: torch.Generator = field(default_factory=torch.Generator)
    tuned: list[Objective] = field(default_factory=list)
    applied: list[float] = field(default_factory=list)
    read: list[tuple[str, str]] = field(default_factory=list)

    def tune(self, objective: Objective) -> Step:
        self.tuned.append(objective)
        return Step(self.learnt)

    def apply(self, delta: Any) -> None:
        self.applied.append(delta.value)

    def nodes(self) -> Mapping[str, Siblings]:
        return self.siblings

    def _read(self, group: str, kind: str, layers: Sequence[int]) -> Iterator[Mapping[int, Tensor]]:
        table = self.tables[group, kind]
        self.read.append((group, kind))
        for start in range(0, len(next(iter(table.values()))), 2):
            yield {layer: table[layer][start : start + 2].float() for layer in layers}

    def inputs(self, group: str, module: str, layers: Sequence[int]) -> Iterator[Mapping[int, Tensor]]:
        assert module == "down_proj"
        return self._read(group, "inputs", layers)

    def outputs(self, group: str, module: str, layers: Sequence[int]) -> Iterator[Mapping[int, Tensor]]:
        assert module == "down_proj"
        return self._read(group, "outputs", layers)

    def hidden(self, group: str, layers: Sequence[int]) -> Iterator[Mapping[int, Tensor]]:
        return self._read(group, "hidden", layers)

    def weight(self, module: str, layer: int) -> Tensor:
        assert module == "down_proj"
        return self.weights[layer]


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
