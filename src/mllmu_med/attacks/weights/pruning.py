"""Pruning: small weights are set to 0, and small changes of small weights with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

from torch import Tensor, nn

from mllmu_med.attacks.interface import Subject, Tampering
from mllmu_med.attacks.weights.layers import changed_linears, merge_in_place
from mllmu_med.errors import UsageError


def pruned(weight: Tensor, share: float) -> Tensor:
    """The matrix with round(share · size) of its weights set to 0, those of the smallest magnitude.

    Of equal magnitudes the earlier one (row after row) goes first; weights that are 0 already count.
    """
    values = weight.detach().clone()
    smallest = values.abs().flatten().argsort(stable=True)[: round(share * values.numel())]
    values.view(-1)[smallest] = 0
    return values


@dataclass(frozen=True)
class Pruning(Tampering):
    """Set the smallest weights of every linear layer of the language model's decoder to 0 (magnitude pruning).

    Unstructured and layer by layer, without training afterwards. An adapter on plain weights is merged before;
    quantised weights are pruned by the values that their codes stand for.

    Attributes:
        shares: shares of each layer's weights, 0…1.
    """

    label: ClassVar = "Pruning"
    source: ClassVar = "arXiv 1506.02626"
    summary: ClassVar = "setting the smallest weights of every layer to 0"
    cost: ClassVar = "1 answer for each share"
    touches: ClassVar = ("language",)

    shares: tuple[float, ...] = (0.1, 0.3, 0.5)
    budget: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        for share in self.shares:
            if not 0 <= share <= 1:
                raise UsageError(f"shares: {share} is not between 0 and 1")

    def tampered(self, subject: Subject) -> Iterator[str]:
        """One share after the other, each from the weights as they are."""
        merge_in_place(subject.vlm)
        for share in self.shares:
            with changed_linears(subject.vlm, partial(_pruned, share)):
                yield f"share-{100 * share:g}"


def _pruned(share: float, linear: nn.Linear) -> Tensor:
    return pruned(linear.weight, share)
