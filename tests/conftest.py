"""What all tests share: no network, one thread, caches in a temporary folder, and tiny saved models of each family."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mllmu_med.testing.pictures import picture

if TYPE_CHECKING:
    from mllmu_med.models.vlm import VisionLanguageModel

# Read when these libraries are first imported, so set before any of them is.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

FAMILY_NAMES = ("idefics3", "llava", "qwen2_5_vl")
"""What most tests run over: an image in one piece, an image in tiles, positions with three axes."""

EVERY_FAMILY = (
    *FAMILY_NAMES, "gemma3", "internvl", "llava_clip", "llava_mistral", "llava_next", "llava_qwen2", "paligemma",
    "qwen2_vl", "qwen3_vl",
)  # fmt: skip
"""What tests/invariant/test_packing_families.py and test_packing_generation.py run over."""


def pytest_collection_finish(session: pytest.Session) -> None:
    """What was imported and collected stays for good: each stage looks for garbage, and need not look through it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is read from or left in the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLLMU_MED_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Sums do not depend on the number of cores, nor on what an earlier test has set."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Family → folder of its saved tiny model; each is written once and only read afterwards."""
    from tests.tiny_models import FAMILIES

    root, saved = tmp_path_factory.mktemp("models"), dict[str, Path]()

    def folder(family: str) -> Path:
        if family not in saved:
            saved[family] = FAMILIES[family](root / family)
        return saved[family]

    return folder


@pytest.fixture(scope="session")
def load_tiny(model_folder: Callable[[str], Path]) -> Callable[[str], VisionLanguageModel]:
    """Family → a fresh copy of its model that finds the pictures."""
    loaded: dict[str, VisionLanguageModel] = {}

    def load(family: str) -> VisionLanguageModel:
        from mllmu_med.models.load import load_model
        from mllmu_med.testing.copies import copied

        if family not in loaded:
            loaded[family] = load_model(model_folder(family))
            loaded[family].attach_images(picture)
        return copied(loaded[family])

    return load


@pytest.fixture(params=FAMILY_NAMES)
def vlm(request: pytest.FixtureRequest, load_tiny: Callable[[str], VisionLanguageModel]) -> VisionLanguageModel:
    """A fresh tiny model of each family in turn."""
    return load_tiny(request.param)


@pytest.fixture
def llava(load_tiny: Callable[[str], VisionLanguageModel]) -> VisionLanguageModel:
    """A fresh tiny LLaVA, the class of the embedded model."""
    return load_tiny("llava")
