"""Digests of what numbers depend on: weights, modules, processor, prepared images, arithmetic.

Nothing is remembered from one call to the next. PyTorch's version counters cannot prove that a tensor is unchanged: a
write through ``.data`` (as PEFT merges an adapter) leaves both counter and address as they were. So every byte is
read, at about 2 GB/s a core.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mllmu_med import __version__
from mllmu_med.caches.tensors import tensor_digest
from mllmu_med.cores import cores
from mllmu_med.errors import UsageError
from mllmu_med.folders import digest
from mllmu_med.models.groups import group_of, plain_name
from mllmu_med.models.images import ImageInputs
from mllmu_med.models.network import unwrap
from mllmu_med.models.sharding import is_sharded
from mllmu_med.models.vlm import VisionLanguageModel

FORMAT = 1
"""Raised whenever features or references of equal inputs would have other bits than before: rows, masks, positions."""

_NOT_ANSWERS = frozenset({"training", "gradient_checkpointing", "name_or_path"})  # attributes that change no answer
_ADAPTERS = frozenset({"_active_adapter", "_disable_adapters"})  # of PEFT's layers
_KNOWN_HOOKS = ("transformers.", "mllmu_med.training.cost")  # they only note what passes


# --- weights and modules ----------------------------------------------------------------------------------------------


def values_of(model: nn.Module) -> dict[str, Any]:
    """Parameters, buffers and whatever else is saved with them, and the buffers that are not saved."""
    saved = model.state_dict(keep_vars=True)
    return {**dict(model.named_buffers()), **saved}


def values_digest(values: Mapping[str, Any]) -> str:
    """SHA-256 (hex) over names, shapes, types and bytes."""
    with ThreadPoolExecutor(min(8, cores())) as pool:
        digests = pool.map(_value_digest, values.values())
        return digest(sorted(zip(values, digests, strict=True)))


def _value_digest(value: object) -> str:
    return tensor_digest(value) if isinstance(value, Tensor) else digest(repr(value))


def weights_digest(model: nn.Module) -> str:
    """SHA-256 (hex) over the names, shapes, types and bytes of all parameters and buffers, adapters included."""
    return values_digest(values_of(model))


def modules_digest(vlm: VisionLanguageModel) -> str:
    """SHA-256 (hex) over configuration, and class and plain attributes of every module."""
    made = sha256(_config_text(vlm, ()))
    made.update(repr((_attention(vlm), vlm.packed, vlm.quantised)).encode())
    _add_modules(made, vlm.model.named_modules())
    return made.hexdigest()


def _attention(vlm: VisionLanguageModel) -> list[str]:
    """How attention is computed: in the whole, and in each part, which may have a way of its own."""
    config = unwrap(vlm.model).config
    parts = (getattr(config, name, None) for name in ("text_config", "vision_config"))
    return [str(getattr(part, "_attn_implementation", None)) for part in (config, *parts)]


def _config_text(vlm: VisionLanguageModel, without: Collection[str]) -> bytes:
    values: dict[str, Any] = unwrap(vlm.model).config.to_dict()
    return repr(sorted(_plain_items({k: v for k, v in values.items() if k not in without}))).encode()


def _add_modules(made: Any, modules: Iterable[tuple[str, nn.Module]]) -> None:
    for name, module in modules:
        kind = type(module)
        made.update(repr((name, kind.__module__, kind.__qualname__, sorted(_attributes(module)))).encode())


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


def unreadable(model: nn.Module, counts: Callable[[str], bool] = lambda name: True) -> str | None:
    """What acts on the answers and is in no digest: a foreign hook, or weights that are no plain tensors; else None.

    ``counts``: which modules and weights are looked at, by name.
    """
    for name, module in model.named_modules():
        for hook in (*module._forward_pre_hooks.values(), *module._forward_hooks.values()):
            if counts(name) and not (getattr(hook, "__module__", None) or "").startswith(_KNOWN_HOOKS):
                return f"a hook acts on {name or 'the model'}"
    for name, value in values_of(model).items():
        if counts(name) and isinstance(value, Tensor) and type(value) not in (Tensor, nn.Parameter):
            return f"{name} is a {type(value).__name__}, which may hold more than its bytes"
    return None


# --- what goes in -----------------------------------------------------------------------------------------------------


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
            "back_end": {name: version(name) for name in ("pillow", "torchvision")},
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
        "device": torch.cuda.get_device_name(device) if kind == "cuda" else [kind, _processor_name()],
        "threads": torch.get_num_threads() if kind == "cpu" else None,
        "autocast": str(torch.get_autocast_dtype(kind)) if half else None,
        "matmul": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "versions": {name: version(name) for name in ("torch", "transformers", "peft")},
    }


@cache
def version(package: str) -> str | None:
    """Of an installed package; None where it is not installed."""
    try:
        return installed_version(package)
    except PackageNotFoundError:
        return None


@cache
def _processor_name() -> str:
    """The processor's model: another one may have other kernels, which sum in another order."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name} {torch.backends.cpu.get_cpu_capability()}"


# --- spaces of the cache ----------------------------------------------------------------------------------------------


def vision_readable(vlm: VisionLanguageModel) -> bool:
    """Whether :func:`vision_space` says all; not so where a foreign hook acts on the vision side."""
    return unreadable(unwrap(vlm.model), on_vision_side) is None


def vision_space(vlm: VisionLanguageModel) -> str:
    """Digest of all that image features depend on beside the prepared image: vision tower, projector, arithmetic."""
    return _space(vlm, "features", on_vision_side, without=("text_config",), more=None)


def reference_space(vlm: VisionLanguageModel) -> str | None:
    """Digest of all that θ0's outputs depend on beside the rows: the model without its adapters, and the arithmetic.

    None where not all of it can be read: shared-out weights, a guard, a foreign hook.
    """
    if is_sharded(vlm) or vlm.guard is not None or unreadable(vlm.model) is not None:
        return None
    more = [vlm.packed, vlm.quantised, vlm.pad_token_id]
    return _space(vlm, "references", lambda name: True, without=(), more=more)


def on_vision_side(name: str) -> bool:
    """Whether a parameter or module is part of vision tower or projector; in doubt it is."""
    try:
        return group_of(plain_name(name)) != "language"
    except UsageError:
        return True


def _space(
    vlm: VisionLanguageModel, kind: str, counts: Callable[[str], bool], *, without: Collection[str], more: object
) -> str:
    """Of the tensors and modules whose names count; adapters count as absent, as where they are switched off.

    Args:
        without: parts of the configuration that do not count.
        more: what counts beside.
    """
    model = unwrap(vlm.model)
    values = {
        plain_name(name): value for name, value in values_of(model).items() if ".lora_" not in name and counts(name)
    }
    modules = sha256(_config_text(vlm, without))
    _add_modules(
        modules,
        (
            (plain_name(name), module)
            for name, module in model.named_modules()
            if ".lora_" not in name and not hasattr(module, "base_layer") and counts(name)
        ),
    )
    return digest(
        {
            "kind": kind,
            "format": FORMAT,
            "package": __version__,
            "weights": values_digest(values),
            "modules": modules.hexdigest(),
            "attention": _attention(vlm),
            "dtype": str(model.dtype),
            "arithmetic": arithmetic(vlm),
            "more": more,
        }
    )
