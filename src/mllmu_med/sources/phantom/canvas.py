"""Soft-edged shapes and textures in coordinates that do not depend on the number of pixels.

The unit is the picture's side: x runs from 0 (left) to 1 (right), y from 0 (top) to 1 (bottom). Every shape is a
coverage mask in 0..1 whose edge is at least one pixel wide, so a small picture is close to a large one scaled down.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import cos, sin, tau
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float32]
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
    return weights.reshape(size, _SUPERSAMPLING, cells).mean(1).astype(np.float32)


class Canvas:
    """The pixel grid of one picture size. Holds no picture: every method returns a new mask [size, size]."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.pixel = 1 / size
        centres = (np.arange(size, dtype=np.float32) + 0.5) / size
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
        outline = np.float32(1)
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
        """Tapered polylines, each a sequence of points (x, y, width). Work is done only near each segment.

        A line thinner than a pixel covers it in proportion to its width.
        """
        mask = np.zeros((self.size, self.size), np.float32)
        edge = max(soft, self.pixel)
        for line in lines:
            for (x0, y0, w0), (x1, y1, w1) in zip(line, line[1:], strict=False):
                width = (w0 + w1) / 2
                reach = width / 2 + edge
                rows = self._window(min(y0, y1) - reach, max(y0, y1) + reach)
                columns = self._window(min(x0, x1) - reach, max(x0, x1) + reach)
                dx, dy = self.x[:, columns] - x0, self.y[rows] - y0
                ux, uy = x1 - x0, y1 - y0
                along = np.clip((dx * ux + dy * uy) / (ux * ux + uy * uy + 1e-12), 0, 1)
                distance = np.sqrt((dx - along * ux) ** 2 + (dy - along * uy) ** 2)
                cover = np.clip((width / 2 - distance) / edge + 0.5, 0, min(1.0, width / edge))
                window = mask[rows, columns]
                np.maximum(window, cover, out=window)
        return mask

    def _window(self, low: float, high: float) -> slice:
        return slice(max(0, int(low * self.size)), max(0, min(self.size, int(high * self.size) + 1)))


@lru_cache(maxsize=8)
def canvas(size: int) -> Canvas:
    """The shared canvas of a size."""
    return Canvas(size)


def lay(image: Array, mask: Array, value: float | Array) -> None:
    """Lay a grey value over a grey picture [size, size] where ``mask`` covers it, in place."""
    image += mask * (value - image)


def lay_colour(image: Array, mask: Array, colour: Colour) -> None:
    """Lay a colour (red, green, blue in 0..1) over a picture [3, size, size], in place."""
    image += mask * (np.array(colour, np.float32)[:, None, None] - image)
