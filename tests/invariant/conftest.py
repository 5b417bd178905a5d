"""What several invariants look at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from mllmu_med.models.vlm import VisionLanguageModel


@pytest.fixture
def fed(taught: VisionLanguageModel) -> Iterator[list[tuple[int, int]]]:
    """The (rows, tokens) of every pass through the module's taught model."""
    shapes: list[tuple[int, int]] = []

    def note(_module: torch.nn.Module, _args: object, arguments: dict[str, torch.Tensor]) -> None:
        shapes.append(tuple(arguments["input_ids"].shape))  # type: ignore[arg-type]

    hook = taught.model.base_model.register_forward_pre_hook(note, with_kwargs=True)
    yield shapes
    hook.remove()
