"""Images of a source: where they may lie, and one full decode that shows they are whole."""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mllmu_med.errors import DataError
from mllmu_med.sources.record import ImageRef

if TYPE_CHECKING:
    from PIL.Image import Image

LARGEST_PIXELS = 50_000_000
"""Images with more pixels are refused: a small file can decompress to any size."""

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF")
"""The only formats that are opened; PIL knows others that run external programs."""

_DEEP_MODES = ("I", "F")  # 32-bit and 16-bit grey (I;16, …), floats: turning them into RGB clips instead of scaling


class EncodedImage(NamedTuple):
    """An image's bytes as stored, their SHA-256 (hex), and its size in pixels."""

    data: bytes
    id: str
    width: int
    height: int


def image_digest(data: bytes) -> str:
    """SHA-256 (hex) of encoded bytes: the image's id."""
    return hashlib.sha256(data).hexdigest()


def locate(folder: Path, name: str, *, file: Path, record: str | int) -> Path:
    """The image ``name`` inside ``folder``, with every symbolic link followed.

    Args:
        folder: the data folder; it may itself be a symbolic link.
        name: path as the dataset gives it, relative to ``folder``.
        file, record: what names the image, for the error.

    Raises:
        DataError: the path leads out of the folder (``..``, an absolute path or a symbolic link), or there is no such
            file.
    """
    root = folder.resolve()
    try:
        path = (root / name).resolve()
        inside, exists = path.is_relative_to(root), path.is_file()
    except (OSError, ValueError, RuntimeError) as error:  # a null character, a name too long, a loop of links
        raise DataError(f"not a usable image path ({error})", file=file, record=record) from None
    if not inside:
        raise DataError(
            f"image '{name}' lies outside {folder}", file=file, record=record,
            mend="Put it into the folder; links out of it are not followed.",
        )  # fmt: skip
    if not exists:
        raise DataError(
            f"no image '{name}' in {folder}", file=file, record=record, mend="Check the image folder."
        )  # fmt: skip
    return path


def path_bytes(path: Path, record: str | int) -> bytes:
    """A file's bytes, unchecked.

    Raises:
        DataError: the file is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError("no such image", file=path, record=record, mend="Check the image folder.") from None
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", file=path, record=record) from None


def encoded_bytes(ref: ImageRef, record: str | int) -> bytes:
    """The image's bytes, unchecked.

    Raises:
        DataError: the file is missing or cannot be read.
    """
    if ref.make is not None:
        return ref.make()
    if ref.path is None:
        raise DataError("the source gives neither a file nor a maker for the image", record=record)
    return path_bytes(ref.path, record)


def decode(data: bytes, *, file: Path | str, record: str | int) -> Image:
    """Decode an image completely.

    Raises:
        DataError: not an image of a known format, truncated or damaged, more than 50 megapixels, or with more than
            8 bits per channel.
    """
    from PIL import Image as Pictures
    from PIL import UnidentifiedImageError

    too_large = "Scale the image down."
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata; what counts is whether the pixels decode
            with Pictures.open(io.BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
                if width * height > LARGEST_PIXELS:
                    reason = f"{width} × {height} pixels are more than the {LARGEST_PIXELS:,} that are read"
                    raise DataError(reason, file=file, record=record, mend=too_large)
                if image.mode.split(";")[0] in _DEEP_MODES:
                    reason = f"more than 8 bits per channel (mode {image.mode})"
                    raise DataError(reason, file=file, record=record, mend="Window it to 8 bits.")
                image.load()
                return image  # its pixels stay when the file is closed
    except Pictures.DecompressionBombError:
        reason = f"more than the {LARGEST_PIXELS:,} pixels that are read"
        raise DataError(reason, file=file, record=record, mend=too_large) from None
    except UnidentifiedImageError:
        mend = f"Replace the file; {', '.join(FORMATS)} are read."
        raise DataError("not an image", file=file, record=record, mend=mend) from None
    # What PIL's decoders raise for damaged bytes, found by damaging them.
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, OverflowError, struct.error, zlib.error) as error:
        reason = f"the image is truncated or damaged ({error})"
        raise DataError(reason, file=file, record=record, mend="Replace the file.") from None


def read_image(ref: ImageRef, record: str | int) -> EncodedImage:
    """The encoded image of a record, after one full decode.

    Raises:
        DataError: missing, unreadable, not an image, damaged or too large; names file and record.
    """
    data = encoded_bytes(ref, record)
    image = decode(data, file=ref.path or ref.key, record=record)
    return EncodedImage(data, image_digest(data), *image.size)
