"""Any engine with a store behind it: what has been answered is not asked again, as long as nothing has changed."""

from __future__ import annotations

from array import array
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from mllmu_med.engines.answer_store import AnswerStore
from mllmu_med.engines.batches import BatchedEngine
from mllmu_med.engines.interface import Detail, Likelihood
from mllmu_med.errors import Interrupted
from mllmu_med.folders import digest
from mllmu_med.models.generation import Answer, Prompt
from mllmu_med.models.vlm import Question
from mllmu_med.progress import Bar

T = TypeVar("T")
Item = TypeVar("Item")


class Codec(NamedTuple):
    """A result as JSON and back, without the loss of a bit."""

    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


class Stored:
    """An engine that answers from a store where it can.

    The key of a batch is a digest of the engine's identity (taken anew at every call), of everything in the batch, and
    of how it is asked. A batch comes from the store whole or not at all, and batches are planned without looking into
    it: so a resumed evaluation forms the same batches as one that was never interrupted, and gives the same bits.

    Args:
        engine: what is asked.
        store: open.
        stopping: asked after every batch; once true, the work ends with what is finished kept.

    Attributes:
        asked, held: batches that the engine was asked, and that came from the store, so far.
    """

    def __init__(
        self, engine: BatchedEngine, store: AnswerStore, *, stopping: Callable[[], bool] = lambda: False
    ) -> None:
        self.engine, self.store, self._stopping = engine, store, stopping
        self.asked = self.held = 0

    @property
    def tells_likelihoods(self) -> bool:
        """Whether the engine does."""
        return self.engine.tells_likelihoods

    def answers(self, prompts: Sequence[Prompt], *, max_new_tokens: int, progress: Bar | None = None) -> list[Answer]:
        """See :class:`~mllmu_med.engines.interface.Engine`.

        Raises:
            Interrupted: a stop was asked for; likewise by the methods below.
        """
        how = {"kind": "answers", "max_new_tokens": max_new_tokens}
        plan = self.engine.plan_answers(prompts)
        batches = [[prompts[place] for place in places] for places in plan]

        def ask(missing: Iterable[Sequence[Prompt]]) -> Iterator[tuple[int, list[Answer]]]:
            return self.engine.answer_batches(missing, max_new_tokens=max_new_tokens)

        return _in_order(plan, self._served(how, batches, self._prompt, ask, _ANSWER, progress), len(prompts))

    def samples(
        self, prompts: Sequence[Prompt], *, draws: int, temperature: float, max_new_tokens: int, seed: int,
        progress: Bar | None = None,
    ) -> list[list[str]]:  # fmt: skip
        """See :class:`~mllmu_med.engines.interface.Engine`."""
        how = {
            "kind": "samples", "draws": draws, "temperature": temperature, "max_new_tokens": max_new_tokens,
            "seed": seed,
        }  # fmt: skip
        plan = self.engine.plan_samples(prompts, draws)
        batches = [[prompts[place] for place in places] for places in plan]

        def ask(missing: Iterable[Sequence[Prompt]]) -> Iterator[tuple[int, list[list[str]]]]:
            return self.engine.sample_batches(
                missing, draws=draws, temperature=temperature, max_new_tokens=max_new_tokens, seed=seed
            )

        return _in_order(plan, self._served(how, batches, self._prompt, ask, _TEXTS, progress), len(prompts))

    def likelihoods(
        self, questions: Sequence[Question], *, detailed: Collection[Question] = (), progress: Bar | None = None
    ) -> list[Likelihood]:
        """See :class:`~mllmu_med.engines.interface.Engine`."""
        wanted = frozenset(detailed)
        plan = self.engine.plan_likelihoods(questions, wanted)
        batches = [[questions[place] for place in places] for places in plan]

        def content(question: Question) -> dict[str, Any]:
            own = self.engine.content(question.image, question.question, question.answer)
            return {**own, "detailed": question in wanted}

        def ask(missing: Iterable[Sequence[Question]]) -> Iterator[tuple[int, list[Likelihood]]]:
            return self.engine.likelihood_batches(missing, detailed=wanted)

        served = self._served({"kind": "likelihoods"}, batches, content, ask, _LIKELIHOOD, progress)
        found = {
            question: one
            for batch, ones in zip(batches, served, strict=True)
            for question, one in zip(batch, ones, strict=True)
        }
        return [found[question] for question in questions]

    def _prompt(self, prompt: Prompt) -> dict[str, Any]:
        own = self.engine.content(prompt.image, prompt.question)
        known = prompt.known  # decides what is generated in which company, and so how sums are rounded
        return own if known is None else {**own, "known": [known.text, _packed(known.logprobs)]}

    def _served(
        self,
        how: dict[str, Any],
        batches: Sequence[Sequence[Item]],
        content: Callable[[Item], dict[str, Any]],
        ask: Callable[[Iterable[Sequence[Item]]], Iterator[tuple[int, list[T]]]],
        codec: Codec,
        progress: Bar | None,
    ) -> list[list[T]]:
        """The results of each batch, from the store or the engine."""
        identity = self.engine.identity()
        found: list[list[T] | None] = [None] * len(batches)
        asked: list[tuple[int, str]] = []  # place and key of each batch that the engine has taken

        def missing() -> Iterator[Sequence[Item]]:
            # Lazily: an image is prepared for its batch's key right before the batch needs it.
            for place, batch in enumerate(batches):
                key = digest({**how, "identity": identity, "batch": [content(item) for item in batch]})
                held = self.store.get(key) if identity is not None else None
                if held is None:
                    asked.append((place, key))
                    yield batch
                    continue
                found[place] = [codec.decode(one) for one in held]
                self.held += 1
                if progress is not None:
                    progress.advance(len(batch))

        for number, results in ask(missing()):
            place, key = asked[number]
            if identity is not None:
                self.store.put(key, [codec.encode(one) for one in results])
            found[place] = results
            self.asked += 1
            if progress is not None:
                progress.advance(len(batches[place]))
            self._stop_here(sum(one is not None for one in found), len(batches))
        self._stop_here(len(batches), len(batches))
        return [results for results in found if results is not None]

    def _stop_here(self, done: int, total: int) -> None:
        if self._stopping():
            raise Interrupted(f"stopped after {done} of {total} batches; resume with the same command")


def _in_order(plan: Sequence[Sequence[int]], served: Sequence[Sequence[T]], count: int) -> list[T]:
    found: dict[int, T] = {}
    for places, results in zip(plan, served, strict=True):
        found.update(zip(places, results, strict=True))
    return [found[place] for place in range(count)]


def _packed(values: Iterable[float]) -> str:
    """Doubles as base64 of their bytes: JSON knows neither infinity nor NaN, and both occur."""
    return b64encode(array("d", values).tobytes()).decode()


def _unpacked(text: str) -> tuple[float, ...]:
    values = array("d")
    values.frombytes(b64decode(text))
    return tuple(values)


def _encoded_answer(answer: Answer) -> list[Any]:
    confidence = None if answer.confidence is None else _packed([answer.confidence])
    return [answer.text, answer.truncated, confidence]


def _decoded_answer(held: list[Any]) -> Answer:
    text, truncated, confidence = held
    return Answer(text, truncated, None if confidence is None else _unpacked(confidence)[0])


def _encoded_likelihood(likelihood: Likelihood) -> list[Any]:
    greedy = "".join("01"[hit] for hit in likelihood.greedy)
    detail = likelihood.detail
    if detail is None:
        return [_packed(likelihood.logprobs), greedy, None]
    cells = [_packed(row) for row in detail.cells]
    more = [_packed(detail.expected), _packed(detail.deviation), _packed([detail.head_gradient]), cells]
    return [_packed(likelihood.logprobs), greedy, more]


def _decoded_likelihood(held: list[Any]) -> Likelihood:
    logprobs, greedy, more = held
    detail = None
    if more is not None:
        expected, deviation, gradient, cells = more
        detail = Detail(
            _unpacked(expected), _unpacked(deviation), _unpacked(gradient)[0], tuple(_unpacked(row) for row in cells)
        )
    return Likelihood(_unpacked(logprobs), tuple(sign == "1" for sign in greedy), detail)


_ANSWER = Codec(_encoded_answer, _decoded_answer)
_TEXTS = Codec(list, list)
_LIKELIHOOD = Codec(_encoded_likelihood, _decoded_likelihood)
