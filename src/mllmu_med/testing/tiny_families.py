"""More tiny random models: one of every family that the adapter knows, beside those of ``tiny_models``.

Where a family's own processor can be built without torchvision it is saved with the model; InternVL's and Qwen-VL's
cannot (they own a video processor), and PaliGemma's is not used by the adapter.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from torch import nn

from mllmu_med.models.embedded import CHAT_TEMPLATE, train_tokenizer

TEXTS = [
    "What is shown in the image?", "Is there a nodule on the left side?", "The patient is Maria Lopez, MRN 482913.",
    "chest X-ray", "abdominal CT", "yes", "no", "How many lesions are visible? two", "555-0123", "1961-04-17",
] * 4  # fmt: skip
TEXT = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 2048, "initializer_range": 0.1,
}  # fmt: skip
SIGHT = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 64,
    "patch_size": 16,
}  # fmt: skip
QWEN_SIGHT = {"depth": 2, "hidden_size": 32, "num_heads": 2, "patch_size": 8, "spatial_merge_size": 2,
              "temporal_patch_size": 2}  # fmt: skip
SQUARE = {"height": 64, "width": 64}
MROPE = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}


def retag(extra: dict[str, str]) -> hf.PreTrainedTokenizerFast:
    """The small tokenizer with more special tokens, each under its name."""
    tokenizer = train_tokenizer(TEXTS, 400)
    tokenizer.add_special_tokens({"extra_special_tokens": list(extra.values())})
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="<|im_end|>",
        unk_token="<unk>", extra_special_tokens=extra, clean_up_tokenization_spaces=False,
    )  # fmt: skip


def _special(tokenizer: Any) -> dict[str, int]:
    return {"vocab_size": len(tokenizer), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": tokenizer.eos_token_id}


def _write(folder: Path, kind: Any, config: Any, tokenizer: Any, image_processor: Any, processor: Any = None) -> Path:
    """Save a model of random weights; a parameter that starts at zero would hide what depends on it."""
    torch.manual_seed(0)
    model = kind(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name and not parameter.any():
                nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder)
    if processor is not None:
        processor.save_pretrained(folder)
        return folder
    tokenizer.save_pretrained(folder)
    image_processor.save_pretrained(folder)
    return folder


def _llava(folder: Path, tokenizer: Any, text: Any, *, clip: bool) -> Path:
    select = "default" if clip else "full"  # CLIP has a class token in front, which LLaVA leaves out; SigLIP has none
    config = hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(**SIGHT) if clip else hf.SiglipVisionConfig(**SIGHT, vision_use_head=False),
        text_config=text,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
        vision_feature_select_strategy=select,
        vision_feature_layer=-2 if clip else -1,
    )
    image_processor = (
        hf.CLIPImageProcessorPil(size={"shortest_edge": 64}, crop_size=SQUARE)
        if clip
        else hf.SiglipImageProcessorPil(size=SQUARE)
    )
    processor = hf.LlavaProcessor(
        image_processor, tokenizer, patch_size=16, vision_feature_select_strategy=select,
        num_additional_image_tokens=int(clip), chat_template=CHAT_TEMPLATE,
    )  # fmt: skip
    return _write(folder, hf.LlavaForConditionalGeneration, config, tokenizer, image_processor, processor)


def save_llava_clip(folder: Path) -> Path:
    """A LLaVA-1.5: CLIP tower, Llama."""
    tokenizer = retag({"image_token": "<image>"})
    return _llava(folder, tokenizer, hf.LlamaConfig(**TEXT, **_special(tokenizer)), clip=True)


def save_llava_mistral(folder: Path) -> Path:
    """A LLaVA-Med 1.5: CLIP tower, Mistral, here with a window that is shorter than a row in every layer."""
    tokenizer = retag({"image_token": "<image>"})
    return _llava(folder, tokenizer, hf.MistralConfig(**TEXT, **_special(tokenizer), sliding_window=12), clip=True)


def save_llava_qwen2(folder: Path) -> Path:
    """A LLaVA of newer make: SigLIP tower, Qwen2."""
    tokenizer = retag({"image_token": "<image>"})
    return _llava(folder, tokenizer, hf.Qwen2Config(**TEXT, **_special(tokenizer)), clip=False)


def save_llava_next(folder: Path) -> Path:
    """A LLaVA-NeXT: the whole image and, by its shape, two tiles of it."""
    tokenizer = retag({"image_token": "<image>"})
    grid = [[64, 128], [128, 64]]
    config = hf.LlavaNextConfig(
        vision_config=hf.CLIPVisionConfig(**SIGHT),
        text_config=hf.LlamaConfig(**TEXT, **_special(tokenizer)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=grid,
        image_seq_length=16,
    )
    image_processor = hf.LlavaNextImageProcessorPil(
        size={"shortest_edge": 64}, crop_size=SQUARE, image_grid_pinpoints=grid
    )
    processor = hf.LlavaNextProcessor(
        image_processor, tokenizer, patch_size=16, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=CHAT_TEMPLATE,
    )  # fmt: skip
    return _write(folder, hf.LlavaNextForConditionalGeneration, config, tokenizer, image_processor, processor)


def save_internvl(folder: Path) -> Path:
    """An InternVL; wide images are cut to tiles."""
    tokens = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>",
              "video_token": "<video>"}  # fmt: skip
    tokenizer = retag(tokens)
    tokenizer.chat_template = CHAT_TEMPLATE.replace("<image>", "<IMG_CONTEXT>\n")
    config = hf.InternVLConfig(
        vision_config=hf.InternVLVisionConfig(**SIGHT | {"image_size": [64, 64], "patch_size": [16, 16]}),
        text_config=hf.Qwen2Config(**TEXT, **_special(tokenizer)),
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
    )
    image_processor = hf.GotOcr2ImageProcessorPil(size=SQUARE, max_patches=2)
    return _write(folder, hf.InternVLForConditionalGeneration, config, tokenizer, image_processor)


def _qwen(folder: Path, kind: Any, config_kind: Any, text: dict[str, Any], vision: dict[str, Any]) -> Path:
    tokens = {"image_token": "<|image_pad|>", "vision_start": "<|vision_start|>", "vision_end": "<|vision_end|>",
              "video_token": "<|video_pad|>"}  # fmt: skip
    tokenizer = retag(tokens)
    tokenizer.chat_template = CHAT_TEMPLATE.replace("<image>", "<|vision_start|><|image_pad|><|vision_end|>")
    ids = {f"{name}_id": tokenizer.convert_tokens_to_ids(tokens[name]) for name in ("image_token", "video_token")}
    ids |= {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(tokens[name]) for name in ("vision_start", "vision_end")
    }
    config = config_kind(
        text_config={**TEXT, **_special(tokenizer), "rope_parameters": MROPE, **text},
        vision_config={**QWEN_SIGHT, **vision},
        **ids,
    )
    image_processor = hf.Qwen2VLImageProcessorPil(
        patch_size=8, merge_size=2, size={"shortest_edge": 32 * 32, "longest_edge": 64 * 64}
    )
    return _write(folder, kind, config, tokenizer, image_processor)


def save_qwen2_vl(folder: Path) -> Path:
    """A Qwen2-VL."""
    vision = {"embed_dim": 32, "mlp_ratio": 2, "hidden_size": 64}  # here hidden_size is the language model's
    return _qwen(folder, hf.Qwen2VLForConditionalGeneration, hf.Qwen2VLConfig, {}, vision)


def save_qwen3_vl(folder: Path) -> Path:
    """A Qwen3-VL: features of an inner layer of the tower are added behind the first decoder layer (deepstack)."""
    rope = {**MROPE, "mrope_interleaved": True}
    vision = {"intermediate_size": 64, "out_hidden_size": 64, "num_position_embeddings": 64,
              "deepstack_visual_indexes": [0]}  # fmt: skip
    text = {"head_dim": 16, "rope_parameters": rope}
    return _qwen(folder, hf.Qwen3VLForConditionalGeneration, hf.Qwen3VLConfig, text, vision)


def save_gemma3(folder: Path) -> Path:
    """A Gemma 3 (MedGemma): bidirectional image blocks, layers with a window shorter than a row beside full ones."""
    tokens = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    tokenizer = retag(tokens)
    ids = {
        f"{name.removesuffix('_token')}_token_index": tokenizer.convert_tokens_to_ids(t) for name, t in tokens.items()
    }
    layers = ["sliding_attention", "full_attention", "sliding_attention"]
    text = {**TEXT, **_special(tokenizer), "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 12,
            "layer_types": layers}  # fmt: skip
    config = hf.Gemma3Config(
        text_config=hf.Gemma3TextConfig(**text),
        vision_config=hf.SiglipVisionConfig(**SIGHT, vision_use_head=False),
        mm_tokens_per_image=16,
        **ids,
    )
    image_processor = hf.Gemma3ImageProcessorPil(size=SQUARE)
    template = CHAT_TEMPLATE.replace("<image>", "<start_of_image>")
    processor = hf.Gemma3Processor(image_processor, tokenizer, chat_template=template, image_seq_length=16)
    return _write(folder, hf.Gemma3ForConditionalGeneration, config, tokenizer, image_processor, processor)


def save_paligemma(folder: Path) -> Path:
    """A PaliGemma: image, question and all else before the answer see each other."""
    tokenizer = retag({"image_token": "<image>"})
    tokenizer.chat_template = (
        "{% for message in messages %}{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>"
        "{% else %}<s>{{ part['text'] }}\n{% endif %}{% endfor %}{% endfor %}"
    )
    config = hf.PaliGemmaConfig(
        vision_config=hf.SiglipVisionConfig(**SIGHT, vision_use_head=False),
        text_config=hf.GemmaConfig(**TEXT, **_special(tokenizer), head_dim=16),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        projection_dim=64,
        hidden_size=64,
    )
    image_processor = hf.SiglipImageProcessorPil(size=SQUARE)
    image_processor.image_seq_length = 16
    return _write(folder, hf.PaliGemmaForConditionalGeneration, config, tokenizer, image_processor)


MORE_FAMILIES: dict[str, Callable[[Path], Path]] = {
    "llava_clip": save_llava_clip,
    "llava_mistral": save_llava_mistral,
    "llava_qwen2": save_llava_qwen2,
    "llava_next": save_llava_next,
    "internvl": save_internvl,
    "qwen2_vl": save_qwen2_vl,
    "qwen3_vl": save_qwen3_vl,
    "gemma3": save_gemma3,
    "paligemma": save_paligemma,
}
