"""Guards in folders: saved, loaded, and damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mllmu_med.errors import DataError
from mllmu_med.models.guard_store import GUARD, TENSORS, load_guarded, save_guard
from mllmu_med.models.store import load_trained, save_model
from mllmu_med.models.vlm import VisionLanguageModel
from tests.conftest import picture
from tests.invariant.jobs import weights_digest
from tests.unit.models.guard_cases import GUARDS, Load, branch_logits, guarded, memory_for, rows_of


@pytest.fixture
def folder(llava: VisionLanguageModel, tmp_path: Path) -> Path:
    """A guard's folder beside that of its model."""
    save_model(llava, tmp_path / "theta0")
    (tmp_path / "eco").mkdir()
    memory = memory_for(llava, GUARDS["eco"])
    save_guard(tmp_path / "eco", "eco", GUARDS["eco"], memory, parent="theta0", seed=7)
    return tmp_path / "eco"


def test_a_saved_guard_acts_as_before_on_the_same_weights(llava: VisionLanguageModel, folder: Path) -> None:
    guarded(llava, "eco")
    loaded = load_trained(folder)
    loaded.attach_images(picture)
    assert loaded.guard is not None
    assert loaded.guard.guard == GUARDS["eco"]
    assert weights_digest(loaded.model) == weights_digest(load_trained(folder.parent / "theta0").model)
    for one, other in zip(
        branch_logits(loaded, rows_of(loaded)[0]), branch_logits(llava, rows_of(llava)[0]), strict=True
    ):
        assert torch.equal(one, other)
    assert sorted(path.name for path in folder.iterdir()) == [GUARD, TENSORS]


def test_a_guard_may_stand_on_adapters(load_tiny: Load, folder: Path) -> None:
    loads: list[Path] = []

    def load(parent: Path) -> VisionLanguageModel:
        loads.append(parent)
        return load_tiny("llava")

    assert load_guarded(folder, load).guard is not None
    assert loads == [folder.parent / "theta0"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "x"}, "is not of format"),
        ({"more": 1}, "does not hold"),
        ({"settings": []}, "does not hold"),
        ({"seed": "7"}, "no whole number"),
        ({"name": "ecco"}, r"unknown method 'ecco' \(did you mean 'eco'\?\)"),
        ({"name": "npo"}, "'npo', which is no guard"),
        ({"name": ["eco"]}, "unknown method"),
        ({"parameters": {"dimms": 1}}, "no such key"),
        ({"parameters": {"dims": "many"}}, "parameters.dims"),
        ({"parameters": {"dims": -1}}, "dims must be at least 1"),
        ({"parent": "../theta0"}, "does not name a model's folder beside its own"),
        ({"parent": "/etc"}, "does not name a model's folder beside its own"),
        ({"parent": ".."}, "does not name a model's folder beside its own"),
        ({"parent": "eco"}, "does not name a model's folder beside its own"),
        ({"parent": 3}, "does not name a model's folder beside its own"),
        ({"parent": "some-hub-id"}, "which is not beside it"),
        ({"settings": {}}, "does not fit its guard and model: setting 'scope_threshold'"),
    ],
)
def test_a_damaged_folder_is_refused_in_one_line(folder: Path, change: dict[str, Any], message: str) -> None:
    stored = json.loads((folder / GUARD).read_text())
    (folder / GUARD).write_text(json.dumps({**stored, **change}))
    with pytest.raises(DataError, match=message) as error:
        load_trained(folder)
    assert "\n" not in str(error.value)
    assert "guard.json" in str(error.value)


def test_tensors_that_do_not_fit_are_refused(folder: Path) -> None:
    tensors = load_file(folder / TENSORS)
    save_file({**tensors, "scope_forget": torch.zeros(1, 127)}, folder / TENSORS)
    with pytest.raises(
        DataError, match=r"'scope_forget' is torch.float32 \[1, 127\], expected torch.float32 \['any', 128\]"
    ):
        load_trained(folder)
    (folder / TENSORS).write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(DataError, match="no safetensors file"):
        load_trained(folder)
    (folder / TENSORS).unlink()
    with pytest.raises(DataError, match="'scope_mean' is missing"):
        load_trained(folder)


def test_a_guard_on_a_guard_is_refused(folder: Path) -> None:
    (folder.parent / "second").mkdir()
    stored = json.loads((folder / GUARD).read_text())
    (folder.parent / "second" / GUARD).write_text(json.dumps({**stored, "parent": "eco"}))
    with pytest.raises(DataError, match="which is a guard itself"):
        load_trained(folder.parent / "second")
