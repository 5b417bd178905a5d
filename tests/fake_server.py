"""A chat-completions server on this machine that behaves as badly as it is told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Behaviour:
    """What the server does with one request.

    Attributes:
        promised: Content-Length sent; None = the true one.
        hang: wait until the test is over before anything is sent.
        drip: seconds between two bytes of the body; 0 = all at once.
        drip_headers: send the header lines byte by byte instead.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    promised: int | None = None
    hang: bool = False
    drip: float = 0.0
    drip_headers: bool = False
    close: bool = False


def completion(content: object, **more: Any) -> bytes:
    """The body of a reply that says ``content``."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    return json.dumps({"choices": [choice], **more}).encode()


def says(text: str, **more: Any) -> Behaviour:
    """A reply whose content is the JSON object that is asked for."""
    return Behaviour(body=completion(json.dumps({"text": text}), **more))


Script = Callable[[int, dict[str, Any]], Behaviour]


class FakeServer:
    """Counts and keeps the requests; ``script(number, body)`` says what to do with each."""

    def __init__(self, script: Script) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.most_at_once = 0
        self.over = threading.Event()
        self._script, self._lock, self._at_once = script, threading.Lock(), 0
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                fake.handle(self)

            def do_GET(self) -> None:
                fake.handle(self)

            def do_CONNECT(self) -> None:
                fake.handle(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        raw = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            number = len(self.requests)
            self.requests.append(json.loads(raw) if raw else {})
            self.headers.append({name.lower(): value for name, value in handler.headers.items()})
            self.paths.append(handler.path)
        try:
            behaviour = self._script(number, self.requests[number])
        finally:
            # Before the answer goes out: whoever has it may ask again before this thread goes on.
            with self._lock:
                self._at_once -= 1
        with suppress(OSError):  # the client has gone
            self._answer(handler, behaviour)

    def _answer(self, handler: BaseHTTPRequestHandler, what: Behaviour) -> None:
        handler.close_connection = True
        if what.hang:
            self.over.wait(30)
            return
        if what.close:
            return
        if what.drip_headers:
            for sign in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000:
                handler.wfile.write(bytes([sign]))
                if self.over.wait(0.02):
                    return
        handler.send_response(what.status)
        length = len(what.body) if what.promised is None else what.promised
        for name, value in {"Content-Length": str(length), "Connection": "close", **what.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        if not what.drip:
            handler.wfile.write(what.body)
            return
        for sign in what.body:
            handler.wfile.write(bytes([sign]))
            if self.over.wait(what.drip):
                return


@contextmanager
def serving(script: Script | Behaviour | list[Behaviour]) -> Iterator[FakeServer]:
    """A running server; a list is gone through once, its last entry is repeated."""
    if isinstance(script, Behaviour):
        fixed = script
        fake = FakeServer(lambda number, body: fixed)
    elif isinstance(script, list):
        steps = script
        fake = FakeServer(lambda number, body: steps[min(number, len(steps) - 1)])
    else:
        fake = FakeServer(script)
    thread = threading.Thread(target=fake.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        fake.over.set()
        fake.server.shutdown()
        fake.server.server_close()
        thread.join()
