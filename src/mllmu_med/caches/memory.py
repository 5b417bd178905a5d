"""Values in memory up to a number of bytes; the least recently used go first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BoundedMemory(Generic[K, V]):
    """A mapping that holds at most ``capacity`` bytes, and the newest value however large it is."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.held = 0
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def get(self, key: K) -> V | None:
        """The value, which counts as used now; None where it is not held."""
        found = self._entries.get(key)
        if found is None:
            return None
        self._entries.move_to_end(key)
        return found[0]

    def put(self, key: K, value: V, size: int) -> None:
        """Hold a value of ``size`` bytes."""
        if key in self._entries:
            self.held -= self._entries.pop(key)[1]
        self._entries[key] = value, size
        self.held += size
        while self.held > self.capacity and len(self._entries) > 1:
            _, (_, gone) = self._entries.popitem(last=False)
            self.held -= gone

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[K]:
        return iter(list(self._entries))  # what is asked for meanwhile changes the order

    def __len__(self) -> int:
        return len(self._entries)
