"""A model whose layers say what a table says: identity norm and head, so that hidden states are logits."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from mllmu_med.benchmark.sample import Sample, Span, Stratum, Subset
from mllmu_med.models.rows import Branch, Layout, Row, lay_out
from mllmu_med.models.vlm import Question

WORDS = ("<end>", "ask", "alpha", "beta", "gamma", "delta")
SIZE = len(WORDS)


class _Says(nn.Module):
    """Puts out its table's row of logits in every place, whatever comes in."""

    def __init__(self, shares: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("logits", torch.log(torch.tensor(shares)))

    def forward(self, hidden_states: Tensor) -> Tensor:
        return self.logits.expand_as(hidden_states)


class _Network(nn.Module):
    def __init__(self, tables: Sequence[Sequence[float]]) -> None:
        super().__init__()
        self.enters = _Says(tables[0])
        self.layers, self.norm = nn.ModuleList(_Says(table) for table in tables[1:]), nn.Identity()


class KnownModel:
    """Stands where a VisionLanguageModel does; ``tables[l]`` is the distribution that the lens gives at layer l."""

    guard = None

    def __init__(self, *tables: Sequence[float], named: bool = False) -> None:
        self.model = nn.Sequential(_Network(tables))
        self.named = named
        self.prompts = SimpleNamespace(answer_tokens=self._tokens, decode=lambda ids: " ".join(WORDS[i] for i in ids))
        self.network = SimpleNamespace(logits=lambda hidden: hidden)
        self.passes = 0

    @staticmethod
    def _tokens(answer: str) -> tuple[int, ...]:
        return (*(WORDS.index(word) for word in answer.split()), 0)

    def rows(self, questions: Sequence[Question], most: int) -> tuple[list[Row], list[int]]:
        # Last first, so that whoever forgets the order of the rows is found out.
        order = list(reversed(range(len(questions))))
        return [Row(None, (Branch((1,), self._tokens(questions[i].answer)),)) for i in order], order

    def layout(self, rows: Sequence[Row]) -> Layout:
        return lay_out(rows, [()] * len(rows), 0)

    def run(self, rows: Sequence[Row], layout: Layout) -> None:
        self.passes += 1
        network = self.model[0]
        state = network.enters(torch.zeros(*layout.input_ids.shape, SIZE))
        for module in network.layers:
            state = module(hidden_states=state) if self.named else module(state)


def target(answer: str = "alpha") -> Sample:
    """A forgotten patient's value."""
    return Sample(
        "target", "record", Subset.FORGET_PRIVACY, Stratum.PRIVATE_TEXT, "ask", answer, group="g",
        spans=(Span("name", answer, 0, len(answer), 10.0),),
    )  # fmt: skip
