"""What θ0 said, computed once: token log-probabilities, and hidden states from which its logits can be rebuilt.

Never a second model: with LoRA the reference is the model with its adapters off (on quantised weights: θ0 as they
hold it); with full fine-tuning the cache is filled before the first step, and only a copy of θ0's output head stays.

In packed rows a token's numbers depend in their last bits on what else went through the same forward pass. So the pass
is the unit that is kept: its name is the content of all its rows in their order, and a pass that is taken from the
disk has the bits that it would have if it were computed. Which methods, seeds or runs filled the cache before, and in
which order, changes no byte of what is trained.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mllmu_med.caches.memory import BoundedMemory
from mllmu_med.caches.tensors import TensorStore
from mllmu_med.folders import digest
from mllmu_med.models.groups import adapters_off, has_adapter
from mllmu_med.models.network import unwrap
from mllmu_med.models.rows import Row, chunk_rows
from mllmu_med.models.vlm import Question, VisionLanguageModel

ON_DEVICE = 1 << 30
"""Bytes of hidden states held on an accelerator; the others wait in main memory or in their files."""

SHARED_SHARE = 0.75
"""Share of a record set that must be asked for before all of it is computed, in passes that other runs share."""

_LOGPROB, _HIDDEN = "logprob", "hidden"
_WHOLE = 1 << 27  # logits held at once while filling


class _Place(NamedTuple):
    """Where a question's answer tokens lie in the tensors of a pass."""

    owner: _Pass
    start: int
    stop: int


@dataclass(eq=False)
class _Pass:
    """One forward pass: its tensors [K] or [K, H] by part, in main memory (log-probabilities: on the device)."""

    questions: list[Question]
    name: str | None = None
    parts: dict[str, Tensor] = field(default_factory=dict)


class ReferenceCache:
    """θ0's outputs on fixed questions.

    Args:
        vlm: the model while it still is θ0; where it is ``kept``, what is computed goes to the cache on disk, and
            comes from there.
        batch: questions per forward pass while filling.
        branches: most questions of one image in a row.
        adapted: True: what the model says with its adapters (a reference other than θ0); needs a fresh adapter later.
    """

    def __init__(self, vlm: VisionLanguageModel, *, batch: int = 64, branches: int = 8, adapted: bool = False) -> None:
        self.vlm, self.batch, self.branches, self.adapted = vlm, batch, branches, adapted
        self._places: dict[str, dict[Question, _Place]] = {}
        self._near: BoundedMemory[tuple[_Pass, str], Tensor] = BoundedMemory(ON_DEVICE)
        self._head: Any = None
        self._disk: tuple[object, TensorStore | None] = None, None

    @torch.no_grad()
    def fill(
        self,
        questions: Sequence[Question],
        *,
        hidden: bool,
        layers: Sequence[int] = (),
        among: Sequence[Question] | None = None,
    ) -> None:
        """Compute, or take from the disk, what is missing.

        Args:
            questions: what will be asked for.
            hidden: hidden states too (K·H numbers a question).
            layers: decoder layers whose hidden states are kept as well.
            among: the record set that the questions are drawn from. Where they are most of it
                (:data:`SHARED_SHARE`), the passes are those of the whole set in its own order, so that another draw
                from it, by another seed or for more steps, finds them.
        """
        parts = [_LOGPROB, *([_HIDDEN] if hidden else []), *(f"layer-{layer}" for layer in layers)]
        missing = self._missing(questions, parts)
        if not missing:
            return
        vlm = self.vlm
        head = unwrap(vlm.model).get_output_embeddings()
        trains = any(parameter.requires_grad for parameter in head.parameters())
        if hidden and self._head is None and (trains or not has_adapter(vlm)):
            self._head = copy.deepcopy(head).requires_grad_(False)
        wanted = set(missing)
        if among is not None and len(wanted) >= SHARED_SHARE * len(set(among)):
            missing = self._missing(among, parts)
        store = self._store()
        was_training = vlm.model.training
        vlm.model.eval()
        try:
            with nullcontext() if self.adapted else adapters_off(vlm):
                self._fill(missing, wanted, parts, layers, store)
        finally:
            vlm.model.train(was_training)

    def _missing(self, questions: Sequence[Question], parts: Sequence[str]) -> list[Question]:
        return [q for q in dict.fromkeys(questions) if any(q not in self._places.get(part, ()) for part in parts)]

    def _store(self) -> TensorStore | None:
        """The disk's entries of this θ0. Its weights are read again only where torch has counted a write to them."""
        if not self.vlm.kept or self.adapted:
            return None
        from mllmu_med.models.digests import arithmetic, reference_space

        values = [*self.vlm.model.parameters(), *self.vlm.model.buffers()]
        state = (arithmetic(self.vlm), [(value.data_ptr(), value._version) for value in values])
        if self._disk[0] != state:
            space = reference_space(self.vlm)
            self._disk = state, None if space is None else TensorStore("references", space)
        return self._disk[1]

    def _fill(
        self,
        missing: list[Question],
        wanted: set[Question],
        parts: Sequence[str],
        layers: Sequence[int],
        store: TensorStore | None,
    ) -> None:
        rows, order = self.vlm.rows(missing, self.branches)
        names = _Names(self.vlm, layers)
        unwritten: list[_Pass] = []
        done = 0
        for chunk in chunk_rows(rows, self.batch):
            asked = [missing[place] for place in order[done : done + sum(len(row.branches) for row in chunk)]]
            done += len(asked)
            if wanted.isdisjoint(asked):
                continue
            one = _Pass(asked, None if store is None else names.of(chunk))
            if store is not None and self._take(one, parts, store):
                self._place(one, chunk)
                continue
            self._compute(one, chunk, parts, layers)
            self._place(one, chunk)
            if store is not None:
                for part in parts:
                    store.put(f"{one.name}-{part}", {"values": one.parts[part]})
                unwritten.append(one)
                if not store.gathered:
                    self._settle(unwritten, parts, store)
        if store is not None:
            store.flush()
            self._settle(unwritten, parts, store)

    def _compute(self, one: _Pass, chunk: Sequence[Row], parts: Sequence[str], layers: Sequence[int]) -> None:
        states, inner, layout = self.vlm.hidden_layers(chunk, layers)
        one.parts[_LOGPROB] = self._target_logprob(states, layout.target)
        if _HIDDEN in parts:
            one.parts[_HIDDEN] = states.cpu()
        for layer, at_layer in inner.items():
            one.parts[f"layer-{layer}"] = at_layer.cpu()

    def _target_logprob(self, states: Tensor, target: Tensor) -> Tensor:
        """[K] log-probabilities; of a large vocabulary in parts, because all logits at once would be too many."""
        most = max(1, _WHOLE // unwrap(self.vlm.model).get_output_embeddings().weight.shape[0])
        found = [
            self.vlm.logits(some).log_softmax(-1).gather(-1, its[:, None])[:, 0]
            for some, its in zip(torch.split(states, most), torch.split(target, most), strict=True)
        ]
        return torch.cat(found)

    def _take(self, one: _Pass, parts: Sequence[str], store: TensorStore) -> bool:
        """Bring a pass from the disk, if all of it is there."""
        for part in parts:
            found = store.get(f"{one.name}-{part}")
            if found is None:
                one.parts.clear()
                return False
            values = found["values"]
            one.parts[part] = values.to(self.vlm.device, copy=True) if part == _LOGPROB else values
        return True

    @staticmethod
    def _settle(unwritten: list[_Pass], parts: Sequence[str], store: TensorStore) -> None:
        """Let go of hidden states that are in files by now: from there they come back when they are needed."""
        for one in unwritten:
            for part in parts:
                found = None if part == _LOGPROB else store.get(f"{one.name}-{part}")
                if found is not None:
                    one.parts[part] = found["values"]
        unwritten.clear()

    def _place(self, one: _Pass, chunk: Sequence[Row]) -> None:
        start = 0
        branches = (branch for row in chunk for branch in row.branches)
        for question, branch in zip(one.questions, branches, strict=True):
            stop = start + len(branch.answer)
            for part in one.parts:
                self._places.setdefault(part, {})[question] = _Place(one, start, stop)
            start = stop

    def _values(self, part: str, questions: Sequence[Question]) -> Tensor:
        """[K] or [K, H] of these questions, in order, on the device of the model."""
        places = self._places.get(part, {})
        found = [places[question] for question in questions]
        return torch.cat([self._of_pass(place.owner, part)[place.start : place.stop] for place in found])

    def _of_pass(self, one: _Pass, part: str) -> Tensor:
        tensor, device = one.parts[part], self.vlm.device
        if tensor.device == device:
            return tensor
        near = self._near.get((one, part))
        if near is None:
            near = tensor.to(device)
            self._near.put((one, part), near, near.nbytes)
        return near

    def logprob(self, questions: Sequence[Question]) -> Tensor:
        """[K] log p_θ0 of the answer tokens of these questions, in order."""
        return self._values(_LOGPROB, questions)

    @torch.no_grad()
    def logits(self, questions: Sequence[Question]) -> Tensor:
        """[K, V] θ0's logits at the answer positions of these questions, rebuilt through its frozen head."""
        hidden = self._values(_HIDDEN, questions)
        if self._head is None and self.adapted:
            return self.vlm.logits(hidden)
        if self._head is None:
            with adapters_off(self.vlm):
                return self.vlm.logits(hidden)
        return self.vlm.network.logits(hidden, self._head)

    def layer(self, questions: Sequence[Question], layer: int) -> Tensor:
        """[K, H] hidden states behind a decoder layer at the answer positions of these questions, in order."""
        return self._values(f"layer-{layer}", questions)


class _Names:
    """Passes by content: prepared images with their tokens, and the tokens of every branch, row by row.

    Which layers are looked into is part of it: the last one works at fewer positions where nobody looks
    (:mod:`mllmu_med.models.lean`), which rounds otherwise.
    """

    def __init__(self, vlm: VisionLanguageModel, layers: Sequence[int]) -> None:
        self.vlm, self.layers = vlm, sorted(layers)
        self._images: dict[str, str] = {}

    def of(self, chunk: Sequence[Row]) -> str:
        """The name of a forward pass."""
        rows = [[self._image(row.image), [[b.prompt, b.answer] for b in row.branches]] for row in chunk]
        return digest({"layers": self.layers, "rows": rows})

    def _image(self, image: str | None) -> str:
        if image is None:
            return digest(self.vlm.prefix(None))
        if image not in self._images:
            from mllmu_med.models.digests import image_digest

            self._images[image] = image_digest(self.vlm.images.get(image))
        return self._images[image]
