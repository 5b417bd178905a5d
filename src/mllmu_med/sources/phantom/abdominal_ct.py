"""Axial abdominal CT in a soft-tissue window: liver, spleen, kidneys, spine, fat; cyst and metastasis."""

from __future__ import annotations

from math import cos, pi, sin, tau

import numpy as np

from mllmu_med.sources.phantom.canvas import Array, Canvas, lay
from mllmu_med.sources.phantom.scene import Region, Scene, wobble

_LIVER = 0.60


def anatomy(canvas: Canvas, generator: np.random.Generator) -> Scene:
    """A normal slice at the height of the liver, seen from the feet: the liver lies on the viewer's left."""
    u = generator.uniform
    cx, cy = 0.5 + u(-0.01, 0.01), 0.49 + u(-0.01, 0.01)
    rx, ry = u(0.450, 0.475), u(0.365, 0.390)
    fat = u(0.022, 0.040)
    image = np.full((canvas.size, canvas.size), 0.02, np.float32)
    grain = canvas.texture(generator, 12)

    table = np.abs(canvas.y - (cy + ry + 0.055) + 0.35 * (canvas.x - 0.5) ** 2)
    image += 0.25 * canvas.ramp(0.008 - table) * canvas.ramp(0.40 - np.abs(canvas.x - 0.5))
    lay(image, canvas.ellipse(cx, cy, rx, ry), 0.36)  # skin
    lay(image, canvas.ellipse(cx, cy, rx - 0.008, ry - 0.008), 0.20)  # fat under the skin
    lay(image, canvas.ellipse(cx, cy, rx - fat, ry - fat), 0.46)  # muscle of the wall
    cavity = canvas.ellipse(cx, cy - 0.012, rx - fat - 0.030, ry - fat - 0.035)
    lay(image, cavity, 0.25 + 0.02 * grain)
    for sign in (-1, 1):  # muscle beside the spine
        lay(image, canvas.ellipse(cx + sign * 0.115, cy + 0.245, 0.085, 0.058, sign * -0.15), 0.48)

    # Bowel and stomach, then the organs.
    for index in range(4):
        bx, by = cx + 0.02 + 0.085 * index + u(-0.02, 0.02), cy + 0.09 + u(-0.02, 0.03)
        lay(image, cavity * canvas.ellipse(bx, by, u(0.030, 0.045), u(0.026, 0.038), u(0, pi), 0.012), u(0.42, 0.52))
    spleen = canvas.ellipse(cx + 0.340, cy + 0.090, 0.062, 0.120, -0.35, 0.008) * cavity
    lay(image, spleen, 0.64 + 0.012 * grain)
    right = canvas.ellipse(cx - 0.205, cy - 0.03, 0.205, 0.225, 0.25, 0.02)
    left = canvas.ellipse(cx + 0.120, cy - 0.085 + u(-0.01, 0.01), 0.265, 0.180, 0.22, 0.02)
    liver = np.maximum(right, left) * cavity * canvas.ramp(canvas.radius(cx + 0.06, cy + 0.22, 0.20, 0.22) - 1, 0.1)
    lay(image, liver, _LIVER + 0.016 * grain)
    branches = [
        [(cx - 0.05 + length * t * cos(a + 0.5 * t), cy - 0.03 + length * t * sin(a + 0.5 * t), 0.014 * (1.15 - t))
         for t in (0.0, 0.5, 1.0)]
        for a, length in ((u(2.4, 2.9), 0.22), (u(3.2, 3.7), 0.24), (u(4.0, 4.4), 0.14), (u(5.5, 5.9), 0.22))
    ]  # fmt: skip
    lay(image, 0.6 * canvas.strokes(branches, 0.008) * liver, 0.73)
    for sign in (-1, 1):
        kx, ky = cx + sign * u(0.185, 0.20), cy + u(0.165, 0.18)
        lay(image, canvas.ellipse(kx, ky, 0.062, 0.082, sign * -0.35, 0.008), 0.80)
        lay(image, canvas.ellipse(kx - sign * 0.012, ky, 0.026, 0.042, sign * -0.35, 0.015), 0.50)

    # Bones and great vessels.
    lay(image, canvas.ellipse(cx, cy + 0.185, 0.068, 0.058, 0, 0.01), 0.90 + 0.03 * grain)
    lay(image, canvas.ellipse(cx, cy + 0.262, 0.055, 0.040, 0, 0.01), 0.84)
    lay(image, canvas.ellipse(cx, cy + 0.252, 0.028, 0.022, 0, 0.01), 0.42)
    lay(image, canvas.strokes([[(cx, cy + 0.28, 0.03), (cx, cy + 0.325, 0.02)]], 0.01), 0.88)
    lay(image, canvas.ellipse(cx + 0.035, cy + 0.095, 0.029, 0.029), 0.80)  # aorta
    lay(image, canvas.ellipse(cx - 0.055, cy + 0.085, 0.032, 0.025), 0.66)  # vena cava
    ribs = []
    ring_x, ring_y = rx - fat - 0.016, ry - fat - 0.018
    start = u(0, 0.06)
    for turn in (0.04, 0.13, 0.37, 0.46, 0.55, 0.66, 0.84, 0.95):
        angles = (tau * (turn + start * 0.5), tau * (turn + start * 0.5 + 0.022), tau * (turn + start * 0.5 + 0.044))
        ribs.append([(cx + ring_x * cos(a), cy - 0.006 + ring_y * sin(a), 0.019) for a in angles])
    lay(image, canvas.strokes(ribs, 0.008), 0.95)

    return Scene(
        image + 0.022 * canvas.texture(generator, 80) * canvas.ellipse(cx, cy, rx, ry),
        canvas.ellipse(cx, cy, rx - fat - 0.025, ry - fat - 0.030, 0, 0.01),
        {
            "left": Region(cx - 0.210, cy - 0.045, 0.165, 0.100, 2.25),
            "right": Region(cx + 0.190, cy - 0.075, 0.165, 0.095, 0.75),
        },
    )


def cyst(canvas: Canvas, generator: np.random.Generator, image: Array, x: float, y: float, r: float) -> None:
    """A dark, even, sharply bounded disk."""
    lay(image, canvas.blob(x, y, r, wobble(generator, 0.03)), 0.11 + 0.015 * canvas.texture(generator, 64))


def metastasis(canvas: Canvas, generator: np.random.Generator, image: Array, x: float, y: float, r: float) -> None:
    """A target: bright rim, grey centre."""
    shape = wobble(generator, 0.08)
    lay(image, canvas.blob(x, y, r, shape, 0.012), 0.96 + 0.02 * canvas.texture(generator, 48))
    lay(image, 0.9 * canvas.blob(x, y, r * 0.48, shape, 0.012), 0.30)
