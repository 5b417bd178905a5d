"""The forward pass asks the language model, not the vision tower, which kind of mask it takes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mllmu_med.models.masks import blocks, visible
from mllmu_med.models.rows import Layout
from mllmu_med.models.vlm import Question, VisionLanguageModel
from tests.invariant.cases import mixed

Load = Callable[[str], VisionLanguageModel]


def layout_of(vlm: VisionLanguageModel) -> Layout:
    return vlm.layout(vlm.rows(mixed(vlm), 4)[0])


def test_the_text_models_implementation_decides(llava: VisionLanguageModel) -> None:
    layout = layout_of(llava)
    assert llava.network.mask(layout).dtype == torch.bool
    llava.model.set_attn_implementation({"text_config": "eager"})
    assert llava.network.mask(layout).dtype == llava.model.dtype


def test_flex_attention_is_refused_off_cuda(llava: VisionLanguageModel) -> None:
    """On the CPU it would be compiled for minutes and run slower than SDPA with a dense mask."""
    llava.model.set_attn_implementation({"text_config": "flex_attention"})
    with pytest.raises(ValueError, match="for CUDA"):
        llava.hidden(llava.rows(mixed(llava), 4)[0])


def test_image_blocks_are_found_by_the_models_own_image_token(load_tiny: Load) -> None:
    vlm = load_tiny("gemma3")
    layout = layout_of(vlm)
    masks = vlm.network.mask(layout)
    assert set(masks) == {"full_attention", "sliding_attention"}
    block = blocks(layout, vlm.rule, vlm.prompts.image_token_id)
    assert block is not None
    assert torch.equal(masks["full_attention"], visible(layout, vlm.rule, block))
    first = (layout.input_ids[0] == vlm.prompts.image_token_id).nonzero()[:, 0]
    assert masks["full_attention"][0, 0, first[0], first[-1]], "the first part of the image sees the last"
    assert not torch.equal(masks["sliding_attention"], masks["full_attention"])


def test_counting_from_one(load_tiny: Load) -> None:
    """PaliGemma's positions; an image and a text prompt, packed or not."""
    vlm, llava = load_tiny("paligemma"), load_tiny("llava")
    assert (vlm.first_position, llava.first_position) == (1, 0)
    rows, _ = vlm.rows([Question("a", "What?", "yes"), Question(None, "What?", "yes")], 1)
    layout = vlm.layout(rows)
    positions = vlm._positions(rows, layout)
    for row, segment in zip(positions, layout.segment, strict=True):
        count = int((segment >= 0).sum())
        assert row[:count].tolist() == list(range(1, count + 1))
    assert vlm.prefix_positions(["a"])[0].tolist() == list(range(1, len(vlm.prefix("a")) + 1))
