"""What header and lengths show of the pixels, and the frames themselves."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    MPEG4HP41,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSLossless,
    RLELossless,
)

from mllmu_med.sources.dicom_files import FAULTS, opened, quiet
from mllmu_med.sources.dicom_pixels import LAYOUT, decodable, decoded, frame_count, unreadable
from tests.unit.sources.made_dicom import dicom, encapsulated, item, write, write_bare

RAMP = np.arange(6, dtype=np.uint16).reshape(2, 3)
GREY8 = np.arange(64, dtype=np.uint8).reshape(8, 8)


def reason(path: Path) -> str | None:
    """What ``unreadable`` says of a file."""
    with quiet(), opened(path, LAYOUT) as found:
        return unreadable(found)


def frame(path: Path, number: int = 0) -> Any:
    """The stored values of a frame."""
    with quiet(), opened(path, LAYOUT) as found:
        assert unreadable(found) is None
        return decoded(found, number)[0]


def coded(pixels: Any, kind: str, **options: Any) -> bytes:
    """Pixels as JPEG or JPEG 2000."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("value", "count"),
    [(None, 1), ("", 1), (0, 1), (1, 1), (7, 7), (-2, 0)],
)
def test_the_number_of_frames(value: Any, count: int) -> None:
    assert frame_count(item() if value is None else item(NumberOfFrames=value)) == count


@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, "1.2.840.10008.1.2.1", ExplicitVRBigEndian])
def test_uncompressed_values_are_read(tmp_path: Path, syntax: str, bare: bool) -> None:
    made = dicom(RAMP)
    if syntax == ExplicitVRBigEndian:
        made[0x7FE00010].value = RAMP.astype(">u2").tobytes()
    path = write_bare(tmp_path / "x", made, syntax) if bare else write(tmp_path / "x", made, syntax)
    assert np.array_equal(frame(path), RAMP)


def test_values_of_a_deflated_file_are_read(tmp_path: Path) -> None:
    assert np.array_equal(frame(write(tmp_path / "x", dicom(RAMP), DeflatedExplicitVRLittleEndian)), RAMP)


def test_signed_values_keep_their_sign(tmp_path: Path) -> None:
    values = np.array([[-1024, 0], [5, 3071]], np.int16)
    assert np.array_equal(frame(write(tmp_path / "x", dicom(values))), values)


def test_bits_beyond_those_stored_do_not_count(tmp_path: Path) -> None:
    values = np.array([[0x8001, 0x0FFF]], np.uint16)  # an overlay in the upper bits
    assert frame(write(tmp_path / "x", dicom(values, BitsStored=12, HighBit=11))).tolist() == [[1, 0xFFF]]


def test_frames_are_read_one_by_one(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
    path = write(tmp_path / "x", dicom(values))
    for number in range(4):
        assert np.array_equal(frame(path, number), values[number])
    with pytest.raises(FAULTS):
        frame(path, 4)


def test_bit_packed_values_are_read(tmp_path: Path) -> None:
    made = dicom(np.zeros((2, 8), np.uint8), BitsAllocated=1, BitsStored=1, HighBit=0)
    made[0x7FE00010].value = bytes([0b00000001, 0b11110000])
    assert frame(write(tmp_path / "x", made)).tolist() == [[1] + [0] * 7, [0] * 4 + [1] * 4]
    made.Rows = 10
    assert reason(write(tmp_path / "y", made)) == "truncated: the file ends before its pixel data does"


def test_float_values_are_read(tmp_path: Path) -> None:
    made = dicom(np.zeros((1, 2), np.uint16), BitsAllocated=32, BitsStored=None, HighBit=None, PixelRepresentation=None)
    del made.PixelData
    made.FloatPixelData = struct.pack("<ff", 0.5, -2)
    assert frame(write(tmp_path / "x", made)).tolist() == [[0.5, -2.0]]


def test_ybr_422_is_made_rgb(tmp_path: Path) -> None:
    made = dicom(np.zeros((1, 2, 3), np.uint8), colour=True, PhotometricInterpretation="YBR_FULL_422")
    made[0x7FE00010].value = bytes([255, 0, 128, 128])  # a white and a black pixel share their colour: 4 bytes, not 6
    assert frame(write(tmp_path / "x", made)).tolist() == [[[255, 255, 255], [0, 0, 0]]]


def test_colour_by_plane_is_put_together(tmp_path: Path) -> None:
    made = dicom(np.zeros((1, 2, 3), np.uint8), colour=True, PlanarConfiguration=1)
    made[0x7FE00010].value = bytes([1, 2, 3, 4, 5, 6])
    assert frame(write(tmp_path / "x", made)).tolist() == [[[1, 3, 5], [2, 4, 6]]]
    made.PlanarConfiguration = 0
    assert frame(write(tmp_path / "y", made)).tolist() == [[[1, 2, 3], [4, 5, 6]]]
    del made.PlanarConfiguration
    assert frame(write(tmp_path / "z", made)).tolist() == [[[1, 2, 3], [4, 5, 6]]]


def test_rle_is_read(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.uint16).reshape(4, 2, 3)
    made = dicom(values)
    made.compress(RLELossless, generate_instance_uid=False)
    made.save_as(tmp_path / "x", enforce_file_format=True)
    assert np.array_equal(frame(tmp_path / "x", 3), values[3])


@pytest.mark.parametrize(("kind", "syntax"), [("JPEG", JPEGBaseline8Bit), ("JPEG2000", JPEG2000Lossless)])
def test_jpeg_and_jpeg_2000_are_read(tmp_path: Path, kind: str, syntax: str) -> None:
    options = {"quality": 100} if kind == "JPEG" else {"irreversible": False, "no_jp2": True}
    made = encapsulated(dicom(GREY8), [coded(GREY8, kind, **options)])
    assert np.abs(frame(write(tmp_path / "x", made, syntax)).astype(int) - GREY8).max() <= 2


def test_unusual_codestreams_are_read(tmp_path: Path) -> None:
    code = coded(GREY8, "JPEG", quality=100)
    at = code.index(b"\xff\xc0")
    filled = code[:at] + b"\xff\xff" + code[at:]  # marks may be preceded by any number of these
    path = write(tmp_path / "x", encapsulated(dicom(GREY8), [filled]), JPEGBaseline8Bit)
    assert np.abs(frame(path).astype(int) - GREY8).max() <= 2
    canvas = {"offset": (4, 2), "tile_offset": (0, 0), "tile_size": (16, 16)}  # larger than the image
    shifted = coded(GREY8, "JPEG2000", no_jp2=True, irreversible=False, **canvas)
    assert np.array_equal(frame(write(tmp_path / "y", encapsulated(dicom(GREY8), [shifted]), JPEG2000Lossless)), GREY8)


@pytest.mark.parametrize(("kind", "syntax"), [("JPEG", JPEGBaseline8Bit), ("JPEG2000", JPEG2000)])
def test_a_frame_of_another_size_than_promised_is_not_decoded(
    tmp_path: Path, kind: str, syntax: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {} if kind == "JPEG" else {"no_jp2": True}
    large = coded(np.zeros((16, 8), np.uint8), kind, **options)
    path = write(tmp_path / "x", encapsulated(dicom(GREY8), [large]), syntax)
    assert reason(path) is None
    monkeypatch.setattr("pydicom.pixels.utils.pixel_array", None)  # calling it would be a TypeError
    with pytest.raises(ValueError):
        frame(path)


@pytest.mark.parametrize("data", [b"\xff\xd8", b"\xff\xd8\xff\xd9", b"no image at all", b"\xff\xd8\xff\xff\xff"])
def test_a_jpeg_that_is_none_is_a_fault(tmp_path: Path, data: bytes) -> None:
    path = write(tmp_path / "x", encapsulated(dicom(GREY8), [data]), JPEGBaseline8Bit)
    with pytest.raises(FAULTS):
        frame(path)


def test_without_pixel_data_nothing_is_read(tmp_path: Path) -> None:
    made = dicom()
    del made.PixelData
    assert reason(write(tmp_path / "x", made)) == "no pixel data"
    made.FilmSessionLabel = "x"
    made.add_new(0x7FE10010, "OB", b"")  # what follows is no pixel data either
    assert reason(write(tmp_path / "y", made)) == "no pixel data"


@pytest.mark.parametrize("missing", [
    "Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation",
    "PhotometricInterpretation",
])  # fmt: skip
def test_without_its_layout_nothing_is_read(tmp_path: Path, missing: str) -> None:
    path = write_bare(tmp_path / "x", dicom(**{missing: None}), "1.2.840.10008.1.2.1")
    assert reason(path) == "damaged: the header does not say how the pixels are stored"


@pytest.mark.filterwarnings("ignore:Invalid value")
@pytest.mark.parametrize(("changes", "expected"), [
    ({"Rows": 0}, "damaged"),
    ({"NumberOfFrames": -1}, "damaged"),
    ({"Rows": 50_001, "Columns": 1000}, "larger than the 50,000,000 pixels"),
    ({"Rows": 65_535, "Columns": 65_535, "NumberOfFrames": 2**31 - 1}, "larger than the 50,000,000 pixels"),
    ({"Rows": 50_000, "Columns": 1000}, "truncated"),
    ({"NumberOfFrames": 2**31 - 1}, "truncated"),
    ({"NumberOfFrames": 2}, "truncated"),
    ({"Columns": 4}, "truncated"),
    ({"BitsAllocated": 32}, "truncated"),
    ({"BitsAllocated": 12, "BitsStored": 12}, "stored in a way that is not read"),
    ({"BitsStored": 17}, "stored in a way that is not read"),
    ({"SamplesPerPixel": 3}, "stored in a way that is not read"),
    ({"SamplesPerPixel": 4, "PhotometricInterpretation": "ARGB"}, "stored in a way that is not read"),
    ({"PhotometricInterpretation": "Canary"}, "stored in a way that is not read"),
    ({"PhotometricInterpretation": "PALETTE COLOR"}, "damaged"),
])  # fmt: skip
def test_a_layout_that_cannot_be_is_named(tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    found = reason(write(tmp_path / "x", dicom(**changes)))
    assert found is not None
    assert expected in found
    assert "Canary" not in found


def test_frames_that_are_no_number_are_damage(tmp_path: Path) -> None:
    made = dicom()
    made.add_new(0x00280008, "LO", "Canary")
    assert "damaged" in str(reason(write_bare(tmp_path / "x", made)))


def test_cut_pixels_are_truncated(tmp_path: Path) -> None:
    path = write(tmp_path / "x", dicom(RAMP))
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    assert reason(path) == "truncated: the file ends before its pixel data does"
    with pytest.raises(FAULTS), quiet(), opened(path, LAYOUT) as found:
        decoded(found, 0)
    path.write_bytes(data[: -len(RAMP.tobytes()) - 6])  # within the element's head
    assert reason(path) == "no pixel data"
    made = dicom(RAMP)
    made[0x7FE00010].value = RAMP.tobytes()[:-2]
    made.DataSetTrailingPadding = bytes(100)  # long enough as a file, but not as an element
    assert reason(write(tmp_path / "y", made)) == "truncated: the file ends before its pixel data does"


def test_cut_fragments_are_truncated(tmp_path: Path) -> None:
    code = coded(GREY8, "JPEG")
    made = encapsulated(dicom(GREY8), [code])
    path = write(tmp_path / "x", made, JPEGBaseline8Bit)
    data = path.read_bytes()
    path.write_bytes(data[:-8])  # the end mark alone is missing
    assert reason(path) is None
    path.write_bytes(data[:-10])
    assert reason(path) == "truncated: the file ends before its pixel data does"
    made.NumberOfFrames = 2
    assert reason(write(tmp_path / "y", made)) == "truncated: the file ends before its pixel data does"
    made[0x7FE00010].value = encapsulate([code])[:8] + b"Canary" * 4
    del made.NumberOfFrames
    assert reason(write(tmp_path / "z", made)) == "damaged: the compressed frames cannot be told apart"


@pytest.mark.parametrize(("syntax", "changes", "expected"), [
    (JPEGLSLossless, {}, "JPEG-LS Lossless Image Compression, no decoder: pip install pylibjpeg pylibjpeg-libjpeg"),
    (HTJ2K, {}, "no decoder: pip install pylibjpeg pylibjpeg-openjpeg"),
    (JPEGExtended12Bit, {"BitsStored": 12}, "compressed as JPEG Extended (Process 2 and 4), no decoder: pip install"),
    (JPEG2000, {"BitsAllocated": 32, "BitsStored": 24}, "JPEG 2000 Image Compression, no decoder: pip install"),
    (MPEG4HP41, {}, "which pydicom cannot decode: export the files uncompressed"),
    ("1.2.3.4.5.6", {}, "compressed in an unknown transfer syntax"),
])  # fmt: skip
def test_without_a_decoder_the_package_is_named(
    tmp_path: Path, syntax: str, changes: dict[str, Any], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pydicom.pixels.decoders.base import Decoder

    monkeypatch.setattr(Decoder, "available_plugins", property(_pillow_alone))
    monkeypatch.setattr(Decoder, "is_available", property(lambda decoder: bool(_pillow_alone(decoder))))
    made = encapsulated(dicom(RAMP, **changes), [b"abcd"])
    path = tmp_path / "x"
    if syntax == "1.2.3.4.5.6":
        made.file_meta.TransferSyntaxUID = syntax
        made.save_as(path, implicit_vr=False, little_endian=True, enforce_file_format=True)
    else:
        write(path, made, syntax)
    found = reason(path)
    assert found is not None
    assert expected in found


def _pillow_alone(decoder: Any) -> tuple[str, ...]:
    """The plug-ins of a decoder as if nothing but pillow were installed."""
    return ("pillow",) if "pillow" in decoder._unavailable or "pillow" in decoder._available else ()


def test_what_pillow_decodes_is_not_refused(tmp_path: Path) -> None:
    made = encapsulated(dicom(GREY8), [coded(GREY8, "JPEG")])
    assert reason(write(tmp_path / "x", made, JPEGExtended12Bit)) is None
    made = encapsulated(dicom(RAMP, BitsStored=12), [b"abcd"])
    assert reason(write(tmp_path / "y", made, JPEG2000)) is None


def test_a_syntax_that_does_not_fit_the_bytes_is_damage(tmp_path: Path) -> None:
    path = write_bare(tmp_path / "bare", dicom(RAMP), ImplicitVRLittleEndian)
    whole = write(tmp_path / "whole", dicom(RAMP)).read_bytes()
    start = whole.index(struct.pack("<HHcc", 8, 0x16, b"U", b"I"))
    (tmp_path / "mixed").write_bytes(whole[:start] + path.read_bytes())  # says explicit, is implicit
    assert reason(tmp_path / "mixed") == "damaged: the header does not say how the pixels are stored"


def test_decoders_are_listed() -> None:
    assert "pillow" in decodable()[JPEGBaseline8Bit]
    assert list(decodable()) == list(decodable())


def test_the_display_elements_come_with_the_frame(tmp_path: Path) -> None:
    made = dicom(RAMP, WindowCenter=3, PatientName="Canary")
    with quiet(), opened(write(tmp_path / "x", made), LAYOUT) as found:
        _, display = decoded(found, 0)
    assert isinstance(display, Dataset)
    assert display.WindowCenter == 3
    assert "PatientName" not in display
