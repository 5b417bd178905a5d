"""One HTTP request with a hard time limit and a bounded answer; never follows a redirect."""

from __future__ import annotations

import base64
import contextlib
import http.client
import ipaddress
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from mllmu_med.errors import UsageError

LARGEST_REPLY = 2**20
"""Bytes of a reply that are read; a longer one is refused."""

_GLANCE = 0.05  # seconds between two looks at the clock
_PORTS = {"http": 80, "https": 443}


class Reply(NamedTuple):
    """What a server answered; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NoReplyError(Exception):
    """No whole reply came.

    Attributes:
        reason: one of a few fixed phrases, nothing the server said.
        reached: False where not even a connection was made.
        again: whether asking once more could help.
    """

    def __init__(self, reason: str, *, reached: bool = True, again: bool = True) -> None:
        super().__init__(reason)
        self.reason, self.reached, self.again = reason, reached, again


@dataclass(frozen=True)
class Address:
    """Where requests go."""

    scheme: str
    host: str
    port: int
    target: str

    @classmethod
    def of(cls, url: str, key: str) -> Address:
        """The address of ``url`` with ``/chat/completions`` behind it, unless it ends so already.

        Args:
            key: how errors call the URL, e.g. ``benchmark.rewriter.url``.

        Raises:
            UsageError: not an http(s) URL with a host, one with a user name, or plain http to a public host.
        """
        try:
            parts = urlsplit(url.strip())
            port = parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError:
            raise UsageError(f"{key}: not a URL") from None
        if parts.scheme not in _PORTS or not parts.hostname:
            raise UsageError(f"{key} must begin with https:// or http:// and name a host")
        if parts.username is not None or parts.password is not None or parts.fragment:
            raise UsageError(
                f"{key} must hold neither user name, password nor fragment; a key comes from an environment variable"
            )
        if any(ord(sign) <= ord(" ") or ord(sign) > ord("~") for sign in url.strip()):
            raise UsageError(f"{key} holds a space or a sign outside ASCII")
        address = cls(parts.scheme, parts.hostname, port, _target(parts))
        if address.scheme == "http" and not address.in_house:
            raise UsageError(f"{key}: '{address.host}' is not a private address, so it must begin with https://")
        return address

    @property
    def local(self) -> bool:
        """Whether the host is this machine: ``localhost`` or a loopback address. No name is looked up."""
        return self.host == "localhost" or _is(self.host, "is_loopback")

    @property
    def in_house(self) -> bool:
        """Whether the host is this machine or an address of a private network, written as numbers."""
        return self.local or _is(self.host, "is_private")

    def __str__(self) -> str:
        """Without the query, which may hold a key."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.target.partition('?')[0]}"

    def post(self, body: bytes, headers: Mapping[str, str], limit: float, stop: threading.Event) -> Reply:
        """Send ``body`` and return the reply, whatever its status.

        Args:
            limit: seconds for everything together, from connecting to the last byte; also for a server that sends a
                byte now and then.
            stop: once set, the request is broken off.

        Raises:
            NoReplyError: no connection, too slow, cut off, too large, not HTTP.
        """
        connection = self._connection(limit)
        done, expired = threading.Event(), threading.Event()
        sockets: list[socket.socket] = []  # http.client forgets its own once a reply has begun
        watched = (connection, sockets, limit, stop, done, expired)
        threading.Thread(target=_watch, args=watched, daemon=True).start()
        reached = False
        try:
            connection.connect()
            sockets.append(connection.sock)
            reached = True
            connection.request("POST", self.target, body, dict(headers))
            response = connection.getresponse()
            data = response.read(LARGEST_REPLY + 1)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if expired.is_set() or isinstance(error, TimeoutError):
                raise NoReplyError("the endpoint was too slow", reached=reached) from None
            reason = "the endpoint broke off" if reached else "no connection to the endpoint"
            raise NoReplyError(reason, reached=reached) from None
        finally:
            done.set()
            connection.close()
        if expired.is_set():
            raise NoReplyError("the endpoint was too slow")
        if len(data) > LARGEST_REPLY:
            raise NoReplyError("the endpoint's reply was far too large", again=False)
        if response.length:  # bytes that were promised and never came
            raise NoReplyError("the endpoint broke off")
        return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, data)

    def _connection(self, limit: float) -> http.client.HTTPConnection:
        """A connection, through the environment's proxy where it names one for public https hosts."""
        kind = http.client.HTTPSConnection if self.scheme == "https" else http.client.HTTPConnection
        proxy = None if self.in_house or proxy_bypass(self.host) else getproxies().get(self.scheme)
        if not proxy:
            return kind(self.host, self.port, timeout=limit)
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        connection = kind(parts.hostname or "", parts.port or _PORTS["http"], timeout=limit)
        connection.set_tunnel(self.host, self.port, _proxy_headers(parts))
        return connection


def _target(parts: SplitResult) -> str:
    path = parts.path.rstrip("/")
    path = path if path.endswith("/chat/completions") else f"{path}/chat/completions"
    return f"{path}?{parts.query}" if parts.query else path


def _proxy_headers(parts: SplitResult) -> dict[str, str]:
    if parts.username is None:
        return {}
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}


def _is(host: str, property_name: str) -> bool:
    try:
        return bool(getattr(ipaddress.ip_address(host), property_name))
    except ValueError:
        return False


def _watch(
    connection: http.client.HTTPConnection,
    sockets: Sequence[socket.socket],
    limit: float,
    stop: threading.Event,
    done: threading.Event,
    expired: threading.Event,
) -> None:
    """Break a connection off from outside when its time is up: whoever reads from it then sees its end.

    A socket's own time limit begins anew with every byte that comes.
    """
    end = time.monotonic() + limit
    while not done.wait(min(_GLANCE, max(0.0, end - time.monotonic()))):
        if not stop.is_set() and time.monotonic() < end:
            continue
        expired.set()
        connecting: socket.socket | None = connection.sock
        for held in (*sockets, *([] if connecting is None else [connecting])):
            with contextlib.suppress(OSError):  # it has just ended on its own
                held.shutdown(socket.SHUT_RDWR)
        return
