"""Blends of two images: pictures of nobody, for where no other images may be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

PREFIX = "blend-"
"""What the name of the change begins with in an identifier; the other image's identifier follows."""


def blend_of(image_id: str, other_id: str) -> str:
    """The identifier of an image blended with another (or with itself): ``ID#blend-OTHER``.

    Raises:
        ValueError: one of the two is itself a changed image.
    """
    if "#" in image_id + other_id:
        raise ValueError("only images as they are can be blended")
    return f"{image_id}#{PREFIX}{other_id}"


def is_blend(image_id: str) -> bool:
    """Whether :func:`blend_of` made the identifier."""
    return f"#{PREFIX}" in image_id


def blend(image: Image.Image, other: Image.Image) -> Image.Image:
    """The mean, pixel by pixel, of an image and another that is mirrored left to right and brought to its size; RGB."""
    from PIL import Image, ImageOps

    own = image.convert("RGB")
    beside = ImageOps.mirror(other.convert("RGB")).resize(own.size, Image.Resampling.BICUBIC)
    return Image.blend(own, beside, 0.5)
