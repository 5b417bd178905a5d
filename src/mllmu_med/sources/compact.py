"""What must be remembered of every record of a long source, in a few bytes each."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from hashlib import blake2b

_FILLED = 2 / 3


def short_hash(*parts: str) -> int:
    """64 bits that stand for these texts in this order; two of a million differ with probability 1 − 3·10⁻⁸."""
    text = "\0".join(parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big")


class CompactMap:
    """A mapping from hashes (64 bits, evenly spread) to 64-bit values in 26 to 51 bytes per entry; entries stay.

    Open addressing in arrays that double when two thirds are filled.
    """

    def __init__(self) -> None:
        self._entries = 0
        self._make(1 << 10)

    def __len__(self) -> int:
        return self._entries

    def __contains__(self, key: int) -> bool:
        return bool(self._filled[self._slot(key)])

    def setdefault(self, key: int, value: int) -> int:
        """The key's value; it gets this one if it has none yet. Both from 0 to 2⁶⁴ − 1."""
        slot = self._slot(key)
        if not self._filled[slot]:
            self._put(slot, key, value)
            if self._entries > len(self._keys) * _FILLED:
                self._grow()
            return value
        return self._values[slot]

    def add(self, key: int) -> bool:
        """Make the key known; whether it was not before."""
        before = self._entries
        self.setdefault(key, 0)
        return self._entries > before

    def items(self) -> Iterator[tuple[int, int]]:
        """Keys and values, in no order to rely on."""
        return (
            (key, value) for key, value, filled in zip(self._keys, self._values, self._filled, strict=True) if filled
        )

    def _make(self, slots: int) -> None:
        self._keys, self._values = array("Q", bytes(8 * slots)), array("Q", bytes(8 * slots))
        self._filled = bytearray(slots)
        self._mask = slots - 1

    def _slot(self, key: int) -> int:
        """Where the key is, or where it goes."""
        slot = key & self._mask
        while self._filled[slot] and self._keys[slot] != key:
            slot = (slot + 1) & self._mask
        return slot

    def _put(self, slot: int, key: int, value: int) -> None:
        self._keys[slot], self._values[slot], self._filled[slot] = key, value, 1
        self._entries += 1

    def _grow(self) -> None:
        old = self.items()  # holds the arrays it was made from
        self._entries = 0
        self._make(2 * (self._mask + 1))
        for key, value in old:
            self._put(self._slot(key), key, value)
