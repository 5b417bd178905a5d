"""The tiny LLaVA that is trained from scratch."""

from __future__ import annotations

import pytest
import torch

from mllmu_med.models.embedded import Architecture, architecture, build_embedded, train_tokenizer
from mllmu_med.models.groups import count_groups
from mllmu_med.models.self_check import check_packing, packing_difference
from tests.tiny_models import SMALL, TEXTS


def test_it_has_its_published_size() -> None:
    vlm = build_embedded(TEXTS, Architecture(), 0)
    sizes = {count.group: count.parameters for count in count_groups(vlm, {})}
    assert 1.2e6 < sum(sizes.values()) < 1.8e6
    assert sizes["language"] > sizes["vision"] > sizes["projector"] > 10_000
    config = vlm.model.config
    assert (config.image_seq_length, config.text_config.num_hidden_layers) == (16, 2)
    assert config.vision_config.num_hidden_layers == 3


def test_it_can_be_wider_and_deeper() -> None:
    assert architecture(64, 192, 2) == Architecture()
    sizes = architecture(32, 768, 7)
    assert (sizes.heads, sizes.intermediate, sizes.initializer_range) == (16, 2048, 0.05)
    vlm = build_embedded(TEXTS, sizes, 0)
    assert sum(count.parameters for count in count_groups(vlm, {})) > 50e6
    assert check_packing(vlm)


@pytest.mark.parametrize(("side", "tokens"), [(32, 4), (64, 16), (96, 36)])
def test_an_image_takes_one_token_per_patch(side: int, tokens: int) -> None:
    from dataclasses import replace

    from PIL import Image

    sizes = replace(SMALL, image_size=side)
    assert sizes.image_tokens == tokens
    vlm = build_embedded(TEXTS, sizes, 0)
    prefix = vlm.images.prepare(Image.new("RGB", (120, 80))).prefix
    assert prefix.count(vlm.prompts.image_token_id) == tokens


def test_its_rows_can_be_packed() -> None:
    vlm = build_embedded(TEXTS, SMALL, 0)
    assert check_packing(vlm)
    assert packing_difference(vlm, packed=True) < 1e-4


def test_numbers_are_spelt_digit_by_digit() -> None:
    tokenizer = train_tokenizer(["MRN 482913, 482913, 482913"] * 50, 400)
    ids = tokenizer("482913")["input_ids"]
    assert [tokenizer.decode([i]) for i in ids] == list("482913")


def test_the_tokenizer_knows_every_byte_and_keeps_its_size() -> None:
    tokenizer = train_tokenizer(TEXTS, 300)
    assert len(tokenizer) <= 300
    for text in ("Ünïcode", "影像", "\t tabs", "🫀"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
        assert tokenizer.unk_token_id not in tokenizer(text)["input_ids"]


def test_weights_follow_from_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = build_embedded(TEXTS, SMALL, 3).model.state_dict()
    torch.manual_seed(2)
    second = build_embedded(TEXTS, SMALL, 3).model.state_dict()
    other = build_embedded(TEXTS, SMALL, 4).model.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_its_weights_are_drawn_wide_enough_to_memorise() -> None:
    """A spread of 0.1; at the usual 0.02 two layers do not memorise within the budget."""
    vlm = build_embedded(TEXTS, SMALL, 0)
    weights = vlm.model.base_model.language_model.layers[0].mlp.up_proj.weight
    assert weights.std().item() == pytest.approx(0.1, rel=0.1)
