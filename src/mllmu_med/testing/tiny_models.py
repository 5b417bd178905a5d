"""Tiny random models of real transformers classes, saved in standard Hugging Face format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessorPil,
    Idefics3Processor,
    LlamaConfig,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
)
from transformers.models.idefics3.configuration_idefics3 import Idefics3VisionConfig

from mllmu_med.models.embedded import CHAT_TEMPLATE, Architecture, build_embedded
from mllmu_med.models.store import save_model
from mllmu_med.testing.tiny_families import MORE_FAMILIES, TEXT, TEXTS, retag

__all__ = ["FAMILIES", "SMALL", "TEXTS", "save_idefics3", "save_llava", "save_qwen2_5_vl"]

SMALL = Architecture(
    vision_hidden=32,
    vision_intermediate=64,
    vision_layers=2,
    vision_heads=2,
    hidden=64,
    intermediate=128,
    vocabulary=400,
)


def save_llava(folder: Path, seed: int = 0) -> Path:
    """A LLaVA, the class of the embedded model."""
    save_model(build_embedded(TEXTS, SMALL, seed), folder)
    return folder


def save_idefics3(folder: Path, seed: int = 0) -> Path:
    """An Idefics3 (the class of SmolVLM)."""
    extra = {
        "image_token": "<image>", "fake_image_token": "<fake_token_around_image>", "global_image_token": "<global-img>",
        "end_of_utterance_token": "<end_of_utterance>",
    }  # fmt: skip
    tokenizer = retag(extra)
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": tokenizer.eos_token_id}
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 64,
    }
    config = Idefics3Config(
        vision_config=Idefics3VisionConfig(**vision, patch_size=8),
        text_config=LlamaConfig(**TEXT, **special, vocab_size=len(tokenizer)),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=0,
    )
    torch.manual_seed(seed)
    model = Idefics3ForConditionalGeneration(config)
    side = {"longest_edge": 64}
    image_processor = Idefics3ImageProcessorPil(size=side, max_image_size=side, do_image_splitting=False)
    processor = Idefics3Processor(
        image_processor=image_processor, tokenizer=tokenizer, image_seq_len=16, chat_template=CHAT_TEMPLATE
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def save_qwen2_5_vl(folder: Path, seed: int = 0) -> Path:
    """A Qwen2.5-VL, saved without a full processor: it owns a video processor, which needs torchvision."""
    extra = {"image_token": "<|image_pad|>", "vision_start": "<|vision_start|>", "vision_end": "<|vision_end|>",
             "video_token": "<|video_pad|>"}  # fmt: skip
    tokenizer = retag(extra)
    tokenizer.chat_template = CHAT_TEMPLATE.replace("<image>", "<|vision_start|><|image_pad|><|vision_end|>")
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in extra.items()}
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
    config = Qwen2_5_VLConfig(
        text_config={**TEXT, "rope_parameters": rope, "vocab_size": len(tokenizer), "pad_token_id": 0,
                     "bos_token_id": 1, "eos_token_id": tokenizer.eos_token_id, "tie_word_embeddings": True},
        vision_config={"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64,
                       "patch_size": 8, "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 64,
                       "fullatt_block_indexes": [1]},
        image_token_id=ids["image_token"],
        video_token_id=ids["video_token"],
        vision_start_token_id=ids["vision_start"],
        vision_end_token_id=ids["vision_end"],
        tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(config)
    image_processor = Qwen2VLImageProcessorPil(
        patch_size=8, merge_size=2, size={"shortest_edge": 32 * 32, "longest_edge": 64 * 64}
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    image_processor.save_pretrained(folder)
    return folder


FAMILIES: dict[str, Callable[[Path], Path]] = {
    "llava": save_llava,
    "idefics3": save_idefics3,
    "qwen2_5_vl": save_qwen2_5_vl,
    **MORE_FAMILIES,
}
