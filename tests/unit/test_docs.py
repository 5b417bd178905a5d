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
from mllmu_med.recipe import load_recipe

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def example_method(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The class that CONTRIBUTING shows, from the text as it stands."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL)
    module = types.ModuleType("example_method")
    monkeypatch.setitem(sys.modules, "example_method", module)  # dataclasses look their module up
    exec(compile(code, "CONTRIBUTING.md", "exec"), module.__dict__)
    assert len(code.splitlines()) < 45, "about 40 lines, as the page says"
    return module.CappedAscent


def test_the_example_method_computes_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens of probability 1/2 and 1/8 cost ln 2 and 3 ln 2, the latter capped at 2 ln 2."""
    import torch

    from mllmu_med.methods.interface import Answers, Batch

    method = example_method(monkeypatch)(cap=2 * math.log(2), retain_weight=3.0)
    logits = torch.tensor([[0.0, 0.0], [0.0, math.log(7.0)]])
    zeros = torch.zeros(2, dtype=torch.long)
    answers = Answers(logits=logits, target=zeros, owner=zeros, weight=torch.ones(2), records=1)
    loss = method.loss(Batch(answers, answers))
    assert loss.forget.item() == pytest.approx(-1.5 * math.log(2))
    assert loss.retain.item() == pytest.approx(2 * math.log(2))
    assert loss.total.item() == pytest.approx(4.5 * math.log(2))


def test_the_example_method_is_no_registered_one_and_conforms(monkeypatch: pytest.MonkeyPatch) -> None:
    """The light part of the suite; tests/invariant/test_conformance.py runs all of it, as another package would."""
    from mllmu_med.methods import METHODS
    from mllmu_med.testing import test_batches, test_declarations, test_losses

    name = "capped_ascent"
    assert name not in METHODS.names()
    monkeypatch.setitem(METHODS._items, name, example_method(monkeypatch))
    test_declarations.test_declares_what_it_is(METHODS, name)
    test_declarations.test_the_grid_names_real_settings_and_values_that_they_take(METHODS, name)
    test_losses.test_a_missing_need_raises(name)
    test_losses.test_the_weight_of_the_retain_term_scales_that_term_alone(name)
    test_losses.test_tokens_of_weight_zero_get_no_gradient_and_others_do(name)
    test_batches.test_agrees_with_the_models_own_forward_one_sequence_at_a_time(name)


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
    loaded = set()
    for page, line in commands:
        verb, *arguments = shlex.split(line, comments=True)
        assert verb in verbs, f"{page}: {line}"
        with verbs[verb].make_context(verb, arguments) as context:
            recipe, overrides = context.params.get("recipe"), context.params.get("overrides") or ()
        if recipe is None or recipe in OWN or any(one in line for one in MISTAKES):
            continue
        changes = [one for one in (recipe, *overrides) if "=" in one]
        load_recipe("phantom" if "=" in recipe else recipe, *changes)
        loaded.add(recipe)
    assert {"phantom", "slake", "qwen2_5_vl"} <= loaded


OWN = ("chest_pairs", "mine.yaml", "runs/phantom/tuning/tuned.yaml")
"""Recipes that the reader makes on the way."""
MISTAKES = ("model.trainble",)
"""What a page shows to show the error."""


def test_no_page_points_to_a_file_that_is_not_there() -> None:
    missing = []
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", page.read_text(encoding="utf-8")):
            if not (page.parent / target).exists() and "docs/assets" not in target:
                missing.append(f"{page.relative_to(ROOT)} → {target}")
    assert missing == []


def test_the_page_on_quantised_bases_names_edits_by_what_they_support() -> None:
    from mllmu_med.methods import METHODS
    from mllmu_med.methods.interface import Supports

    page = (ROOT / "docs" / "how-to" / "quantised-base.md").read_text(encoding="utf-8")
    (said,) = re.findall(r"edits that need weights that can be changed \((.*?)\)", page, re.DOTALL)
    cannot, can = said.split(";")
    assert len(re.findall(r"`(\w+)`", said)) > 3
    for text, works in ((cannot, False), (can, True)):
        for name in re.findall(r"`(\w+)`", text):
            assert (Supports.QUANTISED in METHODS.get(name).supports) is works, name
