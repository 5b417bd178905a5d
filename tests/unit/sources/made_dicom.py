"""DICOM files for tests, made with pydicom; every identifying element can be given a value of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

KEY = "d41d8cd98f00b204e9800998ecf8427e"


def item(**elements: Any) -> Dataset:
    """A data set with these elements."""
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def sequence(**elements: Any) -> Sequence:
    """A sequence of one item."""
    return Sequence([item(**elements)])


def dicom(pixels: Any = None, colour: bool = False, **elements: Any) -> Dataset:
    """A CT slice of 2 × 3 unsigned 16-bit pixels, with other pixels and elements where given; None removes one.

    Pixels are [rows, columns], with frames as a first axis and, in colour, RGB as a last one.
    """
    values = np.asarray([[0, 1, 2], [3, 4, 5]], np.uint16) if pixels is None else np.asarray(pixels)
    frames = values.shape[0] if values.ndim == (4 if colour else 3) else None
    rows, columns = values.shape[-3:-1] if colour else values.shape[-2:]
    bits = values.dtype.itemsize * 8
    made = item(
        SOPClassUID=CTImageStorage, SOPInstanceUID="1.2.3.4", StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.1",
        PatientID="P-1", PatientName="Doe^Jane", Modality="CT", SamplesPerPixel=3 if colour else 1,
        PhotometricInterpretation="RGB" if colour else "MONOCHROME2", Rows=rows, Columns=columns, BitsAllocated=bits,
        BitsStored=bits, HighBit=bits - 1, PixelRepresentation=int(np.issubdtype(values.dtype, np.signedinteger)),
    )  # fmt: skip
    if colour:
        made.PlanarConfiguration = 0
    if frames is not None:
        made.NumberOfFrames = frames
    made.add_new(0x7FE00010, "OB" if bits == 8 else "OW", values.tobytes())
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for keyword, value in elements.items():
        if value is None:
            delattr(made, keyword)
        else:
            setattr(made, keyword, value)
    return made


def encapsulated(made: Dataset, frames: list[bytes]) -> Dataset:
    """The same data set with compressed frames instead of pixels."""
    made.add_new(0x7FE00010, "OB", encapsulate(frames))
    made[0x7FE00010].is_undefined_length = True
    return made


def write(path: Path, made: Dataset, syntax: str | None = None) -> Path:
    """The data set as a DICOM file with preamble and meta information."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if syntax is not None:
        made.file_meta.TransferSyntaxUID = syntax
    made.save_as(path, enforce_file_format=True)
    return path


def write_bare(path: Path, made: Dataset, syntax: str = ImplicitVRLittleEndian) -> Path:
    """The data set alone, as old scanners wrote it."""
    del made.file_meta
    little = syntax != "1.2.840.10008.1.2.2"
    made.save_as(path, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=little)
    return path
