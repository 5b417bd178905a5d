"""Thumbnails that the page carries within itself."""

from __future__ import annotations

import base64
import io

from mllmu_med.report.benchmark_pictures import open_picture

SIDE = 256
LOSSLESS_SIDE = 96


def thumbnail(data: bytes, image_id: str, side: int = SIDE) -> str:
    """A ``data:`` address of the image, at most ``side`` pixels wide and high.

    Always encoded anew, so that no metadata of the file travels with the page: PNG up to 96 pixels, JPEG above.

    Raises:
        DataError: the bytes are not an image.
    """
    from PIL import Image

    image = open_picture(data, image_id)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    if max(image.size) <= LOSSLESS_SIDE:
        image.save(buffer, "PNG", optimize=True)
        kind = "png"
    else:
        image.save(buffer, "JPEG", quality=82, optimize=True)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
