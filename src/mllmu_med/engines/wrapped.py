"""An engine behind an instruction: every question is asked with the same words in front of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from mllmu_med.engines.interface import Engine, Likelihood
from mllmu_med.models.generation import Answer, Prompt
from mllmu_med.models.vlm import Question
from mllmu_med.progress import Bar


class Wrapped:
    """The same model told to behave: a control, since nothing is forgotten by it.

    Args:
        engine: what answers.
        instruction: stands before every question, with a line break between them.
    """

    def __init__(self, engine: Engine, instruction: str) -> None:
        self._engine, self._instruction = engine, instruction

    @property
    def tells_likelihoods(self) -> bool:
        """As the engine within."""
        return self._engine.tells_likelihoods

    def answers(self, prompts: Sequence[Prompt], *, max_new_tokens: int, progress: Bar | None = None) -> list[Answer]:
        """See :class:`~mllmu_med.engines.interface.Engine`."""
        asked = [prompt._replace(question=self._told(prompt.question)) for prompt in prompts]
        return self._engine.answers(asked, max_new_tokens=max_new_tokens, progress=progress)

    def samples(
        self, prompts: Sequence[Prompt], *, draws: int, temperature: float, max_new_tokens: int, seed: int,
        progress: Bar | None = None,
    ) -> list[list[str]]:  # fmt: skip
        """See :class:`~mllmu_med.engines.interface.Engine`."""
        asked = [prompt._replace(question=self._told(prompt.question)) for prompt in prompts]
        return self._engine.samples(
            asked, draws=draws, temperature=temperature, max_new_tokens=max_new_tokens, seed=seed, progress=progress
        )

    def likelihoods(
        self, questions: Sequence[Question], *, detailed: Collection[Question] = (), progress: Bar | None = None
    ) -> list[Likelihood]:
        """See :class:`~mllmu_med.engines.interface.Engine`."""
        asked = {question: question._replace(question=self._told(question.question)) for question in questions}
        wanted = {asked[question] for question in detailed if question in asked}
        return self._engine.likelihoods([asked[q] for q in questions], detailed=wanted, progress=progress)

    def _told(self, question: str) -> str:
        return f"{self._instruction}\n{question}"
