"""Reading a record's image: the encoded bytes as they are, decoded once to see that they are whole."""

from __future__ import annotations

import hashlib
import io
import warnings
from typing import NamedTuple

from mllmu_med.errors import DataError
from mllmu_med.sources.record import ImageRef

LARGEST_PIXELS = 89_000_000
"""Images with more pixels are refused: a small file can decompress to any size."""


class EncodedImage(NamedTuple):
    """An image's bytes as stored, their SHA-256 (hex), and its size in pixels."""

    data: bytes
    id: str
    width: int
    height: int


def read_image(ref: ImageRef, record_id: str) -> EncodedImage:
    """The encoded image, after a full decode.

    Raises:
        DataError: missing file, not an image, truncated, or too large; names file and record.
    """
    data = encoded_bytes(ref, record_id)
    where = ref.path or ref.key
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                width, height = image.size
                if width * height > LARGEST_PIXELS:
                    raise DataError(
                        f"{width} × {height} pixels are more than the {LARGEST_PIXELS:,} that are read",
                        file=where, record=record_id, mend="Scale the image down.",
                    )  # fmt: skip
                image.load()
    except (UnidentifiedImageError, Image.DecompressionBombError):
        raise DataError("not a readable image", file=where, record=record_id, mend="Replace the file.") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(
            f"the image is damaged ({error})", file=where, record=record_id, mend="Replace the file."
        ) from None
    return EncodedImage(data, image_digest(data), width, height)


def image_digest(data: bytes) -> str:
    """SHA-256 (hex) of encoded bytes: the image's id."""
    return hashlib.sha256(data).hexdigest()


def encoded_bytes(ref: ImageRef, record_id: str) -> bytes:
    """The image's bytes, unchecked.

    Raises:
        DataError: the file is missing or cannot be read.
    """
    if ref.make is not None:
        return ref.make()
    if ref.path is None:
        raise DataError("the source gives neither a file nor a maker for the image", record=record_id)
    try:
        return ref.path.read_bytes()
    except FileNotFoundError:
        raise DataError("no such image", file=ref.path, record=record_id, mend="Check the image folder.") from None
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", file=ref.path, record=record_id) from None
