"""Addresses, and what may be sent where."""

from __future__ import annotations

import threading
import time

import pytest

from mllmu_med.errors import UsageError
from mllmu_med.wire import Address, NoReplyError
from tests.fake_server import Behaviour, serving


@pytest.mark.parametrize(
    ("url", "shown", "target"),
    [
        ("https://api.example.org/v1", "https://api.example.org:443/v1/chat/completions", "/v1/chat/completions"),
        ("https://api.example.org/v1/", "https://api.example.org:443/v1/chat/completions", "/v1/chat/completions"),
        ("https://api.example.org", "https://api.example.org:443/chat/completions", "/chat/completions"),
        ("http://localhost:8000/v1/chat/completions", "http://localhost:8000/v1/chat/completions",
         "/v1/chat/completions"),
        ("http://[::1]:1234", "http://[::1]:1234/chat/completions", "/chat/completions"),
        ("https://a.example/x?api-version=1&key=secret", "https://a.example:443/x/chat/completions",
         "/x/chat/completions?api-version=1&key=secret"),
    ],
)  # fmt: skip
def test_addresses(url: str, shown: str, target: str) -> None:
    address = Address.of(url, "k")
    assert str(address) == shown
    assert address.target == target


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "must begin with https"),
        ("localhost:8000", "must begin with https"),
        ("file:///etc/passwd", "must begin with https"),
        ("ftp://a.example", "must begin with https"),
        ("https://", "must begin with https"),
        ("https://user:pass@a.example", "neither user name"),
        ("https://a.example/#x", "fragment"),
        ("https://a.example/a b", "space"),
        ("https://a.example/\u00fc", "outside ASCII"),
        ("https://a.example:99999", "not a URL"),
        ("https://[::1", "not a URL"),
        ("http://api.example.org/v1", "'api.example.org' is not a private address"),
        ("http://8.8.8.8/v1", "is not a private address"),
        ("http://localhost.example.org", "is not a private address"),
    ],
)
def test_addresses_that_are_refused(url: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        Address.of(url, "benchmark.rewriter.url")
    assert str(caught.value).startswith("benchmark.rewriter.url")
    assert "pass@" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "local", "in_house"),
    [
        ("http://localhost", True, True),
        ("http://127.8.8.8", True, True),
        ("http://[::1]", True, True),
        ("http://192.168.0.7", False, True),
        ("http://10.1.2.3", False, True),
        ("https://example.org", False, False),
        ("https://0x7f.1", False, False),
    ],
)
def test_what_is_this_machine(url: str, local: bool, in_house: bool) -> None:
    address = Address.of(url, "k")
    assert (address.local, address.in_house) == (local, in_house)


def test_stopping_breaks_a_request_off() -> None:
    stop = threading.Event()
    with serving(Behaviour(hang=True)) as server:
        threading.Timer(0.2, stop.set).start()
        begun = time.monotonic()
        with pytest.raises(NoReplyError):
            Address.of(server.url, "k").post(b"{}", {}, 30.0, stop)
        assert time.monotonic() - begun < 2


def test_the_environments_proxy_is_used_for_public_hosts_and_sees_neither_body_nor_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serving(Behaviour(status=403)) as proxy:
        host = proxy.url.removeprefix("http://").removesuffix("/v1")
        monkeypatch.setenv("https_proxy", f"http://me:pw@{host}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        with pytest.raises(NoReplyError) as caught:
            Address.of("https://api.example.org/v1", "k").post(b"body", {"Authorization": "s"}, 5.0, threading.Event())
        assert not caught.value.reached
        assert proxy.paths == ["api.example.org:443"]
        assert proxy.headers[0]["proxy-authorization"] == "Basic bWU6cHc="
        assert "authorization" not in proxy.headers[0]
        assert proxy.requests == [{}]


def test_no_proxy_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with serving(Behaviour(body=b"hello", headers={"X-One": "1"})) as server:
        reply = Address.of(server.url, "k").post(b"{}", {}, 5.0, threading.Event())
    assert (reply.status, reply.body, reply.headers["x-one"]) == (200, b"hello", "1")
