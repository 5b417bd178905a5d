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

_BETWEEN = "\x1f"  # the ASCII unit separator: in no identifier that anybody would give an image

# A processor may be missing because it needs torchvision for videos, and PaliGemma's writes into the prompt behind the
# image: the image processor is called directly then, and the places of an image counted here. The self-check at load
# compares the result with the model's own feature count.
_GRID_MERGE = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "glm4v")
_OWN_LAYOUT = ("paligemma",)
_CUT_TO_TILES = ("internvl",)  # the processor asks for tiles, the image processor alone does not
_NOT_FOR_THE_MODEL = ("attention_mask", "token_type_ids", "mm_token_type_ids", "num_patches", "num_crops", "labels")


def together(*images: str) -> str:
    """One identifier for several images of one question, in this order; an ordinary string, so it hashes and sorts.

    Raises:
        ValueError: no image, or an identifier that contains the separator.
    """
    if not images or any(not image or _BETWEEN in image for image in images):
        raise ValueError("image identifiers are non-empty and do not contain the unit separator (U+001F)")
    return _BETWEEN.join(images)


def each(image: str | None) -> tuple[str, ...]:
    """The single images that an identifier stands for; none for None."""
    return () if image is None else tuple(image.split(_BETWEEN))


@dataclass(frozen=True)
class ImageInputs:
    """One image, or several of one question, ready for a model.

    Attributes:
        tensors: the image processor's output, first dimension = this image's share (images, tiles or patches).
        prefix: prompt tokens up to and including everything that stands for the image or the last of the images.
        positions: [A, P] positions of the prefix (A axes of M-RoPE), or None for plain 0…P-1.
        count: how many images.
    """

    tensors: dict[str, Tensor]
    prefix: tuple[int, ...]
    positions: Tensor | None
    count: int = 1

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
    """Preprocesses images by identifier and remembers the result, up to ``capacity`` bytes (least recently used go).

    Several images of one question (:func:`together`) are an entry of their own under their joint identifier.
    """

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
        self.takes_several = True  # until the self-check at load has found otherwise
        self._direct = processor is None or config.model_type in _OWN_LAYOUT
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
        """Inputs of the image or images, loaded through ``loader`` when they are not remembered.

        Raises:
            DataError: no images are attached, or the images cannot be put into one prompt.
        """
        if image_id in self._entries:
            self._entries.move_to_end(image_id)
            return self._entries[image_id]
        if self.loader is None:
            raise DataError(f"no images attached, but image {image_id[:12]} is asked for")
        several = each(image_id)
        inputs = self.prepare(self.loader(image_id)) if len(several) == 1 else self._prepare_several(several)
        self._entries[image_id] = inputs
        self._held += sum(t.nbytes for t in inputs.tensors.values())
        while self._held > self.capacity and len(self._entries) > 1:
            _, old = self._entries.popitem(last=False)
            self._held -= sum(t.nbytes for t in old.tensors.values())
        return inputs

    def prepare(self, image: Image.Image) -> ImageInputs:
        """Preprocess one image and find its prefix tokens and positions."""
        encoded = self._encode([image])
        return self._inputs(encoded, encoded["input_ids"], 1)

    def _prepare_several(self, images: Sequence[str]) -> ImageInputs:
        assert self.loader is not None
        if not self.takes_several:
            raise DataError(f"'{self.config.model_type}' takes one image a question here, not {len(images)}")
        if self._direct:
            parts = [self.get(image).tensors for image in images]
            return self._inputs(join(parts), self._laid_out([self._expansion(part) for part in parts]), len(images))
        encoded = self._encode([self.loader(image) for image in images])
        return self._inputs(encoded, encoded["input_ids"], len(images))

    def _encode(self, images: list[Image.Image]) -> dict[str, Any]:
        """The model's tensors of these images in one prompt, with its ``input_ids`` as a list."""
        text = self.prompts.text(QUESTION_MARK, len(images))
        if not self._direct:
            bare = self.prompts.tokenizer(text, add_special_tokens=False)["input_ids"]
            special = len(self.prompts.tokens(text)) != len(bare)
            encoded = dict(
                self.processor(text=[text], images=[images], return_tensors="pt", add_special_tokens=special)
            )
            encoded["input_ids"] = encoded["input_ids"][0].tolist()
            return encoded
        options = {"crop_to_patches": True} if self.config.model_type in _CUT_TO_TILES else {}
        encoded = dict(self.image_processor(images=images, return_tensors="pt", **options))
        encoded["input_ids"] = self._laid_out([self._expansion(encoded)])
        return encoded

    def _laid_out(self, expansions: list[list[int]]) -> list[int]:
        """The prompt's tokens with these in place of its placeholders."""
        pieces = self.prompts.around_images(QUESTION_MARK, len(expansions))
        ids = list(pieces[0])
        for expansion, piece in zip(expansions, pieces[1:], strict=True):
            ids += [*expansion, *piece]
        return ids

    def _inputs(self, encoded: dict[str, Any], ids: list[int], images: int) -> ImageInputs:
        behind = self.prompts.around_images(QUESTION_MARK, images)[-1]
        if ids[len(ids) - len(behind) :] != behind:
            raise DataError("the processor and the tokenizer disagree about the prompt behind the image")
        prefix = tuple(ids[: len(ids) - len(behind)])
        tensors = {
            name: value
            for name, value in encoded.items()
            if isinstance(value, Tensor) and name not in _NOT_FOR_THE_MODEL
        }
        return ImageInputs(tensors, prefix, self._positions(prefix, tensors), images)

    def _expansion(self, encoded: dict[str, Any]) -> list[int]:
        """What stands for one image in the prompt, by its preprocessed tensors."""
        tokenizer, config = self.prompts.tokenizer, self.config
        begin, end = (getattr(tokenizer, name, None) for name in ("start_image_token", "end_image_token"))
        places = [self.prompts.image_token_id] * self._places(encoded)
        if config.model_type in _CUT_TO_TILES and begin is not None and end is not None:
            return [tokenizer.convert_tokens_to_ids(begin), *places, tokenizer.convert_tokens_to_ids(end)]
        return places

    def _places(self, encoded: dict[str, Any]) -> int:
        if self.config.model_type in _GRID_MERGE and "image_grid_thw" in encoded:
            merge = int(self.config.vision_config.spatial_merge_size)
            return int(encoded["image_grid_thw"].prod()) // merge**2
        length = getattr(self.config, "image_seq_length", None) or getattr(
            self.image_processor, "image_seq_length", None
        )
        if length is not None:
            tiles = len(encoded["pixel_values"]) if self.config.model_type in _CUT_TO_TILES else 1
            return int(length) * tiles
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
