"""Placing text beside points so that no label covers another label or a point."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

RADII = (10.0, 16.0, 24.0, 33.0, 44.0, 57.0, 72.0, 90.0, 110.0)
ANGLES = (0, 180, 30, -30, 150, -150, 60, -60, 120, -120, 90, -90, 15, -15, 165, -165)
GAP = 2.0


class Box(NamedTuple):
    """A rectangle, in points; y upwards."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: Box) -> float:
        """The shared area."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return width * height if width > 0 and height > 0 else 0.0

    def outside(self, frame: Box) -> float:
        """The area that lies outside ``frame``."""
        return (self.right - self.left) * (self.top - self.bottom) - self.overlap(frame)

    def crossed_by(self, start: tuple[float, float], end: tuple[float, float]) -> bool:
        """Whether the straight line from ``start`` to ``end`` touches the rectangle (sampled every point or so)."""
        steps = max(2, int(math.dist(start, end)))
        for step in range(steps + 1):
            x = start[0] + (end[0] - start[0]) * step / steps
            y = start[1] + (end[1] - start[1]) * step / steps
            if self.left < x < self.right and self.bottom < y < self.top:
                return True
        return False


class Placement(NamedTuple):
    """Where a label's box lies and the point of the box that is nearest to its marker."""

    box: Box
    anchor: tuple[float, float]
    distance: float

    def edge(self, point: tuple[float, float], marker: float = 6.0) -> tuple[float, float]:
        """Where a line from the marker at ``point`` to the anchor leaves the marker."""
        length = math.dist(point, self.anchor)
        share = min(1.0, marker / length) if length else 0.0
        return point[0] + share * (self.anchor[0] - point[0]), point[1] + share * (self.anchor[1] - point[1])


def _candidate(point: tuple[float, float], size: tuple[float, float], radius: float, angle: float) -> Placement:
    """The label whose nearest edge lies ``radius`` from the point in the direction of ``angle``."""
    x, y = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    width, height = size
    # The anchor slides along the box: its left edge for angle 0, its lower left corner for 45°, its lower edge for 90°.
    centre_x = point[0] + radius * x + width / 2 * max(-1.0, min(1.0, 1.3 * x))
    centre_y = point[1] + radius * y + height / 2 * max(-1.0, min(1.0, 1.3 * y))
    box = Box(centre_x - width / 2, centre_y - height / 2, centre_x + width / 2, centre_y + height / 2)
    anchor = (min(max(point[0], box.left), box.right), min(max(point[1], box.bottom), box.top))
    return Placement(box, anchor, radius)


def place(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    frame: Box,
    *,
    marker: float = 5.0,
    taken: Sequence[Box] = (),
) -> list[Placement]:
    """One place per label, in the order given.

    Takes for each label the nearest of 144 candidates that meets nothing; where every candidate meets something, the
    one that meets least. Deterministic: earlier labels have precedence.

    Args:
        points: centres of the markers.
        sizes: width and height of each label.
        frame: labels stay inside this rectangle.
        marker: half the side of a marker.
        taken: further rectangles that labels stay off.
    """
    obstacles = [*taken, *(Box(x - marker, y - marker, x + marker, y + marker) for x, y in points)]
    placed: list[Placement] = []
    for index, (point, size) in enumerate(zip(points, sizes, strict=True)):
        best: tuple[float, Placement] | None = None
        for radius in RADII:
            for angle in ANGLES:
                candidate = _candidate(point, size, radius, angle)
                cost = _cost(candidate, points[index], points, obstacles, placed, frame)
                if best is None or cost < best[0]:
                    best = (cost, candidate)
            if best is not None and best[0] == 0:
                break
        assert best is not None
        placed.append(best[1])
    return placed


def _cost(
    candidate: Placement,
    point: tuple[float, float],
    points: Sequence[tuple[float, float]],
    obstacles: Sequence[Box],
    placed: Sequence[Placement],
    frame: Box,
) -> float:
    grown = Box(
        candidate.box.left - GAP, candidate.box.bottom - GAP, candidate.box.right + GAP, candidate.box.top + GAP
    )
    cost = 10 * candidate.box.outside(frame)
    cost += sum(grown.overlap(obstacle) for obstacle in obstacles)
    for other, owner in zip(placed, points, strict=False):
        cost += grown.overlap(other.box)
        cost += 20 * grown.crossed_by(owner, other.anchor)
        cost += 20 * other.box.crossed_by(point, candidate.anchor)
    return cost
