"""Features of images behind a frozen vision side: computed once, held in memory up to a bound, and kept on disk.

An image's features depend on the weights of vision tower and projector, on the prepared image, and on the arithmetic;
all of it is in the key. They must not depend on which images happened to be computed together, or a run with a warm
cache would differ from one with a cold cache in the last bits. So each image goes through the tower alone; only on the
CPU, and only where a comparison at the first batch finds the same bits, several go together (6 times faster on the
embedded model).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from mllmu_med.caches.memory import BoundedMemory
from mllmu_med.caches.tensors import TensorStore
from mllmu_med.models.images import ImageInputs, Remembered
from mllmu_med.models.network import unwrap

if TYPE_CHECKING:
    from mllmu_med.models.vlm import VisionLanguageModel

log = logging.getLogger("mllmu_med")

MEMORY = 1 << 30
"""Bytes of features held in memory, on the model's device."""

TOGETHER = 64
"""Most images that go through the tower at once."""

Features = dict[str, Tensor]
"""An image's share of the vision side's output, by place: ``pooler_output.0``, ``deepstack_features.2.0``, …"""

FeatureMemory = BoundedMemory[tuple[str, str], Features]
"""(space, image identifier) → features."""

_POOLED = "pooler_output"


class SeenImages(NamedTuple):
    """Images as one model has prepared them, and their features with what they depend on; holds no part of a model."""

    images: Remembered
    features: FeatureMemory | None


class _Space(NamedTuple):
    digest: str
    store: TensorStore | None


class ImageFeatures:
    """The features of one model's images.

    Args:
        memory: what is held already, possibly by an earlier model; entries say what they depend on.
    """

    def __init__(self, memory: FeatureMemory) -> None:
        self.memory = memory
        self._spaces: dict[tuple[Any, ...], _Space] = {}
        self._batches: dict[str, bool] = {}

    def of(self, vlm: VisionLanguageModel, images: Sequence[str]) -> list[Features] | None:
        """Features of these images, from memory, from disk, or computed; None where the family has none to be kept."""
        space = self._space(vlm)
        found: dict[str, Features] = {}
        missing: list[str] = []
        for image in dict.fromkeys(images):
            held = self.memory.get((space.digest, image))
            if held is None:
                held = self._from_disk(vlm, space, image)
            if held is None:
                missing.append(image)
            else:
                found[image] = held
        for start in range(0, len(missing), TOGETHER):
            part = missing[start : start + TOGETHER]
            prepared = [vlm.images.get(image) for image in part]
            made = self._compute(vlm, prepared, space)
            if made is None:
                return None
            for image, inputs, features in zip(part, prepared, made, strict=True):
                found[image] = features
                self._hold(space, image, features)
                if space.store is not None:
                    space.store.put(_image_digest(inputs), features)
        return [found[image] for image in images]

    def flush(self) -> None:
        """Write what waits to be written."""
        for space in self._spaces.values():
            if space.store is not None:
                space.store.flush()

    def _space(self, vlm: VisionLanguageModel) -> _Space:
        """What the features depend on now. Tower and projector do not change; the arithmetic around them may."""
        kind = vlm.device.type
        now = (
            vlm.kept, str(vlm.device), unwrap(vlm.model).dtype, torch.get_num_threads(),
            torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind), torch.get_float32_matmul_precision(),
            torch.are_deterministic_algorithms_enabled(),
        )  # fmt: skip
        if now not in self._spaces:
            from mllmu_med.models.digests import vision_readable, vision_space

            digest = vision_space(vlm)
            kept = vlm.kept and vision_readable(vlm)
            self._spaces[now] = _Space(digest, TensorStore("features", digest) if kept else None)
        return self._spaces[now]

    def _from_disk(self, vlm: VisionLanguageModel, space: _Space, image: str) -> Features | None:
        if space.store is None:
            return None
        kept = space.store.get(_image_digest(vlm.images.get(image)))
        if kept is None:
            return None
        features = {place: tensor.to(vlm.device, copy=True) for place, tensor in kept.items()}
        self._hold(space, image, features)
        return features

    def _hold(self, space: _Space, image: str, features: Features) -> None:
        self.memory.put((space.digest, image), features, sum(tensor.nbytes for tensor in features.values()))

    def _compute(self, vlm: VisionLanguageModel, images: Sequence[ImageInputs], space: _Space) -> list[Features] | None:
        if len(images) > 1 and vlm.device.type == "cpu" and self._batches.get(space.digest, True):
            batch = compute_together(vlm, images)
            if batch is not None and space.digest not in self._batches:
                self._batches[space.digest] = _same_alone(vlm, images, batch)
            if batch is not None and self._batches[space.digest]:
                return batch
        made = []
        for image in images:
            features = compute_alone(vlm, image)
            if features is None:
                return None
            made.append(features)
        return made


def _image_digest(image: ImageInputs) -> str:
    from mllmu_med.models.digests import image_digest

    return image_digest(image)


def _same_alone(vlm: VisionLanguageModel, images: Sequence[ImageInputs], batch: Sequence[Features]) -> bool:
    """Whether a few images of a batch have the same bits alone."""
    for place in sorted({0, len(images) // 2, len(images) - 1}):
        alone = compute_alone(vlm, images[place])
        if alone is None or alone.keys() != batch[place].keys():
            return False
        if not all(torch.equal(alone[name], batch[place][name]) for name in alone):
            return False
    return True


# --- the vision side's output, in parts and put together again --------------------------------------------------------


@torch.no_grad()
def compute_alone(vlm: VisionLanguageModel, image: ImageInputs) -> Features | None:
    """One image's features, whatever tensors the family has of it; None for an output that is not understood."""
    output = _vision_output(vlm, [image])
    parts = _parts(output)
    if parts is None or _places(parts) != image.prefix.count(vlm.prompts.image_token_id):
        return None
    return parts


@torch.no_grad()
def compute_together(vlm: VisionLanguageModel, images: Sequence[ImageInputs]) -> list[Features] | None:
    """Features of several images in one pass; None where they cannot be told apart in its output."""
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    if any(image.count != 1 for image in images):
        return None
    output = _vision_output(vlm, images)
    pooled = output.pooler_output
    if type(output) is not BaseModelOutputWithPooling or isinstance(pooled, Tensor) or len(pooled) != len(images):
        return None
    return [{f"{_POOLED}.0": feature.clone()} for feature in pooled]  # not a view that keeps the whole batch alive


def _vision_output(vlm: VisionLanguageModel, images: Sequence[ImageInputs]) -> Any:
    base = unwrap(vlm.model).base_model
    with _evaluating(base):
        return base.get_image_features(**vlm.pixel_inputs(images), return_dict=True)


@contextmanager
def _evaluating(module: torch.nn.Module) -> Iterator[None]:
    """A frozen tower has no dropout, in whatever mode the rest is."""
    training = [part for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True


def _parts(output: Any) -> Features | None:
    """``pooler_output``, and what a family adds to it (deepstack layers), as tensors by place."""
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    known = {field.name for field in fields(BaseModelOutputWithPooling)}
    added = [field.name for field in fields(output) if field.name not in known]
    found: Features = {}
    for name in (_POOLED, *added):
        value = output.get(name)
        if value is None and name != _POOLED:
            continue
        if not _flatten(name, value, found):
            return None
    return found


def _flatten(place: str, value: Any, into: Features) -> bool:
    if isinstance(value, Tensor):
        into[place] = value.detach().clone()
        return True
    if isinstance(value, list | tuple):
        return all(_flatten(f"{place}.{number}", one, into) for number, one in enumerate(value))
    return False


def _places(parts: Features) -> int:
    """For how many image tokens there are features."""
    return sum(t.numel() // t.shape[-1] for place, t in parts.items() if place.split(".")[0] == _POOLED)


def joined(features: Sequence[Features]) -> Any:
    """The vision side's output for several images, in the form in which the family's forward takes it."""
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    fields_of = dict.fromkeys(place.split(".")[0] for place in features[0])
    made = {name: [_nested(name, one) for one in features] for name in fields_of}
    pooled = _images_joined(made.pop(_POOLED))
    if not made:
        return BaseModelOutputWithPooling(pooler_output=pooled)
    # A field that a family adds is a list of layers, each of the form of pooler_output.
    layers = {name: [_images_joined(list(layer)) for layer in zip(*of, strict=True)] for name, of in made.items()}
    return SimpleNamespace(last_hidden_state=None, pooler_output=pooled, **layers)


def _nested(place: str, features: Features) -> Any:
    if place in features:
        return features[place]
    made: list[Any] = []
    while any(name == f"{place}.{len(made)}" or name.startswith(f"{place}.{len(made)}.") for name in features):
        made.append(_nested(f"{place}.{len(made)}", features))
    return made


def _images_joined(values: list[Any]) -> Any:
    """Of one tensor an image: one tensor; of a list an image: one list."""
    if isinstance(values[0], Tensor):
        return torch.cat(values)
    return [one for value in values for one in value]
