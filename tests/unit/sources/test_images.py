"""Paths that lead out of the folder, and bytes that are no whole image."""

from __future__ import annotations

import hashlib
import io
import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mllmu_med.errors import DataError
from mllmu_med.sources import ImageRef
from mllmu_med.sources.images import decode, image_digest, locate, read_image


def png(size: tuple[int, int] = (40, 30)) -> bytes:
    """A PNG with a gradient, so that its data is not trivially small."""
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path, jpeg: bytes) -> Path:
    """A data folder with one image, beside a file that does not belong to it."""
    (tmp_path / "data" / "sub").mkdir(parents=True)
    (tmp_path / "data" / "sub" / "a.jpg").write_bytes(jpeg)
    (tmp_path / "secret.jpg").write_bytes(jpeg)
    return tmp_path / "data"


def test_an_image_in_the_folder_is_found(folder: Path) -> None:
    assert locate(folder, "sub/a.jpg", file=folder / "x.json", record=1) == (folder / "sub" / "a.jpg").resolve()


def test_the_folder_itself_may_be_a_link(folder: Path) -> None:
    link = folder.parent / "link"
    link.symlink_to(folder)
    assert locate(link, "sub/a.jpg", file=folder, record=1) == (folder / "sub" / "a.jpg").resolve()


@pytest.mark.parametrize(
    "name", ["../secret.jpg", "sub/../../secret.jpg", "{parent}/secret.jpg", "link.jpg", "../absent"]
)
def test_a_path_out_of_the_folder_is_refused(folder: Path, name: str) -> None:
    (folder / "link.jpg").symlink_to(folder.parent / "secret.jpg")
    with pytest.raises(DataError, match=r"x\.json, record 7: .*outside.*Put it into the folder"):
        locate(folder, name.format(parent=folder.parent), file=Path("x.json"), record=7)


@pytest.mark.parametrize(
    ("name", "reason"), [("b.jpg", "no image"), ("sub", "no image"), ("a\0b", "not a usable image path")]
)
def test_what_is_no_file_is_named(folder: Path, name: str, reason: str) -> None:
    with pytest.raises(DataError, match=f"record 7: {reason}"):
        locate(folder, name, file=Path("x.json"), record=7)


def test_a_loop_of_links_is_an_error_not_a_traceback(folder: Path) -> None:
    (folder / "one").symlink_to(folder / "two")
    (folder / "two").symlink_to(folder / "one")
    with pytest.raises(DataError, match="record 7"):
        locate(folder, "one", file=Path("x.json"), record=7)


def test_a_whole_image_keeps_its_bytes_and_tells_its_size(folder: Path, jpeg: bytes) -> None:
    image = read_image(ImageRef("a", folder / "sub" / "a.jpg"), 1)
    assert (image.data, image.width, image.height) == (jpeg, 12, 8)
    assert image.id == image_digest(jpeg) == hashlib.sha256(jpeg).hexdigest()


def test_a_made_image_is_read_from_its_maker() -> None:
    assert read_image(ImageRef("a", make=png), 1).width == 40


def test_a_missing_file_and_an_empty_reference_are_named(folder: Path) -> None:
    with pytest.raises(DataError, match=r"b\.jpg, record 3: no such image\. Check"):
        read_image(ImageRef("b", folder / "b.jpg"), 3)
    with pytest.raises(DataError, match="record 3: the source gives neither"):
        read_image(ImageRef("b"), 3)
    with pytest.raises(DataError, match="record 3: cannot be read"):
        read_image(ImageRef("b", folder), 3)


@pytest.mark.parametrize("share", [0.4, 0.7, 0.97])
def test_a_truncated_image_is_refused(share: float) -> None:
    whole = png((300, 300))
    with pytest.raises(DataError, match=r"k\.png, record 5: the image is truncated or damaged .*Replace the file"):
        decode(whole[: int(len(whole) * share)], file="k.png", record=5)


@pytest.mark.parametrize("data", [b"", b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"<svg/>"])
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(DataError, match=r"record 5: not an image.*PNG, JPEG"):
        decode(data, file="k.png", record=5)


@pytest.mark.parametrize("side", [7_100, 14_000])  # above our limit; above twice PIL's, where PIL refuses first
def test_a_decompression_bomb_is_refused_before_it_is_decoded(side: int) -> None:
    buffer = io.BytesIO()
    Image.new("1", (side, side)).save(buffer, format="PNG", compress_level=1)
    assert len(buffer.getvalue()) < 200_000
    with pytest.raises(DataError, match=r"k\.png, record 5: .*50,000,000.*Scale"):
        decode(buffer.getvalue(), file="k.png", record=5)


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_deep_images_are_refused_because_they_would_be_clipped(mode: str) -> None:
    buffer = io.BytesIO()
    Image.new(mode, (4, 4)).save(buffer, format="TIFF")
    with pytest.raises(DataError, match=f"more than 8 bits per channel .mode {re.escape(mode)}.*Window"):
        decode(buffer.getvalue(), file="k.tif", record=5)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_bytes_either_decode_or_are_a_data_error(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP"]))
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((20, 20)).convert("RGB").save(buffer, format=kind)
    damaged = bytearray(buffer.getvalue())
    changes = data.draw(
        st.lists(st.tuples(st.integers(0, len(damaged) - 1), st.integers(0, 255)), min_size=1, max_size=8)
    )
    for position, value in changes:
        damaged[position] = value
    del damaged[data.draw(st.integers(len(damaged) // 2, len(damaged))) :]
    with suppress(DataError):
        assert min(decode(bytes(damaged), file="k", record=1).size) > 0
