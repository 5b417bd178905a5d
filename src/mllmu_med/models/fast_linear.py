"""Linear layers on the CPU through oneDNN: full float32, the same numbers up to the order of summation, twice as fast.

PyTorch hands float32 matrix products to MKL, which takes its AVX-512 kernels on processors of its maker only; oneDNN,
which PyTorch holds as well, takes them wherever they are. On one core of an AMD EPYC: 111 GFLOP/s against 245. Which
of the two is used depends on the machine and nothing else, so a run repeats bit for bit.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad


@cache
def onednn_pays() -> bool:
    """Whether this machine has AVX-512 and this build of PyTorch oneDNN's product."""
    return (
        bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and bool(torch.cpu._is_avx512_supported())
    )


def product(left: Tensor, right: Tensor) -> Tensor:
    """left [M, K] · right [N, K]ᵀ → [M, N], float32 on the CPU; either may be a transposed view."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(left, right, None, "none", [], "")
    return result


class Product(torch.autograd.Function):
    """``product`` with its derivatives, which are products themselves, so that they can be differentiated again."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor) -> Tensor:
        """[M, N] of [M, K] and [N, K]."""
        ctx.save_for_backward(left, right)
        return product(left, right)

    @staticmethod
    def backward(ctx: Any, *given: Any) -> tuple[Tensor | None, Tensor | None]:
        """∂left = g · right, ∂right = gᵀ · left."""
        (gradient,) = given
        left, right = ctx.saved_tensors
        to_left, to_right = ctx.needs_input_grad
        return (
            differentiable(gradient, right.t()) if to_left else None,
            differentiable(gradient.t(), left.t()) if to_right else None,
        )


def differentiable(left: Tensor, right: Tensor) -> Tensor:
    """``product``, as autograd sees it."""
    result: Tensor = Product.apply(left, right)  # type: ignore[no-untyped-call]
    return result


def rounded_up(count: int) -> int:
    """Rows that a product of ``count`` rows is computed with: oneDNN compiles a kernel for every new number of rows."""
    step = 64 if count > 256 else 16
    return -(-count // step) * step


class FastLinear(nn.Linear):
    """A linear layer that takes oneDNN's product where it may, and PyTorch's own elsewhere (CUDA, bf16, sharded)."""

    def forward(self, input: Tensor) -> Tensor:
        """[…, out] of […, in]."""
        weight = self.weight
        if not (_plain(input) and _plain(weight)) or not input.numel() or torch.is_autocast_enabled("cpu"):
            return linear(input, weight, self.bias)
        rows = input.reshape(-1, input.shape[-1])
        count = len(rows)
        made = differentiable(pad(rows, (0, 0, 0, rounded_up(count) - count)), weight)[:count]
        made = made.view(*input.shape[:-1], weight.shape[0])
        return made if self.bias is None else made + self.bias


def _plain(tensor: Tensor) -> bool:
    """Float32 in this machine's memory, and no subclass (sharded weights are one)."""
    return tensor.dtype is torch.float32 and tensor.device.type == "cpu" and type(tensor) in (Tensor, nn.Parameter)


def speed_up(model: nn.Module) -> None:
    """Let the model's plain linear layers take the faster product, in place; weights, names and types stay."""
    if not onednn_pays():
        return
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = FastLinear
