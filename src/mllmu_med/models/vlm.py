"""The adapter: one face for every image-text-to-text model of transformers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mllmu_med.caches.memory import BoundedMemory
from mllmu_med.models.features import MEMORY, ImageFeatures, SeenImages, joined
from mllmu_med.models.guarded import ActiveGuard
from mllmu_med.models.images import ImageInputs, ImageLoader, ImagePreparer, join
from mllmu_med.models.lean import answers_only
from mllmu_med.models.masks import attention_rule
from mllmu_med.models.network import AnswerNetwork, unwrap
from mllmu_med.models.placeholders import counted_places
from mllmu_med.models.prompts import PromptFormat
from mllmu_med.models.rows import Branch, Layout, Row, fill_rows, lay_out, split_rows

log = logging.getLogger("mllmu_med")


class Question(NamedTuple):
    """A question about an image, several or none, with the answer to be learnt or scored.

    ``image``: an identifier; of several images what :func:`~mllmu_med.models.images.together` makes of theirs.
    """

    image: str | None
    question: str
    answer: str
    weights: tuple[float, ...] | None = None


class VisionLanguageModel:
    """A transformers model with its tokenizer and image processor, speaking in rows.

    Args:
        model: any ``AutoModelForImageTextToText``, possibly wrapped by PEFT.
        prompts: its prompt format.
        images: its image preparer.
        packed: several branches in one row; False = one row per question (the plain path).

    Attributes:
        guard: what acts on every answer and every likelihood without touching the weights; None = nothing does.
        kept: keep image features and references in the user's cache on disk, and take them from there.
    """

    def __init__(self, model: Any, prompts: PromptFormat, images: ImagePreparer, *, packed: bool = True) -> None:
        self.model, self.prompts, self.images, self.packed = model, prompts, images, packed
        self.quantised: str | None = None  # number format of frozen quantised weights
        self.guard: ActiveGuard | None = None
        self.network = AnswerNetwork(model)
        self.pad_token_id = prompts.tokenizer.pad_token_id or 0
        self.rule = attention_rule(unwrap(model).config)
        # PaliGemma counts from 1.
        self.first_position = int(unwrap(model).config.model_type == "paligemma")
        self.kept = False
        self._features: ImageFeatures | None = None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.model.device
        return device

    def attach_images(self, loader: ImageLoader) -> None:
        """Say how an image identifier becomes an image; drops everything remembered about earlier ones."""
        self.images.clear()
        self.images.loader = loader
        self._meet_new_images()
        if self._features is not None:
            self._features.flush()
            self._features = ImageFeatures(BoundedMemory(self._features.memory.capacity))

    def _meet_new_images(self) -> None:
        if self.guard is not None:
            self.guard.forget_decisions()

    def seen_images(self) -> SeenImages:
        """What another model can take over of this one's images."""
        if self._features is not None:
            self._features.flush()
        return SeenImages(self.images.remembered(), None if self._features is None else self._features.memory)

    def adopt_images(self, seen: SeenImages) -> None:
        """Take over another model's images: preprocessed pixels always, cached features where they would be equal.

        Features are equal if all that they depend on is; they say so themselves. Both models must use one image
        processor.
        """
        self.images.adopt(seen.images)
        self._meet_new_images()
        if self._features is not None and seen.features is not None:
            self._features.flush()
            self._features = ImageFeatures(seen.features)

    # --- rows -------------------------------------------------------------------------------------------------------

    def branch(self, question: Question) -> Branch:
        """Tokens of a question and its answer."""
        prompt = self.prompts.branch_tokens(question.question, question.image is not None)
        return Branch(prompt, self.prompts.answer_tokens(question.answer), question.weights)

    def rows(self, questions: Sequence[Question], most: int, budget: int | None = None) -> tuple[list[Row], list[int]]:
        """Group questions by image, at most ``most`` branches a row (1 on the plain path).

        Args:
            budget: most positions of a row, its prefix included. Rows are then filled by length and sorted by it,
                longest first, so that little is padded in a batch of consecutive ones; a single branch may be longer.
                None: questions stay in their order.

        Returns:
            the rows, and for each branch in row order the index of its question.
        """
        by_image: dict[str | None, list[int]] = {}
        for index, question in enumerate(questions):
            by_image.setdefault(question.image, []).append(index)
        most = most if self.packed else 1
        made: list[tuple[Row, list[int]]] = []
        for image, indices in by_image.items():
            branches = [self.branch(questions[i]) for i in indices]
            if budget is None:
                chunks = [list(range(start, min(start + most, len(indices)))) for start in range(0, len(indices), most)]
            else:
                chunks = fill_rows([branch.fed for branch in branches], most, budget - len(self.prefix(image)))
            made += [(Row(image, tuple(branches[i] for i in chunk)), [indices[i] for i in chunk]) for chunk in chunks]
        if budget is not None:
            made.sort(key=lambda one: -len(self.prefix(one[0].image)) - sum(branch.fed for branch in one[0].branches))
        return [row for row, _ in made], [index for _, chunk in made for index in chunk]

    # --- forward ----------------------------------------------------------------------------------------------------

    def prefix(self, image: str | None) -> tuple[int, ...]:
        """Prefix tokens of a row about this image."""
        return self.prompts.text_prefix() if image is None else self.images.get(image).prefix

    def hidden(self, rows: Sequence[Row]) -> tuple[Tensor, Layout]:
        """Hidden states [K, H] at the answer positions of the rows, and the layout (targets, owners, weights)."""
        rows = rows if self.packed else split_rows(rows)
        guard = self.guard
        if guard is not None:
            rows = guard.separated(self, rows)
        layout = self.layout(rows)
        with nullcontext() if guard is None else guard.acting(self, guard.touched(self, rows, layout)):
            return self.run(rows, layout)

    def layout(self, rows: Sequence[Row]) -> Layout:
        """The rows as tensors, on the CPU."""
        return lay_out(rows, [self.prefix(row.image) for row in rows], self.pad_token_id)

    def run(self, rows: Sequence[Row], layout: Layout) -> tuple[Tensor, Layout]:
        """As ``hidden``, of rows that are laid out already and by the weights alone, without the guard."""
        positions = self._positions(rows, layout)
        inputs = self.image_inputs([row.image for row in rows if row.image is not None])
        places = int((layout.input_ids == self.prompts.image_token_id).sum())  # while it is on the host
        layout = layout.to(self.device)
        positions = positions.to(self.device, non_blocking=True)
        inputs.update(self.token_types(layout.input_ids))
        with counted_places(unwrap(self.model).base_model, places), answers_only(self.model, layout):
            return self.network(layout, positions, inputs), layout

    def hidden_layers(self, rows: Sequence[Row], layers: Sequence[int]) -> tuple[Tensor, dict[int, Tensor], Layout]:
        """As ``hidden``, with the hidden states [K, H] behind some decoder layers at the same positions."""
        from mllmu_med.models.anatomy import anatomy, recorded_outputs

        if not layers:
            hidden, layout = self.hidden(rows)
            return hidden, {}, layout
        parts = anatomy(self.model)
        with recorded_outputs({layer: parts.layers[layer] for layer in layers}) as held:
            hidden, layout = self.hidden(rows)
        return hidden, {layer: states[layout.row, layout.column] for layer, states in held.items()}, layout

    def lens(self, hidden: Tensor) -> Tensor:
        """Logit lens: float32 logits [K, V] of hidden states behind some layer, through final norm and head."""
        from mllmu_med.models.anatomy import anatomy

        return self.logits(anatomy(self.model).norm(hidden))

    def token_types(self, ids: Tensor) -> dict[str, Tensor]:
        """Which tokens stand for an image (1), under the name by which the family wants to know, if it does.

        Qwen-VL finds its image positions by them, Gemma 3 its bidirectional image blocks.
        """
        for name in ("mm_token_type_ids", "token_type_ids"):
            if name in self._accepted() and (name == "mm_token_type_ids" or self.rule.bidirectional == "image"):
                return {name: (ids == self.prompts.image_token_id).long()}
        return {}

    def prefix_positions(self, images: Sequence[str | None]) -> Tensor:
        """Positions [B, P] or [A, B, P] of the prefixes of images that all have prefixes of one length."""
        plain = self.first_position + torch.arange(len(self.prefix(images[0]))).expand(len(images), -1)
        if self.images.rope_index is None:
            return plain
        held = [None if image is None else self.images.get(image).positions for image in images]
        return torch.stack([plain[0].expand(3, -1) if own is None else own for own in held], 1)

    def logits(self, hidden: Tensor) -> Tensor:
        """Float32 logits [K, V]."""
        logits = self.network.logits(hidden)
        return logits if self.guard is None else self.guard.logits(logits)

    def _accepted(self) -> tuple[str, ...]:
        return forward_arguments(type(unwrap(self.model).base_model))

    def _positions(self, rows: Sequence[Row], layout: Layout) -> Tensor:
        """Positions of every token: the prefix's own, then each branch going on behind the prefix."""
        starts = [0 if row.image is None else self.images.get(row.image).next_position for row in rows]
        text_start = len(self.prompts.text_prefix())
        start = torch.tensor([s if row.image is not None else text_start for s, row in zip(starts, rows, strict=True)])
        positions = torch.where(layout.segment > 0, layout.offset + start[:, None], layout.offset)
        if self.images.rope_index is None:
            return positions + self.first_position
        axes = positions.expand(3, -1, -1).clone()
        for index, row in enumerate(rows):
            own = None if row.image is None else self.images.get(row.image).positions
            if own is not None:
                axes[:, index, : own.shape[1]] = own
        return axes

    # --- images -----------------------------------------------------------------------------------------------------

    def cache_features(self, enabled: bool, *, capacity: int = MEMORY) -> None:
        """Keep image features (behind the projector) instead of recomputing them.

        Exact as long as neither vision tower nor projector train, which is why the caller must say so. Ignored, with a
        note in the log, for families that do not take features from outside. Features already held stay.

        Args:
            enabled: whether to keep them.
            capacity: bytes held in memory; the least recently used go.
        """
        if enabled and self._features is not None:
            return
        if self._features is not None:
            self._features.flush()
        self._features = None
        if enabled and "mm_encoder_outputs" in self._accepted():
            self._features = ImageFeatures(BoundedMemory(capacity))
        elif enabled:
            log.info("%s takes no cached image features; they are computed in each step", type(self.model).__name__)

    def image_inputs(self, images: Sequence[str]) -> dict[str, Any]:
        """Keyword arguments that bring these images into the forward: cached features, or pixels."""
        if not images:
            return {}
        if self._features is not None:
            held = self._features.of(self, images)
            if held is not None:
                return {"mm_encoder_outputs": {"image": joined(held)}}
            self._features = None
            log.info("image features of %s cannot be cached", type(self.model).__name__)
        return self.pixel_inputs([self.images.get(image) for image in images])

    def pixel_inputs(self, images: Sequence[ImageInputs]) -> dict[str, Any]:
        """The images as one batch on the model's device, floating-point tensors in its precision."""
        dtype = unwrap(self.model).dtype
        return {
            name: value.to(self.device, dtype if value.is_floating_point() else None, non_blocking=True)
            for name, value in join([image.tensors for image in images]).items()
        }


_ARGUMENTS: dict[type, tuple[str, ...]] = {}


def forward_arguments(kind: type) -> tuple[str, ...]:
    """Names of the arguments of a module's forward."""
    if kind not in _ARGUMENTS:
        from inspect import signature

        _ARGUMENTS[kind] = tuple(signature(kind.forward).parameters)  # type: ignore[attr-defined]
    return _ARGUMENTS[kind]
