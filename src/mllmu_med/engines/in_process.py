"""The engine in this process: packed rows, shared image prefixes, likelihoods."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from mllmu_med.engines.interface import Likelihood
from mllmu_med.engines.likelihoods import likelihoods
from mllmu_med.models.generation import Answer, Prompt, Start, generate, sample_answers
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.progress import Bar
from mllmu_med.seeding import rng


class InProcess:
    """A loaded model as an engine.

    Args:
        vlm: the model; its images must be attached.
        batch: questions per forward pass; does not change the answers.
    """

    tells_likelihoods = True

    def __init__(self, vlm: VisionLanguageModel, batch: int) -> None:
        self.vlm, self.batch = vlm, batch

    def answers(self, prompts: Sequence[Prompt], *, max_new_tokens: int, progress: Bar | None = None) -> list[Answer]:
        """See :class:`~mllmu_med.engines.interface.Engine`."""
        return generate(self.vlm, prompts, max_new_tokens=max_new_tokens, batch=self.batch, progress=progress)

    def samples(
        self, prompts: Sequence[Prompt], *, draws: int, temperature: float, max_new_tokens: int, seed: int,
        progress: Bar | None = None,
    ) -> list[list[str]]:  # fmt: skip
        """See :class:`~mllmu_med.engines.interface.Engine`. A draw is a function of (seed, prompt, its number)."""
        starts = [
            Start(prompt.image, prompt.question, (), None, _uniform(seed, prompt, number, max_new_tokens))
            for prompt in prompts
            for number in range(draws)
        ]
        texts = sample_answers(self.vlm, starts, temperature=temperature, batch=self.batch)
        if progress is not None:
            progress.advance(len(prompts))
        return [texts[place * draws : (place + 1) * draws] for place in range(len(prompts))]

    def likelihoods(
        self, questions: Sequence[Question], *, detailed: Collection[Question] = (), progress: Bar | None = None
    ) -> list[Likelihood]:
        """See :class:`~mllmu_med.engines.interface.Engine`."""
        return likelihoods(self.vlm, questions, batch=self.batch, detailed=detailed, progress=progress)


def _uniform(seed: int, prompt: Prompt, number: int, count: int) -> tuple[float, ...]:
    random = rng(seed, "sampled answer", prompt.image or "", prompt.question, number)
    return tuple(random.random() for _ in range(count))
