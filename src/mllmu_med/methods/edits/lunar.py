"""Redirected activations by one closed-form refit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from mllmu_med.errors import UsageError
from mllmu_med.methods.depth import layer_at
from mllmu_med.methods.edits.interface import Desk, Edit
from mllmu_med.methods.interface import Family, Needs

MODULE = "down_proj"


class Moments(NamedTuple):
    """Sums over T tokens x [in]: ``total`` Σ x [in] and ``gram`` Σ x xᵀ [in, in]."""

    tokens: int
    total: Tensor
    gram: Tensor

    def plus(self, other: Moments) -> Moments:
        """Over the tokens of both."""
        return Moments(self.tokens + other.tokens, self.total + other.total, self.gram + other.gram)


def moments(recorded: Iterable[Mapping[int, Tensor]], layer: int) -> Moments:
    """Moments of all tokens [T, in] recorded of a layer, in double precision; never are all in memory at once."""
    found: Moments | None = None
    for chunk in recorded:
        values = chunk[layer].double()
        own = Moments(len(values), values.sum(0), values.T @ values)
        found = own if found is None else found.plus(own)
    if found is None:
        raise ValueError("nothing was recorded")
    return found


def token_mean(recorded: Iterable[Mapping[int, Tensor]], layer: int) -> Tensor:
    """[H] mean of all tokens recorded of a layer, in double precision."""
    sums = [(len(chunk[layer]), chunk[layer].double().sum(0)) for chunk in recorded]
    return torch.stack([total for _, total in sums]).sum(0) / sum(tokens for tokens, _ in sums)


def response(forget: Moments, retain: Moments, ridge: float) -> Tensor:
    """g [in] with which W' = W + r gᵀ is the minimiser of

    ‖X_f W'ᵀ − (X_f Wᵀ + 1 rᵀ)‖² + ‖X_r W'ᵀ − X_r Wᵀ‖² + ridge ‖W' − W‖²

    (rows of X: inputs of the layer at forget and retain tokens). With Δ = W' − W it is ridge regression of the target
    1 rᵀ on X_f and of 0 on X_r, so Δᵀ = (X_fᵀX_f + X_rᵀX_r + ridge I)⁻¹ X_fᵀ 1 rᵀ: of rank one, whatever r is.
    g·x in [0, 1] on average over forget tokens: the part of the way from the old output to the new that is gone.
    """
    matrix = forget.gram + retain.gram
    matrix = matrix + ridge * torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    return torch.cholesky_solve(forget.total[:, None], torch.linalg.cholesky(matrix))[:, 0]


@dataclass(frozen=True)
class LUNAR(Edit):
    """Neural activation redirection (Shen et al. 2025, arXiv 2502.07218).

    W' = argmin ‖X_f W'ᵀ − (X_f Wᵀ + 1 rᵀ)‖² + ‖X_r W'ᵀ − X_r Wᵀ‖² + ρ ‖W' − W‖², for ``down_proj`` of one layer.

    X: its inputs at the answer positions of forget and retain records. r = ``strength`` · (mean hidden state behind the
    layer while the model says a refusal − the same while it says the forget answer), so that forget activations move to
    where refusals are and retain activations stay. ρ = ``ridge`` · mean diagonal of X_fᵀX_f + X_rᵀX_r, so that it does
    not depend on the number of tokens or the scale of activations. ``depth``: which layer, 0 the first, 1 the last.

    Deviations: the authors find r at the last prompt token of prompts that the model refuses of its own, and use
    gradient descent or the closed form without ridge; here the refusals are teacher-forced answers to the forget
    questions, because small medical models refuse nothing of their own. Known weakness: it redirects instead of
    removing, a change of rank one in one matrix; the answer can be steered back.
    """

    label: ClassVar = "LUNAR"
    family: ClassVar = Family.EDIT
    source: ClassVar = "arXiv 2502.07218"
    summary: ClassVar = "refit one MLP matrix so that forget activations move towards refusals and others stay"
    needs: ClassVar = Needs.RETAIN | Needs.REFUSALS
    grid: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "strength": (1.0, 2.0, 4.0, 8.0), "depth": (0.0, 0.7), "statistics_records": (128, 1024),
    }  # fmt: skip
    strength: float = 1.0
    depth: float = 0.7
    ridge: float = 1e-2

    def __post_init__(self) -> None:
        if self.ridge <= 0:
            raise UsageError(f"lunar: ridge={self.ridge} leaves the refit without a unique solution; it must be > 0")

    def edit(self, desk: Desk) -> Mapping[str, float]:
        """Four passes, one solve.

        Returns:
            layer, length of r, ``moved``: mean part of r by which forget activations move (1 = all of it), ``spill``:
            root mean square of the same on retain activations (0 = none).
        """
        layer = layer_at(self.depth, desk.facts.layers)
        shift = token_mean(desk.hidden("refusals", [layer]), layer) - token_mean(desk.hidden("forget", [layer]), layer)
        shift = self.strength * shift
        forget = moments(desk.inputs("forget", MODULE, [layer]), layer)
        retain = moments(desk.inputs("retain", MODULE, [layer]), layer)
        scale = (forget.gram + retain.gram).diagonal().mean().item()
        g = response(forget, retain, self.ridge * max(scale, torch.finfo(torch.float64).tiny))
        weight = desk.weight(MODULE, layer)
        weight.copy_((weight.double() + shift[:, None] * g).to(weight.dtype))
        return {
            "layer": layer, "shift": shift.norm().item(),
            "moved": (g @ forget.total / forget.tokens).item(),
            "spill": (g @ retain.gram @ g / retain.tokens).sqrt().item(), "weights_changed": weight.numel(),
        }  # fmt: skip
