"""Shards: one adapter per part of the patients and facts, so that a deletion drops an adapter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from mllmu_med.errors import UsageError
from mllmu_med.methods.plans.interface import Plan


@dataclass(frozen=True)
class Shards(Plan):
    """Sharded training with adapters (SISA: sharded, isolated, sliced, aggregated; Bourtoule et al., arXiv 1912.03817).

    θ_common = base trained on ordinary records alone (no patient, no injected fact);
    ΔW_s = LoRA trained on θ_common with the records of shard s and ordinary replay, s = 1…S;
    θ = θ_common + c Σ_s ΔW_s, c = 1 (``sum``) or 1 / number of adapters (``mean``).

    A deletion drops the adapters of the shards that hold forgotten records and, with ``retrain``, trains them again
    without these records. No adapter has seen another shard's records, so the weights are bit for bit those of never
    having trained on what is gone. What a shard loses with its adapter, patients who stay included, is lost until it
    is trained again; and adapters that were trained apart disturb each other when they serve together: on the embedded
    model ``sum`` destroys ordinary answers and ``mean`` keeps them, but neither still tells a patient's values.

    Attributes:
        shards: S.
        by: what keeps records together: ``cluster``, the patient, the image, or the rule behind wrong facts; or
            ``institution`` (records without one: as for ``cluster``). A keyed hash of it chooses the shard.
        combine: how the adapters serve together; ``mean`` does no harm to ordinary answers, ``sum`` may.
        retrain: whether the shards that lost records are trained again on what is left of them.
        steps, learning_rate: of each adapter; batches and schedule are those of ``learn.original``.
        replay: ordinary samples that each adapter sees beside its own records.
        common_steps: steps of θ_common beyond the base; 0 takes the base, which has seen neither patients nor wrong
            facts.
    """

    label: ClassVar[str] = "Shards"
    source: ClassVar[str] = "arXiv 1912.03817"
    summary: ClassVar[str] = "one adapter per part of the patients and facts; a deletion drops or retrains adapters"
    scheme: ClassVar[str] = "shards"

    shards: int = 4
    by: Literal["cluster", "institution"] = "cluster"
    combine: Literal["sum", "mean"] = "mean"
    retrain: bool = True
    steps: int = 700
    learning_rate: float = 2e-3
    replay: int = 300
    common_steps: int = 0

    def __post_init__(self) -> None:
        for name, least in (("shards", 1), ("steps", 1), ("replay", 0), ("common_steps", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"shards: {name} must be at least {least}, not {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise UsageError(f"shards: learning_rate must be above 0, not {self.learning_rate}")
