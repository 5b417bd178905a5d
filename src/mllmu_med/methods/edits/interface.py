"""What an edit is: a change of weights at a desk, without the loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import torch
from torch import Tensor

from mllmu_med.methods.interface import Component, Cost, ModelFacts, Objective, Supports


class Delta(Protocol):
    """A difference of weights that a desk has made; opaque, so that it may be held densely or in low rank."""

    def __mul__(self, factor: float) -> Self:
        """Scaled."""
        ...

    def __add__(self, other: Self) -> Self:
        """Summed; both must come from one desk."""
        ...


class Siblings(NamedTuple):
    """The retained records nearest to a node of the hierarchy; never none.

    Attributes:
        group: their name at the desk.
        level: the deepest level that they share with the node, e.g. ``institution``; ``kind`` where it is only the kind
            of record, ``retain`` where it is nothing.
    """

    group: str
    level: str


Recorded = Iterator[Mapping[int, Tensor]]
"""Activations of a group, some records at a time: decoder layer → [T, width] float32 at answer positions."""


class Desk(Protocol):
    """Where an edit works: the model as linear layers with their activations, and training that leaves it alone.

    Linear layers are named by decoder layer and module, e.g. 3 and ``down_proj``. Activations are those at the
    positions that predict the answer tokens, tokens of weight 0 left out. Groups of records:

    - ``forget``, ``retain``: the questions with their answers.
    - ``refusals``: the forget questions, answered with a refusal.
    - ``pictured`` and ``text_only``: the forget questions about an image, with it and without it, token by token in one
      order; ``retain_pictured`` and ``retain_text_only``: the same of the retain questions.
    - the nodes of the hierarchy, and the siblings of each (``nodes``).

    Attributes:
        facts: sizes of the language model.
        generator: for what the edit draws; seeded by the run.
    """

    facts: ModelFacts
    generator: torch.Generator

    def tune(self, objective: Objective) -> Delta:
        """Train with this objective for as long and at the rate that the recipe says, and return what changed.

        The model itself is left bit by bit as it was.
        """
        ...

    def apply(self, delta: Delta) -> None:
        """Add a difference to the weights."""
        ...

    def nodes(self) -> Mapping[str, Siblings]:
        """Name of the group of each patient or fact to be forgotten → the retained records beside it."""
        ...

    def inputs(self, group: str, module: str, layers: Sequence[int]) -> Recorded:
        """[T, in] inputs of linear layers, from one pass of the group's records."""
        ...

    def outputs(self, group: str, module: str, layers: Sequence[int]) -> Recorded:
        """[T, out] outputs of linear layers."""
        ...

    def hidden(self, group: str, layers: Sequence[int]) -> Recorded:
        """[T, H] hidden states behind decoder layers."""
        ...

    def weight(self, module: str, layer: int) -> Tensor:
        """[out, in] the weights of a linear layer, to be changed in place."""
        ...


class Edit(Component):
    """A change of weights without the loop (though it may ask the desk to train)."""

    supports: ClassVar[Supports] = Supports.FULL
    cost: ClassVar[Cost] = Cost.NONE
    grid: ClassVar[Mapping[str, tuple[Any, ...]]] = {}

    def edit(self, desk: Desk) -> Mapping[str, float]:
        """Change the weights at the desk. Never called with nothing to forget.

        Returns:
            numbers for the record; ``weights_changed`` where these are fewer than the weights that the recipe trains.
        """
        raise NotImplementedError
