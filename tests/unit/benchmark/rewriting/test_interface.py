"""make_rewriter: names, arguments, and who may see real values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from mllmu_med.benchmark.rewriting import REWRITERS, Keys, Task, TemplateRewriter, make_rewriter, rewrite_all
from mllmu_med.benchmark.rewriting.endpoint import EndpointRewriter
from mllmu_med.benchmark.rewriting.local import LocalRewriter
from mllmu_med.errors import UsageError
from tests.unit.benchmark.rewriting.planted_tasks import MRN, leak


def test_by_name_and_by_block(tmp_path: Path) -> None:
    assert make_rewriter("template") == TemplateRewriter()
    assert make_rewriter({"name": "template"}) == TemplateRewriter()
    made = make_rewriter(
        {"name": "openai", "url": "http://localhost:8000/v1", "model": "m", "cache": str(tmp_path), "parallel": 2}
    )
    assert isinstance(made, EndpointRewriter)
    assert (made.parallel, made.cache, made.name) == (2, tmp_path, "openai")
    local = make_rewriter({"name": "local", "model": "~/models/a"})
    assert isinstance(local, LocalRewriter)
    assert local.model == Path("~/models/a").expanduser()


OPENAI = {"name": "openai", "url": "http://localhost", "model": "m"}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("templete", r"benchmark\.rewriter: unknown rewriter 'templete' \(did you mean 'template'\?\)"),
        ({"url": "x"}, r"benchmark\.rewriter has no name"),
        ({"name": 3}, r"benchmark\.rewriter has no name"),
        ({"name": "template", "tone": "x"}, r"benchmark\.rewriter\.tone: rewriter 'template' has no such key"),
        ({**OPENAI, "modell": "m"}, r"\.modell: .* \(did you mean 'model'\?\)"),
        ({"name": "openai", "url": "http://localhost"}, r"benchmark\.rewriter\.model is needed"),
        ({**OPENAI, "timeout": "soon"}, r"benchmark\.rewriter\.timeout"),
        ({**OPENAI, "retries": -1}, r"retries must be at least 0"),
        ({**OPENAI, "model": ""}, r"model is empty"),
        ({**OPENAI, "deadline": float("inf")}, r"deadline must be"),
        ({**OPENAI, "temperature": float("nan")}, r"temperature must"),
        ({**OPENAI, "body": {"messages": []}}, r"must not hold 'messages'"),
        ({**OPENAI, "body": {"a": float("nan")}}, r"body must be JSON"),
        ({"name": "local", "model": "m", "batch": 0}, r"benchmark\.rewriter\.batch must be at least 1"),
        ({"name": "local", "model": "m", "dtype": "float16"}, r"benchmark\.rewriter\.dtype"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_one_line(spec: str | dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        make_rewriter(spec)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "real", "fits"),
    [
        ("http://localhost:8000/v1", True, True),
        ("http://127.0.0.1:8000/v1", True, True),
        ("http://[::1]:8000/v1", True, True),
        ("http://10.0.0.7:8000/v1", True, False),
        ("https://api.openai.com/v1", True, False),
        ("https://localhost.example.org/v1", True, False),
        ("https://127.0.0.1.example.org/v1", True, False),
        ("http://10.0.0.7:8000/v1", False, True),
        ("https://api.openai.com/v1", False, True),
    ],
)
def test_real_values_stay_on_this_machine(url: str, real: bool, fits: bool) -> None:
    spec = {"name": "openai", "url": url, "model": "m", "real_values": False}
    if fits:
        assert make_rewriter(spec, real_values=real).real_values is real  # type: ignore[attr-defined]
        return
    with pytest.raises(UsageError, match="belong to real people"):
        make_rewriter(spec, real_values=real)


def test_the_offline_rewriters_may_see_real_values() -> None:
    assert make_rewriter("template", real_values=True) == TemplateRewriter()
    made = make_rewriter({"name": "local", "model": "m"}, real_values=True)
    assert isinstance(made, LocalRewriter)
    assert made.real_values


def test_a_stranger_that_does_not_speak_of_real_values_may_not_see_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stranger:
        name = "stranger"

        def rewrite(self, tasks: Sequence[Task], seed_keys: Sequence[Keys]) -> list[str | None]:
            return [None for _ in tasks]

    monkeypatch.setitem(REWRITERS._items, "stranger", Stranger)
    assert isinstance(make_rewriter("stranger"), Stranger)
    with pytest.raises(UsageError, match="'stranger' does not say that it keeps real private values on this machine"):
        make_rewriter("stranger", real_values=True)


def test_the_rewriter_of_the_documentation_works(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).parents[4] / "docs" / "how-to" / "rewriters.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, type] = {}
    exec(compile(code, str(page), "exec"), names)
    monkeypatch.setitem(REWRITERS._items, "shouting", names["Shouting"])
    (found,) = rewrite_all(make_rewriter("shouting"), [leak("nodule", MRN)], ["a"], seed=0)
    assert found is not None
    assert (found.text, found.fell_back) == ("nodule! 4829107!", False)
