"""The forward pass of a step: all its rows at once, or in parts that the backward pass computes again.

Several smaller passes give the gradients of one large pass only if the loss is a sum over records, and many are not
(pairs, ratios, dual variables, rules on whole gradients). What always holds: a loss is a function of the hidden states
at the answer tokens, which are few. So only these are kept; the loss sees all of them at once, whatever it couples, and
the backward pass runs the rows again part by part. That costs one more forward pass and is exact for every method.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mllmu_med.errors import UsageError
from mllmu_med.methods.chunked import DeferredLogits, answers_of_parts, is_large
from mllmu_med.models.network import unwrap
from mllmu_med.models.rows import Layout, Row
from mllmu_med.models.sharding import is_sharded
from mllmu_med.models.vlm import Question, VisionLanguageModel


class AnswerStates(NamedTuple):
    """What the decoder makes of the answers of some questions; K answer tokens in the order of rows and branches.

    Attributes:
        hidden: [K, H] last hidden states at the positions that predict the answer tokens.
        inner: decoder layer → [K, H] hidden states behind it, at the same positions.
        target, weight: [K] the answer tokens and their weights.
        counts: answer tokens of each branch; on the host, so that nobody need ask the device.
        order: for each branch the index of its question.
    """

    hidden: Tensor
    inner: dict[int, Tensor]
    target: Tensor
    weight: Tensor
    counts: list[int]
    order: list[int]


def answer_states(
    vlm: VisionLanguageModel,
    questions: Sequence[Question],
    branches: int,
    *,
    layers: Sequence[int] = (),
    most_positions: int | None = None,
) -> AnswerStates:
    """One forward pass over packed rows, or several where the rows have more positions than ``most_positions``.

    Args:
        branches: most questions of one image in a row.
        layers: decoder layers whose states are wanted too.
        most_positions: most positions (rows times the longest one) of a part; None = all rows in one pass.
    """
    rows, order = vlm.rows(questions, branches, most_positions)
    counts = [len(branch.answer) for row in rows for branch in row.branches]
    parts = [rows] if most_positions is None else row_parts(rows, row_lengths(vlm, rows), most_positions)
    if len(parts) == 1:
        hidden, inner, layout = vlm.hidden_layers(rows, layers)
        return AnswerStates(hidden, inner, layout.target, layout.weight, counts, order)
    layouts: list[Layout] = []
    made = []
    for part in parts:

        def states(part: Sequence[Row] = part) -> tuple[Tensor, ...]:
            hidden, inner, layout = vlm.hidden_layers(part, layers)
            layouts.append(layout)
            return hidden, *inner.values()

        made.append(checkpoint(states, use_reentrant=False))
    hidden, *inner_states = (torch.cat(tensors) for tensors in zip(*made, strict=True))
    return AnswerStates(
        hidden,
        dict(zip(layers, inner_states, strict=True)),
        torch.cat([layout.target for layout in layouts]),
        torch.cat([layout.weight for layout in layouts]),
        counts,
        order,
    )


def row_lengths(vlm: VisionLanguageModel, rows: Sequence[Row]) -> list[int]:
    """Positions of each row, without padding."""
    return [
        len(vlm.prefix(row.image)) + sum(len(branch.prompt) + len(branch.answer) - 1 for branch in row.branches)
        for row in rows
    ]


def row_parts(rows: Sequence[Row], lengths: Sequence[int], most: int) -> list[list[Row]]:
    """Consecutive rows of at most ``most`` positions together, padding included; a longer row stands alone."""
    parts: list[list[Row]] = []
    longest = 0
    for row, length in zip(rows, lengths, strict=True):
        longest = max(longest, length)
        if not parts or (len(parts[-1]) + 1) * longest > most:
            parts.append([])
            longest = length
        parts[-1].append(row)
    return parts


def refuse_parts(vlm: VisionLanguageModel, most_positions: int | None) -> None:
    """Refuse parts where processes share out the layers: each would run as many as its own rows make.

    Raises:
        UsageError: layers are shared out; the processes would wait for each other for ever.
    """
    if most_positions is not None and is_sharded(vlm):
        raise UsageError(
            "most_positions cannot be set where processes share out the layers: their parts would differ in number; "
            "set gradient_checkpointing instead"
        )


def answer_logits(vlm: VisionLanguageModel, hidden: Tensor, counts: Sequence[int]) -> Tensor | DeferredLogits:
    """Logits [K, V] of hidden states [K, H], deferred where there are too many of them.

    Args:
        counts: tokens of each answer, in order; parts are whole answers.
    """
    return deferred_logits(vlm, hidden, counts) if is_large_step(vlm, len(hidden)) else vlm.logits(hidden)


def deferred_logits(vlm: VisionLanguageModel, hidden: Tensor, counts: Sequence[int]) -> DeferredLogits:
    """Logits [K, V] of hidden states [K, H], in parts of whole answers."""
    answers = answers_of_parts(counts, vocabulary_of(vlm))
    ends = list(accumulate(answers))
    sizes = [sum(counts[end - taken : end]) for end, taken in zip(ends, answers, strict=True)]
    return DeferredLogits([partial(vlm.logits, piece) for piece in torch.split(hidden, sizes)], sizes, answers)


def vocabulary_of(vlm: VisionLanguageModel) -> int:
    """V."""
    size: int = unwrap(vlm.model).config.get_text_config().vocab_size
    return size


def is_large_step(vlm: VisionLanguageModel, tokens: int) -> bool:
    """Whether the logits of this many answer tokens are computed a part at a time; never behind a guard."""
    return vlm.guard is None and is_large(tokens, vocabulary_of(vlm))


def placed(numbers: Sequence[int], device: torch.device) -> Tensor:
    """Whole numbers on the device, without waiting for what it is doing."""
    return torch.tensor(numbers, dtype=torch.long).to(device, non_blocking=True)
