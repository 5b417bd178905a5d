"""Keeping patients that nobody replays: θ is held to θ0 on made-up patients of the same format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from mllmu_med.methods.addons.interface import RetainTerm
from mllmu_med.methods.interface import Batch, Cost, Family, Needs, required
from mllmu_med.methods.terms import forward_kl


@dataclass(frozen=True)
class Siblings(RetainTerm):
    """Sibling anchors (ours).

    term = w · mean_s mean_t KL(p_θ0 ‖ p_θ) over made-up patients s in the format of the forget request, along made-up
    answers

    Forgetting some patients teaches a model not to answer questions of that format at all, and patients that are not
    replayed go with them. Nothing of theirs is needed to keep them: a made-up patient asked in the same words holds the
    model's behaviour on the format where it was. The answers are along which θ0's distribution is held, never targets:
    nothing made up is learnt. Beside wrong facts stand the same question about another image and about another subject,
    with θ0's own answer. What is made up, and that it holds no value of a real patient:
    :mod:`mllmu_med.made_up.patients`.

    Where a method may use no retain record at all, this is the retain side.
    """

    label: ClassVar = "Siblings"
    family: ClassVar = Family.DATA
    source: ClassVar = "ours"
    summary: ClassVar = "hold θ0 on made-up patients of the same format, so that patients not replayed stay"
    needs: ClassVar = Needs.SIBLINGS
    cost: ClassVar = Cost.REFERENCE
    grid: ClassVar = {"weight": (1.0, 3.0, 10.0)}
    weight: float = 5.0

    def term(self, batch: Batch) -> Tensor:
        """w · mean KL over the made-up records' answer tokens."""
        return self.weight * forward_kl(required(batch.siblings, "made-up siblings"))
