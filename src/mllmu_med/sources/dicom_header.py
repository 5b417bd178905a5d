"""What a DICOM header says of an image that may be asked: in plain words from fixed tables, never in its own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from mllmu_med.sources.dicom_files import items, numbers, text, texts
from mllmu_med.sources.dicom_pixels import frame_count
from mllmu_med.sources.dicom_words import (
    BODY_PARTS,
    DIRECTIONS,
    MODALITIES,
    POSITIONS,
    SIDES,
    VIEWS,
    code_word,
    contrast,
)

if TYPE_CHECKING:
    from pydicom import Dataset

ASKED = (
    "Modality", "BodyPartExamined", "AnatomicRegionSequence", "ViewPosition", "ViewCodeSequence", "Laterality",
    "ImageLaterality", "ImageOrientationPatient", "PatientOrientation", "PatientPosition", "ContrastBolusAgent",
    "NumberOfFrames", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
"""Elements that ``facts`` looks at."""

_CROSS_SECTIONS = frozenset({"CT", "MRI", "PET", "nuclear medicine"})
_NEARLY = 0.95  # cosine; up to 18° off an axis a slice still counts as axial, coronal or sagittal
_COSINES = 6  # numbers of an Image Orientation: along the rows, along the columns
_PLANES = ("sagittal", "coronal", "axial")  # by the axis (x, y, z of the patient) that stands upright on the slice
_ALONG = ("LR", "PA", "HF")  # where the positive and the negative direction of each axis lead (PS3.3 C.7.6.2.1.1)


class Facts(NamedTuple):
    """What the header says of one frame, each None where it does not say it in words of the tables.

    Attributes:
        right_edge: the part of the patient that the image's right edge points to.
        frames: how many there are, where more than one.
    """

    modality: str | None = None
    body_part: str | None = None
    view: str | None = None
    plane: str | None = None
    side: str | None = None
    right_edge: str | None = None
    position: str | None = None
    contrast: str | None = None
    agent: str | None = None
    frames: str | None = None


def facts(dataset: Dataset, frame: int = 0) -> Facts:
    """What the header says of a frame (counted from 0). Use it inside ``quiet``."""
    modality = MODALITIES.get(text(dataset, "Modality").upper())
    levels = _levels(dataset, frame)
    count = frame_count(dataset)
    given, agent = contrast(" ".join(texts(dataset, "ContrastBolusAgent")))
    rows, upright = _directions(levels)
    return Facts(
        modality=modality,
        body_part=_coded(levels, "BodyPartExamined", "AnatomicRegionSequence", BODY_PARTS),
        view=_coded(levels, "ViewPosition", "ViewCodeSequence", VIEWS),
        plane=_PLANES[upright] if upright is not None and modality in _CROSS_SECTIONS else None,
        side=_side(levels),
        right_edge=_right_edge(dataset) or rows,
        position=POSITIONS.get(text(dataset, "PatientPosition").upper()),
        contrast=given,
        agent=agent,
        frames=str(count) if count > 1 else None,
    )


def _levels(dataset: Dataset, frame: int) -> list[Dataset]:
    """Where the header speaks of the frame: what is said of it alone, of all frames, and of the whole object."""
    found: list[Dataset] = []
    per_frame = items(dataset, "PerFrameFunctionalGroupsSequence")[frame : frame + 1]
    for group in (*per_frame, *items(dataset, "SharedFunctionalGroupsSequence")[:1]):
        for sequence in ("FrameAnatomySequence", "PlaneOrientationSequence"):
            found += items(group, sequence)[:1]
    return [*found, dataset]


def _coded(levels: list[Dataset], keyword: str, sequence: str, words: Mapping[str, str]) -> str | None:
    """The word for an element's value, or else for the meaning of a code."""
    for level in levels:
        codes = [text(level, keyword), *(text(item, "CodeMeaning") for item in items(level, sequence)[:1])]
        for code in codes:
            if code_word(code) in words:
                return words[code_word(code)]
    return None


def _side(levels: list[Dataset]) -> str | None:
    for level in levels:
        for keyword in ("FrameLaterality", "ImageLaterality", "Laterality"):
            side = SIDES.get(text(level, keyword).upper())
            if side is not None:
                return side
    return None


def _right_edge(dataset: Dataset) -> str | None:
    """Where Patient Orientation lets the rows run, if straight to one side; ``AL`` (in between) is none."""
    return DIRECTIONS.get(text(dataset, "PatientOrientation").upper())


def _directions(levels: list[Dataset]) -> tuple[str | None, int | None]:
    """From the Image Orientation: the part of the patient the rows run to, and the axis upright on the slice."""
    for level in levels:
        cosines = numbers(level, "ImageOrientationPatient")
        if len(cosines) != _COSINES:
            continue
        row, column = cosines[:3], cosines[3:]
        normal = [
            row[1] * column[2] - row[2] * column[1],
            row[2] * column[0] - row[0] * column[2],
            row[0] * column[1] - row[1] * column[0],
        ]
        along, upright = _axis(row), _axis(normal)
        letter = None if along is None else _ALONG[along][0 if row[along] > 0 else 1]
        return (None if letter is None else DIRECTIONS[letter]), upright
    return None, None


def _axis(direction: list[float]) -> int | None:
    """The patient's axis (0 to 2) that a direction nearly follows; None where it is none, or no unit vector."""
    length = math.hypot(*direction)
    if not _NEARLY <= length <= 1 / _NEARLY:
        return None
    return next((axis for axis in range(3) if abs(direction[axis]) >= _NEARLY * length), None)
