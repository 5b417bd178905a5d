"""The objectives that are timed: five of the registry, and NPO with a KL retain term."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mllmu_med.methods import METHODS
from mllmu_med.methods.composition import Composite, composed
from mllmu_med.methods.interface import Batch, Loss, Needs
from mllmu_med.methods.objectives.preference import NPO, negative_preference
from mllmu_med.methods.terms import retain_kl

OBJECTIVES = ("grad_diff", "npo", "kl_min", "idk", "llmu", "npo_kl")


@dataclass(frozen=True)
class NPOWithKL(NPO):
    """NPO on the forget records, KL to θ0 on the retain records: both kinds of reference in one step."""

    label: ClassVar = "NPO + KL"
    summary: ClassVar = "NPO with θ0's distribution kept on the retain records"
    needs: ClassVar = Needs.RETAIN | Needs.REFERENCE_LOGPROB | Needs.RETAIN_REFERENCE

    def loss(self, batch: Batch) -> Loss:
        """NPO on forget + λ · KL of retain."""
        forget = negative_preference(batch.forget.logprob, batch.forget.reference, self.beta)
        return Loss(forget, retain_kl(batch.retain), self.retain_weight)


def objective(name: str) -> Composite:
    """The objective of this name with its default numbers; LLMU takes two random answers a record, not five."""
    return composed(NPOWithKL() if name == "npo_kl" else METHODS.get(name)())


NORMALS = 2
"""Random answers per forget record in LLMU."""
