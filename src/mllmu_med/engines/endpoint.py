"""A served model as an engine: any server that speaks OpenAI's chat completions and takes images."""

from __future__ import annotations

import io
import threading
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NoReturn

from PIL import Image

from mllmu_med import __version__
from mllmu_med.chat import ChatClient, Completion, Failure, Names, Terms, in_parallel
from mllmu_med.engines.interface import Likelihood
from mllmu_med.errors import DataError, MedError, UsageError
from mllmu_med.folders import canonical_json, digest
from mllmu_med.models.generation import Answer, Prompt
from mllmu_med.models.images import ImageLoader
from mllmu_med.models.vlm import Question
from mllmu_med.progress import Bar
from mllmu_med.seeding import Key, derive
from mllmu_med.wire import Address

FORMAT = 1
"""Raised whenever equal questions would be put otherwise than before."""

SIGNS_PER_TOKEN = 64
"""An answer of more signs than this for each token it may have is cut: its server ignores ``max_tokens``."""

_HELD = 256 << 20  # bytes of encoded images in memory
_OURS = frozenset({"model", "messages", "n", "stream"})
_MEASURED = frozenset({"temperature", "max_tokens", "seed"})  # may be taken out of a request, never set
_NAMES = Names("base_url", "model", "key_variable")


@dataclass(frozen=True)
class Served:
    """Where a served model is, and how it is asked.

    Attributes:
        base_url: e.g. ``http://localhost:8000/v1``; ``/chat/completions`` is put behind it. Plain http is for this
            machine and for addresses of a private network, written as numbers.
        model: as the server names it.
        key_variable: environment variable that holds the key; needed for hosts outside of the private network.
        concurrency: requests at a time.
        timeout: seconds for one request, from connecting to the last byte.
        retries: further tries of a request that failed for now (429, 5xx, cut off, too slow, not JSON).
        backoff: seconds before the first of them; see :class:`~mllmu_med.chat.Terms`.
        body: further fields of each request, e.g. ``{chat_template_kwargs: {enable_thinking: false}}``; null takes one
            out.
    """

    base_url: str
    model: str
    key_variable: str = "OPENAI_API_KEY"
    concurrency: int = 8
    timeout: float = 120.0
    retries: int = 8
    backoff: float = 1.0
    body: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.address  # noqa: B018  a faulty URL is told before anything is asked
        if not self.model:
            raise UsageError("model is empty; give the name under which the server knows it")
        least = {"concurrency": 1, "timeout": 0.001, "retries": 0, "backoff": 0.0}
        for name, minimum in least.items():
            value = getattr(self, name)
            if not minimum <= value < float("inf"):
                raise UsageError(f"{name} must be at least {minimum:g}, not {value!r}")
        for name, value in self.body.items():
            if name in _OURS or (name in _MEASURED and value is not None):
                raise UsageError(f"body must not hold '{name}', which the evaluation sets")
        try:
            canonical_json(dict(self.body))
        except (TypeError, ValueError):
            raise UsageError("body must be JSON") from None

    @property
    def address(self) -> Address:
        """Where requests go."""
        return Address.of(self.base_url, _NAMES.url)


class Endpoint:
    """A served model as an engine: it shows answers, not how likely they are.

    An image goes as a PNG of its pixels alone (equal pixels, equal bytes; nothing of the file it came from), before the
    question, both as one user message. What the server makes of it (its chat template, its image processor, its
    default sampling settings) is the server's.

    Args:
        served: where and how.
        load: how an image identifier becomes an image.

    Attributes:
        fingerprints: the names that the server gave to what answered (``system_fingerprint``); more than one says that
            the model or its server was changed in between.
        requests: sent so far, repeated ones included.
    """

    tells_likelihoods = False

    def __init__(self, served: Served, load: ImageLoader) -> None:
        self.served = served
        self.fingerprints: set[str] = set()
        self.requests = 0
        self._load = load
        self._lock = threading.Lock()
        self._urls: OrderedDict[str, str] = OrderedDict()
        self._held = 0
        self._pixels: dict[str, str] = {}

    def answers(self, prompts: Sequence[Prompt], *, max_new_tokens: int, progress: Bar | None = None) -> list[Answer]:
        """See :class:`~mllmu_med.engines.interface.Engine`.

        Raises:
            UsageError: no request can succeed (address, key, model), or nothing answers there.
            DataError: the server refuses a question; the message says which.
            MedError: a question has no answer after all retries. What was answered before is lost, unless
                :class:`~mllmu_med.engines.stored.Stored` keeps it.
        """
        found: dict[int, Answer] = {}
        for number, [answer] in self.answer_batches([[prompt] for prompt in prompts], max_new_tokens=max_new_tokens):
            found[number] = answer
            if progress is not None:
                progress.advance()
        return [found[number] for number in range(len(prompts))]

    def samples(
        self, prompts: Sequence[Prompt], *, draws: int, temperature: float, max_new_tokens: int, seed: int,
        progress: Bar | None = None,
    ) -> list[list[str]]:  # fmt: skip
        """See :class:`~mllmu_med.engines.interface.Engine`. Each draw is a request with a seed of its own."""
        found: dict[int, list[str]] = {}
        batches = self.sample_batches(
            [[prompt] for prompt in prompts], draws=draws, temperature=temperature, max_new_tokens=max_new_tokens,
            seed=seed,
        )  # fmt: skip
        for number, [texts] in batches:
            found[number] = texts
            if progress is not None:
                progress.advance()
        return [found[number] for number in range(len(prompts))]

    def likelihoods(
        self, questions: Sequence[Question], *, detailed: Collection[Question] = (), progress: Bar | None = None
    ) -> list[Likelihood]:
        """Never: see :attr:`tells_likelihoods`."""
        self._no_likelihoods()

    # --- in batches (see :class:`~mllmu_med.engines.batches.BatchedEngine`), each of one question --------------------

    def identity(self) -> str | None:
        """Where it is asked and how. The weights behind a URL cannot be seen: who changes them must ask afresh."""
        return digest(
            {
                "format": FORMAT,
                "package": __version__,
                "url": str(self.served.address),
                "model": self.served.model,
                "body": dict(self.served.body),
            }
        )

    def content(self, image: str | None, question: str, answer: str | None = None) -> dict[str, Any]:
        """The question, and the pixels of the image as it was loaded."""
        if image is not None and image not in self._pixels:
            with self._lock:
                pixels = self._load(image).convert("RGB")
            self._pixels[image] = sha256(f"{pixels.size}\0".encode() + pixels.tobytes()).hexdigest()
        return {"image": image, "pixels": None if image is None else self._pixels[image], "question": question}

    def plan_answers(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """One by one: a question's answer is kept as soon as it comes."""
        return [[place] for place in range(len(prompts))]

    def plan_samples(self, prompts: Sequence[Prompt], draws: int) -> list[list[int]]:
        """One by one, each with all its draws."""
        return [[place] for place in range(len(prompts))]

    def plan_likelihoods(self, questions: Sequence[Question], detailed: Collection[Question]) -> list[list[int]]:
        """Never: see :attr:`tells_likelihoods`."""
        self._no_likelihoods()

    def answer_batches(
        self, batches: Iterable[Sequence[Prompt]], *, max_new_tokens: int
    ) -> Iterator[tuple[int, list[Answer]]]:
        """As they come, ``concurrency`` at a time."""

        def one(ask: Ask, batch: Sequence[Prompt]) -> list[Answer]:
            settings = {"temperature": 0, "max_tokens": max_new_tokens}
            return [_answer(ask(prompt, settings, ("greedy",)), max_new_tokens) for prompt in batch]

        yield from self._each(batches, one, max_new_tokens)

    def sample_batches(
        self, batches: Iterable[Sequence[Prompt]], *, draws: int, temperature: float, max_new_tokens: int, seed: int
    ) -> Iterator[tuple[int, list[list[str]]]]:
        """As they come, ``concurrency`` prompts at a time. A seed is a function of (seed, image, question, draw)."""

        def draw(ask: Ask, prompt: Prompt, number: int) -> str:
            keys = (seed, "sampled answer", prompt.image or "", prompt.question, number)
            settings = {"temperature": temperature, "max_tokens": max_new_tokens, "seed": derive(*keys) % 2**31}
            return _answer(ask(prompt, settings, keys), max_new_tokens).text

        def one(ask: Ask, batch: Sequence[Prompt]) -> list[list[str]]:
            return [[draw(ask, prompt, number) for number in range(draws)] for prompt in batch]

        yield from self._each(batches, one, max_new_tokens)

    def likelihood_batches(
        self, batches: Iterable[Sequence[Question]], *, detailed: Collection[Question]
    ) -> Iterator[tuple[int, list[Likelihood]]]:
        """Never: see :attr:`tells_likelihoods`."""
        self._no_likelihoods()

    def _no_likelihoods(self) -> NoReturn:
        raise UsageError("a served model shows answers alone: its likelihoods cannot be asked")

    # --- one request ------------------------------------------------------------------------------------------------

    def _each(
        self, batches: Iterable[Sequence[Prompt]], work: Callable[[Ask, Sequence[Prompt]], list[Any]], tokens: int
    ) -> Iterator[tuple[int, list[Any]]]:
        served, every = self.served, list(batches)
        address = served.address
        terms = Terms(
            key_variable=served.key_variable, key_needed=not address.in_house, answer_tokens=tokens,
            timeout=served.timeout, retries=served.retries, backoff=served.backoff,
        )  # fmt: skip
        client = ChatClient(address, terms, _NAMES)

        def ask(prompt: Prompt, settings: Mapping[str, Any], keys: tuple[Key, ...]) -> Completion:
            found = client.complete(self.request(prompt, settings), (prompt.image or "", prompt.question, *keys))
            if isinstance(found, Failure):
                raise _told(found, prompt, address)
            if found.fingerprint is not None:
                self.fingerprints.add(found.fingerprint)
            return found

        try:
            yield from in_parallel(
                lambda number: work(ask, every[number]), len(every), at_once=served.concurrency, stop=client.stop
            )
        finally:
            self.requests += client.spent()[0]

    def request(self, prompt: Prompt, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The body of a request: all that leaves this machine besides the key."""
        content: Any = prompt.question
        if prompt.image is not None:
            image = {"type": "image_url", "image_url": {"url": self._data_url(prompt.image)}}
            content = [image, {"type": "text", "text": content}]
        message = {"role": "user", "content": content}
        body = {"model": self.served.model, "messages": [message], **settings, **self.served.body}
        return {name: value for name, value in body.items() if value is not None}

    def _data_url(self, name: str) -> str:
        with self._lock:
            if name in self._urls:
                self._urls.move_to_end(name)
                return self._urls[name]
            image = self._load(name)  # one at a time: a benchmark's reader is not made for threads
        url = f"data:image/png;base64,{b64encode(png_bytes(image)).decode()}"
        with self._lock:
            if name not in self._urls:
                self._urls[name] = url
                self._held += len(url)
            while self._held > _HELD and len(self._urls) > 1:
                self._held -= len(self._urls.popitem(last=False)[1])
        return url


Ask = Callable[[Prompt, Mapping[str, Any], tuple[Key, ...]], Completion]


def png_bytes(image: Image.Image) -> bytes:
    """The pixels as PNG in RGB, without anything else the image carries; equal pixels give equal bytes."""
    plain = image.convert("RGB")
    target = io.BytesIO()
    Image.frombytes("RGB", plain.size, plain.tobytes()).save(target, "PNG", compress_level=6)
    return target.getvalue()


def _answer(completion: Completion, max_new_tokens: int) -> Answer:
    """The answer in a completion. No content is an empty answer; a provider's refusal is the answer it stands for."""
    said = completion.content if completion.content is not None else completion.refusal
    if said is not None and not isinstance(said, str):
        raise MedError(
            f"the server's answer is a {type(said).__name__} and no text; use a server that speaks OpenAI's chat "
            "completions"
        )
    text, most = _storable(said or "").strip(), SIGNS_PER_TOKEN * max_new_tokens
    return Answer(text[:most], completion.finish == "length" or len(text) > most)


def _storable(text: str) -> str:
    """The text with halves of surrogate pairs, which no encoding takes, replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _told(failure: Failure, prompt: Prompt, address: Address) -> MedError:
    """One line: which question (never its text, which may hold private values), what happened, what to do."""
    which = digest([prompt.image, prompt.question])[:12]
    about = "without an image" if prompt.image is None else f"about image {prompt.image[:12]}"
    reason = f"question {which} {about}: {failure.reason}"
    if failure.status in (400, 413, 422):
        mend = "Check that the served model takes images of this size and has room for the question and max_new_tokens."
        return DataError(reason, file=str(address), mend=mend)
    return MedError(f"{address}: {reason}. See the server's log; the same command goes on from here.")
