"""Rules that are a part of a method (saliency of mmunlearner, dual of duo, orthogonal of o3), by hand in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from mllmu_med.errors import UsageError
from mllmu_med.methods.addons.dual import Dual, clipped_sum, whitening, without_top_directions
from mllmu_med.methods.addons.interface import Gradients, Statistics
from mllmu_med.methods.addons.orthogonal import Orthogonal, off, orthonormal_rows
from mllmu_med.methods.addons.saliency import Saliency, saliency_masks
from tests.unit.methods.rule_steps import A, B, close, numbers, step, tensors, view

# --- saliency


STATISTICS = Statistics(tensors([4, 1, 0], [2, 1]), tensors([1, 2, 0], [1, 2]))


def test_saliency_masks_by_hand_with_a_threshold_for_each_side() -> None:
    """Ratios (4, 1/2, 0/ε) and (2, 1/2): at 3 and 1 (1, 0, 0) and (1, 0); at 1/4 and 3 (1, 1, 0) and (0, 0)."""
    groups = {A: "projector", B: "language"}

    def masks(visual: float, language: float, names: Mapping[str, str] = groups) -> list[float]:
        return numbers(saliency_masks(STATISTICS, names, visual=visual, language=language, epsilon=1e-20))

    assert masks(3, 1) == [1, 0, 0, 1, 0]
    assert masks(0.25, 3) == [1, 1, 0, 0, 0]
    assert masks(0.25, 3, {A: "vision", B: "language"}) == [1, 1, 0, 0, 0]
    assert masks(0.5, 0.5) == [1, 1, 0, 1, 1], "at the threshold a weight is salient"


def test_saliency_moves_masked_weights_by_the_retain_side_alone() -> None:
    rule = Saliency(visual_threshold=3)
    state = rule.start(view(STATISTICS.forget, statistics=STATISTICS))
    found, changed = rule.combine(step(tensors([10, 20, 30], [40, 50]), tensors([1, 2, 3], [4, 5]), state))
    assert numbers(found) == [11, 2, 3, 44, 5]
    assert changed == {}, "the masks are made once"
    found, _ = rule.combine(step(tensors([10, 20, 30], [40, 50]), {}, state))
    assert numbers(found) == [10, 0, 0, 40, 0]


@pytest.mark.parametrize(("visual", "language", "said"), [(9, 9, "no weight is salient"), (0.1, 0.1, "every weight")])
def test_saliency_refuses_masks_that_do_nothing_and_names_the_thresholds(
    visual: float, language: float, said: str
) -> None:
    some = Statistics({A: STATISTICS.forget[A][:2], B: STATISTICS.forget[B]}, {A: torch.ones(2), B: torch.ones(2)})
    with pytest.raises(UsageError, match=rf"{said}.*beta.*visual_threshold={visual}.*language_threshold={language}"):
        Saliency(visual, language).start(view(some.forget, statistics=some))
    Saliency(1.5, 1.5).start(view(some.forget, statistics=some))


def test_weights_without_a_gradient_make_no_mask_of_one_that_leaves_out_nothing() -> None:
    """As in a fresh adapter, one factor of which has none."""
    some = Statistics(tensors([4, 4], [0, 0]), tensors([1, 1], [0, 0]))
    with pytest.raises(UsageError, match="every weight is salient"):
        Saliency().start(view(some.forget, statistics=some))
    with pytest.raises(UsageError, match="no retain records to compare with"):
        Saliency().start(view(some.forget, statistics=Statistics(some.forget, tensors([0, 0], [0, 0]))))


def test_saliency_needs_its_statistics_and_thresholds_above_zero() -> None:
    with pytest.raises(RuntimeError, match=r"statistics.*declares"):
        Saliency().start(view(STATISTICS.forget))
    with pytest.raises(UsageError, match="above 0"):
        Saliency(language_threshold=0)


# --- dual


def test_whitening_by_hand() -> None:
    """F = (1, 3), (0, 0), d = 1/2: F̄ = 1; 1/√(1 + ½), 1/√(3 + ½), and 1/√F̄ = 1 for the silent parameter."""
    found = whitening(tensors([1, 3], [0, 0]), 0.5)
    assert numbers(found) == close([1.5**-0.5, 3.5**-0.5, 1, 1])
    with pytest.raises(UsageError, match="no gradient"):
        whitening(tensors([0], [0]), 0.5)


def test_top_directions_by_hand() -> None:
    """Rows (3, 0, 0), (0, 0, 1) and 0: squared singular values 9 and 1, so 90 % of the energy is the first axis."""
    rows = tensors([[3, 0], [0, 0], [0, 0]], [[0], [1], [0]])
    vector = tensors([5, 6], [7])
    assert numbers(without_top_directions(vector, rows, 0.9)) == close([0, 6, 7])
    assert numbers(without_top_directions(vector, rows, 0.91)) == close([0, 6, 0])
    assert numbers(without_top_directions(vector, rows, 1.0)) == close([0, 6, 0])
    assert numbers(without_top_directions(vector, {n: 0 * r for n, r in rows.items()}, 0.95)) == [5, 6, 7]


def test_top_directions_are_those_of_the_singular_value_decomposition() -> None:
    generator = torch.Generator().manual_seed(5)
    rows = {A: torch.randn(6, 4, 3, generator=generator).double(), B: torch.randn(6, 8, generator=generator).double()}
    vector = {name: torch.randn(values.shape[1:], generator=generator).double() for name, values in rows.items()}
    flat = torch.cat([rows[A].flatten(1), rows[B]], 1)
    _, values, right = torch.linalg.svd(flat, full_matrices=False)
    energy = values.square().cumsum(0) / values.square().sum()
    for share in (0.3, 0.6, 0.95):
        top = right[: int((energy < share).sum()) + 1]
        whole = torch.cat([vector[A].flatten(), vector[B]])
        expected = whole - top.T @ (top @ whole)
        assert numbers(without_top_directions(vector, rows, share)) == pytest.approx(expected.tolist(), abs=1e-10)


def dual_state(rule: Dual, fisher: Gradients) -> dict[str, Tensor]:
    state = rule.start(view(fisher, statistics=Statistics(fisher, fisher)))
    return {name: value if name == "seed" else value.double() for name, value in state.items()}


def test_dual_projects_in_whitened_coordinates() -> None:
    """F = (1, 0.2), (1.8,), F̄ = 1, d = 0 in effect: W = 1/√F. g_r = (0, 0.2, 1.8): W g_r = (0, √.2, √1.8).
    g_f = (5, 1, 1): W g_f·W g_r = 1 + 1 = 2, ‖W g_r‖² = 2, so W g_f − W g_r, and back: g_f − g_r = (5, .8, −.8)."""
    rule = Dual(damping=1e-13)
    state = dual_state(rule, tensors([1, 0.2], [1.8]))
    found, changed = rule.combine(step(tensors([5, 1], [1]), tensors([0, 0.2], [1.8]), state))
    own = numbers({n: found[n] - tensors([0, 0.2], [1.8])[n] for n in found})
    assert own == pytest.approx([5, 0.8, -0.8], rel=1e-6)
    assert set(changed) == {f"retain/{A}", f"retain/{B}"}, "the whitening stays"
    assert changed[f"retain/{A}"][0].tolist() == pytest.approx([0, 0.2**0.5], rel=1e-6)
    assert not changed[f"retain/{A}"][1:].any()


def test_dual_remembers_so_many_steps() -> None:
    rule = Dual(history=2, energy=1.0)
    state = dual_state(rule, tensors([1, 1], [1]))
    found: Gradients = {}
    for number, retain in enumerate((tensors([1, 0], [0]), tensors([0, 1], [0]), tensors([0, 0], [1]))):
        found, changed = rule.combine(step(tensors([1, 1], [1]), retain, state, step=number))
        state |= changed
        own = numbers({n: found[n] - retain[n] for n in found})
        assert own == pytest.approx([[0, 1, 1], [0, 0, 1], [1, 0, 0]][number], abs=1e-12)


def each_of(gradients: list[Gradients]) -> Callable[[], Iterator[Gradients]]:
    return lambda: iter(gradients)


def test_records_are_clipped_one_by_one() -> None:
    """(0.6, 0.8) has norm 1 and stays; (3, 4) has norm 5 → half of it at 2.5; 0 stays."""
    total, count = clipped_sum(iter([tensors([0.6], [0.8]), tensors([3], [4]), tensors([0], [0])]), 2.5)
    assert numbers(total) == close([1.5 + 0.6, 2 + 0.8])
    assert count == 3


def test_dual_with_clipping_takes_the_mean_of_clipped_gradients_in_place_of_the_gradient() -> None:
    rule = Dual(clip_norm=2.5)
    state = dual_state(rule, tensors([1], [1]))
    each = each_of([tensors([3], [4]), tensors([0.6], [0.8])])
    found, _ = rule.combine(step(tensors([9], [9]), tensors([0], [0]), state, forget_each=each))
    assert numbers(found) == pytest.approx([1.05, 1.4], rel=1e-12)


def test_dual_noise_has_the_size_it_says_and_follows_seed_and_step() -> None:
    """σ C / N = 3 · 2 / 4 on every coordinate of the mean of four clipped gradients."""
    size = 20_000
    zeros = {A: torch.zeros(size, dtype=torch.float64), B: torch.zeros(2, dtype=torch.float64)}
    rule = Dual(clip_norm=2.0, noise_multiplier=3.0)
    state = dual_state(rule, {name: torch.ones_like(value) for name, value in zeros.items()})
    assert state["seed"].dtype == torch.int64

    def noise(number: int) -> Tensor:
        made, _ = rule.combine(step(zeros, zeros, state, step=number, forget_each=each_of([zeros] * 4)))
        return made[A]

    assert float(noise(0).std()) == pytest.approx(1.5, rel=0.03)
    assert abs(float(noise(0).mean())) < 0.05
    assert torch.equal(noise(7), noise(7)), "resumed runs draw the same"
    assert abs(float(torch.corrcoef(torch.stack([noise(7), noise(8)]))[0, 1])) < 0.03
    assert "seed" not in Dual(clip_norm=2.0).start(
        view(zeros, statistics=Statistics(zeros, {A: zeros[A] + 1, B: zeros[B]}))
    )


def test_dual_noise_along_retained_directions_is_removed_with_the_rest() -> None:
    rule = Dual(clip_norm=1.0, noise_multiplier=2.0)
    state = dual_state(rule, tensors([1, 1], [1]))
    zero, retain = tensors([0, 0], [0]), tensors([0, 1], [0])
    found, _ = rule.combine(step(zero, retain, state, forget_each=each_of([zero])))
    own = numbers({n: found[n] - retain[n] for n in found})
    assert own[1] == pytest.approx(0, abs=1e-12)
    assert min(abs(own[0]), abs(own[2])) > 1e-3


@pytest.mark.parametrize(
    "wrong", [{"energy": 0}, {"energy": 1.1}, {"history": 0}, {"damping": 0}, {"noise_multiplier": -1},
              {"clip_norm": 0}, {"noise_multiplier": 1}, {"delta": 0}],
)  # fmt: skip
def test_dual_refuses_numbers_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="duo"):
        Dual(**wrong)


def test_dual_needs_statistics_and_a_retain_term() -> None:
    with pytest.raises(RuntimeError, match=r"statistics.*declares"):
        Dual().start(view(tensors([1], [1])))
    with pytest.raises(UsageError, match="no retain term"):
        Dual().combine(step(tensors([1], [1]), {}, dual_state(Dual(), tensors([1], [1]))))


# --- orthogonal


def test_orthonormal_rows_span_the_rows_of_all_matrices() -> None:
    generator = torch.Generator().manual_seed(6)
    first, second = torch.randn(2, 7, generator=generator), 1e-8 * torch.randn(3, 7, generator=generator)
    rows = orthonormal_rows([first, second, first[:1] * 3])
    assert rows.shape == (5, 7)
    assert rows.dtype == first.dtype
    torch.testing.assert_close(rows @ rows.T, torch.eye(5), atol=1e-6, rtol=0)
    for matrix in (first, second):
        assert off(matrix, rows).abs().max() < 1e-6 * matrix.abs().max()
    assert orthonormal_rows([torch.zeros(2, 7)]).shape == (0, 7)
    assert orthonormal_rows([torch.zeros(0, 7), first]).shape == (2, 7)


def test_orthonormal_rows_refuse_what_has_no_common_width() -> None:
    for wrong in ([], [torch.zeros(1, 2), torch.zeros(1, 3)]):
        with pytest.raises(ValueError, match="same width"):
            orthonormal_rows(wrong)


def test_off_by_hand() -> None:
    """Off (3/5, 4/5): (5, 0) → (5, 0) − 3 · (3/5, 4/5) = (3.2, −2.4); its own multiples vanish, its normal stays."""
    taken = torch.tensor([[0.6, 0.8]], dtype=torch.float64)
    matrix = torch.tensor([[5, 0], [3, 4], [-4, 3]], dtype=torch.float64)
    assert off(matrix, taken).flatten().tolist() == close([3.2, -2.4, 0, 0, -4, 3])
    assert torch.equal(off(matrix, taken[:0]), matrix)


def test_orthogonal_keeps_both_sides_off_what_is_taken_and_leaves_the_rest() -> None:
    taken = torch.tensor([[0.6, 0.8]], dtype=torch.float64)
    shapes = tensors([[5, 0], [0, 0]], [[1.0, 2.0]])
    state = Orthogonal().start(view(shapes, taken={A: taken}))
    retain = tensors([[-2, 4], [0, 0]], [[1, 1]])  # 3 · (3/5, 4/5) + … : (5, 0) + (−2, 4) = (3, 4) is taken whole
    found, changed = Orthogonal().combine(step(shapes, retain, state))
    assert numbers(found) == close([0, 0, 0, 0, 2, 3])
    assert changed == {}
    found, _ = Orthogonal().combine(step(shapes, {}, state))
    assert numbers(found) == close([3.2, -2.4, 0, 0, 1, 2])
    weights = Orthogonal().confine({A: torch.tensor([[3.0, 4.0], [-4.0, 3.0]]).double(), B: shapes[B]}, state)
    assert set(weights) == {A}
    assert weights[A].flatten().tolist() == close([0, 0, -4, 3])
    assert Orthogonal().confine(shapes, Orthogonal().start(view(shapes))) == {}


def test_orthogonal_refuses_directions_of_nothing_and_layers_without_room() -> None:
    shapes = tensors([[1, 0]], [[1]])
    with pytest.raises(UsageError, match=r"belong to other\.weight"):
        Orthogonal().start(view(shapes, taken={"other.weight": torch.eye(2)[:1]}))
    with pytest.raises(UsageError, match="belong to"):
        Orthogonal().start(view(shapes, taken={A: torch.eye(3)[:1]}))
    with pytest.raises(UsageError, match="use all 2 directions"):
        Orthogonal().start(view(shapes, taken={A: torch.eye(2)}))
