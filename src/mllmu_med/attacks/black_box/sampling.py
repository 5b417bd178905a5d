"""Many sampled answers instead of the most likely one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

from mllmu_med.attacks.interface import Asking, Data, Query
from mllmu_med.benchmark.sample import Sample
from mllmu_med.errors import UsageError


@dataclass(frozen=True)
class Sampling(Asking):
    """Ask the trained question n times at temperature 1 (Scholten et al. 2024, arXiv 2410.03523).

    Greedy decoding shows one answer of a distribution; what is 5 % likely never appears in it and is told within 14
    questions at even odds. Success is the value in any of the n answers. What n answers *prove* is another matter: see
    :mod:`mllmu_med.attacks.bounds`.

    Attributes:
        draws: n, which is also the budget.
    """

    label: ClassVar = "Sampling"
    source: ClassVar = "arXiv 2410.03523"
    summary: ClassVar = "n sampled answers to the trained question"
    cost: ClassVar = "16 sampled answers"
    draws: int = 16
    budget: int = field(init=False)

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise UsageError(f"draws: at least one sampled answer, got {self.draws}")
        object.__setattr__(self, "budget", self.draws)

    def queries(self, sample: Sample, data: Data) -> Iterable[Query]:
        """One query of ``draws`` answers."""
        yield Query(f"draws-{self.draws}", sample.question, sample.image_id, self.draws)
