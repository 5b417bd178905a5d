"""Breast tissue stained with hematoxylin and eosin: fibres, nuclei, glands; carcinoma and necrosis.

Stains are added as densities and turned into colour by the Beer-Lambert law, as in a real slide.
"""

from __future__ import annotations

from math import tau

import numpy as np

from mllmu_med.sources.phantom.canvas import Array, Canvas, lay_colour
from mllmu_med.sources.phantom.scene import Region, Scene, wobble

# Optical density of one unit of stain in red, green and blue (Ruifrok and Johnston 2001, scaled).
_HEMATOXYLIN = (0.98, 1.05, 0.44)
_EOSIN = (0.10, 0.90, 0.38)


def _nuclei(canvas: Canvas, generator: np.random.Generator, cells: int, share: float, r: float) -> Array:
    """Oval nuclei, at most one in each cell of a jittered lattice and wholly inside it, so that one look-up a pixel
    is enough. ``r``: radius relative to the cell."""
    column, row = (np.minimum((axis * cells).astype(int), cells - 1) for axis in (canvas.x, canvas.y))
    jitter = generator.uniform(r * 1.3, 1 - r * 1.3, (2, cells, cells)).astype(np.float32)
    angle = generator.uniform(0, tau / 2, (cells, cells)).astype(np.float32)
    present = (generator.random((cells, cells)) < share).astype(np.float32)
    dx = canvas.x * cells - column - jitter[0][row, column]
    dy = canvas.y * cells - row - jitter[1][row, column]
    c, s = np.cos(angle)[row, column], np.sin(angle)[row, column]
    distance = np.sqrt(((c * dx + s * dy) / 1.3) ** 2 + ((c * dy - s * dx) / 0.85) ** 2)
    return canvas.ramp((r - distance) / cells, 0.006) * present[row, column]


def anatomy(canvas: Canvas, generator: np.random.Generator) -> Scene:
    """Normal breast tissue: collagen with fibroblast nuclei and a few ducts."""
    u = generator.uniform
    broad = canvas.texture(generator, 5)
    angle = u(0, tau)
    flow = (np.cos(angle) * canvas.x + np.sin(angle) * canvas.y) * u(60, 80) + 4.5 * broad
    eosin = 0.42 + 0.08 * broad + 0.10 * np.sin(flow) + 0.05 * canvas.texture(generator, 24)
    hematoxylin = 0.06 + 0.85 * _nuclei(canvas, generator, 17, 0.6, 0.24)
    hematoxylin = np.maximum(hematoxylin, 0.85 * _nuclei(canvas, generator, 13, 0.5, 0.20))

    # Ducts: a ring of crowded nuclei around a pale lumen.
    for _ in range(4):
        gx, gy, r = u(0.08, 0.92), u(0.08, 0.92), u(0.040, 0.055)
        dx, dy = canvas.x - gx, canvas.y - gy
        theta, phase = np.arctan2(dy, dx), u(0, tau)
        distance = np.sqrt(dx**2 + dy**2) - 0.10 * r * np.cos(3 * theta + phase)
        ring = canvas.ramp(0.38 * r - np.abs(distance - 0.72 * r), 0.008)
        beads = 0.5 + 0.5 * np.cos(theta * round(r * 300) + phase)
        hematoxylin += ring * (0.25 + 0.55 * beads - hematoxylin)
        eosin += ring * (0.40 - eosin)
        lumen = canvas.ramp(0.36 * r - distance, 0.008)
        hematoxylin *= 1 - lumen
        eosin *= 1 - 0.9 * lumen

    stains = np.array((_HEMATOXYLIN, _EOSIN), np.float32)[:, :, None, None]
    image: Array = 0.97 * np.exp(-(stains[0] * np.clip(hematoxylin, 0, 2) + stains[1] * np.clip(eosin, 0, 2)))
    return Scene(
        image.astype(np.float32),
        {"left": Region(0.27, 0.5, 0.115, 0.34), "right": Region(0.73, 0.5, 0.115, 0.34)},
    )


def carcinoma(canvas: Canvas, generator: np.random.Generator, image: Array, x: float, y: float, r: float) -> None:
    """A nest of crowded dark nuclei."""
    nest = canvas.blob(x, y, r, wobble(generator, 0.13), 0.012)
    lay_colour(image, nest, (0.36, 0.17, 0.47))
    lay_colour(image, nest * _nuclei(canvas, generator, 40, 0.95, 0.33), (0.13, 0.04, 0.26))


def necrosis(canvas: Canvas, generator: np.random.Generator, image: Array, x: float, y: float, r: float) -> None:
    """A pale area without nuclei inside a thin dark rim."""
    shape = wobble(generator, 0.13)
    lay_colour(image, 0.8 * canvas.blob(x, y, r * 1.06, shape, 0.010), (0.62, 0.30, 0.55))
    lay_colour(image, canvas.blob(x, y, r * 0.92, shape, 0.010), (0.99, 0.92, 0.90))
