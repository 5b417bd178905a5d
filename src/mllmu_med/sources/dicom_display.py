"""From a DICOM frame's stored values to an 8-bit PNG, as a viewer with default settings shows them.

Grey: stored values → modality table or rescale (DICOM PS3.3 C.11.1) → VOI table or first window (C.11.2) → 8 bits,
inverted where low values are white (MONOCHROME1). Without a window the middle 99 % of the values are spread over the
scale. Pixels that only pad the image (PixelPaddingValue) are black.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mllmu_med.errors import DataError
from mllmu_med.sources.dicom_files import FAULTS, items, number, numbers, opened, quiet, text
from mllmu_med.sources.dicom_pixels import LAYOUT, PALETTE, decoded

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pydicom import Dataset

    Pixels = NDArray[np.uint8]

_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
_TAILS = (0.5, 99.5)  # percentiles between which values are spread where the file gives no window
_BYTE = 8  # bits
_DESCRIPTOR = 3  # numbers that describe a table: entries, first value, bits

# In an enhanced multi-frame image these stand per frame, or once for all frames.
_PER_FRAME = {
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction"),
}


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame of a file; called, it gives the PNG. Where the file lies is not shown: paths often hold names.

    Attributes:
        number: counted from 0.
        key: how errors name the image.
    """

    path: Path = field(repr=False)
    number: int
    key: str

    def __call__(self) -> bytes:
        """The encoded image; equal for equal pixels and settings.

        Raises:
            DataError: the pixel data is damaged, or the file has gone.
        """
        try:
            with quiet(), opened(self.path, LAYOUT) as found:
                return png(displayed(*decoded(found, self.number), self.number))
        except FAULTS:
            pass  # raised below, so that nothing of a message that may quote the header hangs on the new error
        raise DataError(
            "the pixel data is damaged, or the file has changed since it was listed", file="dicom", record=self.key,
            mend=f"DicomSource.path_of('{self.key}') gives the file: remove it, or export it anew.",
        )  # fmt: skip


def png(pixels: Pixels) -> bytes:
    """Pixels [height, width] or [height, width, 3] as a PNG without any metadata."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def displayed(values: NDArray[Any], dataset: Dataset, frame: int) -> Pixels:
    """Stored values [rows, columns], or [rows, columns, 3] in RGB, as 8-bit pixels of the same shape; a palette adds
    the third axis.

    Args:
        dataset: the elements that say how to show them.
        frame: its number, for settings that stand per frame.
    """
    if text(dataset, "PhotometricInterpretation") == PALETTE:
        return _from_palette(values, dataset)
    return _grey(values, settings(dataset, frame)) if values.ndim == 2 else _colour(values, dataset)


def settings(dataset: Dataset, frame: int) -> Dataset:
    """The data set with what its functional groups say of the frame at the top level, where ``_grey`` reads it."""
    from pydicom import Dataset

    flat = Dataset()
    for element in dataset.group_dataset(0x0028):
        flat.add(element)
    per_frame = items(dataset, "PerFrameFunctionalGroupsSequence")[frame : frame + 1]
    for group in (*items(dataset, "SharedFunctionalGroupsSequence"), *per_frame):
        for sequence, keywords in _PER_FRAME.items():
            for item in items(group, sequence)[:1]:
                for keyword in keywords:
                    if keyword in item:
                        flat.add(item[keyword])
    return flat


def _from_palette(values: NDArray[Any], dataset: Dataset) -> Pixels:
    import numpy as np
    from pydicom.pixels.processing import apply_color_lut

    colours = apply_color_lut(values, dataset)[..., :3]  # without transparency
    pixels: Pixels = (colours >> (_BYTE * (colours.itemsize - 1))).astype(np.uint8)
    return pixels


def _colour(values: NDArray[Any], dataset: Dataset) -> Pixels:
    import numpy as np

    stored = int(number(dataset, "BitsStored") or _BYTE)
    scaled: NDArray[np.float64] = values.astype(np.float64) * (255 / (2**stored - 1))
    return scaled.clip(0, 255).round().astype(np.uint8)


def _grey(stored: NDArray[Any], dataset: Dataset) -> Pixels:
    import numpy as np

    padding = _padding(stored, dataset)
    values = _modality(stored, dataset)
    shown = _voi(values, dataset)
    if shown is None and values is stored and stored.dtype == np.uint8 and number(dataset, "BitsStored") == _BYTE:
        shown = stored.astype(np.float64)  # a screen shot, an ultrasound picture: made for the screen as it is
    if shown is None:
        shown = _spread(values, padding)
    pixels = shown.clip(0, 255).round().astype(np.uint8)
    if text(dataset, "PhotometricInterpretation") == "MONOCHROME1":
        pixels = 255 - pixels
    pixels[padding] = 0
    return pixels


def _padding(stored: NDArray[Any], dataset: Dataset) -> NDArray[np.bool_]:
    """Which pixels only pad the image; none where that would be all of them."""
    import numpy as np

    first = number(dataset, "PixelPaddingValue")
    if first is None:
        return np.zeros(stored.shape, dtype=bool)
    last = number(dataset, "PixelPaddingRangeLimit")
    low, high = sorted((first, first if last is None else last))
    found: NDArray[np.bool_] = (stored >= low) & (stored <= high)
    return found if not found.all() else np.zeros_like(found)


def _modality(stored: NDArray[Any], dataset: Dataset) -> NDArray[Any]:
    """Values in the unit of the modality (Hounsfield units, optical density, …); the same array where nothing is
    to be done."""
    from pydicom import Dataset
    from pydicom.pixels.processing import apply_modality_lut

    table = _table(dataset, "ModalityLUTSequence")
    if table is not None:
        return table.entries[table.places(stored)]
    slope, intercept = number(dataset, "RescaleSlope"), number(dataset, "RescaleIntercept")
    if not slope or intercept is None or (slope, intercept) == (1, 0):
        return stored
    rescale = Dataset()
    rescale.RescaleSlope, rescale.RescaleIntercept = slope, intercept
    return apply_modality_lut(stored, rescale)


def _voi(values: NDArray[Any], dataset: Dataset) -> NDArray[np.float64] | None:
    """Values on the scale 0 to 255 by the VOI table or the first window; None where there is none, or none that can
    be applied."""
    from pydicom import Dataset
    from pydicom.pixels.processing import apply_windowing

    table = _table(dataset, "VOILUTSequence")
    if table is not None:
        # Not over the range that the descriptor promises: many writers promise 16 bits and use 12.
        return _stretched(table.entries, table.entries)[table.places(values)]
    center, width = number(dataset, "WindowCenter"), number(dataset, "WindowWidth")
    function = text(dataset, "VOILUTFunction").upper() or "LINEAR"
    if center is None or width is None or function not in _FUNCTIONS or width < (1 if function == "LINEAR" else 1e-9):
        return None
    window = Dataset()
    # Of eight unsigned bits, so that the result is on the scale that is wanted.
    window.PhotometricInterpretation, window.PixelRepresentation, window.BitsStored = "MONOCHROME2", 0, _BYTE
    window.WindowCenter, window.WindowWidth, window.VOILUTFunction = center, width, function
    return apply_windowing(values, window)


class _Table(NamedTuple):
    """A lookup table; values below ``first`` get its first entry, those behind the end its last.

    Not pydicom's: that wraps around in tables with more than 256 entries of 8 bits, and cannot read packed ones.
    """

    first: int
    entries: NDArray[Any]

    def places(self, values: NDArray[Any]) -> NDArray[np.intp]:
        """For each value the place of its entry."""
        import numpy as np

        found = np.rint(values.astype(np.float64)) - self.first
        return found.clip(0, len(self.entries) - 1).astype(np.intp)


def _table(dataset: Dataset, sequence: str) -> _Table | None:
    """The first table of a sequence; None where there is none, or it is damaged."""
    import numpy as np

    for item in items(dataset, sequence)[:1]:
        descriptor, data = numbers(item, "LUTDescriptor"), item.get("LUTData")
        if len(descriptor) != _DESCRIPTOR or data is None:
            return None
        count = int(descriptor[0]) or 2**16
        if isinstance(data, bytes):
            kind = "<u2" if dataset.original_encoding[1] is not False else ">u2"
            entries = np.frombuffer(data, kind if len(data) >= 2 * count else "u1")
        else:
            entries = np.atleast_1d(np.asarray(data))
        return _Table(int(descriptor[1]), entries[:count]) if len(entries) else None
    return None


def _spread(values: NDArray[Any], padding: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Values on the scale 0 to 255, without the outermost; those that pad the image do not count."""
    import numpy as np

    visible = values[~padding & np.isfinite(values)]
    if not visible.size:
        return np.zeros(values.shape)
    low, high = np.percentile(visible, _TAILS)
    return _stretched(values, np.array([low, high]) if low < high else visible)


def _stretched(values: NDArray[Any], over: NDArray[Any]) -> NDArray[np.float64]:
    """Values on a straight scale from 0 at the smallest to 255 at the largest of ``over``; 0 where these are equal."""
    import numpy as np

    low, high = float(over.min()), float(over.max())
    if low == high:
        return np.zeros(values.shape)
    return (np.nan_to_num(values.astype(np.float64)).clip(low, high) - low) * 255 / (high - low)
