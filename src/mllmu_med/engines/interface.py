"""What evaluation and attacks ask of an engine."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

from mllmu_med.models.generation import Answer, Prompt
from mllmu_med.models.vlm import Question
from mllmu_med.progress import Bar


class Detail(NamedTuple):
    """What membership inference and distances look at besides the answer's own log-probabilities.

    Attributes:
        expected: for each answer token, the mean of log p(v) over the vocabulary under the model itself (nats).
        deviation: for each answer token, the standard deviation of log p(v) (nats).
        head_gradient: Frobenius norm of the gradient of the mean token loss with respect to the output head.
        cells: for each answer token, the log-probabilities (nats) of the cells of a fixed partition of the vocabulary
            (:func:`~mllmu_med.engines.likelihoods.cell_of`).
    """

    expected: tuple[float, ...]
    deviation: tuple[float, ...]
    head_gradient: float
    cells: tuple[tuple[float, ...], ...]


class Likelihood(NamedTuple):
    """Teacher-forced log-probabilities of an answer's tokens (nats), and whether each was the most likely token.

    The end token is one of them. ``detail`` only where it was asked for.
    """

    logprobs: tuple[float, ...]
    greedy: tuple[bool, ...]
    detail: Detail | None = None


class Engine(Protocol):
    """A model that is asked. Images are named by identifier; whoever makes the engine says how they are found."""

    @property
    def tells_likelihoods(self) -> bool:
        """Whether :meth:`likelihoods` can be called; an endpoint shows answers alone."""

    def answers(self, prompts: Sequence[Prompt], *, max_new_tokens: int, progress: Bar | None = None) -> list[Answer]:
        """Greedy answers, one for each prompt, in order."""

    def samples(
        self, prompts: Sequence[Prompt], *, draws: int, temperature: float, max_new_tokens: int, seed: int,
        progress: Bar | None = None,
    ) -> list[list[str]]:  # fmt: skip
        """``draws`` sampled answers for each prompt, in order; where the engine allows, a function of the seed."""

    def likelihoods(
        self, questions: Sequence[Question], *, detailed: Collection[Question] = (), progress: Bar | None = None
    ) -> list[Likelihood]:
        """Likelihoods of the questions' answers, in order; with details for those in ``detailed``."""
