"""DICOM files: found by content, opened without a word of what their headers say.

What a header says is private. pydicom puts values into warnings, log lines and exceptions; all of them end here.
"""

from __future__ import annotations

import io
import logging
import math
import os
import re
import stat
import zlib
from collections.abc import Iterable, Iterator, MutableSequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from mllmu_med.errors import UsageError

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.dataset import FileDataset

LARGEST_INFLATED = 2**30
"""Bytes. A deflated file that grows larger is refused: a small one can inflate to any size."""

FAULTS = (Exception,)
"""What parsers and decoders raise when fed with damaged bytes: anything, as bytes picked at random show. Their messages
quote header values, so that none of them may pass, not even one that a later version of pydicom invents."""

UNREADABLE = "the file or its header cannot be read"

_DIRECTORY = "1.2.840.10008.1.3.10"  # SOP class of a DICOMDIR
_STANDARD = "1.2.840.10008."  # root of every class and transfer syntax of the standard
_ALWAYS = ("SOPClassUID", "SpecificCharacterSet")
_MAGIC_AT, _MAGIC = 128, b"DICM"
_META_WITHIN = 4096  # bytes; how far the meta information reaches at most where it names a deflated syntax
_DEFLATED = re.compile(rb"\x02\0\x10\0UI..1\.2\.840\.10008\.1\.2\.1\.99", re.DOTALL)
_FIRST_GROUPS = (b"\x08\x00", b"\x02\x00", b"\x00\x08")  # of a data set without a preamble; the last is big-endian


class Found(NamedTuple):
    """A regular file, or with a ``reason`` something that is not read."""

    path: Path
    reason: str | None = None


class Opened(NamedTuple):
    """A file's elements, and where its pixel data begins.

    Attributes:
        dataset: the elements asked for, up to the pixel data.
        file: the file, or the inflated copy of a deflated one.
        pixels_at: where in ``file`` the pixel data element begins, or its end.
        syntax: transfer syntax UID; found out from the data where the file does not say it.
        size: of ``file``, in bytes.
    """

    dataset: FileDataset
    file: BinaryIO
    pixels_at: int
    syntax: str
    size: int


def require_pydicom() -> None:
    """UsageError unless pydicom can be imported."""
    try:
        import pydicom  # noqa: F401
    except ImportError:
        raise UsageError("the source 'dicom' needs pydicom: pip install mllmu-med[dicom]") from None


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing that pydicom or a decoder says of a file's values gets out: no log line, no warning.

    Elements are converted when first touched, so that touching belongs in here too.
    """
    import warnings

    from pydicom import config

    logger = logging.getLogger("pydicom")
    level, mode = logger.level, config.settings.reading_validation_mode
    logger.setLevel(logging.CRITICAL + 1)
    config.settings.reading_validation_mode = config.IGNORE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        config.settings.reading_validation_mode = mode


def find(folder: Path) -> Iterator[Found]:
    """Every file below ``folder``, sorted by path; links that lead out of it, devices and pipes come with a reason."""
    root = folder.resolve()
    for current, folders, files in os.walk(root):
        folders.sort()
        links = [name for name in folders if (Path(current) / name).is_symlink()]  # not walked into
        for name in sorted([*files, *links]):
            path = Path(current) / name
            try:
                inside, status = path.resolve().is_relative_to(root), path.stat()
            except (OSError, RuntimeError):
                yield Found(path, "broken link")
                continue
            if not inside:
                yield Found(path, "link that leads out of the folder")
            elif stat.S_ISREG(status.st_mode):
                yield Found(path)
            elif not stat.S_ISDIR(status.st_mode):
                yield Found(path, "not a regular file")


def looks_like_dicom(path: Path) -> bool:
    """Whether the first bytes could be a DICOM file's, with or without a preamble. OSError if it cannot be read."""
    with path.open("rb") as file:
        start = file.read(_MAGIC_AT + len(_MAGIC))
    return start[_MAGIC_AT:] == _MAGIC or start[:2] in _FIRST_GROUPS


@contextmanager
def opened(path: Path, tags: Iterable[str] | None = None) -> Iterator[Opened]:
    """A file up to its pixel data; ``tags`` (keywords) are the only elements wanted, by default all.

    Use it inside ``quiet``. Raises one of FAULTS where the bytes are no DICOM.
    """
    from pydicom import dcmread

    wanted = None if tags is None else [*tags, *_ALWAYS]
    with path.open("rb") as stored:
        file = _inflated(stored)
        dataset = dcmread(file, stop_before_pixels=True, force=True, specific_tags=wanted)
        pixels_at = file.tell()
        yield Opened(dataset, file, pixels_at, _syntax(dataset), file.seek(0, os.SEEK_END))


def unwanted(dataset: FileDataset) -> str | None:
    """Why the data set is not one to read on: a DICOMDIR; no DICOM, although it could be parsed as such; or empty."""
    classes = (text(dataset, "SOPClassUID"), text(dataset.file_meta, "MediaStorageSOPClassUID"))
    if _DIRECTORY in classes:
        return "DICOMDIR"
    if dataset.preamble is None and not classes[0].startswith(_STANDARD):
        return "not DICOM"  # any bytes can be parsed as a data set without a preamble
    return None if len(dataset) else UNREADABLE


def _inflated(stored: BinaryIO) -> BinaryIO:
    """The same file; or, of a deflated one, a copy of the data set alone, inflated."""
    start = stored.read(_META_WITHIN)
    stored.seek(0)
    if not _DEFLATED.search(start):
        return stored
    group_length = start[_MAGIC_AT + 4 :]
    if not group_length.startswith(b"\x02\0\0\0UL\x04\0"):
        raise ValueError
    stored.seek(_MAGIC_AT + 16 + int.from_bytes(group_length[8:12], "little"))
    data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(stored.read(), LARGEST_INFLATED + 1)
    if len(data) > LARGEST_INFLATED:
        raise ValueError
    return io.BytesIO(data)


def _syntax(dataset: FileDataset) -> str:
    from pydicom import uid

    implicit, little = dataset.original_encoding
    if not little:
        guess = uid.ExplicitVRBigEndian
    else:
        guess = uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian
    return text(dataset.file_meta, "TransferSyntaxUID") or guess


def text(dataset: Dataset, key: str | int) -> str:
    """The first value of an element (by keyword or tag) as text; empty where it is absent, empty or damaged."""
    return next(iter(texts(dataset, key)), "")


def texts(dataset: Dataset, key: str | int) -> list[str]:
    """All values of an element as texts without padding; an element that cannot be decoded has none."""
    try:
        value: Any = dataset[key].value if key in dataset else None
        values = list(value) if isinstance(value, MutableSequence) else [value]  # a name iterates over its letters
        return [str(one).strip(" \0") for one in values if one is not None]
    except FAULTS:
        return []


def numbers(dataset: Dataset, key: str | int) -> list[float]:
    """All values of an element as finite numbers; none where any of them is something else."""
    try:
        found = [float(one) for one in texts(dataset, key)]
    except ValueError:
        return []
    return found if all(map(math.isfinite, found)) else []


def number(dataset: Dataset, key: str | int) -> float | None:
    """The first value of an element as a finite number; None where there is none."""
    return next(iter(numbers(dataset, key)), None)


def items(dataset: Dataset, key: str | int) -> list[Dataset]:
    """The items of a sequence; none where it is absent or damaged."""
    from pydicom import Dataset, Sequence

    try:
        value = dataset[key].value if key in dataset else ()
        return [item for item in value if isinstance(item, Dataset)] if isinstance(value, Sequence) else []
    except FAULTS:
        return []
