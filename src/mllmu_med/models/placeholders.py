"""Where image features go in the prompt, without asking the device.

transformers finds the places of an image in ``get_placeholder_mask`` and reads their number back from the device to
compare it with the number of features: twice in each forward pass, and each time the host waits until the device has
done everything before. The number is known on the host, where the row was laid out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from mllmu_med.errors import DataError

_KNOWN = ("input_ids", "inputs_embeds", "image_features", "video_features")
_VERIFIED: WeakSet[nn.Module] = WeakSet()


@contextmanager
def counted_places(base_model: Any, places: int) -> Iterator[None]:
    """Within the block the model compares the number of image features with ``places`` instead of asking the device.

    A model's first answer is compared with its own. Models that find the places in another way are left as they are.

    Args:
        base_model: the transformers model without its head.
        places: image tokens in the rows of the forward pass.

    Raises:
        DataError: from the forward pass, where there are more or fewer features than places.
    """
    own: Callable[..., Any] | None = getattr(base_model, "get_placeholder_mask", None)
    if own is None or "get_placeholder_mask" in vars(base_model) or not _takes_only(own, _KNOWN):
        yield
        return
    pair = "video_features" in signature(own).parameters

    def mask(
        input_ids: Tensor | None,
        inputs_embeds: Tensor,
        image_features: Tensor | None = None,
        video_features: Tensor | None = None,
    ) -> Any:
        given = {"video_features": video_features} if pair else {}
        if input_ids is None or image_features is None or video_features is not None:
            return own(input_ids, inputs_embeds, image_features, **given)
        if image_features.numel() != places * inputs_embeds.shape[-1]:
            found = image_features.numel() / inputs_embeds.shape[-1]
            raise DataError(f"the rows have {places} image places, but the images have {found:g} features")
        made: Any = (input_ids == base_model.config.image_token_id).unsqueeze(-1)
        if pair:
            made = made, (input_ids == base_model.config.video_token_id).unsqueeze(-1)
        if base_model in _VERIFIED:
            return made
        expected = own(input_ids, inputs_embeds, image_features, **given)
        if not _same(made, expected):
            return expected
        _VERIFIED.add(base_model)
        return made

    base_model.get_placeholder_mask = mask
    try:
        yield
    finally:
        del base_model.get_placeholder_mask


def _takes_only(function: Callable[..., Any], names: tuple[str, ...]) -> bool:
    return set(signature(function).parameters) <= set(names)


def _same(made: Any, expected: Any) -> bool:
    if isinstance(made, tuple):
        return isinstance(expected, tuple) and len(made) == len(expected) and all(map(torch.equal, made, expected))
    return isinstance(expected, Tensor) and torch.equal(made, expected)
