"""Thumbnails that the page carries within itself."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

from mllmu_med.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

SIDE = 256
LOSSLESS_SIDE = 96


def _eight_bit(image: Image.Image) -> Image.Image:
    """Grey or colour with 8 bits; deeper greys are spread over their range, since converting would cut them off."""
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        deep = image.convert("F")
        low, high = deep.getextrema()
        scale = 255 / (high - low) if high > low else 0.0  # type: ignore[operator]  # one band: two numbers
        return deep.point(lambda value: value * scale - low * scale).convert("L")  # type: ignore[operator]
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def thumbnail(data: bytes, image_id: str, side: int = SIDE) -> str:
    """A ``data:`` address of the image, at most ``side`` pixels wide and high.

    Always encoded anew, so that no metadata of the file travels with the page: PNG up to 96 pixels, JPEG above.

    Raises:
        DataError: the bytes are not an image.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as opened:
            image = _eight_bit(opened)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise DataError(
            f"cannot be read ({error})", record=image_id, mend="Check the benchmark folder with `check`."
        ) from None
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    if max(image.size) <= LOSSLESS_SIDE:
        image.save(buffer, "PNG", optimize=True)
        kind = "png"
    else:
        image.save(buffer, "JPEG", quality=82, optimize=True)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
