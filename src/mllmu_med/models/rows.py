"""The packed row: one image prefix and the questions asked about it, and its layout as tensors.

A row is [prefix | branch 1 | branch 2 | …]. Each branch sees the prefix and itself; its positions go on behind the
prefix.
For causal decoders this gives the same loss and gradients as one sequence per question, and the image is encoded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Branch(NamedTuple):
    """A question with its answer. ``weights``: one per answer token, ≥ 0 (the share of each token in the loss)."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    weights: tuple[float, ...] | None = None


class Row(NamedTuple):
    """An image (or None) and the branches asked about it."""

    image: str | None
    branches: tuple[Branch, ...]


@dataclass(frozen=True)
class Layout:
    """Rows as tensors; R rows, T positions, K answer tokens, N branches over all rows.

    Attributes:
        input_ids: [R, T]; right padding.
        segment: [R, T]; 0 prefix, 1… branch within the row, -1 padding.
        offset: [R, T]; position counted from the row's beginning for the prefix, from the prefix's end for a branch.
        row, column: [K]; the place whose output predicts each answer token.
        target: [K]; the answer tokens.
        owner: [K]; which branch (in order of rows and branches) each answer token belongs to.
        weight: [K]; token weights.
        branches: N.
    """

    input_ids: Tensor
    segment: Tensor
    offset: Tensor
    row: Tensor
    column: Tensor
    target: Tensor
    owner: Tensor
    weight: Tensor
    branches: int

    def to(self, device: torch.device) -> Layout:
        """The same layout on another device."""
        moved = {k: v.to(device, non_blocking=True) for k, v in vars(self).items() if isinstance(v, Tensor)}
        return Layout(**moved, branches=self.branches)

    @property
    def visible(self) -> Tensor:
        """Bool [R, 1, T, T]: query (rows) may see key (columns). Padding sees itself, so that no softmax is empty."""
        length = self.input_ids.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=self.input_ids.device).tril()
        query, key = self.segment[:, :, None], self.segment[:, None, :]
        same = (query == key) | ((key == 0) & (query >= 0))
        return (same & causal)[:, None]


def lay_out(rows: Sequence[Row], prefixes: Sequence[Sequence[int]], pad: int) -> Layout:
    """Arrange rows as tensors.

    Args:
        rows: at least one; every branch has a non-empty answer, and a row without a prefix has non-empty prompts.
        prefixes: the prefix tokens of each row.
        pad: id that fills the end of shorter rows.

    The last answer token is never fed: nothing is predicted from it.
    """
    sizes = [
        len(prefix) + sum(len(b.prompt) + len(b.answer) - 1 for b in row.branches)
        for row, prefix in zip(rows, prefixes, strict=True)
    ]
    shape = (len(rows), max(sizes))
    ids, segment, offset = np.full(shape, pad), np.full(shape, -1), np.zeros(shape, dtype=np.int64)
    places: list[np.ndarray] = []
    targets: list[int] = []
    weights: list[float] = []
    owner = 0
    for r, (row, prefix) in enumerate(zip(rows, prefixes, strict=True)):
        start = len(prefix)
        ids[r, :start], segment[r, :start], offset[r, :start] = prefix, 0, np.arange(start)
        for b, branch in enumerate(row.branches):
            tokens = branch.prompt + branch.answer[:-1]
            stop = start + len(tokens)
            ids[r, start:stop], segment[r, start:stop], offset[r, start:stop] = tokens, b + 1, np.arange(len(tokens))
            count = len(branch.answer)
            first = start + len(branch.prompt) - 1
            columns = np.arange(first, first + count)
            places.append(np.stack([np.full(count, r), columns, np.full(count, owner)]))
            targets.extend(branch.answer)
            weights.extend(branch.weights if branch.weights is not None else [1.0] * count)
            start, owner = stop, owner + 1
    row_index, column, owners = np.concatenate(places, axis=1)
    return Layout(
        input_ids=torch.from_numpy(ids),
        segment=torch.from_numpy(segment),
        offset=torch.from_numpy(offset),
        row=torch.from_numpy(row_index),
        column=torch.from_numpy(column),
        target=torch.tensor(targets),
        owner=torch.from_numpy(owners),
        weight=torch.tensor(weights),
        branches=owner,
    )


def split_rows(rows: Sequence[Row]) -> list[Row]:
    """The plain path: every branch as a row of its own, in the same order."""
    return [Row(row.image, (branch,)) for row in rows for branch in row.branches]


def chunk_rows(rows: Sequence[Row], branches: int) -> list[list[Row]]:
    """Consecutive rows in chunks of at most ``branches`` branches (a larger row stands alone)."""
    chunks: list[list[Row]] = []
    count = 0
    for row in rows:
        if not chunks or count + len(row.branches) > branches:
            chunks.append([])
            count = 0
        chunks[-1].append(row)
        count += len(row.branches)
    return chunks
