"""One optimiser step over two small matrices, as a gradient rule sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mllmu_med.methods.addons.interface import Gradients, GradientStep, ParameterView

A, B = "model.multi_modal_projector.linear.weight", "model.language_model.layers.0.mlp.down_proj.weight"


def tensors(a: object, b: object) -> Gradients:
    return {A: torch.tensor(a, dtype=torch.float64), B: torch.tensor(b, dtype=torch.float64)}


def close(value: object) -> object:
    return pytest.approx(value, rel=1e-12, abs=1e-15)


def numbers(gradients: Mapping[str, Tensor]) -> list[float]:
    return [x for name in (A, B) for x in gradients[name].flatten().tolist()]


def refuse(*_: object) -> Any:
    raise AssertionError("not to be asked for")


def step(forget: Gradients, retain: Gradients, state: Mapping[str, Tensor] | None = None, **changes: Any) -> Any:
    plain = GradientStep(forget, retain, dict(state or {}), 0, refuse, refuse, refuse)
    return replace(plain, **changes)


def view(shapes: Gradients, **changes: Any) -> ParameterView:
    plain = ParameterView(
        {name: values.shape for name, values in shapes.items()}, {A: "projector", B: "language"}, None,
        torch.Generator().manual_seed(1), {},
    )  # fmt: skip
    return replace(plain, **changes)
