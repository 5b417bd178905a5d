"""Stored values as a viewer shows them: every expected number is worked out by hand from DICOM PS3.3 C.11."""

from __future__ import annotations

import io
import logging
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset
from pydicom.sequence import Sequence

from mllmu_med.errors import DataError
from mllmu_med.sources.dicom_display import Frame, displayed, png
from mllmu_med.sources.images import LARGEST_PIXELS, read_image
from mllmu_med.sources.record import ImageRef
from tests.unit.sources.made_dicom import dicom, encapsulated, item, sequence, write, write_bare

IMPLICIT = "1.2.840.10008.1.2"


def shown(values: Any, **elements: Any) -> list[Any]:
    """The 8-bit pixels of one row of stored values."""
    return displayed(np.asarray([values]), header(np.asarray(values), **elements), 0)[0].tolist()


def header(values: Any, **elements: Any) -> Dataset:
    """The elements that say how to show values of this type."""
    bits = values.dtype.itemsize * 8
    return item(**{"PhotometricInterpretation": "MONOCHROME2", "BitsStored": bits, **elements})


def u16(*values: int) -> Any:
    return np.array(values, np.uint16)


def test_a_linear_window() -> None:
    # C.11.2.1.2.1 with c = 100, w = 101: below 50 all black, above 150 all white, 50 to 150 in between.
    # ((x − 99.5) / 100 + 0.5) · 255 = 25.5 at 59.5, 127.5 at 99.5
    assert shown(u16(0, 49, 60, 99, 100, 140, 150, 2000), WindowCenter=100, WindowWidth=101) == [
        0, 0, round((60 - 99.5) * 2.55 + 127.5), round(127.5 - 0.5 * 2.55), round(127.5 + 0.5 * 2.55),
        round((140 - 99.5) * 2.55 + 127.5), 255, 255,
    ]  # fmt: skip


def test_the_three_functions_differ_as_defined() -> None:
    window = {"WindowCenter": 10, "WindowWidth": 10}
    assert shown(u16(5, 10, 15), **window) == [0, round((10 - 9.5) / 9 * 255 + 127.5), 255]
    assert shown(u16(5, 10, 15), **window, VOILUTFunction="LINEAR_EXACT") == [0, 128, 255]
    expected = [round(255 / (1 + math.exp(-4 * (x - 10) / 10))) for x in (5, 10, 15)]
    assert shown(u16(5, 10, 15), **window, VOILUTFunction="SIGMOID") == expected
    assert expected == [30, 128, 225]


def test_the_first_window_counts() -> None:
    assert shown(u16(0, 9, 99), WindowCenter=[5, 50], WindowWidth=[10, 100]) == [0, 255, 255]


def test_rescaling_comes_before_the_window() -> None:
    # 1024 − 1024 = 0 HU, 1064 → 40 HU, 1104 → 80 HU; window 40/80 exact
    elements = {"RescaleSlope": 1, "RescaleIntercept": -1024, "WindowCenter": 40, "WindowWidth": 80}
    assert shown(u16(1024, 1064, 1104, 0), **elements, VOILUTFunction="LINEAR_EXACT") == [0, 128, 255, 0]
    assert shown(u16(0, 10), RescaleSlope=-1, RescaleIntercept=10, WindowCenter=5, WindowWidth=10) == [255, 0]


def test_white_where_low_is_white() -> None:
    assert shown(u16(0, 9), WindowCenter=5, WindowWidth=10, PhotometricInterpretation="MONOCHROME1") == [255, 0]


def test_without_a_window_all_but_the_tails_is_spread() -> None:
    values = np.arange(1000, dtype=np.int16) - 500
    pixels = np.array(shown(values))
    assert (pixels[0], pixels[4], pixels[-1], pixels[-5]) == (0, 0, 255, 255)
    assert pixels[500] == 128
    assert pixels[800] == round((800 - 4.995) / 989.01 * 255)
    values[0], values[-1] = -30_000, 30_000  # outliers change nothing
    assert np.abs(np.array(shown(values)) - pixels).max() <= 1


@pytest.mark.parametrize(
    "window",
    [
        {"WindowCenter": 100},
        {"WindowWidth": 100},
        {"WindowCenter": 100, "WindowWidth": 0},
        {"WindowCenter": 100, "WindowWidth": -5},
        {"WindowCenter": 100, "WindowWidth": 0.5},
        {"WindowCenter": 100, "WindowWidth": 0, "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": 100, "WindowWidth": 10, "VOILUTFunction": "Canary"},
        {"WindowCenter": "", "WindowWidth": ""},
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value")
def test_a_window_that_is_none_is_ignored(window: dict[str, Any]) -> None:
    values = np.arange(1000, dtype=np.uint16)
    assert shown(values, **window) == shown(values)


def test_a_window_narrower_than_one_is_one_where_that_is_defined() -> None:
    elements = {"WindowCenter": 5, "WindowWidth": 0.5, "VOILUTFunction": "LINEAR_EXACT"}
    assert shown(u16(4, 5, 6), **elements) == [0, 128, 255]
    assert shown(u16(4, 5, 6), WindowCenter=5, WindowWidth=1) == [0, 255, 255]


def test_values_of_screen_images_stay() -> None:
    values = np.array([0, 3, 100, 200], np.uint8)
    assert shown(values) == [0, 3, 100, 200]
    assert shown(values, RescaleSlope=1, RescaleIntercept=0) == [0, 3, 100, 200]
    assert shown(values, PhotometricInterpretation="MONOCHROME1") == [255, 252, 155, 55]
    assert shown(values, WindowCenter=2, WindowWidth=3)[1:] == [255, 255, 255]
    assert shown(values.astype(np.int8)) != [0, 3, 100, 200]
    assert shown(values // 50, BitsStored=4)[-1] == 255


def test_padding_is_black_and_counts_for_nothing() -> None:
    values = np.concatenate([np.full(5000, -2000), np.arange(1000)]).astype(np.int16)
    pixels = np.array(shown(values, PixelPaddingValue=-2000))
    assert set(pixels[:5000].tolist()) == {0}
    assert pixels[5500] == 128
    assert np.array(shown(values))[5500] > 180  # else it spoils the scale
    inverted = np.array(shown(values, PixelPaddingValue=-2000, PhotometricInterpretation="MONOCHROME1"))
    assert (inverted[0], inverted[5000], inverted[-1]) == (0, 255, 0)


def test_padding_may_be_a_range_and_is_never_everything() -> None:
    values = u16(0, 1, 2, 10, 20)
    assert shown(values, PixelPaddingValue=2, PixelPaddingRangeLimit=0, WindowCenter=0, WindowWidth=1)[:3] == [0, 0, 0]
    assert shown(values, WindowCenter=0, WindowWidth=1)[:3] == [255, 255, 255]
    assert shown(u16(7, 7), PixelPaddingValue=7, WindowCenter=3, WindowWidth=1) == [255, 255]


@pytest.mark.parametrize("values", [u16(7, 7, 7), np.zeros(4, np.int16), np.full(3, np.nan), np.full(3, np.inf)])
def test_an_image_of_one_value_is_black(values: Any) -> None:
    assert set(shown(values)) == {0}


def test_values_that_are_none_do_not_count() -> None:
    assert shown(np.array([np.nan, 0, 1, 2, np.inf]))[1:4] == [0, 128, 255]


def test_few_bright_pixels_are_not_lost() -> None:
    values = np.zeros(1000, np.uint16)
    values[:3] = [10, 20, 40]  # less than half a percent
    assert shown(values)[:4] == [64, 128, 255, 0]


def table(first: int, entries: list[int], bits: int = 16) -> Sequence:
    """A lookup table as a sequence."""
    made = item(LUTDescriptor=[len(entries), first, bits])
    made.add_new(0x00283006, "US", entries)
    return Sequence([made])


def test_a_voi_table() -> None:
    entries = [0, 100, 50, 200]
    assert shown(u16(0, 9, 10, 11, 12, 13, 14, 60_000), VOILUTSequence=table(10, entries)) == [
        0, 0, 0, round(127.5), round(63.75), 255, 255, 255,
    ]  # fmt: skip
    both = {"WindowCenter": 0, "WindowWidth": 1}  # a table goes before a window
    assert shown(u16(10, 13), VOILUTSequence=table(10, entries), **both) == [0, 255]


def test_a_table_of_many_8_bit_entries_does_not_wrap_around() -> None:
    entries = [number // 16 for number in range(4096)]
    assert shown(u16(0, 255, 256, 2048, 4095), VOILUTSequence=table(0, entries, 8)) == [0, 15, 16, 128, 255]


def test_a_table_may_start_below_zero_and_follow_a_rescaling() -> None:
    values = np.array([-2000, -1000, -999, 2000], np.int16)
    assert shown(values, VOILUTSequence=table(-1000, [0, 255], 8)) == [0, 0, 255, 255]
    assert shown(u16(0, 1, 2), RescaleSlope=0.6, RescaleIntercept=0, VOILUTSequence=table(0, [0, 255], 8)) == [
        0,
        255,
        255,
    ]


def test_a_modality_table_comes_first() -> None:
    modality = table(0, [100, 200, 400])
    window = {"WindowCenter": 250, "WindowWidth": 300, "VOILUTFunction": "LINEAR_EXACT"}
    assert shown(u16(0, 1, 2), ModalityLUTSequence=modality, **window) == [0, 85, 255]
    assert shown(u16(0, 1, 2), ModalityLUTSequence=modality, RescaleSlope=9, RescaleIntercept=9, **window) == [
        0,
        85,
        255,
    ]


@pytest.mark.parametrize("data", [b"\x00\x00\x64\x00\xff\x00\x00\x00", b"\x00\x64\xff\x00"])
def test_packed_tables_are_read(data: bytes) -> None:
    made = item(LUTDescriptor=[4, 0, 16])
    made.add_new(0x00283006, "OW", data)
    assert shown(u16(0, 1, 2, 3), VOILUTSequence=Sequence([made])) == [0, 100, 255, 0]


@pytest.mark.parametrize(
    "damaged",
    [
        item(LUTData=[1, 2]),
        item(LUTDescriptor=[2, 0, 16]),
        item(LUTDescriptor=[2, 0], LUTData=[1, 2]),
        item(),
    ],
)
def test_a_damaged_table_is_ignored(damaged: Dataset) -> None:
    window = {"WindowCenter": 1, "WindowWidth": 2, "VOILUTFunction": "LINEAR_EXACT"}
    assert shown(u16(0, 1, 2), VOILUTSequence=Sequence([damaged]), **window) == [0, 128, 255]
    assert shown(u16(0, 1, 2), ModalityLUTSequence=Sequence([damaged]), **window) == [0, 128, 255]


@pytest.mark.parametrize("slope", ["", "0", None])
def test_a_rescaling_that_is_none_is_ignored(slope: str | None) -> None:
    elements = {"RescaleIntercept": 5} | ({} if slope is None else {"RescaleSlope": slope})
    assert shown(u16(0, 9), WindowCenter=5, WindowWidth=10, **elements) == [0, 255]


def test_settings_of_an_enhanced_image_stand_per_frame() -> None:
    def window(center: float) -> Sequence:
        return sequence(WindowCenter=center, WindowWidth=10)

    values = u16(100, 105, 110).reshape(1, 3)
    made = header(
        values,
        WindowCenter=1,
        WindowWidth=2,
        SharedFunctionalGroupsSequence=sequence(
            PixelValueTransformationSequence=sequence(RescaleSlope=1, RescaleIntercept=-100),
            FrameVOILUTSequence=window(5),
        ),
        PerFrameFunctionalGroupsSequence=[item(), item(FrameVOILUTSequence=window(500))],
    )
    assert displayed(values, made, 0)[0].tolist() == [0, round(0.5 / 9 * 255 + 127.5), 255]
    assert displayed(values, made, 1)[0].tolist() == [0, 0, 0]
    assert displayed(values, made, 9)[0].tolist() == displayed(values, made, 0)[0].tolist()


def test_colour_is_brought_to_8_bits() -> None:
    values = np.array([[[0, 2048, 4095]]], np.uint16)
    assert displayed(values, header(values, PhotometricInterpretation="RGB", BitsStored=12), 0).tolist() == [
        [[0, 128, 255]]
    ]
    values = np.array([[[0, 128, 255]]], np.uint8)
    elements = {"WindowCenter": 1, "WindowWidth": 1}  # of no meaning for colour
    assert displayed(values, header(values, PhotometricInterpretation="RGB", **elements), 0).tolist() == [
        [[0, 128, 255]]
    ]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("bare", [False, True])
def test_a_palette_gives_colour(tmp_path: Path, bits: int, bare: bool) -> None:
    made = dicom(np.array([[0, 1, 2]], np.uint8), PhotometricInterpretation="PALETTE COLOR")
    tables = {"Red": [255, 0, 0], "Green": [0, 128, 0], "Blue": [0, 0, 64]}
    for colour, entries in tables.items():
        setattr(made, f"{colour}PaletteColorLookupTableDescriptor", [4, 0, bits])
        scaled = np.array([*entries, 0], f"<u{bits // 8}") << (bits - 8)
        setattr(made, f"{colour}PaletteColorLookupTableData", scaled.tobytes())
    path = write_bare(tmp_path / "x", made, IMPLICIT) if bare else write(tmp_path / "x", made)
    image = Image.open(io.BytesIO(Frame(path, 0, "k")()))
    assert np.asarray(image).tolist() == [[[255, 0, 0], [0, 128, 0], [0, 0, 64]]]


def pixels_of(path: Path, number: int = 0) -> list[Any]:
    """The pixels of the PNG that a file gives."""
    found: list[Any] = np.asarray(Image.open(io.BytesIO(Frame(path, number, "k")()))).tolist()
    return found


@pytest.mark.parametrize("bare", [False, True])
def test_from_file_to_png(tmp_path: Path, bare: bool) -> None:
    made = dicom(
        np.array([[10, 11], [12, 13]], np.uint16),
        VOILUTSequence=table(10, [0, 100, 50, 200]),
        SmallestImagePixelValue=0,
    )
    path = write_bare(tmp_path / "x", made, IMPLICIT) if bare else write(tmp_path / "x", made)
    assert pixels_of(path) == [[0, 128], [64, 255]]


def test_one_frame_of_several(tmp_path: Path) -> None:
    path = write(tmp_path / "x", dicom(np.arange(8, dtype=np.uint8).reshape(4, 1, 2)))
    assert [pixels_of(path, number) for number in range(4)] == [[[0, 1]], [[2, 3]], [[4, 5]], [[6, 7]]]


def test_equal_pixels_give_equal_bytes_whatever_the_header_says(tmp_path: Path) -> None:
    one = Frame(write(tmp_path / "a", dicom(PatientName="One^Canary")), 0, "a")()
    two = Frame(write(tmp_path / "b", dicom(PatientName="Two", ImageComments="x" * 50)), 0, "b")()
    assert one == two
    assert b"Canary" not in one
    image = Image.open(io.BytesIO(one))
    assert (image.format, image.mode, image.size, image.info) == ("PNG", "L", (3, 2), {})


def test_the_png_can_be_read_by_the_builder(tmp_path: Path) -> None:
    path = write(tmp_path / "x", dicom())
    found = read_image(ImageRef("k", make=Frame(path, 0, "k")), "r")
    assert (found.width, found.height) == (3, 2)
    assert png(np.zeros((2, 3), np.uint8)).startswith(b"\x89PNG")
    assert LARGEST_PIXELS == 50_000_000


def test_a_frame_shows_no_path_and_can_be_sent_to_a_worker(tmp_path: Path) -> None:
    path = write(tmp_path / "Canary^Name", dicom())
    frame = Frame(path, 0, "dicom-1")
    assert "Canary" not in repr(ImageRef("dicom-1", make=frame))
    assert pickle.loads(pickle.dumps(frame))() == frame()  # noqa: S301


@pytest.mark.parametrize("how", ["absent", "cut", "jpeg", "text"])
def test_damaged_pixels_are_one_clear_line_without_values(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    made = dicom(np.zeros((8, 8), np.uint8), PatientName="Canary^Jane", PatientID="Canary-7")
    path = tmp_path / "Canary"
    if how == "jpeg":
        write(path, encapsulated(made, [b"\xff\xd8\xff\xc0\x00\x0b\x08\x00\x08\x00\x08\x01\x01\x11\x00Canary"]),
              "1.2.840.10008.1.2.4.50")  # fmt: skip
    else:
        write(path, made)
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-3])
    if how == "text":
        path.write_text("Canary")
    if how == "absent":
        path.unlink()
    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises(DataError, match="dicom, record dicom-1: the pixel data is") as caught,
    ):
        Frame(path, 0, "dicom-1")()
    error = caught.value
    assert "path_of('dicom-1')" in str(error)
    assert "Canary" not in str(error) + repr(error) + caplog.text
    assert error.__context__ is None
    assert error.__cause__ is None
