"""Models for timing: random weights of real classes, because speed does not depend on what has been learnt.

``tiny`` is the embedded model of the demo; ``small`` has 60 million parameters and 144 image tokens; ``llava-7b`` and
``qwen2_5_vl-7b`` have the sizes of LLaVA-1.5-7B and Qwen2.5-VL-7B, in bfloat16 with LoRA of rank 16, and want a GPU.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from mllmu_med.models.embedded import CHAT_TEMPLATE, train_tokenizer
from mllmu_med.models.groups import Lora, set_trainable
from mllmu_med.models.load import assemble
from mllmu_med.models.self_check import check_packing
from mllmu_med.models.vlm import VisionLanguageModel
from mllmu_med.seeding import derive

LORA = Lora(rank=16, alpha=32)


@dataclass(frozen=True)
class Size:
    """Sizes of a model.

    Attributes:
        family: ``llava`` or ``qwen2_5_vl``.
        image, patch: side of the square image and of a patch, in pixels.
        vision: width, inner width, layers, heads of the tower.
        text: width, inner width, layers, heads, key-value heads of the decoder.
        vocabulary: rows of the embedding and of the head (the tokenizer may know fewer tokens).
        tied: embedding and head are one matrix.
        spread: standard deviation of the initial weights.
        dtype: of the frozen weights.
        language: how the language model trains, ``full`` or ``lora``; tower and projector are frozen.
        steps: optimiser steps of one timing.
        images: images on either side of a step.
        branches: most questions of an image in a row. A short prefix is soon shared enough, while what a row costs its
            attention grows with the square of its length; an image of hundreds of positions pays for every question.
    """

    family: str
    image: int
    patch: int
    vision: tuple[int, int, int, int]
    text: tuple[int, int, int, int, int]
    vocabulary: int
    tied: bool = True
    spread: float = 0.02
    dtype: torch.dtype = torch.float32
    language: str = "full"
    steps: int = 1
    images: int = 1
    branches: int = 16

    @property
    def image_tokens(self) -> int:
        """Positions that an image takes: patches, or merged patches (2 × 2) of a Qwen tower."""
        patches = (self.image // self.patch) ** 2
        return patches if self.family == "llava" else patches // 4


SIZES = {
    "mini": Size("llava", 32, 16, (32, 64, 2, 2), (64, 128, 2, 4, 4), 400, spread=0.1, steps=2),
    "mini-qwen": Size("qwen2_5_vl", 64, 8, (32, 64, 2, 2), (64, 128, 2, 4, 2), 400, spread=0.1, steps=2),
    "tiny": Size(
        "llava", 64, 16, (128, 256, 3, 4), (192, 512, 2, 4, 4), 1600, spread=0.1, steps=3, images=2, branches=4
    ),
    "small": Size("llava", 192, 16, (384, 1536, 10, 6), (512, 1408, 12, 8, 8), 8000),
    "llava-7b": Size(
        "llava", 336, 14, (1024, 4096, 24, 16), (4096, 11008, 32, 32, 32), 32064, tied=False, dtype=torch.bfloat16,
        language="lora", steps=5, images=2,
    ),
    "qwen2_5_vl-7b": Size(
        "qwen2_5_vl", 448, 14, (1280, 3420, 32, 16), (3584, 18944, 28, 28, 4), 152064, tied=False,
        dtype=torch.bfloat16, language="lora", steps=5, images=2,
    ),
}  # fmt: skip
"""``mini`` and ``mini-qwen`` are for tests of the scripts."""


def build(size: Size, texts: Iterable[str], *, seed: int = 0, device: str = "cpu") -> VisionLanguageModel:
    """A fresh model that has passed the self-check of packing; its tokenizer is trained on ``texts``."""
    tokenizer = train_tokenizer(texts, size.vocabulary)
    made = _llava(size, tokenizer) if size.family == "llava" else _qwen(size, tokenizer)
    tokenizer, config, image_processor, processor, kind = made
    devices = [device] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices), torch.device(device):
        torch.manual_seed(derive(seed, "speed weights"))
        model = kind._from_config(config, dtype=size.dtype, attn_implementation="sdpa")
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    vlm = assemble(model.to(device), tokenizer, image_processor, processor, config, f"{size.family} of random weights")
    vlm.model.eval()
    vlm.packed = check_packing(vlm)
    return vlm


def make_trainable(vlm: VisionLanguageModel, size: Size, *, seed: int = 0) -> None:
    """The language model trains, in full or by LoRA; tower and projector are frozen."""
    set_trainable(vlm, {"language": size.language}, LORA, seed=seed)


def _decoder(size: Size, tokenizer: Any) -> dict[str, Any]:
    width, inner, layers, heads, groups = size.text
    return {
        "vocab_size": max(size.vocabulary, len(tokenizer)), "hidden_size": width, "intermediate_size": inner,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": groups,
        "max_position_embeddings": 8192, "tie_word_embeddings": size.tied, "initializer_range": size.spread,
        "pad_token_id": tokenizer.pad_token_id, "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }  # fmt: skip


def _llava(size: Size, tokenizer: Any) -> tuple[Any, Any, Any, Any, Any]:
    from transformers import (
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        SiglipImageProcessorPil,
        SiglipVisionConfig,
    )

    width, inner, layers, heads = size.vision
    vision = SiglipVisionConfig(
        hidden_size=width, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads,
        image_size=size.image, patch_size=size.patch, vision_use_head=False,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=vision, text_config=LlamaConfig(**_decoder(size, tokenizer)), initializer_range=size.spread,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"), vision_feature_select_strategy="full",
        vision_feature_layer=-1, image_seq_length=size.image_tokens, tie_word_embeddings=size.tied,
    )  # fmt: skip
    image_processor = SiglipImageProcessorPil(size={"height": size.image, "width": size.image})
    processor = LlavaProcessor(
        image_processor=image_processor, tokenizer=tokenizer, patch_size=size.patch,
        vision_feature_select_strategy="full", num_additional_image_tokens=0, chat_template=CHAT_TEMPLATE,
    )  # fmt: skip
    return tokenizer, config, image_processor, processor, LlavaForConditionalGeneration


def _qwen(size: Size, tokenizer: Any) -> tuple[Any, Any, Any, Any, Any]:
    from transformers import (
        PreTrainedTokenizerFast,
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2VLImageProcessorPil,
    )

    extra = {"image_token": "<|image_pad|>", "vision_start": "<|vision_start|>", "vision_end": "<|vision_end|>",
             "video_token": "<|video_pad|>"}  # fmt: skip
    tokenizer.add_special_tokens({"extra_special_tokens": list(extra.values())})
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="<|im_end|>",
        unk_token="<unk>", extra_special_tokens=extra, clean_up_tokenization_spaces=False,
    )  # fmt: skip
    tokenizer.chat_template = CHAT_TEMPLATE.replace("<image>", "<|vision_start|><|image_pad|><|vision_end|>")
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in extra.items()}
    width, inner, depth, heads = size.vision
    text = _decoder(size, tokenizer)
    half = size.text[0] // size.text[3] // 2  # rotary frequencies of a head, shared out over time, height and width
    sections = [half // 4, (half - half // 4) // 2, half - half // 4 - (half - half // 4) // 2]
    text["rope_parameters"] = {"rope_type": "default", "mrope_section": sections, "rope_theta": 1e6}
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config={
            "depth": depth, "hidden_size": width, "intermediate_size": inner, "num_heads": heads,
            "out_hidden_size": size.text[0], "patch_size": size.patch, "spatial_merge_size": 2,
            "temporal_patch_size": 2, "window_size": 8 * size.patch, "fullatt_block_indexes": [depth - 1],
        },
        image_token_id=ids["image_token"], video_token_id=ids["video_token"],
        vision_start_token_id=ids["vision_start"], vision_end_token_id=ids["vision_end"],
        tie_word_embeddings=size.tied,
    )  # fmt: skip
    pixels = size.image**2
    image_processor = Qwen2VLImageProcessorPil(
        patch_size=size.patch, merge_size=2, size={"shortest_edge": pixels, "longest_edge": pixels}
    )
    return tokenizer, config, image_processor, None, Qwen2_5_VLForConditionalGeneration
