"""What the suite's tests share."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mllmu_med.methods.interface import Supports
from mllmu_med.testing.naming import made, trained

if TYPE_CHECKING:
    from mllmu_med.models.vlm import VisionLanguageModel

os.environ.setdefault("HF_HUB_OFFLINE", "1")


def pytest_configure(config: pytest.Config) -> None:
    """The marker is xdist's; without it the tests run all the same."""
    config.addinivalue_line("markers", "xdist_group(name): tests that one worker runs")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Sums do not depend on the number of cores, nor on what an earlier test has set."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def other_family(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], VisionLanguageModel]:
    """(family, mode) → a fresh tiny model of another class of transformers; the language model trains."""
    from mllmu_med.models.groups import set_trainable
    from mllmu_med.models.load import load_model
    from mllmu_med.testing.bench import LORA, SEED
    from mllmu_med.testing.copies import copied
    from mllmu_med.testing.pictures import picture
    from mllmu_med.testing.tiny_models import FAMILIES

    loaded: dict[str, VisionLanguageModel] = {}

    def make(family: str, mode: str) -> VisionLanguageModel:
        if family not in loaded:
            loaded[family] = load_model(FAMILIES[family](tmp_path_factory.mktemp("models") / family))
            loaded[family].attach_images(picture)
        vlm = copied(loaded[family])
        set_trainable(vlm, {"language": mode, "projector": "full"}, LORA, seed=SEED)
        return vlm

    return make


@pytest.fixture(scope="session")
def chosen_names(request: pytest.FixtureRequest) -> list[str]:
    """The methods that two processes can train and that are selected in this session."""
    asked = {
        str(item.callspec.params["name"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and "pair" in item.fixturenames
    }
    return [name for name in trained() if name in asked and Supports.DISTRIBUTED in made(name).supports]


@pytest.fixture(scope="session")
def pair(chosen_names: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Where two processes have left what they trained, and what failed; one pair, however many workers test."""
    from filelock import FileLock

    from mllmu_med.testing.two_processes import run_pair

    alone = "PYTEST_XDIST_WORKER" not in os.environ
    folder = tmp_path_factory.mktemp("pair") if alone else tmp_path_factory.getbasetemp().parent / "pair"
    with FileLock(f"{folder}.lock"):
        report = folder / "report.json"
        if not report.is_file():
            folder.mkdir(exist_ok=True)
            report.write_text(json.dumps(run_pair(folder, chosen_names)), encoding="utf-8")
    return folder, json.loads(report.read_text(encoding="utf-8"))
