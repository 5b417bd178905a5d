"""The rewriter behind a URL: any server that speaks OpenAI's chat completions (vLLM, llama.cpp, Ollama, a provider)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from mllmu_med.benchmark.rewriting.answer_cache import AnswerCache
from mllmu_med.benchmark.rewriting.asking import instructions, material, text_of
from mllmu_med.benchmark.rewriting.interface import GaveUp, Keys
from mllmu_med.benchmark.rewriting.tasks import Task
from mllmu_med.benchmark.rewriting.validator import problems
from mllmu_med.chat import ChatClient, Failure, Names, Terms, in_parallel
from mllmu_med.errors import UsageError
from mllmu_med.folders import canonical_json, digest
from mllmu_med.progress import bar
from mllmu_med.seeding import derive
from mllmu_med.wire import Address

log = logging.getLogger("mllmu_med")

_BLOCK = "benchmark.rewriter"
_NAMES = Names(f"{_BLOCK}.url", f"{_BLOCK}.model", f"{_BLOCK}.api_key_env", otherwise=", or use the rewriter template")
_OURS = ("model", "messages", "stream", "n")


@dataclass(frozen=True)
class EndpointRewriter:
    """Asks a chat model for each text, checks it, asks once more with another seed where it fails.

    Attributes:
        url: the server's base URL, e.g. ``http://localhost:8000/v1``; ``/chat/completions`` is put behind it.
        model: as the server names it.
        api_key_env: environment variable that holds the key. Needed for a host other than this machine.
        temperature: of sampling, ≥ 0.
        seed: changes what is drawn; sent with each request, derived from the benchmark's seed, the task and this.
        timeout: seconds for one request, from connecting to the last byte.
        deadline: seconds for all tasks together; what is not done by then is left to the template.
        max_requests, max_tokens: budget of one run; repeated requests count, answers from the cache do not.
        answer_tokens: most tokens of one answer.
        parallel: requests at a time.
        retries: further tries of a request that failed for now (429, 5xx, cut off, too slow, not JSON).
        backoff: seconds before the first further try; doubled for each next one, up to a minute, times a drawn factor
            between a half and one. A server's Retry-After is waited for if it is longer.
        attempts: answers asked for per task until one passes the checks.
        cache: folder for the answers; a second run asks only what is missing. None = keep nothing.
        body: further fields of each request, e.g. ``{response_format: {type: json_object}}``; null takes one out.
        real_values: the values belong to real people: any host other than this machine is refused.
    """

    name: ClassVar[str] = "openai"

    url: str
    model: str
    api_key_env: str = "OPENAI_API_KEY"
    temperature: float = 0.7
    seed: int = 0
    timeout: float = 60.0
    deadline: float = 3600.0
    max_requests: int = 10_000
    max_tokens: int = 5_000_000
    answer_tokens: int = 300
    parallel: int = 4
    retries: int = 5
    backoff: float = 1.0
    attempts: int = 2
    cache: Path | None = None
    body: dict[str, Any] = field(default_factory=dict)
    real_values: bool = False

    def __post_init__(self) -> None:
        address = Address.of(self.url, f"{_BLOCK}.url")
        if self.real_values and not address.local:
            raise UsageError(
                f"{_BLOCK}.url: the private values belong to real people, and '{address.host}' is not this machine; "
                "use a server on localhost, or the rewriter local or template"
            )
        if not self.model:
            raise UsageError(f"{_BLOCK}.model is empty")
        least = {
            "timeout": 0.001, "deadline": 0.001, "max_requests": 1, "max_tokens": 1, "answer_tokens": 1, "parallel": 1,
            "attempts": 1, "retries": 0, "backoff": 0.0, "temperature": 0.0,
        }  # fmt: skip
        for name, minimum in least.items():
            value = getattr(self, name)
            if not minimum <= value < float("inf"):
                raise UsageError(f"{_BLOCK}.{name} must be at least {minimum:g}, not {value!r}")
        for name in self.body:
            if name in _OURS:
                raise UsageError(f"{_BLOCK}.body must not hold '{name}'")
        try:
            canonical_json(self.body)
        except (TypeError, ValueError):
            raise UsageError(f"{_BLOCK}.body must be JSON") from None

    def rewrite(self, tasks: Sequence[Task], seed_keys: Sequence[Keys]) -> list[str | GaveUp | None]:
        """One text per task, in order.

        Raises:
            UsageError: the key is missing or refused, the URL or model is wrong, or nothing answers there.
        """
        run = _Run(self, self._client())
        found: list[str | GaveUp | None] = [None] * len(tasks)

        def one(place: int) -> str | GaveUp:
            return run.one(tasks[place], seed_keys[place])

        with bar("Rewriting", len(tasks)) as progress:
            for place, text in in_parallel(one, len(tasks), at_once=self.parallel, stop=run.client.stop):
                found[place] = text
                progress.advance()
        spent = (*run.client.spent(), run.cached)
        log.info("%s: %d requests, about %d tokens, %d answers from the cache", run.client.address, *spent)
        return found

    def _client(self) -> ChatClient:
        address = Address.of(self.url, f"{_BLOCK}.url")
        terms = Terms(
            key_variable=self.api_key_env, key_needed=not address.local, answer_tokens=self.answer_tokens,
            timeout=self.timeout, deadline=self.deadline, max_requests=self.max_requests, max_tokens=self.max_tokens,
            retries=self.retries, backoff=self.backoff,
        )  # fmt: skip
        return ChatClient(address, terms, _NAMES)

    def request(self, task: Task, keys: Keys, attempt: int) -> dict[str, Any]:
        """The body of a request; equal for equal tasks, keys and attempts, and all that leaves this machine."""
        body = {
            "model": self.model,
            "messages": [
                {"role": "system", "content": instructions(task, real_values=self.real_values)},
                {"role": "user", "content": material(task, (*keys, self.seed, attempt))},
            ],
            "temperature": self.temperature,
            "seed": derive(*keys, self.seed, attempt) % 2**31,
            "max_tokens": self.answer_tokens,
            **self.body,
        }
        return {name: value for name, value in body.items() if value is not None}


class _Run:
    """One call: its client and its cache."""

    def __init__(self, settings: EndpointRewriter, client: ChatClient) -> None:
        self.settings, self.client = settings, client
        self.cached = 0
        self._cache = None if settings.cache is None else AnswerCache(settings.cache)
        self._lock = threading.Lock()

    def one(self, task: Task, keys: Keys) -> str | GaveUp:
        """A task's text; the last one that came, for its reader to judge, where none passes the checks."""
        text: str | GaveUp = GaveUp("stopped")
        for attempt in range(self.settings.attempts):
            answer = self._answer(self.settings.request(task, keys, attempt), (*keys, attempt))
            if isinstance(answer, GaveUp):
                return answer
            text = text_of(answer)
            if isinstance(text, str) and not problems(task, text):
                return text
        return text

    def _answer(self, body: dict[str, Any], keys: Keys) -> str | GaveUp:
        """The model's answer to one request, from the cache or the endpoint."""
        key = digest(body)
        if self._cache is not None and (held := self._cache.get(key)) is not None:
            with self._lock:
                self.cached += 1
            return held
        completion = self.client.complete(body, keys)
        if isinstance(completion, Failure):
            return GaveUp(completion.reason)
        answer = completion.content
        if not isinstance(answer, str) or not _encodable(answer):
            return GaveUp("the model's answer held no text")
        if self._cache is not None:
            self._cache.put(key, answer)
        return answer


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
