from __future__ import annotations

import hashlib
import io
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from mllmu_med.benchmark.images import read_image
from mllmu_med.errors import DataError
from mllmu_med.sources.record import ImageRef
from tests.unit.benchmark.fake_source import png


def huge_png() -> bytes:
    """A few hundred bytes that claim 20,000 × 20,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")


def noisy_jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 90).save(buffer, format="JPEG")
    return buffer.getvalue()


def test_the_bytes_are_kept_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "image.png"
    file.write_bytes(png(9))
    image = read_image(ImageRef("k", path=file), "r1")
    assert (image.data, image.width, image.height) == (png(9), 8, 8)
    assert image.id == hashlib.sha256(png(9)).hexdigest()
    assert read_image(ImageRef("k", make=lambda: png(9)), "r1") == image


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"not a picture at all", "not a readable image"),
        (b"", "not a readable image"),
        (noisy_jpeg()[:900], "the image is damaged"),
        (huge_png(), "pixels are more than the 89,000,000|not a readable image"),
    ],
)
def test_bad_bytes_are_refused_with_file_and_record(tmp_path: Path, data: bytes, words: str) -> None:
    file = tmp_path / "image.png"
    file.write_bytes(data)
    with pytest.raises(DataError, match=words) as caught:
        read_image(ImageRef("k", path=file), "r7")
    assert str(file) in str(caught.value)
    assert "record r7" in str(caught.value)


def test_a_missing_file_and_an_unreadable_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such image\. Check the image folder"):
        read_image(ImageRef("k", path=tmp_path / "none.png"), "r1")
    with pytest.raises(DataError, match="cannot be read"):
        read_image(ImageRef("k", path=tmp_path), "r1")
    with pytest.raises(DataError, match="neither a file nor a maker"):
        read_image(ImageRef("k"), "r1")
