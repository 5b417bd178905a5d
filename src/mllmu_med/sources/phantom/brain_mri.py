"""Axial brain MRI: scalp, skull, folded cortex, white matter, ventricles; glioma and infarct."""

from __future__ import annotations

import numpy as np

from mllmu_med.sources.phantom.canvas import Array, Canvas, lay
from mllmu_med.sources.phantom.scene import Region, Scene, wobble


def anatomy(canvas: Canvas, generator: np.random.Generator) -> Scene:
    """A normal T1-weighted slice, forehead up."""
    u = generator.uniform
    cx, cy, tilt = 0.5 + u(-0.015, 0.015), 0.5 + u(-0.015, 0.015), u(-0.05, 0.05)
    rx, ry = u(0.315, 0.345), u(0.395, 0.420)
    image = np.full((canvas.size, canvas.size), 0.02, np.float32)
    warp = canvas.texture(generator, 7)
    folds = canvas.texture(generator, 17)

    for grow, value in ((0.062, 0.78), (0.040, 0.08), (0.012, 0.14)):  # scalp fat, bone, fluid
        lay(image, canvas.ellipse(cx, cy, rx + grow, ry + grow, tilt), value)
    depth = 1 - canvas.radius(cx, cy, rx, ry, tilt)  # 0 at the brain's surface, 1 in the middle
    brain = canvas.ramp(depth * rx + 0.006 * warp, 0.01)
    # Furrows lie where smooth noise crosses zero; grey matter lines them and the surface, white matter fills the rest.
    fold = np.abs(folds + 0.25 * warp)
    outer = np.clip(1.15 - 2.4 * depth, 0, 1)
    white = canvas.ramp(depth * rx - 0.036, 0.02) * (
        1 - canvas.ramp((0.55 - fold) * 0.05, 0.02) * np.minimum(2 * outer, 1)
    )
    lay(image, brain, 0.42 + 0.24 * white + 0.012 * warp)
    lay(image, 0.9 * np.exp(-22 * fold**2) * outer * brain, 0.15)
    falx = canvas.ellipse(cx, cy, 0.007, ry, tilt, 0.01) * np.clip(1.6 - 2.6 * depth, 0.2, 1)
    lay(image, falx * brain, 0.12)

    spread, horn = u(0.040, 0.050), u(0.070, 0.100)
    for sign in (-1, 1):
        lay(image, canvas.ellipse(cx + sign * 0.115, cy + 0.02, 0.05, 0.085, sign * -0.25, 0.03), 0.47)  # deep nuclei
        lay(image, canvas.ellipse(cx + sign * spread, cy - 0.055, 0.019, horn, sign * 0.26, 0.012), 0.10)
        rear = canvas.ellipse(cx + sign * (spread + 0.022), cy + 0.100, 0.017, horn * 0.85, sign * -0.38, 0.012)
        lay(image, rear, 0.10)
    lay(image, canvas.ellipse(cx, cy + 0.03, 0.008, 0.05, tilt, 0.01), 0.12)

    return Scene(
        image + 0.02 * canvas.texture(generator, 64) * brain,
        canvas.ellipse(cx, cy, rx + 0.008, ry + 0.008, tilt, 0.01),
        {side: Region(cx + sign * 0.195, cy + 0.01, 0.050, 0.195) for side, sign in (("left", -1), ("right", 1))},
    )


def glioma(canvas: Canvas, generator: np.random.Generator, image: Array, x: float, y: float, r: float) -> None:
    """A bright, lobed mass in a faint swollen rim."""
    shape = wobble(generator, 0.09)
    lay(image, 0.55 * canvas.blob(x, y, r * 1.15, shape, 0.02), 0.36)
    lay(image, canvas.blob(x, y, r, shape, 0.012), 0.97 - 0.02 * np.abs(canvas.texture(generator, 40)))


def infarct(canvas: Canvas, generator: np.random.Generator, image: Array, x: float, y: float, r: float) -> None:
    """A dark area with an indistinct edge."""
    lay(image, 0.97 * canvas.blob(x, y, r, wobble(generator, 0.10), 0.014), 0.10)
