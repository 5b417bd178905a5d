"""Trained models on disk: whole folders, or adapters that name the folder they stand on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mllmu_med.errors import DataError, UsageError
from mllmu_med.folders import read_json, write_json
from mllmu_med.models.groups import has_adapter, merge_adapter, plain_name
from mllmu_med.models.guard_store import GUARD, load_guarded
from mllmu_med.models.load import load_model
from mllmu_med.models.network import AnswerNetwork
from mllmu_med.models.quantised import quantise_language
from mllmu_med.models.quiet import no_foreign_bars, no_renamed_attributes
from mllmu_med.models.sharding import first_process, is_sharded, wait_for_all, whole
from mllmu_med.models.vlm import VisionLanguageModel

PARENT = "parent.json"
ADAPTER = "adapter"
BESIDE = "trained.safetensors"
"""Weights that were trained as a whole while other modules had adapters."""


def save_model(vlm: VisionLanguageModel, folder: Path) -> None:
    """Write model, tokenizer and processor so that ``load_model`` and plain transformers can read the folder.

    With several processes each must call; the first one writes.

    Raises:
        UsageError: the weights are quantised, which no other program could read.
    """
    if vlm.quantised:
        raise UsageError(f"{vlm.quantised} weights are not written; save the adapters (save_trained) instead")
    state = _whole_state(vlm)
    if first_process():
        with no_foreign_bars():
            vlm.model.save_pretrained(folder, state_dict=state)
        processor = vlm.images.processor
        if processor is not None:
            processor.save_pretrained(folder)
        else:
            vlm.prompts.tokenizer.save_pretrained(folder)
            vlm.images.image_processor.save_pretrained(folder)
    wait_for_all()


def save_trained(vlm: VisionLanguageModel, folder: Path, parent: str) -> None:
    """Write what training changed.

    Without adapters the whole model; with adapters these, the weights that were trained as a whole beside them, and
    ``parent.json`` with the model they stand on (a path relative to ``folder``'s own parent directory, an absolute
    path, or a Hub id) and the number format in which it was held. With several processes each must call.
    """
    if not has_adapter(vlm):
        save_model(vlm, folder)
        return
    from safetensors.torch import save_file

    state = _whole_state(vlm)
    beside = {
        plain_name(name): whole(p.detach()).contiguous()
        for name, p in vlm.model.named_parameters()
        if p.requires_grad and ".lora_" not in name
    }
    if first_process():
        vlm.model.save_pretrained(folder / ADAPTER, state_dict=state)
        if beside:
            save_file(beside, folder / BESIDE)
        held = {"quantised": vlm.quantised} if vlm.quantised else {}
        write_json(folder / PARENT, {"parent": parent, **held})
    wait_for_all()


def _whole_state(vlm: VisionLanguageModel) -> dict[str, Tensor] | None:
    """What is to be written of a model whose layers are shared out; None: what the model itself would write."""
    if not is_sharded(vlm):
        return None
    adapted = has_adapter(vlm)
    return {
        name: whole(tensor).cpu() for name, tensor in vlm.model.state_dict().items() if not adapted or ".lora_" in name
    }


def load_trained(
    folder: str | Path, *, quantise: str | None = None, apart: bool = False, **options: Any
) -> VisionLanguageModel:
    """Load what ``save_trained`` wrote; adapters are merged in the precision of the weights, down the whole chain.

    Args:
        folder: a stage's folder, or any model folder or Hub id.
        quantise: ``int8`` or ``nf4``: hold the linear layers of the language model in this format. If the folder's own
            adapter was trained on weights of this format, it stays apart on them, as in training: only the models it
            stands on are merged before they are quantised. Otherwise everything is merged and the result quantised.
        apart: the folder's own adapter stays apart on weights that are not quantised, too; the models it stands on are
            merged. A folder that holds no adapter (a whole model, a guard) is loaded as without this.
        options: of ``load_model``.

    Returns:
        a plain model, or one with the last adapter apart.

    Raises:
        DataError: the folder is damaged.
        UsageError: an unknown number format, or an adapter that was trained on other weights cannot stay apart on
            those of ``quantise``.
    """
    path = Path(folder)
    if (path / GUARD).is_file():
        return load_guarded(
            path, lambda parent: load_trained(parent, quantise=quantise or trained_format(parent), **options)
        )
    if not is_adapter(path):
        vlm = load_model(folder, **options)
        return vlm if quantise is None else quantise_language(vlm, quantise)
    from peft import PeftModel

    stored = _parent(path)
    trained_so = quantise is not None and stored.get("quantised") == quantise
    if apart and quantise is not None and not trained_so:
        raise UsageError(f"{folder}: its adapter was not trained on {quantise} weights and cannot stay apart on them")
    if not list((path / ADAPTER).glob("*.safetensors")):
        raise DataError("holds no adapter in safetensors", file=path / ADAPTER)
    beside = path.parent / stored["parent"]
    vlm = load_trained(beside if beside.is_dir() else stored["parent"], **options)
    _load_beside(vlm, path / BESIDE)
    if quantise is not None and trained_so:
        quantise_language(vlm, quantise)
    with no_renamed_attributes():
        vlm.model = PeftModel.from_pretrained(vlm.model, str(path / ADAPTER), use_safetensors=True)
    vlm.network = AnswerNetwork(vlm.model)
    if not (apart or trained_so):
        merge_adapter(vlm)
        if quantise is not None:
            quantise_language(vlm, quantise)
    vlm.model.eval()
    return vlm


def is_adapter(folder: str | Path) -> bool:
    """Whether a folder holds an adapter and the name of the model it stands on, instead of a whole model."""
    return (Path(folder) / PARENT).is_file()


def trained_format(folder: str | Path) -> str | None:
    """Number format of the weights on which a folder's own adapter was trained; None: they were not quantised."""
    if not is_adapter(folder):
        return None
    found = _parent(Path(folder)).get("quantised")
    return None if found is None else str(found)


def _parent(folder: Path) -> dict[str, Any]:
    stored = read_json(folder / PARENT)
    if not isinstance(stored, dict) or not isinstance(stored.get("parent"), str):
        raise DataError("does not name a parent model", file=folder / PARENT)
    return stored


@torch.no_grad()
def _load_beside(vlm: VisionLanguageModel, file: Path) -> None:
    """Take over the weights that were trained as a whole beside adapters."""
    from safetensors.torch import load_file

    if not file.is_file():
        return
    parameters = dict(vlm.model.named_parameters())
    for name, tensor in load_file(file).items():
        if name not in parameters or parameters[name].shape != tensor.shape:
            raise DataError(f"holds '{name}', which its parent model has not in this shape", file=file)
        parameters[name].copy_(tensor)
