"""The engine in this process: packed rows, shared image prefixes, likelihoods."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from mllmu_med.engines.identity import image_digest, model_identity
from mllmu_med.engines.interface import Likelihood
from mllmu_med.engines.likelihoods import likelihoods
from mllmu_med.models.generation import PIECE, Answer, Prompt, Start, generate, sample_answers
from mllmu_med.models.images import ImageInputs
from mllmu_med.models.shared_prefix import image_by_image
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
        self._digested: tuple[ImageInputs, str] | None = None

    def answers(self, prompts: Sequence[Prompt], *, max_new_tokens: int, progress: Bar | None = None) -> list[Answer]:
        """See :class:`~mllmu_med.engines.interface.Engine`."""
        return generate(self.vlm, prompts, max_new_tokens=max_new_tokens, batch=self.batch, progress=progress)

    def samples(
        self, prompts: Sequence[Prompt], *, draws: int, temperature: float, max_new_tokens: int, seed: int,
        progress: Bar | None = None,
    ) -> list[list[str]]:  # fmt: skip
        """See :class:`~mllmu_med.engines.interface.Engine`.

        A draw is a function of the weights, (seed, prompt) and its own number, up to rounding: not of the batch, of the
        other prompts, or of how many draws are asked for. All draws of a prompt share its image's prefix; no more draws
        are held at a time than fill a batch, or than one prompt has. What a guard says in place of an answer is said
        here, too.
        """
        texts: list[list[str]] = [[] for _ in prompts]
        for places in self.plan_samples(prompts, draws):
            starts = [_start(seed, prompts[at], number, max_new_tokens) for at in places for number in range(draws)]
            found = iter(sample_answers(self.vlm, starts, temperature=temperature, batch=self.batch))
            for at in places:
                texts[at] = [self._let_out(prompts[at], next(found)) for _ in range(draws)]
            if progress is not None:
                progress.advance(len(places))
        return texts

    def _let_out(self, prompt: Prompt, text: str) -> str:
        return text if self.vlm.guard is None else self.vlm.guard.text(prompt.image, prompt.question, text)

    def likelihoods(
        self, questions: Sequence[Question], *, detailed: Collection[Question] = (), progress: Bar | None = None
    ) -> list[Likelihood]:
        """See :class:`~mllmu_med.engines.interface.Engine`."""
        return likelihoods(self.vlm, questions, batch=self.batch, detailed=detailed, progress=progress)

    # --- in batches (see :class:`~mllmu_med.engines.batches.BatchedEngine`) ------------------------------------------

    def identity(self) -> str | None:
        """Every byte of the weights as they are now, and all else that answers depend on."""
        return model_identity(self.vlm)

    def content(self, image: str | None, question: str, answer: str | None = None) -> dict[str, Any]:
        """Tokens and prepared pixels; the names too, because guards and draws may go by them."""
        prompts = self.vlm.prompts
        return {
            "image": image,
            "pixels": None if image is None else self._pixels(self.vlm.images.get(image)),
            "question": question,
            "tokens": list(prompts.branch_tokens(question, image is not None)),
            "answer": None if answer is None else list(prompts.answer_tokens(answer)),
        }

    def _pixels(self, inputs: ImageInputs) -> str:
        """Digest of an image as it is prepared; what is asked about one image is asked in a row."""
        if self._digested is None or self._digested[0] is not inputs:
            self._digested = inputs, image_digest(inputs)
        return self._digested[1]

    def plan_answers(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """As :func:`~mllmu_med.models.generation.generate` forms them."""
        self._decide(prompts)
        return image_by_image([prompt.image for prompt in prompts], PIECE * self.batch)

    def answer_batches(
        self, batches: Iterable[Sequence[Prompt]], *, max_new_tokens: int
    ) -> Iterator[tuple[int, list[Answer]]]:
        """One after the other."""
        for number, batch in enumerate(batches):
            yield number, self.answers(batch, max_new_tokens=max_new_tokens)

    def plan_samples(self, prompts: Sequence[Prompt], draws: int) -> list[list[int]]:
        """Whole prompts, as many as fill a batch with their draws."""
        self._decide(prompts)
        return image_by_image([prompt.image for prompt in prompts], max(1, self.batch // draws))

    def sample_batches(
        self, batches: Iterable[Sequence[Prompt]], *, draws: int, temperature: float, max_new_tokens: int, seed: int
    ) -> Iterator[tuple[int, list[list[str]]]]:
        """One after the other."""
        for number, batch in enumerate(batches):
            yield (
                number,
                self.samples(batch, draws=draws, temperature=temperature, max_new_tokens=max_new_tokens, seed=seed),
            )

    def plan_likelihoods(self, questions: Sequence[Question], detailed: Collection[Question]) -> list[list[int]]:
        """As :func:`~mllmu_med.engines.likelihoods.likelihoods` forms them."""
        self._decide([Prompt(question.image, question.question) for question in questions])
        first: dict[Question, int] = {}
        for place, question in enumerate(questions):
            first.setdefault(question, place)
        places = list(first.values())
        pieces = image_by_image([questions[place].image for place in places], PIECE * self.batch)
        return [[places[at] for at in piece] for piece in pieces]

    def likelihood_batches(
        self, batches: Iterable[Sequence[Question]], *, detailed: Collection[Question]
    ) -> Iterator[tuple[int, list[Likelihood]]]:
        """One after the other."""
        for number, batch in enumerate(batches):
            yield number, self.likelihoods(batch, detailed=detailed)

    def _decide(self, prompts: Sequence[Prompt]) -> None:
        """Let a guard decide at once on all prompts: batch by batch, what is decided together would depend on which
        batches are still to be asked, and so would its rounding."""
        if self.vlm.guard is not None:
            tokens = self.vlm.prompts.branch_tokens
            self.vlm.guard.flags(self.vlm, [(p.image, tokens(p.question, p.image is not None)) for p in prompts])


def _start(seed: int, prompt: Prompt, number: int, count: int) -> Start:
    random = rng(seed, "sampled answer", prompt.image or "", prompt.question, number)
    return Start(prompt.image, prompt.question, (), None, tuple(random.random() for _ in range(count)))
