"""A chat model behind a URL: one client for whoever asks one, with retries, limits, and a key that is never shown."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, TypeVar

from mllmu_med import __version__
from mllmu_med.errors import UsageError
from mllmu_med.folders import canonical_json, parse_json
from mllmu_med.seeding import Key, rng
from mllmu_med.wire import Address, NoReplyError, Reply

T = TypeVar("T")

_AGAIN = frozenset({408, 409, 425, 429})
_WRONG_ADDRESS = frozenset({404, 405, 410})
_REFUSED = frozenset({401, 403, 407})
_LONGEST_WAIT = 60.0  # seconds between two tries where the server does not say how long
_MOST_DOUBLINGS = 30
_DEAD_AFTER = 5  # requests in a row without an answer
_SIGNS_PER_TOKEN = 2  # where the server does not count; few, so that the budget is rather spent too early


@dataclass(frozen=True)
class Names:
    """How errors call what the user has set.

    Attributes:
        url, model, key: the settings that hold the URL, the model's name, and the name of the key's variable.
        otherwise: what else can be done where nothing answers, e.g. ``, or use the rewriter template``.
    """

    url: str
    model: str
    key: str
    otherwise: str = ""


@dataclass(frozen=True)
class Terms:
    """How a server is asked.

    Attributes:
        key_variable: environment variable that holds the key.
        key_needed: refuse to ask without one.
        answer_tokens: most tokens of an answer, which count as spent where the server does not say.
        timeout: seconds for one request, from connecting to the last byte.
        deadline: seconds for all requests of one client together.
        max_requests, max_tokens: budget of one client; repeated requests count.
        retries: further tries of a request that failed for now (429, 5xx, cut off, too slow, not JSON).
        backoff: seconds before the first further try; doubled for each next one, up to a minute, times a drawn factor
            between a half and one. A server's Retry-After is waited for if it is longer.
    """

    key_variable: str
    key_needed: bool
    answer_tokens: int
    timeout: float = 60.0
    deadline: float = float("inf")
    max_requests: float = float("inf")
    max_tokens: float = float("inf")
    retries: int = 5
    backoff: float = 1.0


class Completion(NamedTuple):
    """What the model said.

    Attributes:
        content: as the reply has it, usually a text; whoever asked judges it.
        refusal: what a provider puts beside an empty content when the model refuses.
        finish: the reply's ``finish_reason``; ``length`` = the token limit came first.
        fingerprint: the reply's ``system_fingerprint``, where the server names what answered.
    """

    content: object
    refusal: object = None
    finish: str | None = None
    fingerprint: str | None = None


class Failure(NamedTuple):
    """Why there is no answer: one of a few fixed phrases, nothing the server said; and its HTTP status, if any."""

    reason: str
    status: int | None = None


class ChatClient:
    """Asks one server; safe for threads. What its requests share: budget, deadline, and whether it still answers.

    Attributes:
        stop: once set, requests are broken off and none is made.
    """

    def __init__(self, address: Address, terms: Terms, names: Names) -> None:
        self.address, self.terms, self.names = address, terms, names
        self.stop = threading.Event()
        self._end = time.monotonic() + terms.deadline
        self._lock = threading.Lock()
        self._requests = self._tokens = self._failed_in_a_row = 0
        self._answered = False
        self._not_before = 0.0

    def spent(self) -> tuple[int, int]:
        """Requests and tokens."""
        return self._requests, self._tokens

    def complete(self, body: Mapping[str, Any], keys: tuple[Key, ...]) -> Completion | Failure:
        """Ask until an answer comes, the retries are used up, or there is no point in asking.

        Args:
            body: the request, JSON-able.
            keys: of the draw that spreads repeated requests.

        Raises:
            UsageError: no request can succeed: key missing or refused, wrong address, redirect, or nothing has ever
                answered there.
        """
        headers = self._headers()
        encoded = canonical_json(body).encode()
        reserve = len(encoded) // _SIGNS_PER_TOKEN + self.terms.answer_tokens
        failure = Failure("stopped")
        for attempt in range(self.terms.retries + 1):
            if not self._wait(attempt, keys):
                return Failure("the deadline for all requests had passed")
            barred = self._barred(reserve)
            if barred is not None:
                return barred
            try:
                reply = self.address.post(encoded, headers, self._time_left(), self.stop)
            except NoReplyError as error:
                if not error.reached and not self._answered:
                    raise UsageError(
                        f"{self.names.url}: {self.address} cannot be reached; start the server or correct "
                        f"the URL{self.names.otherwise}"
                    ) from None
                failure, again = Failure(error.reason), error.again
            else:
                self._answered = True
                result = self._read(reply, reserve)
                if isinstance(result, Completion):
                    self._failed_in_a_row = 0
                    return result
                failure, again = result
            if not again:
                break
        with self._lock:
            self._failed_in_a_row += 1
        return failure

    def _headers(self) -> Mapping[str, str]:
        variable = self.terms.key_variable
        headers = {
            "Content-Type": "application/json", "Accept": "application/json", "User-Agent": f"mllmu-med/{__version__}",
        }  # fmt: skip
        key = os.environ.get(variable, "").strip()
        if not key and self.terms.key_needed:
            raise UsageError(
                f"{self.names.key}: the environment variable {variable} holds no key; set it, or name another one"
            )
        if not all("!" <= sign <= "~" for sign in key):
            raise UsageError(f"{self.names.key}: the key in {variable} holds a space or a sign outside ASCII")
        return {**headers, "Authorization": f"Bearer {key}"} if key else headers

    def _wait(self, attempt: int, keys: tuple[Key, ...]) -> bool:
        """Wait before a try, as long as the back-off and the server demand; False where the deadline comes first."""
        drawn = rng(*keys, "back-off", attempt).random()
        until = max(time.monotonic() + pause(attempt, self.terms.backoff, drawn), self._not_before)
        if until >= self._end:
            return False
        self.stop.wait(max(0.0, until - time.monotonic()))
        return True

    def _time_left(self) -> float:
        return max(0.001, min(self.terms.timeout, self._end - time.monotonic()))

    def _barred(self, reserve: int) -> Failure | None:
        """Take one request and its tokens from the budget, or say why none is to be made."""
        with self._lock:
            if self.stop.is_set():
                return Failure("stopped")
            if self._failed_in_a_row >= _DEAD_AFTER:
                return Failure("the endpoint had failed too often in a row")
            if self._requests >= self.terms.max_requests:
                return Failure("the budget of requests was spent")
            if self._tokens + reserve > self.terms.max_tokens:
                return Failure("the budget of tokens was spent")
            self._requests += 1
            self._tokens += reserve
        return None

    def _read(self, reply: Reply, reserve: int) -> Completion | tuple[Failure, bool]:
        """What a reply holds, or why it holds nothing and whether asking again could help.

        Raises:
            UsageError: no request can succeed (key refused, wrong address, redirect).
        """
        status = reply.status
        if 300 <= status < 400:
            raise UsageError(
                f"{self.names.url}: {self.address} redirects elsewhere (HTTP {status}), which is not followed; give "
                "the final URL"
            )
        if status in _REFUSED:
            raise UsageError(
                f"{self.names.key}: {self.address} refused the key in {self.terms.key_variable} (HTTP {status}); check "
                "that variable"
            )
        if status in _WRONG_ADDRESS:
            raise UsageError(
                f"{self.names.url}: {self.address} knows no such page or model (HTTP {status}); check the URL (most "
                f"end in /v1) and {self.names.model}"
            )
        if status in _AGAIN or status >= 500:
            self._hold_back(reply.headers.get("retry-after"))
            return Failure(f"the endpoint answered with HTTP {status}", status), True
        if status != 200:
            return Failure(f"the endpoint refused the request (HTTP {status})", status), False
        try:
            found = parse_json(reply.body.decode("utf-8"))
            choice = found["choices"][0]
            message = dict(choice["message"])
        except (ValueError, RecursionError, TypeError, KeyError, IndexError):
            return Failure("the endpoint's reply was not a chat completion", status), True
        self._settle(found.get("usage"), reserve)
        finish, name = choice.get("finish_reason"), found.get("system_fingerprint")
        return Completion(
            message.get("content"),
            message.get("refusal"),
            finish if isinstance(finish, str) else None,
            name if isinstance(name, str) else None,
        )

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


def in_parallel(
    work: Callable[[int], T], count: int, *, at_once: int, stop: threading.Event
) -> Iterator[tuple[int, T]]:
    """Results of ``work(0)`` … ``work(count − 1)`` with their numbers, as they come.

    Whatever ends the iteration early (the first error of ``work``, one of the caller, Ctrl-C) sets ``stop``, drops what
    has not begun and waits for what has.
    """
    errors: list[Exception] = []

    def one(number: int) -> T:
        try:
            return work(number)
        except Exception as error:
            errors.append(error)
            stop.set()  # here, because the next piece of work begins before anybody hears of this one's end
            raise

    with ThreadPoolExecutor(at_once) as pool:
        futures = {pool.submit(one, number): number for number in range(count)}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException as error:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            if error in errors:  # others fail because the first one did
                raise errors[0] from None
            raise


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
