"""Loading a model folder (or Hub id): safetensors only, no remote code, self-checked."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from mllmu_med.errors import DataError
from mllmu_med.models.fast_linear import speed_up
from mllmu_med.models.images import ImagePreparer
from mllmu_med.models.prompts import PromptFormat
from mllmu_med.models.quiet import no_foreign_bars
from mllmu_med.models.self_check import check_packing
from mllmu_med.models.vlm import VisionLanguageModel

log = logging.getLogger("mllmu_med")

_DAMAGED = (
    OSError, ValueError, KeyError, TypeError, ImportError,
    SafetensorError,  # cut off, or no safetensors file at all
    StrictDataclassError,  # a config whose numbers are not what they must be
    RuntimeError,  # weights that do not fit the config
)  # fmt: skip
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
NO_REMOTE_CODE = {"trust_remote_code": False}
"""Left out, the library asks on the terminal whether to run a folder's code, and takes a "y" from a pipe."""


def load_model(
    path: str | Path, *, dtype: str = "float32", device: str | torch.device = "cpu", packing: str = "auto"
) -> VisionLanguageModel:
    """Load any ``AutoModelForImageTextToText`` in Hugging Face format.

    Args:
        path: a folder with config, safetensors weights, tokenizer, image processor and chat template; or a Hub id.
        dtype: ``float32`` or ``bfloat16``.
        packing: ``auto`` compares packed rows with the plain path on two small examples and falls back, with a warning,
            if they differ; ``off`` takes the plain path.

    Raises:
        DataError: the folder is incomplete, holds only pickled weights, or is of a class that is not supported.
    """
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

    name = str(path)
    _refuse_pickles(Path(path))
    try:
        config = AutoConfig.from_pretrained(name, **NO_REMOTE_CODE)
        with no_foreign_bars():
            model = AutoModelForImageTextToText.from_pretrained(
                name, dtype=DTYPES[dtype], use_safetensors=True, attn_implementation="sdpa", **NO_REMOTE_CODE
            )
        tokenizer = AutoTokenizer.from_pretrained(name, use_fast=True, **NO_REMOTE_CODE)
        image_processor = AutoImageProcessor.from_pretrained(name, **NO_REMOTE_CODE)
    except _DAMAGED as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise DataError(
            f"cannot be loaded as an image-text-to-text model: {reason}",
            file=name,
            mend="It needs config.json, *.safetensors, tokenizer.json and preprocessor_config.json.",
        ) from error
    processor = _processor(name)
    vlm = assemble(model.to(device), tokenizer, image_processor, processor, config, name)
    vlm.model.eval()
    vlm.packed = packing != "off" and check_packing(vlm)
    return vlm


def assemble(
    model: Any, tokenizer: Any, image_processor: Any, processor: Any, config: Any, name: str
) -> VisionLanguageModel:
    """Put the parts of a model behind the adapter; ``processor`` may be None."""
    speed_up(model)
    template = getattr(processor, "chat_template", None)
    prompts = PromptFormat(tokenizer, _image_token(tokenizer, processor, config, name), template, name)
    rope_index = getattr(model.base_model, "get_rope_index", None)
    preparer = ImagePreparer(
        processor=processor, image_processor=image_processor, prompts=prompts, config=config, rope_index=rope_index
    )
    return VisionLanguageModel(model, prompts, preparer)


def _processor(name: str) -> Any:
    """The full processor, or None where it cannot be built (a video processor without torchvision)."""
    from transformers import AutoProcessor, ProcessorMixin

    try:
        processor = AutoProcessor.from_pretrained(name, **NO_REMOTE_CODE)
    except (OSError, ValueError, ImportError, TypeError) as error:
        log.info("%s: full processor not available (%s); image processor and tokenizer are called directly", name,
                 str(error).strip().splitlines()[0])  # fmt: skip
        return None
    return processor if isinstance(processor, ProcessorMixin) else None


def _image_token(tokenizer: Any, processor: Any, config: Any, name: str) -> str:
    token = getattr(processor, "image_token", None) or getattr(tokenizer, "image_token", None)
    if token is not None:
        return str(token)
    index = getattr(config, "image_token_id", None) or getattr(config, "image_token_index", None)
    if index is None:
        raise DataError("neither its config nor its tokenizer names an image token", file=name)
    found: str = tokenizer.convert_ids_to_tokens(index)
    return found


def _refuse_pickles(folder: Path) -> None:
    """A clear line for folders that hold only pickled weights."""
    if not folder.is_dir():
        return
    if any(folder.glob("*.safetensors")):
        return
    if any(folder.glob("*.bin")) or any(folder.glob("*.pt*")):
        raise DataError(
            "holds pickled weights only, which can run code when they are loaded",
            file=folder,
            mend="Convert them to safetensors in an isolated environment first.",
        )
    raise DataError("holds no *.safetensors weights", file=folder, mend="Check the path.")
