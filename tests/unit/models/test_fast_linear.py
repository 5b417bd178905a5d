"""Products through oneDNN: values, gradients, second derivatives, any number of rows; and where they stay out."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from mllmu_med.models import fast_linear
from mllmu_med.models.fast_linear import FastLinear, Product, onednn_pays, rounded_up, speed_up
from mllmu_med.models.quantised import QuantisedLinear

needs_onednn = pytest.mark.skipif(not onednn_pays(), reason="no AVX-512, or PyTorch was built without oneDNN")


def pair(bias: bool = False) -> tuple[nn.Linear, FastLinear]:
    """A linear layer and the same one made fast."""
    torch.manual_seed(0)
    plain = nn.Linear(24, 40, bias=bias)
    fast = copy.deepcopy(plain)
    fast.__class__ = FastLinear
    assert isinstance(fast, FastLinear)
    return plain, fast


def inputs(*shape: int) -> Tensor:
    return torch.randn(*shape, 24, generator=torch.Generator().manual_seed(1))


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often the fast product is asked from now on."""
    calls: list[int] = []
    own = fast_linear.product

    def product(left: Tensor, right: Tensor) -> Tensor:
        calls.append(len(left))
        return own(left, right)

    monkeypatch.setattr(fast_linear, "product", product)
    return calls


@needs_onednn
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(1,), (16,), (17,), (300,), (3, 1), (2, 5, 7)])
def test_values_and_gradients_are_those_of_double_precision(shape: tuple[int, ...], bias: bool) -> None:
    plain, fast = pair(bias)
    exact = copy.deepcopy(plain).double()
    mine, theirs = inputs(*shape).requires_grad_(), inputs(*shape).double().requires_grad_()
    out, expected = fast(mine), exact(theirs)
    assert out.shape == expected.shape
    out.pow(2).sum().backward()
    expected.pow(2).sum().backward()
    assert mine.grad is not None
    assert theirs.grad is not None
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(mine.grad.double(), theirs.grad, rtol=1e-5, atol=1e-4)
    for own, other in zip(fast.parameters(), exact.parameters(), strict=True):
        assert own.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(own.grad.double(), other.grad, rtol=1e-5, atol=1e-3)


@needs_onednn
def test_it_can_be_differentiated_twice() -> None:
    left, right = inputs(5)[:, :7].clone().requires_grad_(), inputs(4)[:, :7].clone().requires_grad_()

    def second(product: Tensor) -> Tensor:
        (first,) = torch.autograd.grad(product.pow(3).sum(), right, create_graph=True)
        (found,) = torch.autograd.grad(first.pow(2).sum(), left)
        return found

    torch.testing.assert_close(second(Product.apply(left, right)), second(left @ right.t()), rtol=1e-4, atol=1e-3)


@needs_onednn
def test_a_row_does_not_depend_on_how_many_are_beside_it() -> None:
    """Up to rounding; the rows that fill up a product never show."""
    _, fast = pair()
    rows = inputs(300)
    whole = fast(rows)
    for count in (1, 15, 16, 17, 256, 257):
        torch.testing.assert_close(fast(rows[:count]), whole[:count], rtol=1e-6, atol=1e-6)


def test_rows_are_rounded_up_to_few_different_numbers() -> None:
    assert [rounded_up(count) for count in (1, 16, 17, 256, 257, 450)] == [16, 16, 32, 256, 320, 512]


@needs_onednn
def test_it_repeats_bit_for_bit() -> None:
    _, fast = pair()
    assert torch.equal(fast(inputs(33)), fast(inputs(33)))


def test_other_precisions_and_autocast_take_the_usual_product(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(monkeypatch)
    plain, fast = pair(bias=True)
    assert torch.equal(fast.bfloat16()(inputs(3).bfloat16()), plain.bfloat16()(inputs(3).bfloat16()))
    plain, fast = pair()
    with torch.autocast("cpu", torch.bfloat16):
        assert fast(inputs(3)).dtype is torch.bfloat16
        assert torch.equal(fast(inputs(3)), plain(inputs(3)))
    assert torch.equal(fast(inputs(0)), plain(inputs(0)))
    assert not calls


@needs_onednn
def test_plain_layers_alone_are_exchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Linear(24, 32, bias=False), nn.LayerNorm(32), nn.Linear(32, 8))
    model.append(QuantisedLinear(nn.Linear(8, 32, bias=False), "int8"))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    speed_up(model)
    assert [type(module) for module in model] == [FastLinear, nn.LayerNorm, FastLinear, QuantisedLinear]
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    calls = counted(monkeypatch)
    model(inputs(3))
    assert calls == [16, 16]


def test_without_avx_512_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_linear, "onednn_pays", lambda: False)
    model = nn.Sequential(nn.Linear(4, 4))
    speed_up(model)
    assert type(model[0]) is nn.Linear
