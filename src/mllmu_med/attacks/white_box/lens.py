"""The logit lens over all layers in one teacher-forced pass: whole answers, and the first token after the question."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mllmu_med.attacks.white_box.candidates import difference, take_turns
from mllmu_med.engines.identity import image_digest, model_identity
from mllmu_med.folders import digest
from mllmu_med.inside.lens import lens
from mllmu_med.inside.states import Chunk, chunks, evaluating, layer_states
from mllmu_med.models.anatomy import anatomy
from mllmu_med.models.rows import Layout
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.progress import bar

ORDERS = (0, 1, 2)
"""Of the differences over layers by which a first token is guessed."""


class LensView(NamedTuple):
    """What the lens shows of Q answers, in L + 1 places: what enters the first layer, then behind each of L layers.

    Attributes:
        scores: [L + 1, Q] float64; log-probability (nats) of each whole answer, end token included, each token given
            the question and the answer's earlier tokens.
        lengths: [Q] tokens of each answer, end token included.
        tokens: (place of a question, order) → candidates for the first token of its answer, best first.
    """

    scores: Tensor
    lengths: Tensor
    tokens: dict[tuple[int, int], list[int]]


_last: tuple[str, LensView] | None = None  # the projections look at one model in one way, one after the other


def kept_view(
    vlm: VisionLanguageModel, questions: Sequence[Question], *, first: Collection[int], budget: int, batch: int
) -> LensView:
    """As ``lens_view``; not looked at again if model, images, questions and all else are what they were last time.

    The model is compared byte by byte, so that weights changed in place are looked at anew.
    """
    global _last
    identity = model_identity(vlm)
    images = sorted({question.image for question in questions if question.image is not None})
    seen = [[image, image_digest(vlm.images.get(image))] for image in images]
    key = digest([identity, seen, [list(question) for question in questions], sorted(first), budget, batch])
    if identity is None or _last is None or _last[0] != key:
        _last = (key, lens_view(vlm, questions, first=first, budget=budget, batch=batch))
    return _last[1]


def lens_view(
    vlm: VisionLanguageModel, questions: Sequence[Question], *, first: Collection[int], budget: int, batch: int
) -> LensView:
    """Look at the questions' answers through the lens behind every layer; one forward pass a batch, without a guard.

    Args:
        first: places of the questions whose first answer token is to be guessed.
        budget: most candidates for it.
        batch: questions per forward pass.
    """
    parts = anatomy(vlm.model)
    scores = torch.zeros(len(parts.layers) + 1, len(questions), dtype=torch.float64)
    lengths = torch.zeros(len(questions), dtype=torch.long)
    tokens: dict[tuple[int, int], list[int]] = {}
    with evaluating(vlm), bar("logit lens", len(questions)) as progress:
        for chunk in chunks(vlm, questions, batch):
            target, owner, branches = chunk.layout.target, chunk.layout.owner, chunk.layout.branches
            lengths[chunk.order] = counts = torch.bincount(owner, minlength=branches)
            asked = [branch for branch, place in enumerate(chunk.order) if place in first]
            heads = (counts.cumsum(0) - counts)[asked]  # owners are in order
            turns = {order: _Turns(len(asked), order, budget) for order in ORDERS}
            for place, state in enumerate(all_layers(vlm, chunk)):
                summed = torch.zeros(branches, dtype=torch.float64)
                scores[place, chunk.order] = summed.index_add(0, owner, lens(vlm, state, target)[0].double())
                share = vlm.network.logits(parts.norm(state[heads.to(state.device)])).softmax(-1)
                for of_order in turns.values():
                    of_order.show(place, share)
            for order, of_order in turns.items():
                for branch, found in zip(asked, of_order.candidates(), strict=True):
                    tokens[chunk.order[branch], order] = found
            progress.advance(branches)
    return LensView(scores, lengths, tokens)


def all_layers(vlm: VisionLanguageModel, chunk: Chunk) -> list[Tensor]:
    """States [K, H] at the answer positions: what enters the first decoder layer, then behind each layer."""
    with _entering(anatomy(vlm.model).layers[0], chunk.layout) as held:
        behind = layer_states(vlm, chunk)
    return [*held, *behind]


@contextmanager
def _entering(layer: Any, layout: Layout) -> Iterator[list[Tensor]]:
    """Gather the states [K, H] that enter a decoder layer in the pass within the block."""
    held: list[Tensor] = []

    def gather(module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        states = arguments[0] if arguments else named["hidden_states"]
        held.append(states[layout.row.to(states.device), layout.column.to(states.device)])

    handle = layer.register_forward_pre_hook(gather, with_kwargs=True)
    try:
        yield held
    finally:
        handle.remove()


class _Turns:
    """Collects, layer by layer, each question's most and least likely first tokens by the difference of an order."""

    def __init__(self, questions: int, order: int, budget: int) -> None:
        self.order, self.budget = order, budget
        self._window: deque[Tensor] = deque(maxlen=order + 1)
        self._orders: list[list[list[int]]] = [[] for _ in range(questions)]

    def show(self, place: int, share: Tensor) -> None:
        """The distributions [questions, V] that the lens gives in a place; what enters counts in differences alone."""
        if self.order == 0 and place == 0:
            return
        self._window.append(share)
        if len(self._window) <= self.order:
            return
        change = difference(self._window)
        count = min(self.budget, change.shape[-1])
        ends = [change] if self.order == 0 else [change, -change]
        for end in reversed(ends):  # the latest layer's turn is the first, its top end before its bottom end
            best = end.topk(count).indices.tolist()
            for orders, tokens in zip(self._orders, best, strict=True):
                orders.insert(0, tokens)

    def candidates(self) -> list[list[int]]:
        """For each question, at most ``budget`` tokens."""
        return [take_turns(orders, self.budget) for orders in self._orders]
