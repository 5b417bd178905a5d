"""A desk whose hidden states are given, for the tests of guards."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from mllmu_med.methods.guards.interface import Known
from mllmu_med.methods.interface import ModelFacts

MODEL = ModelFacts(layers=4, width=6, vocabulary=10)


@dataclass
class FakeDesk:
    """A desk whose hidden states are given."""

    forget: list[Known] = field(default_factory=list)
    retain: list[Known] = field(default_factory=list)
    model: ModelFacts = MODEL
    seed: int = 3
    control_tokens: frozenset[int] = frozenset({0, 1})
    states: dict[str, Tensor] = field(default_factory=dict)
    asked: list[tuple[str, int, str]] = field(default_factory=list)

    def prompts(self, group: str, layer: int, pooling: str) -> Tensor:
        self.asked.append((group, layer, pooling))
        return self.states[group].repeat(1, 2 if pooling == "both" else 1)

    def answers(self, group: str, layer: int) -> Tensor:
        self.asked.append((group, layer, "answers"))
        return self.states[f"{group} answers"]

    def embedding_scale(self) -> float:
        return 0.5


def known(answer: str, *values: str, image: str | None = "one", question: str = "Who is it?", **more: Any) -> Known:
    return Known(image, (question, "Name the patient."), answer, more.pop("cluster", "p1"), values=values, **more)
