"""What a phantom picture shows: the vocabulary, and the ground truth of one picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Modality(NamedTuple):
    """What can be seen in one kind of picture."""

    organ: str
    findings: tuple[str, ...]


MODALITIES: dict[str, Modality] = {
    "chest X-ray": Modality("lungs", ("nodule", "effusion")),
    "brain MRI": Modality("brain", ("glioma", "infarct")),
    "abdominal CT": Modality("liver", ("cyst", "metastasis")),
    "fundus photograph": Modality("retina", ("exudate", "hemorrhage")),
    "histology slide": Modality("breast tissue", ("carcinoma", "necrosis")),
}
SIDES = ("left", "right")
SIZES = ("small", "large")
COUNTS = ("none", "one", "two", "three")

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "modality": tuple(MODALITIES),
    "finding": ("none", *(finding for modality in MODALITIES.values() for finding in modality.findings)),
    "side": ("none", *SIDES),
    "size": ("none", *SIZES),
    "count": COUNTS,
}
"""Class names of every attribute, in the order of the class indices; index 0 of all but the modality is "none"."""

# Small lesions come up to three times, large ones up to twice: three large ones would not fit into one half.
_COUNT_CHOICES = {"small": (1, 1, 2, 3), "large": (1, 1, 2)}


@dataclass(frozen=True, slots=True)
class Truth:
    """Ground truth of one picture.

    Attributes:
        finding: None for a normal picture; side and size are None then, and count is 0.
        side: the side of the picture as one looks at it, ``left`` or ``right``.
        size: ``small`` (radius about 6 % of the picture's side) or ``large`` (about 11 %).
    """

    modality: str
    finding: str | None = None
    side: str | None = None
    size: str | None = None
    count: int = 0

    @property
    def organ(self) -> str:
        """The organ that this kind of picture shows."""
        return MODALITIES[self.modality].organ

    def indices(self) -> dict[str, int]:
        """Class index of every attribute; see ``ATTRIBUTES``."""
        names = {
            "modality": self.modality,
            "finding": self.finding or "none",
            "side": self.side or "none",
            "size": self.size or "none",
            "count": COUNTS[self.count],
        }
        return {attribute: ATTRIBUTES[attribute].index(name) for attribute, name in names.items()}


def random_truth(generator: np.random.Generator, abnormal_share: float = 0.7) -> Truth:
    """Any modality with equal probability; with ``abnormal_share`` one of its findings, else normal."""
    modality = ATTRIBUTES["modality"][generator.integers(len(MODALITIES))]
    if generator.random() >= abnormal_share:
        return Truth(modality)
    findings = MODALITIES[modality].findings
    finding = findings[generator.integers(len(findings))]
    side, size = SIDES[generator.integers(2)], SIZES[generator.integers(2)]
    counts = _COUNT_CHOICES[size]
    return Truth(modality, finding, side, size, counts[generator.integers(len(counts))])
