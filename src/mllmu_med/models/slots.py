"""A key-value cache whose rows come and go: room for tokens to come, rows that end make place, new ones join.

transformers' ``DynamicCache`` copies all keys and values for every new token. Here they lie in buffers with room: a
token is written where it belongs, the last rows move into the places of those that ended, and rows that begin later
join with blank columns on their left, which nothing attends to.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

ROOM = 32
"""Columns that a full buffer grows by."""


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values [N, heads, T, D] as views into larger buffers."""

    def __init__(self) -> None:
        super().__init__()
        self._held: list[Tensor] = []
        self._rows = self._first = self._end = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Empty buffers of the type, device and shape of the first keys and values."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self._held = [states[:, :, :0] for states in (key_states, value_states)]
        self._rows, self._first, self._end = len(key_states), 0, 0
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write behind what is held; returns all keys and values."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        new = key_states.shape[-2]
        if self._end + new > self._held[0].shape[-2]:
            self._enlarge(max(new, ROOM))
        for held, states in zip(self._held, (key_states, value_states), strict=True):
            held[: self._rows, :, self._end : self._end + new] = states
        self._end += new
        return self._look()

    def chosen(self, index: Tensor, room: int) -> RoomyLayer:
        """A layer of its own with these rows, some of them often, and room for so many tokens."""
        made = RoomyLayer()
        made.dtype, made.device, made.is_initialized = self.dtype, self.device, True
        made._held = [_roomy(held[: self._rows, :, self._first : self._end], index, room) for held in self._held]
        made._rows, made._end = len(index), self._end - self._first
        made._look()
        return made

    def _enlarge(self, room: int) -> None:
        self._held = [_roomy(held[: self._rows, :, self._first : self._end], None, room) for held in self._held]
        self._first, self._end = 0, self._end - self._first

    def keep(self, source: Tensor, target: Tensor, count: int) -> None:
        """Rows ``source`` take the places ``target``, and only the first ``count`` rows stay."""
        if len(source):
            for held in self._held:
                held[target, :, self._first : self._end] = held[source, :, self._first : self._end]
        self._rows = count
        self._look()

    def join(self, other: RoomyLayer, unused: int) -> None:
        """Take another layer's rows in behind the own ones, aligned at the newest token.

        ``unused``: columns at the beginning that are blank for every own row, and go.
        """
        self._first += unused
        length, new = self._end - self._first, other._end - other._first
        rows = self._rows + other._rows
        if new > length or rows > len(self._held[0]):
            before, self._held = self._held, []
            for held in before:
                buffer = held.new_zeros(max(rows, len(held)), held.shape[1], max(length, new) + ROOM, held.shape[3])
                start = max(0, new - length)
                buffer[: self._rows, :, start : start + length] = held[: self._rows, :, self._first : self._end]
                self._held.append(buffer)
            self._first, self._end = 0, max(length, new)
        for held, others in zip(self._held, other._held, strict=True):
            places = held[self._rows : rows]
            places[:, :, self._first : self._end - new] = 0  # what is left there may be infinite, and 0 · ∞ is no 0
            places[:, :, self._end - new : self._end] = others[: other._rows, :, other._first : other._end]
        self._rows = rows
        self._look()

    def _look(self) -> tuple[Tensor, Tensor]:
        self.keys, self.values = (held[: self._rows, :, self._first : self._end] for held in self._held)
        return self.keys, self.values


def _roomy(states: Tensor, index: Tensor | None, room: int) -> Tensor:
    """A buffer with [N, heads, T, D] states, or the rows ``index`` of them, and room for so many columns more."""
    count, length = len(states) if index is None else len(index), states.shape[2]
    buffer = states.new_zeros(count, states.shape[1], length + room, states.shape[3])
    buffer[:, :, :length] = states if index is None else states[index]
    return buffer


def new_cache(config: Any) -> DynamicCache:
    """An empty cache for a model with this text configuration.

    All layers that attend to keys have room. Those with a sliding window hold everything, too: what is out of sight is
    the mask's business, since among blank columns the newest columns are not the newest tokens.
    """
    cache = DynamicCache(config=config)
    keyed = (DynamicLayer, DynamicSlidingWindowLayer)
    cache.layers = [RoomyLayer() if type(layer) in keyed else layer for layer in cache.layers]
    return cache


def can_join(cache: DynamicCache) -> bool:
    """Whether rows may join: not where a layer holds a state that is not a key and a value for each token."""
    return all(type(layer) is RoomyLayer for layer in cache.layers)


def spread(cache: DynamicCache, index: Tensor, room: int) -> DynamicCache:
    """A cache with the rows ``index`` of this one, each as often as it is named, and room for so many tokens.

    Where rows can join, this one stays as it is; elsewhere it is the one that is returned.
    """
    if not can_join(cache):
        cache.batch_select_indices(index)
        return cache
    made = copy(cache)
    made.layers = [layer.chosen(index, room) for layer in cache.layers]
    return made


def compacted(places: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
    """How ascending ``places`` become the first rows with the fewest moves: sources, their targets, the new order."""
    count = len(places)
    kept = set(places)
    source = [place for place in places if place >= count]
    target = [place for place in range(count) if place not in kept]
    order = list(range(count))
    for place, moved in zip(target, source, strict=True):
        order[place] = moved
    return source, target, order


def keep(cache: DynamicCache, places: Sequence[int], device: torch.device) -> list[int]:
    """Only the rows at ``places`` (ascending) stay. Returns which row is where now."""
    source, target, order = compacted(places)
    moves = torch.tensor([source, target], dtype=torch.long, device=device)
    whole = None
    for layer in cache.layers:
        if type(layer) is RoomyLayer:
            layer.keep(moves[0], moves[1], len(places))
        else:
            whole = torch.tensor(order, device=device) if whole is None else whole
            layer.batch_select_indices(whole)
    return order


def join(cache: DynamicCache, other: DynamicCache, unused: int) -> None:
    """Rows of ``other`` behind those of ``cache``; both must be able to (:func:`can_join`)."""
    for layer, others in zip(cache.layers, other.layers, strict=True):
        layer.join(others, unused)
