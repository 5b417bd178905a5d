"""What the answers of a loaded model depend on, as digests of what is in memory at the moment of asking.

Nothing is remembered from one call to the next. PyTorch's version counters cannot prove that a tensor is unchanged: a
write through ``.data`` (as PEFT merges an adapter) leaves both counter and address as they were. So every byte is
read, at about 2 GB/s a core.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor, nn

from mllmu_med import __version__
from mllmu_med.folders import digest
from mllmu_med.models.images import ImageInputs
from mllmu_med.models.network import unwrap
from mllmu_med.models.vlm import VisionLanguageModel

log = logging.getLogger("mllmu_med")

FORMAT = 1
"""Raised whenever equal inputs would be answered otherwise than before."""

_NOT_ANSWERS = frozenset({"training", "gradient_checkpointing", "name_or_path"})  # attributes that change no answer
_ADAPTERS = frozenset({"_active_adapter", "_disable_adapters"})  # of PEFT's layers
_KNOWN_HOOKS = "transformers."  # it only notes outputs


def model_identity(vlm: VisionLanguageModel) -> str | None:
    """Digest of weights, adapters, guard, processor and arithmetic; None where not all that acts can be read.

    Equal digests give equal answers: of weights and buffers every byte counts, of modules their class and plain
    attributes (an adapter's scale and whether it is switched on among them), of the guard its numbers and tensors, of
    tokenizer and image processor all their settings and their back end, of the arithmetic its precision, device,
    threads and the versions of what computes.
    """
    if reason := _unreadable(vlm.model):
        log.warning("%s: answers are not kept", reason)
        return None
    return digest(
        {
            "format": FORMAT,
            "package": __version__,
            "weights": weights_digest(vlm.model),
            "modules": modules_digest(vlm),
            "guard": guard_digest(vlm),
            "processor": processor_digest(vlm),
            "arithmetic": arithmetic(vlm),
        }
    )


def _values(model: nn.Module) -> dict[str, Any]:
    """Parameters, buffers and whatever else is saved with them, and the buffers that are not saved."""
    saved = model.state_dict(keep_vars=True)
    return {**dict(model.named_buffers()), **saved}


def weights_digest(model: nn.Module) -> str:
    """SHA-256 (hex) over the names, shapes, types and bytes of all parameters and buffers, adapters included."""
    found = _values(model)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        digests = pool.map(_value_digest, found.values())
        return digest(sorted(zip(found, digests, strict=True)))


def _value_digest(value: object) -> str:
    return tensor_digest(value) if isinstance(value, Tensor) else digest(repr(value))


@torch.no_grad()
def tensor_digest(tensor: Tensor) -> str:
    """SHA-256 (hex) over type, shape and bytes."""
    made = sha256(f"{tensor.dtype} {tuple(tensor.shape)}\0".encode())
    flat = tensor.detach().reshape(-1)
    if flat.numel():
        made.update(flat.cpu().contiguous().view(torch.uint8).numpy().data)
    return made.hexdigest()


def modules_digest(vlm: VisionLanguageModel) -> str:
    """SHA-256 (hex) over configuration, and class and plain attributes of every module."""
    made = sha256(repr(sorted(_plain_items(unwrap(vlm.model).config.to_dict()))).encode())
    made.update(repr((unwrap(vlm.model).config._attn_implementation, vlm.packed, vlm.quantised)).encode())
    for name, module in vlm.model.named_modules():
        kind = type(module)
        made.update(repr((name, kind.__module__, kind.__qualname__, sorted(_attributes(module)))).encode())
    return made.hexdigest()


def _attributes(module: nn.Module) -> Iterator[tuple[str, str]]:
    for name, value in vars(module).items():
        if name in _ADAPTERS or (not name.startswith("_") and name not in _NOT_ANSWERS and _is_plain(value)):
            yield name, repr(value)


def _plain_items(values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if not name.startswith("_") and name not in _NOT_ANSWERS:
            yield name, repr(value)


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(_is_plain(key) and _is_plain(one) for key, one in value.items())
    return value is None or isinstance(value, str | int | float | bool)


def guard_digest(vlm: VisionLanguageModel) -> str | None:
    """Digest of the guard's class, numbers, memory and seed; None where there is no guard."""
    active = vlm.guard
    if active is None:
        return None
    guard: Any = active.guard
    kind = type(guard)
    return digest(
        {
            "kind": f"{kind.__module__}.{kind.__qualname__}",
            "numbers": repr(sorted(vars(guard).items())),
            "tensors": {name: tensor_digest(tensor) for name, tensor in active.memory.tensors.items()},
            "settings": dict(active.memory.settings),
            "seed": active.seed,
        }
    )


def processor_digest(vlm: VisionLanguageModel) -> str:
    """Digest of tokenizer, chat template, and image processor with its back end (PIL or torchvision)."""
    images, prompts = vlm.images, vlm.prompts
    tokenizer = prompts.tokenizer
    parts = [part for part in (images.image_processor, images.processor) if part is not None]
    return digest(
        {
            "tokenizer": sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest(),
            "tokens": [prompts.image_token_id, prompts.end_token_id, vlm.pad_token_id],
            "template": [prompts.text("?", with_image) for with_image in (True, False)],
            "processors": [[type(part).__module__, type(part).__qualname__, repr(part)] for part in parts],
            "back_end": {name: _version(name) for name in ("pillow", "torchvision")},
        }
    )


def image_digest(image: ImageInputs) -> str:
    """Digest of an image as the model receives it: its pixels behind the processor, its tokens and their positions."""
    tensors = image.tensors if image.positions is None else {**image.tensors, "positions": image.positions}
    return digest([sorted((name, tensor_digest(value)) for name, value in tensors.items()), list(image.prefix)])


def arithmetic(vlm: VisionLanguageModel) -> dict[str, Any]:
    """What decides how sums are rounded."""
    device = vlm.device
    kind = device.type
    half = torch.is_autocast_enabled(kind)
    return {
        "device": torch.cuda.get_device_name(device) if kind == "cuda" else kind,
        "threads": torch.get_num_threads() if kind == "cpu" else None,
        "autocast": str(torch.get_autocast_dtype(kind)) if half else None,
        "matmul": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "versions": {name: _version(name) for name in ("torch", "transformers", "peft")},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _unreadable(model: nn.Module) -> str | None:
    """What acts on the answers and is not in the digest: a foreign hook, or weights that are no plain tensors."""
    for name, module in model.named_modules():
        for hook in (*module._forward_pre_hooks.values(), *module._forward_hooks.values()):
            if not (getattr(hook, "__module__", None) or "").startswith(_KNOWN_HOOKS):
                return f"a hook acts on {name or 'the model'}"
    for name, value in _values(model).items():
        if isinstance(value, Tensor) and type(value) not in (Tensor, nn.Parameter):
            return f"{name} is a {type(value).__name__}, which may hold more than its bytes"
    return None
