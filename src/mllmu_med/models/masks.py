"""Who sees whom in a packed row: the attention rule of a family, as a dense mask or as a function of two positions.

Every decoder is causal within the sequence that a branch stands for (prefix and branch). On top of that

- an *image block* is bidirectional in Gemma 3 (MedGemma): the tokens of one image see each other;
- the whole *prompt* is bidirectional in PaliGemma, so an image's states depend on the question and no two questions can
  share them;
- *sliding-window* layers see the last ``window`` tokens of their sequence only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from mllmu_med.errors import DataError
from mllmu_med.models.rows import Layout

MaskMod = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(row, head, query, key) → whether the query may see the key; tensors of indices of one shape, or scalars."""

_BIDIRECTIONAL: dict[str, Literal["image", "prompt"]] = {"gemma3": "image", "paligemma": "prompt"}
_LAYER_TYPES = {"full_attention", "sliding_attention", "linear_attention"}


@dataclass(frozen=True)
class AttentionRule:
    """What a family's decoder may see besides all earlier tokens, and what it may not.

    Attributes:
        bidirectional: ``image``: tokens of one image see each other; ``prompt``: all tokens before the answer do.
        window: how many tokens, itself included, a token of a sliding-window layer sees; None = no such layers.
        by_layer_type: some layers have the window and some have not (the model takes a mask for each kind); False: all
            layers have it.
    """

    bidirectional: Literal["image", "prompt"] | None = None
    window: int | None = None
    by_layer_type: bool = False

    @property
    def packable(self) -> bool:
        """Whether what several questions share can be computed once: not if it sees the question."""
        return self.bidirectional != "prompt"


def attention_rule(config: Any) -> AttentionRule:
    """The rule of a model's config.

    Raises:
        DataError: images come in by cross-attention, or it has layers whose attention is not known here.
    """
    text = config.get_text_config()
    if getattr(text, "cross_attention_layers", None):
        raise DataError(
            f"'{config.model_type}' takes images by cross-attention, which is not supported",
            mend="Take a model whose images are part of its token sequence.",
        )
    types = set(getattr(text, "layer_types", None) or ())
    if unknown := types - _LAYER_TYPES:
        raise DataError(f"'{config.model_type}' has layers of {', '.join(sorted(unknown))}, which are not supported")
    window = getattr(text, "sliding_window", None)
    if types and "sliding_attention" not in types:
        window = None
    bidirectional = _BIDIRECTIONAL.get(config.model_type)
    layered = window is not None and bool(types) and bidirectional != "prompt"
    return AttentionRule(bidirectional, window, layered)


def blocks(layout: Layout, rule: AttentionRule, image_token: int) -> Tensor | None:
    """[R, T] number of the bidirectional block that each token is part of, -1 outside; None where a family has none.

    Raises:
        ValueError: several branches in a row whose prompt is one block.
    """
    if rule.bidirectional is None:
        return None
    if rule.bidirectional == "prompt":
        if layout.branches > len(layout.input_ids):
            raise ValueError("the prompt is bidirectional, so questions cannot share an image in one row")
        return torch.where(layout.asked, 0, -1)
    image = (layout.input_ids == image_token) & layout.asked
    begins = image & ~torch.nn.functional.pad(image, (1, 0))[:, :-1]
    return torch.where(image, begins.cumsum(1) - 1, -1)


def visible(layout: Layout, rule: AttentionRule, block: Tensor | None = None, *, local: bool = False) -> Tensor:
    """Bool [R, 1, T, T]: query (rows) may see key (columns). Padding sees itself, so that no softmax is empty.

    Args:
        block: of :func:`blocks`.
        local: of layers with a sliding window.
    """
    length = layout.input_ids.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=layout.input_ids.device).tril()
    query, key = layout.segment[:, :, None], layout.segment[:, None, :]
    allowed = ((query == key) | ((key == 0) & (query >= 0))) & causal
    within = None
    if local and rule.window is not None:
        place = layout.place
        within = place[:, None, :] > place[:, :, None] - rule.window
    if within is not None and rule.bidirectional != "image":
        allowed = allowed & within
    if block is not None:
        allowed = allowed | ((block[:, :, None] == block[:, None, :]) & (block >= 0)[:, :, None])
    if within is not None and rule.bidirectional == "image":  # Gemma 3 cuts its image blocks too
        allowed = allowed & within
    return allowed[:, None]


def mask_mod(layout: Layout, rule: AttentionRule, block: Tensor | None = None, *, local: bool = False) -> MaskMod:
    """The same as a function of positions, which FlexAttention compiles: nothing of size T² is ever made of it."""
    segment, place = layout.segment, layout.place
    window = rule.window if local else None
    cuts_blocks = rule.bidirectional == "image"

    def may_see(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        of_query, of_key = segment[row, query], segment[row, key]
        allowed = (query >= key) & ((of_query == of_key) | ((of_key == 0) & (of_query >= 0)))
        if window is not None and not cuts_blocks:
            allowed = allowed & (place[row, key] > place[row, query] - window)
        if block is not None:
            allowed = allowed | ((block[row, query] == block[row, key]) & (block[row, query] >= 0))
        if window is not None and cuts_blocks:
            allowed = allowed & (place[row, key] > place[row, query] - window)
        return allowed

    return may_see


def block_mask(layout: Layout, rule: AttentionRule, block: Tensor | None = None, *, local: bool = False) -> Any:
    """FlexAttention's mask: which tiles of 128 × 128 positions are empty, full or mixed.

    On CUDA only. ``_compile`` is what keeps the T² mask from being written out while the tiles are counted.
    """
    from torch.nn.attention.flex_attention import create_block_mask

    rows, length = layout.input_ids.shape
    mod = mask_mod(layout, rule, block, local=local)
    return create_block_mask(mod, rows, None, length, length, device=str(layout.input_ids.device), _compile=True)


def row_masks(layout: Layout, rule: AttentionRule, image_token: int, implementation: str, dtype: torch.dtype) -> Any:
    """What a model's forward takes as ``attention_mask`` for these rows.

    Args:
        layout: on the device of the model.
        image_token: the token that stands for a part of an image.
        implementation: ``sdpa`` (boolean masks), ``flex_attention`` (block masks) or another (additive masks).
        dtype: of additive masks.

    Returns:
        a mask, or one for each layer type.

    Raises:
        ValueError: these rows cannot be expressed: FlexAttention off CUDA, or a bidirectional prompt beyond the window.
    """
    block = blocks(layout, rule, image_token)

    def mask(local: bool) -> Any:
        if implementation == "flex_attention":
            return block_mask(layout, rule, block, local=local)
        seen = visible(layout, rule, block, local=local)
        if implementation == "sdpa":
            return seen
        lowest = torch.finfo(dtype).min
        return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, lowest)

    if implementation == "flex_attention" and layout.input_ids.device.type != "cuda":
        raise ValueError("FlexAttention block masks are for CUDA")
    if rule.window is None:
        return mask(local=False)
    beyond = layout.input_ids.shape[1] > rule.window  # a row no longer than the window: nothing is out of sight
    if rule.by_layer_type:
        full = mask(local=False)
        return {"full_attention": full, "sliding_attention": mask(local=True) if beyond else full}
    if beyond and rule.bidirectional == "prompt":
        raise ValueError(f"rows of {layout.input_ids.shape[1]} tokens do not fit the sliding window of {rule.window}")
    return mask(local=beyond)
