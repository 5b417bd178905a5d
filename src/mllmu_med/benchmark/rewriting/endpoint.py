"""The rewriter behind a URL: any server that speaks OpenAI's chat completions (vLLM, llama.cpp, Ollama, a provider)."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, ClassVar

from mllmu_med import __version__
from mllmu_med.benchmark.rewriting.answer_cache import AnswerCache
from mllmu_med.benchmark.rewriting.asking import instructions, material, text_of
from mllmu_med.benchmark.rewriting.interface import GaveUp, Keys
from mllmu_med.benchmark.rewriting.tasks import Task
from mllmu_med.benchmark.rewriting.validator import problems
from mllmu_med.benchmark.rewriting.wire import Address, NoReplyError, Reply
from mllmu_med.errors import UsageError
from mllmu_med.folders import canonical_json, digest, parse_json
from mllmu_med.progress import bar
from mllmu_med.seeding import derive, rng

log = logging.getLogger("mllmu_med")

_BLOCK = "benchmark.rewriter"
_AGAIN = frozenset({408, 409, 425, 429})
_WRONG_ADDRESS = frozenset({404, 405, 410})
_REFUSED = frozenset({401, 403, 407})
_LONGEST_WAIT = 60.0  # seconds between two tries where the server does not say how long
_MOST_DOUBLINGS = 30
_DEAD_AFTER = 5  # tasks in a row without an answer
_SIGNS_PER_TOKEN = 2  # where the server does not count; few, so that the budget is rather spent too early
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
        run = _Run(self, Address.of(self.url, f"{_BLOCK}.url"))
        found: list[str | GaveUp | None] = [None] * len(tasks)
        with bar("Rewriting", len(tasks)) as progress, ThreadPoolExecutor(self.parallel) as pool:
            futures = {
                pool.submit(run.one, task, keys): place
                for place, (task, keys) in enumerate(zip(tasks, seed_keys, strict=True))
            }
            try:
                for future in as_completed(futures):
                    found[futures[future]] = future.result()
                    progress.advance()
            except BaseException:
                run.stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        log.info("%s: %d requests, about %d tokens, %d answers from the cache", run.address, *run.spent())
        return found

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
    """What the requests of one call share: budget, deadline, cache, and whether the endpoint still answers."""

    def __init__(self, settings: EndpointRewriter, address: Address) -> None:
        self.settings, self.address = settings, address
        self.stop = threading.Event()
        self._cache = None if settings.cache is None else AnswerCache(settings.cache)
        self._end = time.monotonic() + settings.deadline
        self._lock = threading.Lock()
        self._requests = self._tokens = self._cached = self._failed_in_a_row = 0
        self._answered = False
        self._not_before = 0.0

    def spent(self) -> tuple[int, int, int]:
        """Requests, tokens, answers from the cache."""
        return self._requests, self._tokens, self._cached

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
                self._cached += 1
            return held
        answer = self._ask(body, keys)
        if self._cache is not None and isinstance(answer, str):
            self._cache.put(key, answer)
        return answer

    def _ask(self, body: dict[str, Any], keys: Keys) -> str | GaveUp:
        """Ask until an answer comes, the retries are used up, or there is no point in asking."""
        headers = _headers(self.settings.api_key_env, needed=not self.address.local)
        encoded = canonical_json(body).encode()
        reserve = len(encoded) // _SIGNS_PER_TOKEN + self.settings.answer_tokens
        failure = GaveUp("stopped")
        for attempt in range(self.settings.retries + 1):
            if not self._wait(attempt, keys):
                return GaveUp("the deadline for all texts had passed")
            barred = self._barred(reserve)
            if barred is not None:
                return barred
            try:
                reply = self.address.post(encoded, headers, self._time_left(), self.stop)
            except NoReplyError as error:
                if not error.reached and not self._answered:
                    raise UsageError(
                        f"{_BLOCK}.url: {self.address} cannot be reached; start the server, correct the URL, or use "
                        "the rewriter template"
                    ) from None
                failure, again = GaveUp(error.reason), error.again
            else:
                self._answered = True
                result = self._read(reply, reserve)
                if isinstance(result, str):
                    self._failed_in_a_row = 0
                    return result
                failure, again = result
            if not again:
                break
        with self._lock:
            self._failed_in_a_row += 1
        return failure

    def _wait(self, attempt: int, keys: Keys) -> bool:
        """Wait before a try, as long as the back-off and the server demand; False where the deadline comes first."""
        drawn = rng(*keys, "back-off", attempt).random()
        until = max(time.monotonic() + pause(attempt, self.settings.backoff, drawn), self._not_before)
        if until >= self._end:
            return False
        self.stop.wait(max(0.0, until - time.monotonic()))
        return True

    def _time_left(self) -> float:
        return max(0.001, min(self.settings.timeout, self._end - time.monotonic()))

    def _barred(self, reserve: int) -> GaveUp | None:
        """Take one request and its tokens from the budget, or say why none is to be made."""
        with self._lock:
            if self.stop.is_set():
                return GaveUp("stopped")
            if self._failed_in_a_row >= _DEAD_AFTER:
                return GaveUp("the endpoint had failed too often in a row")
            if self._requests >= self.settings.max_requests:
                return GaveUp("the budget of requests was spent")
            if self._tokens + reserve > self.settings.max_tokens:
                return GaveUp("the budget of tokens was spent")
            self._requests += 1
            self._tokens += reserve
        return None

    def _read(self, reply: Reply, reserve: int) -> str | tuple[GaveUp, bool]:
        """The answer in a reply, or why there is none and whether asking again could help.

        Raises:
            UsageError: no request can succeed (key refused, wrong address, redirect).
        """
        status = reply.status
        if 300 <= status < 400:
            raise UsageError(
                f"{_BLOCK}.url: {self.address} redirects elsewhere (HTTP {status}), which is not followed; give the "
                "final URL"
            )
        if status in _REFUSED:
            key = self.settings.api_key_env
            raise UsageError(f"{_BLOCK}: {self.address} refused the key in {key} (HTTP {status}); check that variable")
        if status in _WRONG_ADDRESS:
            raise UsageError(
                f"{_BLOCK}: {self.address} knows no such page or model (HTTP {status}); check url and model"
            )
        if status in _AGAIN or status >= 500:
            self._hold_back(reply.headers.get("retry-after"))
            return GaveUp(f"the endpoint answered with HTTP {status}"), True
        if status != 200:
            return GaveUp(f"the endpoint refused the request (HTTP {status})"), False
        try:
            found = parse_json(reply.body.decode("utf-8"))
            answer = found["choices"][0]["message"]["content"]
        except (ValueError, RecursionError, TypeError, KeyError, IndexError):
            return GaveUp("the endpoint's reply was not a chat completion"), True
        self._settle(found.get("usage"), reserve)
        if not isinstance(answer, str) or not _encodable(answer):
            return GaveUp("the model's answer held no text"), False
        return answer

    def _hold_back(self, value: str | None) -> None:
        """Let nobody ask before the time that a Retry-After names."""
        seconds = retry_after(value, time.time())
        with self._lock:
            self._not_before = max(self._not_before, time.monotonic() + seconds)

    def _settle(self, usage: object, reserve: int) -> None:
        """Replace the reserved tokens by the server's count, where it gives one that can be true."""
        counted = usage.get("total_tokens") if isinstance(usage, dict) else None
        if type(counted) is int and 0 <= counted <= reserve:
            with self._lock:
                self._tokens += counted - reserve


def _headers(variable: str, *, needed: bool) -> Mapping[str, str]:
    headers = {
        "Content-Type": "application/json", "Accept": "application/json", "User-Agent": f"mllmu-med/{__version__}",
    }  # fmt: skip
    key = os.environ.get(variable, "").strip()
    if not key and needed:
        raise UsageError(f"{_BLOCK}: the environment variable {variable} holds no key; set it, or change api_key_env")
    if not all("!" <= sign <= "~" for sign in key):
        raise UsageError(f"{_BLOCK}: the key in {variable} holds a space or a sign outside ASCII")
    return {**headers, "Authorization": f"Bearer {key}"} if key else headers


def pause(attempt: int, backoff: float, drawn: float) -> float:
    """Seconds before try number ``attempt`` (0 = the first, at once); ``drawn`` in [0, 1) spreads them."""
    if attempt == 0:
        return 0.0
    return min(_LONGEST_WAIT, backoff * 2.0 ** min(attempt - 1, _MOST_DOUBLINGS)) * (0.5 + 0.5 * drawn)


def retry_after(value: str | None, now: float) -> float:
    """Seconds to wait by a Retry-After header, which gives seconds or an HTTP date; 0 where it says nothing sensible.

    Args:
        now: seconds since 1970.
    """
    if value is None:
        return 0.0
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0.0


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
