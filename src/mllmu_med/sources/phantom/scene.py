"""The anatomy of a picture, before a finding is put into it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

from mllmu_med.sources.phantom.canvas import Array, Canvas


class Region(NamedTuple):
    """An ellipse in which the centres of lesions may lie; ``angle`` in radians turns it clockwise on screen."""

    cx: float
    cy: float
    rx: float
    ry: float
    angle: float = 0.0


@dataclass(frozen=True, slots=True)
class Scene:
    """A normal picture and where a finding may go.

    Attributes:
        image: grey [size, size] or colour [3, size, size], about 0..1; painters change it in place.
        inside: coverage [size, size] of the cavity or organ that no lesion grows out of.
        regions: per side of the picture.
        avoid: disks (x, y, radius) that lesions must not touch, because they would hide them or be taken for them.
    """

    image: Array
    inside: Array
    regions: Mapping[str, Region]
    avoid: tuple[tuple[float, float, float], ...] = ()


Anatomy: TypeAlias = Callable[[Canvas, np.random.Generator], Scene]
Painter: TypeAlias = Callable[[Canvas, np.random.Generator, Array, float, float, float], None]
"""Paints one lesion at (x, y) with radius r into the scene's image."""


def wobble(generator: np.random.Generator, strength: float) -> list[float]:
    """An uneven outline for ``Canvas.blob``: three harmonics that fade with their order."""
    amplitudes = generator.uniform(0.4, 1.0, 3) * strength / np.arange(1, 4)
    phases = generator.random(3)
    return [float(value) for pair in zip(amplitudes, phases, strict=True) for value in pair]
