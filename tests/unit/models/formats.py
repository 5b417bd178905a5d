"""The number formats of frozen weights, and matrices to hold in them."""

from __future__ import annotations

import torch
from torch import Tensor

from mllmu_med.models.quantised import FORMATS

KINDS = tuple(FORMATS)


def matrix(rows: int, columns: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
