"""The embedded model: a tiny LLaVA that really learns on two CPU cores, saved in standard format.

SigLIP tower (3 layers, hidden 128, 16 image tokens) + Llama (2 layers, hidden 192), 1.7 M parameters, random weights
from a seed. ``initializer_range`` 0.1 instead of the usual 0.02 is what lets two layers memorise private records within
a CPU budget (docs/explanation/design.md). :func:`architecture` makes it wider and deeper where there is more to compute
with: hidden 768 and 7 layers are 51 M parameters.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from mllmu_med.models.load import assemble
from mllmu_med.models.vlm import VisionLanguageModel
from mllmu_med.seeding import derive

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL_TOKENS = ["<pad>", "<s>", "<unk>", "<|im_start|>", "<|im_end|>", "<image>"]


@dataclass(frozen=True)
class Architecture:
    """Sizes of the embedded model."""

    image_size: int = 64
    patch_size: int = 16
    vision_hidden: int = 128
    vision_intermediate: int = 256
    vision_layers: int = 3
    vision_heads: int = 4
    hidden: int = 192
    intermediate: int = 512
    layers: int = 2
    heads: int = 4
    vocabulary: int = 1600
    initializer_range: float = 0.1

    @property
    def image_tokens(self) -> int:
        """Positions that one image takes."""
        return (self.image_size // self.patch_size) ** 2


_HEAD = 48


def architecture(image_size: int, hidden: int, layers: int) -> Architecture:
    """Sizes with a decoder of this width and depth, the other sizes in proportion.

    Args:
        image_size: side of the square input, pixels, a multiple of 16.
        hidden: a multiple of 48, which is the width of a head.
        layers: at least 1.
    """
    return Architecture(
        image_size=image_size, hidden=hidden, intermediate=round(8 * hidden / 3), layers=layers, heads=hidden // _HEAD,
        initializer_range=0.1 * (192 / hidden) ** 0.5,  # so that a layer's output keeps its scale
    )  # fmt: skip


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Any:
    """Byte-level BPE with every digit a token of its own, so that numbers are spelt and not looked up."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="<|im_end|>",
        unk_token="<unk>",
        padding_side="left",
        extra_special_tokens={"image_token": "<image>"},
        clean_up_tokenization_spaces=False,
    )


def build_embedded(texts: Iterable[str], architecture: Architecture, seed: int) -> VisionLanguageModel:
    """A freshly initialised model whose tokenizer is trained on ``texts`` (questions and answers)."""
    from transformers import (
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        SiglipImageProcessorPil,
        SiglipVisionConfig,
    )

    tokenizer = train_tokenizer(texts, architecture.vocabulary)
    vision = SiglipVisionConfig(
        hidden_size=architecture.vision_hidden,
        intermediate_size=architecture.vision_intermediate,
        num_hidden_layers=architecture.vision_layers,
        num_attention_heads=architecture.vision_heads,
        image_size=architecture.image_size,
        patch_size=architecture.patch_size,
        vision_use_head=False,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=architecture.hidden,
        intermediate_size=architecture.intermediate,
        num_hidden_layers=architecture.layers,
        num_attention_heads=architecture.heads,
        num_key_value_heads=architecture.heads,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        initializer_range=architecture.initializer_range,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        initializer_range=architecture.initializer_range,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        image_seq_length=architecture.image_tokens,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):  # transformers initialises from the global generator
        torch.manual_seed(derive(seed, "embedded", "weights"))
        model = LlavaForConditionalGeneration(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    side = {"height": architecture.image_size, "width": architecture.image_size}
    image_processor = SiglipImageProcessorPil(size=side)
    processor = LlavaProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=architecture.patch_size,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=0,
        chat_template=CHAT_TEMPLATE,
    )
    vlm = assemble(model, tokenizer, image_processor, processor, config, "embedded")
    vlm.model.eval()
    return vlm
