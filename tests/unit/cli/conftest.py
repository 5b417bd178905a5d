"""A pipeline that only notes what it is asked for, and a shell."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import mllmu_med
from mllmu_med.cli import main
from mllmu_med.recipe import Recipe


@dataclass
class StagePlan:
    name: str
    folder: Path
    status: str
    reason: str
    estimate: str


class Pipeline:
    """Stands for the pipeline; notes what it is asked for."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Recipe, Path, dict[str, Any]]] = []
        self.error: BaseException | None = None
        self.results: dict[str, Any] | None = None

    def plan_run(self, recipe: Recipe, output: Path, *, until: str | None = None) -> list[StagePlan]:
        self.calls.append(("plan", recipe, output, {"until": until}))
        return [StagePlan("benchmark", output / "benchmark", "to do", "absent", "5 s")]

    def run(self, recipe: Recipe, output: Path, **choices: Any) -> SimpleNamespace:
        self.calls.append(("run", recipe, output, choices))
        if self.error is not None:
            raise self.error
        return SimpleNamespace(folder=output, results=self.results, page=output / "report" / "index.html")

    def make_again(self, recipe: Recipe, output: Path, verbs: Sequence[str]) -> SimpleNamespace:
        self.calls.append(("again", recipe, output, {"verbs": verbs}))
        return SimpleNamespace(folder=output, results=self.results, page=output / "report" / "index.html")


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Pipeline:
    fake = Pipeline()
    monkeypatch.setitem(sys.modules, "mllmu_med.pipeline", fake)  # type: ignore[arg-type]
    monkeypatch.setattr(mllmu_med, "pipeline", fake, raising=False)
    monkeypatch.chdir(tmp_path)
    return fake


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command line: exit code, standard output, standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
