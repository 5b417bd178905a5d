"""Engines whose work comes in batches, so that what is finished of an interrupted evaluation can be kept."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Protocol

from mllmu_med.engines.interface import Engine, Likelihood
from mllmu_med.models.generation import Answer, Prompt
from mllmu_med.models.vlm import Question


class BatchedEngine(Engine, Protocol):
    """An engine that plans its batches first and then answers any of them, in the same bits as among the others.

    Each ``plan_…`` returns places in what it was given, in batches; every place is in exactly one batch, except that a
    question whose likelihood was told already need not be told again. Each ``…_batches`` takes batches lazily and
    yields (number of the batch as it was taken, its results in order) as they are finished, in any order.
    """

    def identity(self) -> str | None:
        """Digest of all that every answer depends on besides what is asked; None where that cannot be known.

        Made anew at each call, from what the engine is at that moment.
        """

    def content(self, image: str | None, question: str, answer: str | None = None) -> dict[str, Any]:
        """What the result for one prompt (and answer) depends on, JSON-able; of an image more than its name."""

    def plan_answers(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Batches of :meth:`answers`."""

    def answer_batches(
        self, batches: Iterable[Sequence[Prompt]], *, max_new_tokens: int
    ) -> Iterator[tuple[int, list[Answer]]]:
        """Greedy answers, batch by batch."""

    def plan_samples(self, prompts: Sequence[Prompt], draws: int) -> list[list[int]]:
        """Batches of :meth:`samples`."""

    def sample_batches(
        self, batches: Iterable[Sequence[Prompt]], *, draws: int, temperature: float, max_new_tokens: int, seed: int
    ) -> Iterator[tuple[int, list[list[str]]]]:
        """Sampled answers, batch by batch."""

    def plan_likelihoods(self, questions: Sequence[Question], detailed: Collection[Question]) -> list[list[int]]:
        """Batches of :meth:`likelihoods`; of equal questions only the first is in one."""

    def likelihood_batches(
        self, batches: Iterable[Sequence[Question]], *, detailed: Collection[Question]
    ) -> Iterator[tuple[int, list[Likelihood]]]:
        """Likelihoods, batch by batch."""
