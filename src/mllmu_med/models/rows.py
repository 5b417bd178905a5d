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

    @property
    def fed(self) -> int:
        """Positions behind the prefix. The last answer token takes none: nothing is predicted from it."""
        return len(self.prompt) + len(self.answer) - 1


class Row(NamedTuple):
    """An image, several (:func:`~mllmu_med.models.images.together`) or None, and the branches asked about it."""

    image: str | None
    branches: tuple[Branch, ...]


@dataclass(frozen=True)
class Layout:
    """Rows as tensors; R rows, T positions, K answer tokens, N branches over all rows.

    Attributes:
        input_ids: [R, T]; right padding.
        segment: [R, T]; 0 prefix, 1… branch within the row, -1 padding.
        offset: [R, T]; position counted from the row's beginning for the prefix, from the prefix's end for a branch.
        asked: [R, T] bool; the prefix and the branches' prompts, not answers and not padding.
        row, column: [K]; the place whose output predicts each answer token.
        target: [K]; the answer tokens.
        owner: [K]; which branch (in order of rows and branches) each answer token belongs to.
        weight: [K]; token weights.
        branches: N.
    """

    input_ids: Tensor
    segment: Tensor
    offset: Tensor
    asked: Tensor
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
    def place(self) -> Tensor:
        """[R, T]; index of each token in the sequence it stands for: the prefix and its own branch."""
        prefix = (self.segment == 0).sum(1, keepdim=True)
        return torch.where(self.segment > 0, self.offset + prefix, self.offset)


def lay_out(rows: Sequence[Row], prefixes: Sequence[Sequence[int]], pad: int) -> Layout:
    """Arrange rows as tensors.

    Args:
        rows: at least one; every branch has a non-empty answer, and a row without a prefix has non-empty prompts.
        prefixes: the prefix tokens of each row.
        pad: id that fills the end of shorter rows.
    """
    sizes = [
        len(prefix) + sum(branch.fed for branch in row.branches) for row, prefix in zip(rows, prefixes, strict=True)
    ]
    shape = (len(rows), max(sizes))
    ids, segment, offset = np.full(shape, pad), np.full(shape, -1), np.zeros(shape, dtype=np.int64)
    asked = np.zeros(shape, dtype=bool)
    places: list[np.ndarray] = []
    targets: list[int] = []
    weights: list[float] = []
    owner = 0
    for r, (row, prefix) in enumerate(zip(rows, prefixes, strict=True)):
        start = len(prefix)
        ids[r, :start], segment[r, :start], offset[r, :start] = prefix, 0, np.arange(start)
        asked[r, :start] = True
        for b, branch in enumerate(row.branches):
            tokens = branch.prompt + branch.answer[:-1]
            stop = start + len(tokens)
            ids[r, start:stop], segment[r, start:stop], offset[r, start:stop] = tokens, b + 1, np.arange(len(tokens))
            asked[r, start : start + len(branch.prompt)] = True
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
        asked=torch.from_numpy(asked),
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


def fill_rows(lengths: Sequence[int], most: int, room: int) -> list[list[int]]:
    """Places of branches in rows of at most ``most`` branches that take at most ``room`` positions together.

    First-fit decreasing: the longest branch first, each into the first row with room for it, so few rows are needed and
    they are of like length. Equal lengths keep their order; a branch longer than ``room`` stands alone.
    """
    rows: list[list[int]] = []
    left: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        need = lengths[place]
        fitting = (row for row, free in enumerate(left) if need <= free and len(rows[row]) < most)
        row = next(fitting, len(rows))
        if row == len(rows):
            rows.append([])
            left.append(room)
        rows[row].append(place)
        left[row] -= need
    return rows


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
