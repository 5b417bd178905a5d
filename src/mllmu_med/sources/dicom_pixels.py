"""Whether a DICOM file's pixels can be read, as far as header and lengths show; and the stored values of a frame."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from mllmu_med.sources.dicom_files import Opened, number, text
from mllmu_med.sources.images import LARGEST_PIXELS

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom import Dataset

GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
PALETTE = "PALETTE COLOR"

LAYOUT = (
    "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "PhotometricInterpretation", "BitsAllocated", "BitsStored",
    "PixelRepresentation", "PlanarConfiguration", "RedPaletteColorLookupTableDescriptor",
)  # fmt: skip
"""Elements that ``unreadable`` and ``decoded`` look at."""

_SAMPLES = {**dict.fromkeys((*GREY, PALETTE), 1), **dict.fromkeys(COLOUR, 3)}
_ALLOCATED = (1, 8, 16, 32, 64)  # bits
_FLOATS = (0x7FE00008, 0x7FE00009)  # Float and Double Float Pixel Data; they have no BitsStored
_PIXEL_DATA = (*_FLOATS, 0x7FE00010)
_PIXEL_VRS = (b"", b"OB", b"OW", b"OF", b"OD", b"UN")  # in some files the bytes are not what their syntax promises
_ITEM, _END, _UNDEFINED = 0xFFFEE000, 0xFFFEE0DD, 0xFFFFFFFF
_FUNCTIONAL_GROUPS = (0x52009229, 0x52009230)  # shared, and per frame
_TRUNCATED = "truncated: the file ends before its pixel data does"
_DAMAGED = "damaged: the header does not say how the pixels are stored"
_REQUIREMENT = re.compile(r"([\w-]+)>=")
_FRAME_HEADERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # JPEG's marks that give the size; F7 is JPEG-LS
_BYTE = 8
_J2K_SIZE = b"\xff\x4f\xff\x51"  # start of codestream, then the marker that gives its size
_J2K_WITHIN = 4096  # bytes; how far into a frame a codestream may begin


def frame_count(dataset: Dataset) -> int:
    """Number of frames; 1 where the header does not say, 0 where what it says cannot be."""
    if not text(dataset, "NumberOfFrames"):
        return 1
    count = number(dataset, "NumberOfFrames")
    return 0 if count is None or count < 0 else int(count) or 1  # many writers put 0 for "not a multi-frame image"


def decodable() -> dict[str, list[str]]:
    """Transfer syntax → the packages here that decode it."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import AllTransferSyntaxes

    found = {}
    for syntax in AllTransferSyntaxes:
        try:
            found[str(syntax)] = sorted(get_decoder(syntax).available_plugins)
        except NotImplementedError:
            continue
    return found


def unreadable(found: Opened) -> str | None:
    """Why the file's pixels cannot be read; None where nothing speaks against it.

    Reads no pixels, only where they begin and end: what is wrong inside compressed frames shows when they are decoded.
    The reasons hold no value of the header but the name of a transfer syntax.
    """
    dataset = found.dataset
    element = _pixel_element(found)
    if element is None:
        return "no pixel data"
    tag, vr, length, start = element
    rows, columns, samples, allocated, stored, signed = (
        number(dataset, name)
        for name in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation")
    )
    if tag in _FLOATS:
        stored, signed = allocated, 1
    frames, photometric = frame_count(dataset), text(dataset, "PhotometricInterpretation")
    if (
        not (rows and columns and samples and allocated and stored and frames and photometric)
        or signed is None
        or vr not in _PIXEL_VRS
    ):
        return _DAMAGED
    if rows * columns > LARGEST_PIXELS:
        return f"larger than the {LARGEST_PIXELS:,} pixels that are read"
    if _SAMPLES.get(photometric) != samples or allocated not in _ALLOCATED or stored > allocated:
        return "stored in a way that is not read (photometric interpretation, samples or bits)"
    if photometric == PALETTE and "RedPaletteColorLookupTableDescriptor" not in dataset:
        return _DAMAGED
    missing = _missing_decoder(found.syntax, int(samples), int(stored))
    if missing is not None:
        return missing
    if length == _UNDEFINED:
        return _damaged_fragments(found, start, frames)
    bits = rows * columns * samples * allocated * frames
    if photometric == "YBR_FULL_422":
        bits = bits * 2 / 3  # two pixels share their colour
    return _TRUNCATED if min(length, found.size - start) * 8 < bits else None


def decoded(found: Opened, frame: int) -> tuple[NDArray[Any], Dataset]:
    """The values of a frame (counted from 0) as stored, [rows, columns] or RGB [rows, columns, 3], and the elements
    that say how to show them.

    Use it inside ``quiet``. Raises one of FAULTS where the pixel data is damaged.
    """
    from pydicom import Dataset
    from pydicom.pixels.utils import pixel_array

    if unreadable(found) is not None:
        raise ValueError
    _refuse_other_size(found, frame)
    display = Dataset()
    options: dict[str, Any] = {"transfer_syntax_uid": found.syntax}
    if "PlanarConfiguration" not in found.dataset:
        options["planar_configuration"] = 0  # the usual one; only colour needs it
    values = pixel_array(found.file, index=frame, ds_out=display, specific_tags=list(_FUNCTIONAL_GROUPS), **options)
    return values, display


class _PixelElement(NamedTuple):
    tag: int
    vr: bytes  # empty where the syntax does not write it
    length: int
    start: int  # of the value


def _pixel_element(found: Opened) -> _PixelElement | None:
    """The head of the pixel data element, or None where there is none."""
    implicit, little = found.dataset.original_encoding
    size, order = (8, "<") if implicit else (12, "<" if little else ">")
    found.file.seek(found.pixels_at)
    head = found.file.read(size)
    if len(head) < size:
        return None
    group, element = struct.unpack(f"{order}HH", head[:4])
    (length,) = struct.unpack(f"{order}L", head[-4:])
    tag = group << 16 | element
    return _PixelElement(tag, head[4:-6], length, found.pixels_at + size) if tag in _PIXEL_DATA else None


def _missing_decoder(syntax: str, samples: int, stored: int) -> str | None:
    """The transfer syntax and what to install, where nothing here decodes it."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID, JPEG2000TransferSyntaxes, JPEGExtended12Bit

    uid = UID(syntax)
    if uid.name == syntax:
        return "compressed in an unknown transfer syntax"
    try:
        decoder = get_decoder(uid)
    except NotImplementedError:
        return f"compressed as {uid.name}, which pydicom cannot decode: export the files uncompressed"
    able = decoder.is_available
    if decoder.available_plugins == ("pillow",):  # it decodes some of these only
        extended = uid == JPEGExtended12Bit and stored != _BYTE
        jpeg2000 = uid in JPEG2000TransferSyntaxes and (stored > 2 * _BYTE or (samples > 1 and stored > _BYTE))
        able = not (extended or jpeg2000)
    if able:
        return None
    packages = [_REQUIREMENT.findall(line) for line in decoder.missing_dependencies if line.startswith("pylibjpeg")]
    return f"compressed as {uid.name}, no decoder: pip install {' '.join(packages[0])}"


def _damaged_fragments(found: Opened, start: int, frames: int) -> str | None:
    """Why the chain of compressed fragments does not hold, or None. The first one is the offset table."""
    file, fragments = found.file, -1
    file.seek(start)
    while len(head := file.read(8)) == 8:  # a missing end mark is forgiven: every fragment is there
        group, element, length = struct.unpack("<HHL", head)
        if group << 16 | element == _END:
            break
        if group << 16 | element != _ITEM:
            return "damaged: the compressed frames cannot be told apart"
        if length > found.size - file.tell():
            return _TRUNCATED
        file.seek(length, 1)
        fragments += 1
    return None if fragments >= frames else _TRUNCATED


def _refuse_other_size(found: Opened, frame: int) -> None:
    """ValueError where a JPEG or JPEG 2000 frame has another size than the header says: few bytes can be gigapixels."""
    from pydicom.encaps import get_frame
    from pydicom.uid import UID

    if "JPEG" not in UID(found.syntax).name:
        return
    element = _pixel_element(found)
    if element is None:
        raise ValueError
    found.file.seek(element.start)
    code = get_frame(found.file, frame, number_of_frames=frame_count(found.dataset))
    if _coded_size(code) != (number(found.dataset, "Columns"), number(found.dataset, "Rows")):
        raise ValueError


def _coded_size(code: bytes) -> tuple[int, int]:
    """Width and height that a JPEG, JPEG-LS or JPEG 2000 codestream gives; ValueError where it gives none."""
    at = code[:_J2K_WITHIN].find(_J2K_SIZE)
    if at >= 0:
        width, height, left, top = struct.unpack(">LLLL", code[at + 8 : at + 24])
        return width - left, height - top
    at = 2  # behind the mark that begins an image
    while code[at : at + 1] == b"\xff":
        mark, length = code[at + 1], int.from_bytes(code[at + 2 : at + 4], "big")
        if mark in _FRAME_HEADERS:
            height, width = struct.unpack(">HH", code[at + 5 : at + 9])
            return width, height
        at += 1 if mark == 0xFF else 2 + length  # marks may be preceded by fill bytes
    raise ValueError
