"""A served model as an engine, against a server on this machine that answers well, badly, or not at all."""

from __future__ import annotations

import base64
import io
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from mllmu_med.engines.answer_store import AnswerStore
from mllmu_med.engines.endpoint import SIGNS_PER_TOKEN, Endpoint, Served, png_bytes
from mllmu_med.engines.stored import Stored
from mllmu_med.errors import DataError, Interrupted, MedError, UsageError
from mllmu_med.models.generation import Answer, Prompt
from mllmu_med.models.vlm import Question
from mllmu_med.testing.pictures import picture
from mllmu_med.wire import LARGEST_REPLY
from tests.fake_server import Behaviour, FakeServer, completion, serving

PROMPTS = [Prompt(image, f"Question {number}?") for number in range(6) for image in ("a", "b", None)]
LIMIT = 16


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def endpoint(server: FakeServer, **changes: Any) -> Endpoint:
    return Endpoint(
        Served(**{"base_url": server.url, "model": "m", "backoff": 0.0, "timeout": 5.0, **changes}), picture
    )


def asked(body: dict[str, Any]) -> tuple[str, bytes | None]:
    """Question and image of a request, as a server understands them."""
    (message,) = body["messages"]
    assert message["role"] == "user"
    if isinstance(message["content"], str):
        return message["content"], None
    image, text = message["content"]
    assert (image["type"], text["type"]) == ("image_url", "text")
    head, _, data = image["image_url"]["url"].partition(",")
    assert head == "data:image/png;base64"
    return text["text"], base64.b64decode(data)


def said(body: dict[str, Any], finish: str = "stop") -> Behaviour:
    """An answer that shows what was understood."""
    text, image = asked(body)
    seen = "nothing" if image is None else str(Image.open(io.BytesIO(image)).getpixel((3, 3)))
    reply = {"message": {"content": f" {text} {seen} {body.get('seed')} "}, "finish_reason": finish}
    return Behaviour(body=str_json({"choices": [reply]}))


def str_json(value: object) -> bytes:
    import json

    return json.dumps(value).encode()


def echo(number: int, body: dict[str, Any]) -> Behaviour:
    return said(body)


def expected(prompt: Prompt) -> Answer:
    seen = "nothing" if prompt.image is None else str(picture(prompt.image).convert("RGB").getpixel((3, 3)))
    return Answer(f"{prompt.question} {seen} None", False)


# --- what is asked


def test_answers_come_in_order_and_show_that_image_and_question_arrived() -> None:
    def slow(number: int, body: dict[str, Any]) -> Behaviour:
        time.sleep(0.03 if number % 3 == 0 else 0.0)
        return said(body)

    with serving(slow) as server:
        found = endpoint(server, concurrency=5).answers(PROMPTS, max_new_tokens=LIMIT)
    assert found == [expected(prompt) for prompt in PROMPTS]
    assert len({answer.text for answer in found}) == len(PROMPTS)
    assert 2 <= server.most_at_once <= 5
    assert len(server.requests) == len(PROMPTS)


def test_what_is_sent_is_this_and_nothing_else() -> None:
    with serving(echo) as server:
        endpoint(server).answers([Prompt("a", "Ist es groß?")], max_new_tokens=LIMIT)
        endpoint(server).answers([Prompt(None, "右肺?")], max_new_tokens=LIMIT)
    assert server.paths == ["/v1/chat/completions"] * 2
    first, second = server.requests
    assert set(first) == {"model", "messages", "temperature", "max_tokens"}
    assert (first["model"], first["temperature"], first["max_tokens"]) == ("m", 0, LIMIT)
    text, image = asked(first)
    assert text == "Ist es groß?"
    assert image is not None
    sent = Image.open(io.BytesIO(image))
    assert sent.tobytes() == picture("a").convert("RGB").tobytes()
    assert asked(second) == ("右肺?", None)
    assert all("authorization" not in headers for headers in server.headers)


def test_equal_pixels_are_equal_bytes_and_nothing_else_of_an_image_leaves() -> None:
    plain = picture("a").convert("RGB")
    file = io.BytesIO()
    note = PngImagePlugin.PngInfo()
    note.add_text("PatientName", "Maria Lopez")
    plain.save(file, "PNG", pnginfo=note, dpi=(72, 72), icc_profile=b"Maria Lopez profile")
    loaded = Image.open(io.BytesIO(file.getvalue()))
    assert b"Maria" in file.getvalue()
    assert png_bytes(loaded) == png_bytes(plain)
    assert b"Maria" not in png_bytes(loaded)
    assert png_bytes(plain.convert("RGBA")) == png_bytes(plain)
    assert png_bytes(plain) != png_bytes(picture("b"))


def test_an_image_is_loaded_once_and_never_by_two_threads() -> None:
    loads: list[str] = []
    inside = threading.Lock()

    def load(name: str) -> Image.Image:
        assert inside.acquire(blocking=False), "two threads at once"
        try:
            loads.append(name)
            time.sleep(0.005)
            return picture(name)
        finally:
            inside.release()

    with serving(echo) as server:
        engine = endpoint(server, concurrency=1)
        engine._load = load
        engine.answers(PROMPTS, max_new_tokens=LIMIT)
        assert sorted(loads) == ["a", "b"]
        engine = endpoint(server, concurrency=6)
        engine._load = load
        assert engine.answers(PROMPTS, max_new_tokens=LIMIT) == [expected(prompt) for prompt in PROMPTS]


def test_sampled_answers_have_a_seed_for_each_draw() -> None:
    def sampled(**changes: Any) -> tuple[list[list[str]], list[dict[str, Any]]]:
        with serving(echo) as server:
            how = {"draws": 3, "temperature": 0.8, "max_new_tokens": LIMIT, "seed": 1, **changes}
            return endpoint(server).samples(PROMPTS[:4], **how), server.requests

    texts, requests = sampled()
    assert [len(of_one) for of_one in texts] == [3] * 4
    seeds = {request["seed"] for request in requests}
    assert len(seeds) == 12
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert {request["temperature"] for request in requests} == {0.8}
    assert sampled()[0] == texts
    assert sampled(draws=2)[0] == [of_one[:2] for of_one in texts]
    assert sampled(seed=2)[0] != texts


def test_further_fields_of_the_body() -> None:
    body = {"chat_template_kwargs": {"enable_thinking": False}, "temperature": None, "max_completion_tokens": 9}
    with serving(echo) as server:
        endpoint(server, body=body).answers(PROMPTS[:1], max_new_tokens=LIMIT)
    assert set(server.requests[0]) == {
        "model", "messages", "max_tokens", "chat_template_kwargs", "max_completion_tokens",
    }  # fmt: skip


# --- what comes back


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (completion(""), Answer("", False)),
        (completion("  \n"), Answer("", False)),
        (completion(None), Answer("", False)),
        (b'{"choices": [{"message": {}, "finish_reason": "length"}]}', Answer("", True)),
        (b'{"choices": [{"message": {"content": null, "refusal": "No."}}]}', Answer("No.", False)),
        (b'{"choices": [{"message": {"content": "cut o"}, "finish_reason": "length"}]}', Answer("cut o", True)),
        (completion(" yes \n"), Answer("yes", False)),
        (completion("a\ud800b\u0000"), Answer("a\ufffdb\u0000", False)),
        (completion("x" * 300_000), Answer("x" * (SIGNS_PER_TOKEN * LIMIT), True)),
    ],
)
def test_every_text_is_an_answer_the_empty_one_too(body: bytes, answer: Answer) -> None:
    with serving(Behaviour(body=body)) as server:
        assert endpoint(server).answers(PROMPTS[:1], max_new_tokens=LIMIT) == [answer]
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(status=429),
        Behaviour(status=500, body=b"oops"),
        Behaviour(status=503),
        Behaviour(close=True),
        Behaviour(body=b"not json"),
        Behaviour(body=b'{"choices": []}'),
        Behaviour(body=b'{"choices": NaN}'),
        Behaviour(body=b"\xff\xfe"),
        Behaviour(body=completion("x")[:20], promised=500),
    ],
)
def test_what_may_pass_is_tried_again(behaviour: Behaviour) -> None:
    def script(number: int, body: dict[str, Any]) -> Behaviour:
        return behaviour if number < 2 else said(body)

    with serving(script) as server:
        assert endpoint(server, retries=2).answers(PROMPTS[:1], max_new_tokens=LIMIT) == [expected(PROMPTS[0])]
    with (
        serving(behaviour) as server,
        pytest.raises(MedError, match=r"about image a: the endpoint.*same command goes on") as caught,
    ):
        endpoint(server, retries=2).answers(PROMPTS[:1], max_new_tokens=LIMIT)
    assert len(server.requests) == 3
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("behaviour", "kind", "message"),
    [
        (Behaviour(status=400, body=b"Maria Lopez"), DataError, r"refused the request \(HTTP 400\).*takes images"),
        (Behaviour(status=413), DataError, "HTTP 413"),
        (Behaviour(status=418), MedError, "HTTP 418"),
        (Behaviour(status=401), UsageError, "key_variable: .* refused the key in OPENAI_API_KEY"),
        (Behaviour(status=404), UsageError, "base_url: .* knows no such page or model .* end in /v1"),
        (Behaviour(status=302, headers={"Location": "https://elsewhere.example"}), UsageError, "redirects elsewhere"),
        (Behaviour(body=b" " * (LARGEST_REPLY + 10)), MedError, "far too large"),
        (Behaviour(body=completion({"text": "x"})), MedError, "is a dict and no text"),
        (Behaviour(hang=True), MedError, "too slow"),
    ],
)
def test_what_will_not_pass_stops_at_once_in_one_line(
    behaviour: Behaviour, kind: type[MedError], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    secret = Prompt("a", "What is the phone of Maria Lopez?")
    with serving(behaviour) as server, pytest.raises(kind, match=message) as caught:
        endpoint(server, retries=0, timeout=0.3, concurrency=1).answers([secret] * 5, max_new_tokens=LIMIT)
    assert len(server.requests) == 1
    text = str(caught.value)
    assert "\n" not in text
    assert not any(word in text for word in ("Maria", "secret", "elsewhere.example"))


def test_nothing_there_is_told_at_once() -> None:
    with serving(echo) as server:
        engine = endpoint(server)
    began = time.monotonic()
    with pytest.raises(UsageError, match=r"base_url: .* cannot be reached; start the server or correct the URL$"):
        engine.answers(PROMPTS, max_new_tokens=LIMIT)
    assert time.monotonic() - began < 2


def test_a_failure_ends_what_is_under_way() -> None:
    def script(number: int, body: dict[str, Any]) -> Behaviour:
        return Behaviour(status=400) if number == 0 else Behaviour(hang=True)

    began = time.monotonic()
    with serving(script) as server, pytest.raises(DataError):
        endpoint(server, timeout=60.0).answers(PROMPTS, max_new_tokens=LIMIT)
    assert time.monotonic() - began < 3


# --- the key, and where things may go


def test_the_key_is_sent_and_shown_nowhere(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("HOSPITAL_KEY", " sk-very-secret\n")
    caplog.set_level(logging.DEBUG)
    with serving(echo) as server:
        engine = endpoint(server, key_variable="HOSPITAL_KEY", base_url=f"{server.url}?token=secret")
        engine.answers(PROMPTS[:2], max_new_tokens=LIMIT)
        assert server.headers[0]["authorization"] == "Bearer sk-very-secret"
        assert server.paths[0] == "/v1/chat/completions?token=secret"
    assert "secret" not in caplog.text
    assert "secret" not in repr(vars(engine)).replace("token=secret", "")
    assert "secret" not in str(engine.served.address)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base_url": "localhost:8000"}, "must begin with https"),
        ({"base_url": "http://api.example.org/v1"}, "not a private address"),
        ({"base_url": "https://u:p@a.example"}, "neither user name"),
        ({"model": ""}, "model is empty"),
        ({"concurrency": 0}, "concurrency must be at least 1"),
        ({"timeout": float("nan")}, "timeout must be at least"),
        ({"retries": -1}, "retries must be at least 0"),
        ({"body": {"messages": []}}, "must not hold 'messages'"),
        ({"body": {"temperature": 1}}, "must not hold 'temperature'"),
        ({"body": {"x": float("nan")}}, "body must be JSON"),
    ],
)
def test_settings_that_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Served(**{"base_url": "http://localhost:1/v1", "model": "m", **changes})


def test_a_public_host_needs_a_key_and_a_private_one_does_not() -> None:
    public = Endpoint(Served("https://api.example.org/v1", "m"), picture)
    with pytest.raises(UsageError, match="OPENAI_API_KEY holds no key"):
        public.answers(PROMPTS[:1], max_new_tokens=LIMIT)


def test_it_tells_no_likelihoods() -> None:
    engine = Endpoint(Served("http://localhost:1/v1", "m"), picture)
    assert not engine.tells_likelihoods
    with pytest.raises(UsageError, match="likelihoods cannot be asked"):
        engine.likelihoods([Question("a", "x", "y")])


# --- with a store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AnswerStore]:
    with AnswerStore(tmp_path / "answers", "p") as store:
        yield store


def test_what_was_answered_before_a_failure_is_not_asked_again(store: AnswerStore) -> None:
    def failing(number: int, body: dict[str, Any]) -> Behaviour:
        return said(body) if number < 7 else Behaviour(status=400)

    with serving(failing) as server:
        url = server.url
        with pytest.raises(DataError):
            Stored(endpoint(server, concurrency=1), store).answers(PROMPTS, max_new_tokens=LIMIT)
        assert len(store) == 7
        assert len(server.requests) == 8
        server._script = echo
        engine = Stored(endpoint(server, concurrency=3), store)
        assert engine.answers(PROMPTS, max_new_tokens=LIMIT) == [expected(prompt) for prompt in PROMPTS]
        assert (engine.held, engine.asked) == (7, len(PROMPTS) - 7)
        assert len(server.requests) == 8 + len(PROMPTS) - 7
        engine.answers(PROMPTS, max_new_tokens=LIMIT)
        assert len(server.requests) == 8 + len(PROMPTS) - 7, "nothing is asked a second time"
        for changed in ({"model": "n"}, {"body": {"top_k": 1}}):
            again = Stored(endpoint(server, base_url=url, **changed), store)
            again.answers(PROMPTS[:2], max_new_tokens=LIMIT)
            assert (again.held, again.asked) == (0, 2), "another model, or asked otherwise"


def test_a_stop_keeps_what_has_come_and_breaks_off_the_rest(store: AnswerStore) -> None:
    def script(number: int, body: dict[str, Any]) -> Behaviour:
        return said(body) if number < 5 else Behaviour(hang=True)

    began = time.monotonic()
    with serving(script) as server:
        engine = Stored(endpoint(server, concurrency=2, timeout=60.0), store, stopping=lambda: len(store) == 5)
        with pytest.raises(Interrupted, match="stopped after 5 of 18"):
            engine.answers(PROMPTS, max_new_tokens=LIMIT)
    assert time.monotonic() - began < 3
    assert len(store) == 5


def test_pixels_count_and_not_the_name_alone(store: AnswerStore) -> None:
    with serving(echo) as server:
        Stored(endpoint(server), store).answers(PROMPTS[:2], max_new_tokens=LIMIT)
        engine = endpoint(server)
        engine._load = lambda name: picture("wide")
        again = Stored(engine, store)
        found = again.answers(PROMPTS[:2], max_new_tokens=LIMIT)
    assert again.asked == 2
    assert found == [expected(Prompt("wide", prompt.question)) for prompt in PROMPTS[:2]]


def test_the_states_that_a_server_names_are_noted() -> None:
    def script(number: int, body: dict[str, Any]) -> Behaviour:
        return Behaviour(body=completion("x", system_fingerprint=f"fp{number % 2}"))

    with serving(script) as server:
        engine = endpoint(server, concurrency=1)
        engine.answers(PROMPTS[:4], max_new_tokens=LIMIT)
    assert engine.fingerprints == {"fp0", "fp1"}
    assert engine.requests == 4
