"""Model FLOPs of a step, counted by the package's own formulas."""

from __future__ import annotations

from mllmu_med.evaluation.efficiency import Part, training_flops
from mllmu_med.models.anatomy import anatomy
from mllmu_med.models.groups import group_of, plain_name
from mllmu_med.models.network import unwrap
from mllmu_med.models.vlm import Question, VisionLanguageModel


def step_parts(vlm: VisionLanguageModel, questions: list[Question], most: int) -> list[Part]:
    """Decoder and head of one packed step; the frozen tower and projector are read from the cache and count nothing.

    The context of a token is half of what a causal kernel of its own branch sees on average: prefix and branch, not the
    other branches, whether or not the kernel in use skips them.
    """
    model = unwrap(vlm.model)
    head = model.get_output_embeddings().weight
    held = {"layers": 0, "trained": 0}
    wrapped = hasattr(vlm.model, "get_base_model")
    for name, parameter in vlm.model.named_parameters():
        adapter = ".lora_" in name
        plain = plain_name(name) if wrapped else name
        if parameter is head or parameter.dim() < 2 or (not adapter and group_of(plain) != "language"):
            continue
        if "embed_tokens" in name:
            continue
        held["layers"] += parameter.numel()
        held["trained"] += parameter.numel() if parameter.requires_grad else 0
    tokens = keys = answers = 0
    rows, _ = vlm.rows(questions, most)
    for row in rows:
        prefix = len(vlm.prefix(row.image))
        tokens, keys = tokens + prefix, keys + prefix * prefix / 2
        for branch in row.branches:
            length = len(branch.prompt) + len(branch.answer) - 1
            tokens, keys = tokens + length, keys + length * (prefix + length / 2)
            answers += len(branch.answer)
    text = model.config.get_text_config()
    width = text.num_attention_heads * (getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads)
    layers = Part(held["layers"], held["trained"], tokens, len(anatomy(vlm.model).layers), width, keys / max(1, tokens))
    return [layers, Part(head.numel(), head.numel() if head.requires_grad else 0, answers)]


def step_flops(vlm: VisionLanguageModel, questions: list[Question], most: int) -> float:
    """Model FLOPs of one optimiser step over the questions in packed rows."""
    return training_flops(step_parts(vlm, questions, most))
