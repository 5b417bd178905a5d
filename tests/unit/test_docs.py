"""The documentation says what the code does: its example runs, its commands parse, its names exist."""

from __future__ import annotations

import math
import re
import shlex
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from mllmu_med.evaluation.metrics import METRICS

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def test_the_example_method_computes_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from mllmu_med.methods.interface import Answers, Batch

    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL)
    module = types.ModuleType("example_method")
    monkeypatch.setitem(sys.modules, "example_method", module)  # dataclasses look their module up
    exec(compile(code, "CONTRIBUTING.md", "exec"), module.__dict__)
    method: Any = module.Unlikelihood()
    logits = torch.tensor([[0.0, 0.0], [math.log(3.0), 0.0]])  # p(first token) = 1/2, 3/4
    zeros = torch.zeros(2, dtype=torch.long)
    answers = Answers(logits=logits, target=zeros, owner=zeros, weight=torch.ones(2), records=1)
    loss = method.loss(Batch(answers, answers))
    assert loss.forget.item() == pytest.approx((math.log(2) + math.log(4)) / 2)
    assert loss.total.item() == pytest.approx(loss.forget.item() + loss.retain.item())


def test_every_metric_is_in_the_reference() -> None:
    text = (ROOT / "docs" / "extensions" / "from_code.py").read_text(encoding="utf-8")
    named = set(re.findall(r'"(\w+)": "\w+\.\w+"', text))
    assert named == set(METRICS)


def test_every_command_of_the_documentation_parses() -> None:
    """Verbs and options exist; recipes and overrides are checked where they need no data."""
    from typer.main import get_command

    from mllmu_med.cli.application import app

    verbs: Any = get_command(app).commands  # type: ignore[attr-defined]
    commands = [
        (page, line)
        for page in PAGES
        for block in re.findall(r"```(?:console|bash|sh)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        for line in re.findall(r"^\$ (?:\.venv/bin/)?mllmu-med (.*)$", block, re.MULTILINE)
    ]
    assert len(commands) > 10
    for page, line in commands:
        verb, *arguments = shlex.split(line, comments=True)
        assert verb in verbs, f"{page}: {line}"
        with verbs[verb].make_context(verb, arguments):
            pass


def test_no_page_points_to_a_file_that_is_not_there() -> None:
    missing = []
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", page.read_text(encoding="utf-8")):
            if not (page.parent / target).exists() and "docs/assets" not in target:
                missing.append(f"{page.relative_to(ROOT)} → {target}")
    assert missing == []
