"""Who sees whom, drawn by hand; and the mask of positions that FlexAttention compiles against the dense one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mllmu_med.errors import DataError
from mllmu_med.models.masks import AttentionRule, attention_rule, blocks, mask_mod, row_masks, visible
from mllmu_med.models.rows import Branch, Layout, Row, lay_out

END, IMAGE = 99, 7
CAUSAL = AttentionRule()
GEMMA = AttentionRule("image", 3, True)
PALIGEMMA = AttentionRule("prompt")
LOCAL = AttentionRule(None, 3)


def drawn(layout: Layout, rule: AttentionRule, row: int = 0, *, local: bool = False) -> list[str]:
    seen = visible(layout, rule, blocks(layout, rule, IMAGE), local=local)[row, 0]
    return ["".join("x" if one else "." for one in line) for line in seen.tolist()]


# prefix 5, image, image, 5, image | 10 11 12 | 20
TWO_IMAGES = lay_out([Row("i", (Branch((10, 11), (12, END)), Branch((20,), (END,))))], [(5, IMAGE, IMAGE, 5, IMAGE)], 0)
ROWS = lay_out(
    [
        Row("i", (Branch((10, 11), (12, 13, END)), Branch((20,), (END,)), Branch((21, 22), (END,)))),
        Row("j", (Branch((30, 31), (32, END)),)),
        Row(None, (Branch((40,), (41, 42, END)), Branch((43,), (END,)))),
    ],
    [(5, IMAGE, IMAGE, IMAGE, 6), (IMAGE, IMAGE), (5,)],
    0,
)
ONE_BRANCH = lay_out(
    [Row("i", (Branch((10, 11), (12, 13, END)),)), Row(None, (Branch((40,), (41, END)),))], [(IMAGE, IMAGE), (5,)], 0
)


def test_a_branch_sees_the_prefix_and_itself() -> None:
    assert drawn(TWO_IMAGES, CAUSAL) == [
        "x........",
        "xx.......",
        "xxx......",
        "xxxx.....",
        "xxxxx....",
        "xxxxxx...",
        "xxxxxxx..",
        "xxxxxxxx.",
        "xxxxx...x",  # the second branch: the prefix and itself, nothing of the first
    ]


def test_tokens_of_one_image_see_each_other_and_no_later_image() -> None:
    assert drawn(TWO_IMAGES, GEMMA)[:5] == [
        "x........",
        "xxx......",
        "xxx......",
        "xxxx.....",
        "xxxxx....",
    ]
    assert drawn(TWO_IMAGES, GEMMA)[5:] == drawn(TWO_IMAGES, CAUSAL)[5:], "behind the image nothing changes"


def test_a_window_counts_the_tokens_of_the_own_sequence() -> None:
    assert drawn(TWO_IMAGES, LOCAL, local=True) == [
        "x........",
        "xx.......",
        "xxx......",
        ".xxx.....",
        "..xxx....",
        "...xxx...",
        "....xxx..",
        ".....xxx.",
        "...xx...x",  # its place is 5, behind the prefix, not 8
    ]
    assert drawn(TWO_IMAGES, LOCAL) == drawn(TWO_IMAGES, CAUSAL), "other layers have no window"


def test_the_window_cuts_image_blocks_too() -> None:
    """Gemma 3: sliding AND (causal OR block); a block longer than the window loses its first tokens, not its last."""
    layout = lay_out([Row("i", (Branch((10,), (END,)),))], [(IMAGE,) * 5], 0)
    assert drawn(layout, GEMMA, local=True) == ["xxxxx.", "xxxxx.", "xxxxx.", ".xxxx.", "..xxx.", "...xxx"]


def test_a_bidirectional_prompt_ends_with_the_answer() -> None:
    assert drawn(ONE_BRANCH, PALIGEMMA) == ["xxxx..", "xxxx..", "xxxx..", "xxxx..", "xxxxx.", "xxxxxx"]
    assert drawn(ONE_BRANCH, PALIGEMMA, 1)[:3] == ["xx....", "xx....", "xxx..."]


def test_a_bidirectional_prompt_is_never_packed() -> None:
    assert not PALIGEMMA.packable
    assert GEMMA.packable
    assert CAUSAL.packable
    with pytest.raises(ValueError, match="cannot share an image in one row"):
        blocks(ROWS, PALIGEMMA, IMAGE)


@pytest.mark.parametrize("rule", [CAUSAL, LOCAL, GEMMA, PALIGEMMA, AttentionRule("prompt", 2)])
@pytest.mark.parametrize("local", [False, True])
def test_the_mask_of_positions_is_the_dense_mask(rule: AttentionRule, local: bool) -> None:
    """Evaluated at every (row, query, key), padding included; this is what FlexAttention is given on a GPU."""
    layout = ONE_BRANCH if rule.bidirectional == "prompt" else ROWS
    block = blocks(layout, rule, IMAGE)
    rows, length = layout.input_ids.shape
    row, query, key = torch.meshgrid(*map(torch.arange, (rows, length, length)), indexing="ij")
    found = mask_mod(layout, rule, block, local=local)(row, torch.zeros_like(row), query, key)
    dense = visible(layout, rule, block, local=local)[:, 0]
    assert torch.equal(found, dense)
    assert dense.any(-1).all(), "no softmax is empty"


def test_the_mask_of_positions_makes_a_block_mask() -> None:
    """Uncompiled, on the CPU, with small tiles: a tile is left out only if it is empty, whole only if it is full."""
    from torch.nn.attention.flex_attention import create_block_mask

    rows, length = ROWS.input_ids.shape
    mod = mask_mod(ROWS, CAUSAL)
    made = create_block_mask(mod, rows, None, length, length, device="cpu", BLOCK_SIZE=4)
    dense = visible(ROWS, CAUSAL)
    padded = torch.nn.functional.pad(dense, (0, -length % 4, 0, -length % 4))
    tiles = padded.unflatten(-1, (-1, 4)).unflatten(2, (-1, 4))
    assert torch.equal(made.to_dense().bool(), tiles.any(-1).any(3))


def test_what_the_models_take() -> None:
    made = row_masks(ROWS, CAUSAL, IMAGE, "sdpa", torch.float32)
    assert made.dtype == torch.bool
    additive = row_masks(ROWS, CAUSAL, IMAGE, "eager", torch.bfloat16)
    assert additive.dtype == torch.bfloat16
    assert torch.equal(additive == 0, made)
    assert set(additive.unique().tolist()) == {0.0, torch.finfo(torch.bfloat16).min}
    by_type = row_masks(ROWS, GEMMA, IMAGE, "sdpa", torch.float32)
    assert torch.equal(by_type["full_attention"], visible(ROWS, GEMMA, blocks(ROWS, GEMMA, IMAGE)))
    assert torch.equal(by_type["sliding_attention"], visible(ROWS, GEMMA, blocks(ROWS, GEMMA, IMAGE), local=True))
    wide = row_masks(ROWS, AttentionRule("image", 100, True), IMAGE, "sdpa", torch.float32)
    assert wide["sliding_attention"] is wide["full_attention"], "no row is longer than the window"


def test_what_cannot_be_expressed_is_refused() -> None:
    with pytest.raises(ValueError, match="for CUDA"):
        row_masks(ROWS, CAUSAL, IMAGE, "flex_attention", torch.float32)
    narrow = AttentionRule("prompt", 3)
    with pytest.raises(ValueError, match="do not fit the sliding window of 3"):
        row_masks(ONE_BRANCH, narrow, IMAGE, "sdpa", torch.float32)
    assert row_masks(ONE_BRANCH, AttentionRule("prompt", 99), IMAGE, "sdpa", torch.float32).dtype == torch.bool


def config(model_type: str, **text: Any) -> Any:
    return SimpleNamespace(model_type=model_type, get_text_config=lambda: SimpleNamespace(**text))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (config("llava"), CAUSAL),
        (config("llava", sliding_window=4096), AttentionRule(None, 4096)),  # Mistral: no kinds of layers, all slide
        (config("llava", sliding_window=4096, layer_types=["full_attention"] * 2), CAUSAL),  # Qwen2 as it is released
        (
            config("gemma3", sliding_window=512, layer_types=["sliding_attention", "full_attention"]),
            AttentionRule("image", 512, True),
        ),
        (config("paligemma"), PALIGEMMA),
        (
            config("paligemma", sliding_window=9, layer_types=["sliding_attention", "full_attention"]),
            AttentionRule("prompt", 9),
        ),
    ],
)
def test_rules_of_configs(given: Any, expected: AttentionRule) -> None:
    assert attention_rule(given) == expected


def test_attention_of_an_unknown_kind_is_refused() -> None:
    """A self-check with short rows would not see that chunks end."""
    with pytest.raises(DataError, match="'mllama' takes images by cross-attention") as caught:
        attention_rule(config("mllama", cross_attention_layers=[3, 8]))
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="'llama4' has layers of chunked_attention"):
        attention_rule(config("llama4", layer_types=["chunked_attention", "full_attention"]))


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("rule", [CAUSAL, GEMMA])
def test_attention_under_the_block_mask_is_attention_under_the_dense_one(rule: AttentionRule) -> None:
    """FlexAttention's own kernels wait for a GPU; its reference implementation runs here."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention
    from torch.nn.functional import scaled_dot_product_attention

    rows, length = ROWS.input_ids.shape
    block = blocks(ROWS, rule, IMAGE)
    generator = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, rows, 2, length, 16, generator=generator)
    made = create_block_mask(mask_mod(ROWS, rule, block, local=True), rows, None, length, length, device="cpu")
    dense = visible(ROWS, rule, block, local=True)
    found = flex_attention(query, key, value, block_mask=made)
    torch.testing.assert_close(found, scaled_dot_product_attention(query, key, value, dense), rtol=1e-5, atol=1e-5)
