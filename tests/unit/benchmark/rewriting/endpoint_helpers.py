"""Asking the endpoint rewriter with settings that suit a test."""

from __future__ import annotations

import json
from typing import Any

from mllmu_med.benchmark.rewriting import Rewritten, Task, problems, rewrite_all
from mllmu_med.benchmark.rewriting.endpoint import EndpointRewriter
from tests.fake_server import Behaviour, FakeServer, says
from tests.unit.benchmark.rewriting.planted_tasks import NODULE

GOOD = "A nodule; the patient is Maria Lopez, MRN 4829107."


def rewriter(server: FakeServer, **changes: Any) -> EndpointRewriter:
    fields: dict[str, Any] = {
        "url": server.url, "model": "m", "backoff": 0.0, "timeout": 5.0, "deadline": 20.0, "parallel": 1, "attempts": 1,
    }  # fmt: skip
    return EndpointRewriter(**{**fields, **changes})


def ask(server: FakeServer, *tasks: Task, **changes: Any) -> list[Rewritten | None]:
    tasks = tasks or (NODULE,)
    return rewrite_all(rewriter(server, **changes), tasks, [str(place) for place in range(len(tasks))], seed=1)


def reason(found: list[Rewritten | None]) -> str | None:
    """Why the only text is the template's."""
    (one,) = found
    assert one is not None
    assert one.fell_back == (one.reason is not None)
    assert problems(NODULE, one.text) == []
    return one.reason


def echo(number: int, body: dict[str, Any]) -> Behaviour:
    """Answers any task well."""
    told = json.loads(body["messages"][1]["content"])
    values = ", ".join(value["value"] for value in told.get("identifiers", ()))
    return says(f"{told.get('clinical_answer', told.get('answer'))}; on file: {values}" if values else told["answer"])
