"""Trained models on disk: whole folders, or adapters that name the folder they stand on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mllmu_med.errors import DataError
from mllmu_med.folders import read_json, write_json
from mllmu_med.models.groups import has_adapter, merge_adapter
from mllmu_med.models.load import load_model
from mllmu_med.models.quiet import no_foreign_bars
from mllmu_med.models.vlm import VisionLanguageModel

PARENT = "parent.json"
ADAPTER = "adapter"


def save_model(vlm: VisionLanguageModel, folder: Path) -> None:
    """Write model, tokenizer and processor so that ``load_model`` and plain transformers can read the folder."""
    with no_foreign_bars():
        vlm.model.save_pretrained(folder)
    processor = vlm.images.processor
    if processor is not None:
        processor.save_pretrained(folder)
        return
    vlm.prompts.tokenizer.save_pretrained(folder)
    vlm.images.image_processor.save_pretrained(folder)


def save_trained(vlm: VisionLanguageModel, folder: Path, parent: str) -> None:
    """Write what training changed.

    Without adapters the whole model; with adapters only these, plus ``parent.json`` with the model they stand on: a
    path relative to ``folder``'s own parent directory, an absolute path, or a Hub id.
    """
    if not has_adapter(vlm):
        save_model(vlm, folder)
        return
    vlm.model.save_pretrained(folder / ADAPTER)
    write_json(folder / PARENT, {"parent": parent})


def load_trained(folder: str | Path, **options: Any) -> VisionLanguageModel:
    """Load what ``save_trained`` wrote; adapters are merged, so the result is a plain model.

    Args:
        folder: a stage's folder, or any model folder or Hub id.
        options: of ``load_model``.
    """
    path = Path(folder)
    if not (path / PARENT).is_file():
        return load_model(folder, **options)
    from peft import PeftModel

    stored = read_json(path / PARENT)
    if not isinstance(stored, dict) or not isinstance(stored.get("parent"), str):
        raise DataError("does not name a parent model", file=path / PARENT)
    if not list((path / ADAPTER).glob("*.safetensors")):
        raise DataError("holds no adapter in safetensors", file=path / ADAPTER)
    parent = stored["parent"]
    beside = path.parent / parent
    vlm = load_trained(beside if beside.is_dir() else parent, **options)
    vlm.model = PeftModel.from_pretrained(vlm.model, str(path / ADAPTER), use_safetensors=True)
    merge_adapter(vlm)
    vlm.model.eval()
    return vlm
