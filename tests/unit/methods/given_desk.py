"""A desk whose activations are given, for the tests of edits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from mllmu_med.methods.edits.interface import Siblings
from mllmu_med.methods.interface import ModelFacts, Objective


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
