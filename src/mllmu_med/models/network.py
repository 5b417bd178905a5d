"""The forward pass of packed rows, as one module that can be wrapped for distributed training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mllmu_med.models.masks import attention_rule, row_masks
from mllmu_med.models.rows import Layout


def unwrap(model: Any) -> Any:
    """The transformers model inside a PEFT wrapper (adapters are injected in place)."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


class AnswerNetwork(nn.Module):
    """Last hidden states at the positions that predict answer tokens, and logits from them.

    Logits are computed at these positions only: for a vocabulary of 150,000 the full tensor would be the largest of
    the step.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, layout: Layout, positions: Tensor, inputs: dict[str, Any]) -> Tensor:
        """Hidden states [K, H] for the K answer tokens of the layout.

        Args:
            layout: R rows of T positions.
            positions: [R, T], or [A, R, T] for multi-axis rotary embeddings.
            inputs: the images' tensors, or ``mm_encoder_outputs`` with their cached features.
        """
        model = unwrap(self.model)
        output = model.base_model(
            input_ids=layout.input_ids,
            attention_mask=self.mask(layout),
            position_ids=positions,
            use_cache=False,
            **inputs,
        )
        hidden: Tensor = output.last_hidden_state[layout.row, layout.column]
        return hidden

    def mask(self, layout: Layout) -> Any:
        """The attention mask of the rows in the form that the attention implementation takes, see ``row_masks``."""
        model = unwrap(self.model)
        config = model.config
        image_token = getattr(config, "image_token_id", None)
        implementation = config.get_text_config()._attn_implementation
        return row_masks(
            layout, attention_rule(config), -1 if image_token is None else image_token, implementation, model.dtype
        )

    def logits(self, hidden: Tensor, head: nn.Module | None = None) -> Tensor:
        """Float32 logits [K, V] of hidden states [K, H], through the model's own head or another of its kind."""
        model = unwrap(self.model)
        logits = (head or model.get_output_embeddings())(hidden)
        text = model.config.get_text_config()
        scale = getattr(text, "logits_scaling", None)
        if scale:
            logits = logits / scale
        cap = getattr(text, "final_logit_softcapping", None)
        if cap:
            logits = torch.tanh(logits / cap) * cap
        result: Tensor = logits.float()
        return result
