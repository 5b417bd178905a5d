"""Soft-edged shapes and textures in coordinates that do not depend on the number of pixels.

The unit is the picture's side: x runs from 0 (left) to 1 (right), y from 0 (top) to 1 (bottom). Every shape is a
coverage mask in 0..1 whose edge is at least one pixel wide, so a small picture is close to a large one scaled down.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from math import cos, sin, tau
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.floating[Any]]
"""float32 in fact; NumPy's type stubs take such an array times a Python float for float64."""

Colour: TypeAlias = tuple[float, float, float]

_SUPERSAMPLING = 8


@lru_cache(maxsize=64)
def _interpolation(cells: int, size: int) -> Array:
    """Matrix [size, cells] from lattice values to pixels: quadratic B-spline, averaged over each pixel.

    Independent unit-variance lattice values have unit variance at every point before the average over the pixel, so a
    lattice finer than the pixels fades as it would if a larger picture were scaled down.
    """
    points = size * _SUPERSAMPLING
    position = (np.arange(points) + 0.5) / points * cells - 0.5
    nearest = np.rint(position).astype(int)
    offset = position - nearest
    weights = np.zeros((points, cells))
    taps = ((-1, 0.5 * (0.5 - offset) ** 2), (0, 0.75 - offset**2), (1, 0.5 * (0.5 + offset) ** 2))
    for shift, weight in taps:
        np.add.at(weights, (np.arange(points), np.clip(nearest + shift, 0, cells - 1)), weight)
    weights /= np.sqrt((weights**2).sum(1, keepdims=True))
    matrix: Array = weights.reshape(size, _SUPERSAMPLING, cells).mean(1).astype(np.float32)
    return matrix


class Canvas:
    """The pixel grid of one picture size. Holds no picture: every method returns a new mask [size, size]."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.pixel = 1 / size
        centres = ((np.arange(size) + 0.5) / size).astype(np.float32)
        self.x: Array = centres[None, :]
        self.y: Array = centres[:, None]

    def ramp(self, inside: Array, soft: float = 0.0) -> Array:
        """Coverage from the signed distance to an edge (positive inside); ``soft`` is the edge's width."""
        mask: Array = inside * np.float32(1 / max(soft, self.pixel)) + np.float32(0.5)
        return np.clip(mask, 0, 1, out=mask)

    def radius(self, cx: float, cy: float, rx: float, ry: float, angle: float = 0.0) -> Array:
        """Distance from an ellipse's centre, 1 on its outline. ``angle`` in radians turns it clockwise on screen."""
        dx, dy = self.x - cx, self.y - cy
        if angle:
            c, s = cos(angle), sin(angle)
            dx, dy = c * dx + s * dy, c * dy - s * dx
        distance: Array = np.sqrt((dx * (1 / rx)) ** 2 + (dy * (1 / ry)) ** 2)
        return distance

    def ellipse(self, cx: float, cy: float, rx: float, ry: float, angle: float = 0.0, soft: float = 0.0) -> Array:
        """A filled ellipse."""
        return self.ramp((1 - self.radius(cx, cy, rx, ry, angle)) * min(rx, ry), soft)

    def blob(self, cx: float, cy: float, r: float, wobble: Sequence[float], soft: float = 0.0) -> Array:
        """A filled disk of mean radius ``r`` with an uneven outline.

        ``wobble`` holds pairs (amplitude, phase in turns) of the outline's harmonics 2, 3, 4, …, relative to ``r``.
        """
        dx, dy = self.x - cx, self.y - cy
        theta = np.arctan2(dy, dx)
        outline: Array = np.ones_like(theta)
        for harmonic, (amplitude, phase) in enumerate(zip(wobble[::2], wobble[1::2], strict=True), start=2):
            outline = outline + amplitude * np.cos(harmonic * theta + phase * tau)
        return self.ramp(r * outline - np.sqrt(dx**2 + dy**2), soft)

    def texture(self, generator: np.random.Generator, cells: int) -> Array:
        """Smooth noise of zero mean and unit variance whose grains are about ``1 / cells`` wide."""
        noise = generator.standard_normal((cells, cells), dtype=np.float32)
        matrix = _interpolation(cells, self.size)
        texture: Array = matrix @ noise @ matrix.T
        return texture

    def strokes(self, lines: Sequence[Sequence[tuple[float, float, float]]], soft: float = 0.0) -> Array:
        """Tapered polylines, each a sequence of points (x, y, width).

        A line thinner than a pixel covers it in proportion to its width. All segments are worked out at once, each in
        a square window of pixels just large enough for the longest of them.
        """
        ends = np.array([pair for line in lines for pair in pairwise(line)], np.float32)  # [segments, 2, (x, y, width)]
        (x0, y0), (x1, y1) = ends[:, 0, :2].T[:, :, None, None], ends[:, 1, :2].T[:, :, None, None]
        width, edge = ends[:, :, 2].mean(1)[:, None, None], max(soft, self.pixel)
        low = ends[:, :, :2].min(1) - (width[:, 0] / 2 + edge)
        high = ends[:, :, :2].max(1) + (width[:, 0] / 2 + edge)
        first = np.floor(low * self.size).astype(int)
        window = np.arange(int(np.ceil((high - low).max() * self.size)) + 2)
        # Pixels beyond the border are moved onto it: they repeat its true value there, which the maximum ignores.
        columns, rows = np.clip(first.T[:, :, None] + window, 0, self.size - 1)
        dx, dy = self.x[0, columns][:, None, :] - x0, self.y[rows, 0][:, :, None] - y0
        ux, uy = x1 - x0, y1 - y0
        along = np.clip((dx * ux + dy * uy) / (ux * ux + uy * uy + np.float32(1e-9)), 0, 1)
        distance = np.sqrt((dx - along * ux) ** 2 + (dy - along * uy) ** 2)
        cover = np.clip((width / 2 - distance) * np.float32(1 / edge) + np.float32(0.5), 0, np.minimum(width / edge, 1))
        mask = np.zeros(self.size * self.size, np.float32)
        np.maximum.at(mask, (rows[:, :, None] * self.size + columns[:, None, :]).ravel(), cover.ravel())
        return mask.reshape(self.size, self.size)


@lru_cache(maxsize=8)
def canvas(size: int) -> Canvas:
    """The shared canvas of a size."""
    return Canvas(size)


def lay(image: Array, mask: Array, value: float | Array) -> None:
    """Lay a grey value over a grey picture [size, size] where ``mask`` covers it, in place."""
    image += mask * (value - image)


def lay_colour(image: Array, mask: Array, colour: Colour, shade: float | Array = 1.0) -> None:
    """Lay a colour (red, green, blue in 0..1), times ``shade``, over a picture [3, size, size], in place."""
    image += mask * (np.array(colour, np.float32)[:, None, None] * shade - image)
