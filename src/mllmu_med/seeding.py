"""Randomness as a function of named keys, e.g. ``rng(seed, "pairs", epoch, index)``; never global state."""

from __future__ import annotations

import random
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy
    import torch

Key = int | str


def derive(*keys: Key) -> int:
    """A 63-bit seed that depends on every key and on their order."""
    digest = blake2b(digest_size=8)
    for key in keys:
        digest.update(f"{type(key).__name__}:{key}\0".encode())
    return int.from_bytes(digest.digest(), "big") >> 1


def rng(*keys: Key) -> random.Random:
    """A Python generator for these keys."""
    return random.Random(derive(*keys))


def numpy_rng(*keys: Key) -> numpy.random.Generator:
    """A numpy generator for these keys."""
    import numpy

    return numpy.random.default_rng(derive(*keys))


def torch_rng(*keys: Key) -> torch.Generator:
    """A CPU torch generator for these keys."""
    import torch

    return torch.Generator().manual_seed(derive(*keys))


def permutation(size: int, *keys: Key) -> list[int]:
    """A permutation of ``range(size)`` for these keys."""
    order = list(range(size))
    rng(*keys).shuffle(order)
    return order
