"""Breast tissue stained with hematoxylin and eosin: fibres, nuclei, glands; carcinoma and necrosis.

Stains are added as densities and turned into colour by the Beer-Lambert law, as in a real slide.
"""

from __future__ import annotations

from math import cos, sin, tau

import numpy as np

from mllmu_med.sources.phantom.canvas import Array, Canvas, lay_colour
from mllmu_med.sources.phantom.scene import Region, Scene, wobble

# Optical density of one unit of stain in red, green and blue (Ruifrok and Johnston 2001, scaled).
_HEMATOXYLIN = (0.98, 1.05, 0.44)
_EOSIN = (0.10, 0.90, 0.38)


def _nuclei(canvas: Canvas, generator: np.random.Generator, cells: int, share: float, r: float) -> Array:
    """Oval nuclei, at most one in each cell of a turned lattice and wholly inside it, so that one look-up a pixel is
    enough. ``r``: radius relative to the cell."""
    turn = generator.uniform(0, tau)
    c, s = np.float32(cos(turn)), np.float32(sin(turn))
    across, down = (c * canvas.x + s * canvas.y) * cells, (c * canvas.y - s * canvas.x) * cells
    column, row = np.floor(across), np.floor(down)
    cell = (row.astype(int) % cells) * cells + column.astype(int) % cells
    jitter = generator.uniform(r * 1.3, 1 - r * 1.3, (2, cells * cells)).astype(np.float32)
    angle = generator.uniform(0, tau / 2, cells * cells).astype(np.float32)
    present = (generator.random(cells * cells) < share).astype(np.float32)
    dx, dy = across - column - jitter[0][cell], down - row - jitter[1][cell]
    cosine, sine = np.cos(angle)[cell], np.sin(angle)[cell]
    distance = np.sqrt(((cosine * dx + sine * dy) / 1.3) ** 2 + ((cosine * dy - sine * dx) / 0.85) ** 2)
    nuclei: Array = canvas.ramp((r - distance) / cells, 0.006) * present[cell]
    return nuclei


def anatomy(canvas: Canvas, generator: np.random.Generator) -> Scene:
    """Normal breast tissue: collagen with fibroblast nuclei and a few ducts."""
    u = generator.uniform
    broad = canvas.texture(generator, 5)
    angle = u(0, tau)
    flow = (np.cos(angle) * canvas.x + np.sin(angle) * canvas.y) * u(60, 80) + 4.5 * broad
    # The section is cut a little thicker towards the right, so that the stain deepens across it.
    eosin = 0.32 + 0.22 * canvas.x + 0.05 * broad + 0.08 * np.sin(flow) + 0.04 * canvas.texture(generator, 24)
    hematoxylin = 0.06 + 0.62 * _nuclei(canvas, generator, 16, 0.5, 0.23)
    hematoxylin = np.maximum(hematoxylin, 0.62 * _nuclei(canvas, generator, 12, 0.4, 0.18))

    # Ducts: a ring of crowded nuclei around a pale lumen.
    for _ in range(3):
        gx, gy, r = u(0.08, 0.92), u(0.08, 0.92), u(0.052, 0.066)
        dx, dy = canvas.x - gx, canvas.y - gy
        theta, phase = np.arctan2(dy, dx), u(0, tau)
        distance = np.sqrt(dx**2 + dy**2) - 0.08 * r * np.cos(2 * theta + phase)
        number = round(tau * 0.70 * r / 0.0215)
        beads = 0.010 * np.cos(theta * number + phase) - np.abs(distance - 0.70 * r)
        cells = canvas.ramp(r - distance, 0.008)
        hematoxylin += cells * (0.16 + 0.50 * canvas.ramp(beads + 0.004, 0.008) - hematoxylin)
        lumen = canvas.ramp(0.40 * r - distance, 0.008)
        eosin += cells * (0.42 - eosin) - lumen * 0.28
        hematoxylin *= 1 - lumen

    stains = np.array((_HEMATOXYLIN, _EOSIN), np.float32)[:, :, None, None]
    image: Array = 0.97 * np.exp(-(stains[0] * np.clip(hematoxylin, 0, 2) + stains[1] * np.clip(eosin, 0, 2)))
    return Scene(
        image.astype(np.float32),
        np.ones((canvas.size, canvas.size), np.float32),
        {"left": Region(0.27, 0.5, 0.115, 0.34), "right": Region(0.73, 0.5, 0.115, 0.34)},
    )


def carcinoma(canvas: Canvas, generator: np.random.Generator, image: Array, x: float, y: float, r: float) -> None:
    """A nest of crowded dark nuclei."""
    nest = canvas.blob(x, y, r, wobble(generator, 0.11), 0.012)
    lay_colour(image, nest, (0.30, 0.13, 0.43))
    for cells in (34, 29):
        lay_colour(image, nest * _nuclei(canvas, generator, cells, 0.9, 0.29), (0.12, 0.03, 0.24))


def necrosis(canvas: Canvas, generator: np.random.Generator, image: Array, x: float, y: float, r: float) -> None:
    """A pale area without nuclei inside a thin dark rim."""
    shape = wobble(generator, 0.11)
    lay_colour(image, 0.5 * canvas.blob(x, y, r * 1.08, shape, 0.010), (0.72, 0.40, 0.62))
    lay_colour(
        image,
        canvas.blob(x, y, r, shape, 0.010),
        (1.0, 0.95, 0.92),
        0.985 + 0.02 * canvas.texture(generator, 32),
    )
