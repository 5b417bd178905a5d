"""Sets of texts in eight bytes each, for a million samples and more."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def key_of(*texts: str) -> int:
    """64 bits that stand for these texts; two of ten million differ in fact but not in key once in 100,000 times."""
    return int.from_bytes(blake2b("\0".join(texts).encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


class KeySet:
    """Keys that are all added before any is looked for."""

    def __init__(self) -> None:
        self._added = array("Q")
        self._sorted: NDArray[np.uint64] | None = None

    def add(self, key: int) -> None:
        """Add one."""
        self._added.append(key)

    def __contains__(self, key: int) -> bool:
        keys = self._keys()
        place = int(keys.searchsorted(key))
        return place < len(keys) and int(keys[place]) == key

    def repeated(self) -> dict[int, int]:
        """Keys that were added more than once → how often."""
        import numpy as np

        keys, counts = np.unique(self._keys(), return_counts=True)
        many = counts > 1
        return dict(zip(keys[many].tolist(), counts[many].tolist(), strict=True))

    def _keys(self) -> NDArray[np.uint64]:
        import numpy as np

        if self._sorted is None or len(self._sorted) != len(self._added):
            self._sorted = np.sort(np.array(self._added, dtype=np.uint64))
        return self._sorted


class Places:
    """Which parts each key occurs in: nine bytes for every occurrence."""

    def __init__(self) -> None:
        self._keys = array("Q")
        self._parts = array("B")

    def add(self, key: int, part: int) -> None:
        """Note an occurrence; ``part`` is a power of two below 256."""
        self._keys.append(key)
        self._parts.append(part)

    def of(self, wanted: Iterable[int]) -> dict[int, int]:
        """Key → the sum of its parts, for those wanted keys that occur."""
        keys, parts = self._summed()
        places = {key: int(keys.searchsorted(key)) for key in wanted}
        return {key: int(parts[at]) for key, at in places.items() if at < len(keys) and int(keys[at]) == key}

    def torn(self) -> set[int]:
        """Keys that occur in more than one part."""
        import numpy as np

        keys, parts = self._summed()
        return set(keys[np.bitwise_count(parts) > 1].tolist())

    def _summed(self) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
        """Sorted keys, and for each the sum of its parts."""
        import numpy as np

        keys, parts = np.array(self._keys, dtype=np.uint64), np.array(self._parts, dtype=np.uint8)
        if not len(keys):
            return keys, parts
        order = np.argsort(keys, kind="stable")
        known, starts = np.unique(keys[order], return_index=True)
        return known, np.bitwise_or.reduceat(parts[order], starts)
