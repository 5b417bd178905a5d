"""Images as a model's inputs: preprocessed tensors, prefix tokens and cached features, one entry per image."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from mllmu_med.errors import DataError
from mllmu_med.models.prompts import QUESTION_MARK, PromptFormat

ImageLoader = Callable[[str], Image.Image]

# How many placeholders one image takes where the full processor cannot be built (it needs torchvision for video).
# config attribute path → rule; the self-check at load compares the result with the model's own feature count.
_GRID_MERGE = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "glm4v")


@dataclass(frozen=True)
class ImageInputs:
    """One image, ready for a model.

    Attributes:
        tensors: the image processor's output, first dimension = this image's share (images, tiles or patches).
        prefix: prompt tokens up to and including everything that stands for the image.
        positions: [A, P] positions of the prefix (A axes of M-RoPE), or None for plain 0…P-1.
    """

    tensors: dict[str, Tensor]
    prefix: tuple[int, ...]
    positions: Tensor | None

    @property
    def next_position(self) -> int:
        """The position at which branches go on."""
        return len(self.prefix) if self.positions is None else int(self.positions.max()) + 1


class Remembered(NamedTuple):
    """What one preparer hands on to the next: loader, images in order of use, and their bytes."""

    loader: ImageLoader | None
    entries: OrderedDict[str, ImageInputs]
    held: int


class ImagePreparer:
    """Preprocesses images by identifier and remembers the result, up to ``capacity`` bytes (least recently used go)."""

    def __init__(
        self,
        *,
        processor: Any,
        image_processor: Any,
        prompts: PromptFormat,
        config: Any,
        rope_index: Callable[..., Any] | None,
        capacity: int = 2 << 30,
    ) -> None:
        self.processor, self.image_processor, self.prompts, self.config = processor, image_processor, prompts, config
        self.rope_index = rope_index
        self.loader: ImageLoader | None = None
        self.capacity = capacity
        self._held = 0
        self._entries: OrderedDict[str, ImageInputs] = OrderedDict()

    def clear(self) -> None:
        """Forget everything; must be called when identifiers get another meaning."""
        self._entries.clear()
        self._held = 0

    def remembered(self) -> Remembered:
        """The loader and all that is remembered, for another preparer."""
        return Remembered(self.loader, self._entries, self._held)

    def adopt(self, remembered: Remembered) -> None:
        """Use another preparer's images and loader from now on; that one is no longer to be used."""
        self.loader, self._entries, self._held = remembered

    def get(self, image_id: str) -> ImageInputs:
        """Inputs of the image, loaded through ``loader`` when they are not remembered."""
        if image_id in self._entries:
            self._entries.move_to_end(image_id)
            return self._entries[image_id]
        if self.loader is None:
            raise DataError(f"no images attached, but image {image_id[:12]} is asked for")
        inputs = self.prepare(self.loader(image_id))
        self._entries[image_id] = inputs
        self._held += sum(t.nbytes for t in inputs.tensors.values())
        while self._held > self.capacity and len(self._entries) > 1:
            _, old = self._entries.popitem(last=False)
            self._held -= sum(t.nbytes for t in old.tensors.values())
        return inputs

    def prepare(self, image: Image.Image) -> ImageInputs:
        """Preprocess one image and find its prefix tokens and positions."""
        text = self.prompts.text(QUESTION_MARK, True)
        short = self.prompts.tokens(text)
        behind = short[short.index(self.prompts.image_token_id) + 1 :]
        if self.processor is not None:
            special = len(self.prompts.tokens(text)) != len(
                self.prompts.tokenizer(text, add_special_tokens=False)["input_ids"]
            )
            encoded = dict(
                self.processor(text=[text], images=[[image]], return_tensors="pt", add_special_tokens=special)
            )
            ids = encoded.pop("input_ids")[0].tolist()
            encoded.pop("attention_mask", None)
            encoded.pop("token_type_ids", None)
            encoded.pop("mm_token_type_ids", None)
        else:
            encoded = dict(self.image_processor(images=[image], return_tensors="pt"))
            place = short.index(self.prompts.image_token_id)
            ids = short[:place] + [self.prompts.image_token_id] * self._placeholders(encoded) + short[place + 1 :]
        if ids[len(ids) - len(behind) :] != behind:
            raise DataError("the processor and the tokenizer disagree about the prompt behind the image")
        prefix = tuple(ids[: len(ids) - len(behind)])
        tensors = {name: value for name, value in encoded.items() if isinstance(value, Tensor)}
        return ImageInputs(tensors, prefix, self._positions(prefix, tensors))

    def _placeholders(self, encoded: dict[str, Any]) -> int:
        if self.config.model_type in _GRID_MERGE and "image_grid_thw" in encoded:
            merge = int(self.config.vision_config.spatial_merge_size)
            return int(encoded["image_grid_thw"].prod()) // merge**2
        length = getattr(self.config, "image_seq_length", None)
        if length is not None:
            return int(length)
        raise DataError(
            f"the processor of '{self.config.model_type}' cannot be built here, and its image length is unknown",
            mend="Install torchvision so that the model's own processor can be used.",
        )

    def _positions(self, prefix: tuple[int, ...], tensors: dict[str, Tensor]) -> Tensor | None:
        if self.rope_index is None:
            return None
        ids = torch.tensor([prefix])
        positions, _ = self.rope_index(
            input_ids=ids,
            image_grid_thw=tensors.get("image_grid_thw"),
            mm_token_type_ids=(ids == self.prompts.image_token_id).long(),
            attention_mask=torch.ones_like(ids),
        )
        first: Tensor = positions[:, 0]
        return first


def join(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Inputs of several images as one batch; images with fewer tiles are filled up with empty ones."""
    joined = {}
    for name in parts[0]:
        tensors = [part[name] for part in parts]
        tiles = max(t.shape[1] for t in tensors) if tensors[0].dim() > 1 else 0
        if tiles and any(t.shape[1] != tiles for t in tensors) and tensors[0].dim() >= 4:
            tensors = [torch.cat([t, t.new_zeros(t.shape[0], tiles - t.shape[1], *t.shape[2:])], 1) for t in tensors]
        joined[name] = torch.cat(tensors)
    return joined
