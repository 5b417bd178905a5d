"""Logits of large vocabularies, a part at a time: what is one number a token never needs all of [K, V] at once.

For a vocabulary of 150,000 and two thousand answer tokens the logits are 1.2 GB in float32, and a log-softmax keeps
them, its result and two gradients. Most objectives reduce each token's logits to one number before anything else (the
log-probability of its token, a divergence from θ0), and this reduction can be taken over a few tokens after the other:
forward the logits of a part are dropped as soon as they are reduced, backward they are computed again. Values and
gradients are the same up to the order of summation; memory is that of one part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

LARGEST = 1 << 25
"""Most logits computed at once: 128 MiB in float32. One part is then still a matrix product of some hundred rows for
the largest vocabularies, which a GPU takes at full speed, and below it there is nothing worth saving: a decoder layer
of a 7B model keeps more. Models that stay below it at every step are computed as if this module did not exist."""


class DeferredLogits:
    """Logits [K, V] that nobody has computed yet. Stands for a tensor: whoever uses it as one gets the whole.

    Args:
        parts: each gives the logits of its tokens, as often as it is asked; together all K, in order.
        counts: tokens of each part.
        answers: answers of each part, which are whole ones.
    """

    def __init__(self, parts: Sequence[Callable[[], Tensor]], counts: Sequence[int], answers: Sequence[int]) -> None:
        self.parts, self.counts, self.answers = tuple(parts), tuple(counts), tuple(answers)

    @cached_property
    def whole(self) -> Tensor:
        """[K, V]; kept from the first time on, as any tensor that an objective works on."""
        return torch.cat([part() for part in self.parts])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.whole, name)

    def __getitem__(self, index: Any) -> Tensor:
        return self.whole[index]

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """An operation of torch on it is one on the whole tensor."""

        def given(value: Any) -> Any:
            if isinstance(value, list | tuple):
                return type(value)(given(each) for each in value)
            return value.whole if isinstance(value, cls) else value

        return function(*given(tuple(args)), **{name: given(value) for name, value in (kwargs or {}).items()})


def answers_of_parts(counts: Sequence[int], vocabulary: int) -> list[int]:
    """How many consecutive answers each part takes: as many as give at most ``LARGEST`` logits, one at least.

    Args:
        counts: tokens of each answer, in order.
        vocabulary: V.
    """
    taken: list[int] = []
    held = 0
    for count in counts:
        if not taken or (held + count) * vocabulary > LARGEST:
            taken.append(0)
            held = 0
        taken[-1] += 1
        held += count
    return taken


def is_large(tokens: int, vocabulary: int) -> bool:
    """Whether logits of this many tokens are computed a part at a time."""
    return tokens * vocabulary > LARGEST


def each_token(function: Callable[..., Tensor], logits: Sequence[Tensor | DeferredLogits], *beside: Tensor) -> Tensor:
    """[K] values of ``function(*logits, *beside)``, which must treat each token by itself.

    Args:
        function: [k, V] logits, one for each of ``logits``, and the k entries of each of ``beside`` → [k] values.
        logits: [K, V] each; if any is deferred, all are taken in its parts, and forgotten until the backward pass.
        beside: [K] or [K, …] each, e.g. the answer tokens.
    """
    deferred = [one for one in logits if isinstance(one, DeferredLogits)]
    if not deferred:
        return function(*logits, *beside)
    counts = deferred[0].counts
    if any(one.counts != counts for one in deferred):
        raise ValueError("logits that are taken together must be divided alike")
    found = []
    start = 0
    for number, count in enumerate(counts):
        place = slice(start, start + count)

        def part(number: int = number, place: slice = place) -> Tensor:
            own = [one.parts[number]() if isinstance(one, DeferredLogits) else one[place] for one in logits]
            return function(*own, *(values[place] for values in beside))

        # There is nothing random between hidden states and logits, so no generator need be put back.
        found.append(checkpoint(part, use_reentrant=False, preserve_rng_state=False))
        start += count
    return torch.cat(found)


def target_logprob(logits: Tensor, target: Tensor) -> Tensor:
    """[K] log p of the tokens [K], from logits [K, V]."""
    return logits.log_softmax(-1).gather(-1, target[:, None])[:, 0]
