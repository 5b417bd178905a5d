"""Number formats of frozen weights: int8, int4 and nf4 by hand."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from mllmu_med.models.quantised import (
    FORMATS,
    NF4_VALUES,
    dequantise_int4,
    dequantise_int8,
    dequantise_nf4,
    quantise_int4,
    quantise_int8,
    quantise_nf4,
)
from tests.unit.models.formats import KINDS, matrix

# --- int8


def test_int8_by_hand() -> None:
    """Row 1: step 127/127 = 1; row 2: step 12.7/127 = 0.1; row 3 is empty. 2.5 goes to the even 2, −3.5 to −4."""
    weight = torch.tensor([[127.0, -3.5, 2.5, 0.4], [-12.7, 1.04, 0.06, 0.0], [0.0, 0.0, 0.0, 0.0]])
    stored = quantise_int8(weight)
    assert stored.codes.dtype == torch.int8
    assert stored.codes.tolist() == [[127, -4, 2, 0], [-127, 10, 1, 0], [0, 0, 0, 0]]
    assert stored.scale.flatten().tolist() == pytest.approx([1.0, 0.1, 0.0])
    back = dequantise_int8(stored)
    assert back[0].tolist() == [127.0, -4.0, 2.0, 0.0]
    assert back[1].tolist() == pytest.approx([-12.7, 1.0, 0.1, 0.0])
    assert back[2].tolist() == [0.0] * 4


def test_int8_is_off_by_half_a_step_at_most_and_each_row_has_its_own_step() -> None:
    weight = matrix(5, 300) * torch.tensor([1e-4, 1.0, 1e3, 1e-20, 7.0])[:, None]
    stored = quantise_int8(weight)
    error = (dequantise_int8(stored) - weight).abs()
    step = weight.abs().amax(1, keepdim=True) / 127
    assert bool((error <= step / 2 * (1 + 1e-5)).all())
    assert bool((error.amax(1) > step[:, 0] * 0.4).all()), "and not much better either"
    assert bool((stored.codes.abs().amax(1) == 127).all()), "the whole range is used"


# --- int4


def test_int4_by_hand() -> None:
    """Two groups: steps 7/7 = 1 and 1.4/7 = 0.2. 2.5 goes to the even 2, −3.5 to −4; an odd row's last byte is half
    empty."""
    weight = torch.zeros(2, 131)
    weight[0, :4] = torch.tensor([7.0, -3.5, 2.5, 0.4])
    weight[0, 128:] = torch.tensor([-1.4, 0.31, 0.29])
    stored = quantise_int4(weight)
    assert stored.codes.dtype == torch.uint8
    assert stored.codes.shape == (2, 66)
    assert stored.scale[0].tolist() == pytest.approx([1.0, 0.2])
    assert stored.scale[1].tolist() == [0.0, 0.0]
    assert stored.codes[0, :2].tolist() == [15 << 4 | 4, 10 << 4 | 8], "the code of 0 is 8"
    assert stored.codes[0, 64:].tolist() == [1 << 4 | 10, 9 << 4 | 0]
    back = dequantise_int4(stored)
    assert back.shape == weight.shape
    assert back[0, :4].tolist() == [7.0, -4.0, 2.0, 0.0]
    assert back[0, 128:].tolist() == pytest.approx([-1.4, 0.4, 0.2])
    assert not back[1].any()


def test_int4_errs_by_half_a_step_of_its_group_at_most() -> None:
    weight = matrix(5, 300) * torch.linspace(0.1, 3, 300)
    error = (dequantise_int4(quantise_int4(weight)) - weight).abs()
    for start in range(0, 300, 128):
        group = slice(start, min(300, start + 128))
        step = weight[:, group].abs().amax(1, keepdim=True) / 7
        assert bool((error[:, group] <= step / 2 * (1 + 1e-5)).all()), start
        assert bool((error[:, group].amax(1) > step[:, 0] * 0.4).all()), "and not much better either"


# --- nf4


def test_nf4_values_are_the_published_quantiles() -> None:
    """arXiv 2305.14314, appendix E: quantiles at equal shares up to 0.9677083, 8 positive, 7 negative, and 0."""
    share = 0.9677083
    positive = norm.ppf(torch.linspace(share, 0.5, 9, dtype=torch.float64)[:-1].numpy())
    negative = -norm.ppf(torch.linspace(share, 0.5, 8, dtype=torch.float64)[:-1].numpy())
    values = torch.tensor(sorted([*positive, 0.0, *negative]))
    assert (values / values.max()).tolist() == pytest.approx(list(NF4_VALUES), abs=1e-6)


def test_nf4_by_hand() -> None:
    """Absolute maximum 2, so the values times 2 come back. Codes 0 and 15 are −1 and 1, 7 is 0, 8 is 0.0796.

    0.14 / 2 = 0.07 is nearer to 0.0796 than to 0; 0.07 / 2 = 0.035 nearer to 0. Two codes a byte, the first high.
    """
    weight = torch.zeros(1, 64)
    weight[0, :6] = torch.tensor([2.0, -2.0, 0.14, 0.07, -1.0, 1.1])
    stored = quantise_nf4(weight)
    assert stored.codes.dtype == torch.uint8
    assert stored.codes.shape == (32,)
    assert stored.codes[:4].tolist() == [15 << 4 | 0, 8 << 4 | 7, 2 << 4 | 13, 7 << 4 | 7]
    assert stored.scale.tolist() == [2.0]
    back = dequantise_nf4(stored)[0, :7].tolist()
    assert back == pytest.approx([2.0, -2.0, 0.1591606, 0.0, -1.0501461, 1.1252340, 0.0], abs=1e-6)


def test_nf4_finds_the_nearest_value_in_every_block() -> None:
    weight = matrix(3, 130)  # 390 weights: blocks run across rows, the last holds 6
    stored = quantise_nf4(weight)
    assert stored.scale.shape == (7,)
    assert stored.codes.shape == (7 * 32,)
    flat, table = weight.flatten().tolist(), list(NF4_VALUES)
    expected = []
    for start in range(0, 390, 64):
        block = flat[start : start + 64]
        largest = max(abs(value) for value in block)
        expected += [largest * min(table, key=lambda v, x=value / largest: abs(v - x)) for value in block]  # type: ignore[misc]
    assert dequantise_nf4(stored).flatten().tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 63), (7, 65), (64, 64)])
def test_what_is_quantised_twice_is_what_is_quantised_once(kind: str, shape: tuple[int, int]) -> None:
    """The values that come back are on the grid, so they stay; and zeros stay zeros."""
    quantise, dequantise = FORMATS[kind]
    weight = matrix(*shape)
    weight[0, 0] = 0
    once = dequantise(quantise(weight), torch.float32)
    assert once.shape == weight.shape
    assert once[0, 0] == 0
    torch.testing.assert_close(dequantise(quantise(once), torch.float32), once, rtol=1e-6, atol=0)
    assert not torch.isnan(dequantise(quantise(torch.zeros(shape)), torch.float32)).any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrong", [torch.tensor([[1.0, float("nan")]]), torch.tensor([[float("inf")]]), torch.ones(3)])
def test_what_has_no_code_is_refused(kind: str, wrong: Tensor) -> None:
    with pytest.raises(ValueError, match=r"not finite|only matrices"):
        FORMATS[kind].quantise(wrong)
