"""Chest X-ray, seen from the front: lungs, ribs, clavicles, heart, diaphragm; nodule and effusion."""

from __future__ import annotations

from math import cos, pi, sin

import numpy as np

from mllmu_med.sources.phantom.canvas import Array, Canvas, lay
from mllmu_med.sources.phantom.scene import Region, Scene, wobble


def anatomy(canvas: Canvas, generator: np.random.Generator) -> Scene:
    """A normal chest X-ray."""
    u = generator.uniform
    x, y = canvas.x, canvas.y
    middle, top = 0.5 + u(-0.015, 0.015), 0.13 + u(-0.015, 0.015)
    width, bottom = u(0.375, 0.405), u(0.80, 0.85)
    across = x - middle

    # Soft tissue: the trunk with sloping shoulders and the neck, lighter towards the abdomen.
    shoulder = 0.02 + top * np.clip((np.abs(across) - 0.12) * 3.2, 0, 1) ** 1.4
    image = 0.04 + canvas.ramp(y - shoulder, 0.02) * (0.5 + 0.2 * y)
    image *= 1 - 0.75 * canvas.ramp(np.abs(across) - (0.455 - 0.05 * (y - 0.5) ** 2), 0.03)

    # Lungs: tall ellipses cut off by the domes of the diaphragm; the one on the viewer's left stands higher.
    centre = (top + bottom) / 2 - 0.01
    half = (bottom - top) / 2 + 0.06
    lungs = np.zeros_like(image)
    for sign, dome in ((-1, bottom - 0.035), (1, bottom)):
        cx = middle + sign * width * 0.55
        shape = canvas.ellipse(cx, centre + 0.05, width * 0.47, half, sign * -0.10, 0.012)
        floor = dome - 0.05 + 1.5 * (x - cx + sign * 0.03) ** 2
        lungs = np.maximum(lungs, shape * canvas.ramp(floor - y, 0.012))
    image -= lungs * (0.40 + 0.05 * canvas.texture(generator, 10))

    # Ribs: one repeating profile along curves that fall towards the sides; brighter at their lower edge.
    spacing, phase = u(0.088, 0.102), u(0, 1)
    thorax = canvas.ellipse(middle, centre + 0.06, width + 0.03, half + 0.06, 0, 0.03) * (0.4 + 0.6 * lungs)
    along = np.abs(across)
    for curve, strength in (((1.25 * along - 0.30) * along, 0.13), ((-0.55 - 0.5 * along) * along, 0.06)):
        turn = (y - 1.4 * curve) / spacing + phase
        turn -= np.floor(turn)
        profile = np.clip(5 * turn, 0, 1) * np.clip(6 * (0.52 - turn), 0, 1) * (0.7 + 0.6 * turn)
        image += strength * profile * thorax * np.clip(along * 12 - 0.3, 0, 1)

    # Vessels from each hilum, the spine and mediastinum, the heart towards the viewer's right.
    lines = []
    for sign in (-1, 1):
        for branch in range(6):
            angle, length, bend = 0.45 * (branch - 2.3) + u(-0.15, 0.15), u(0.12, 0.22), u(-0.5, 0.5)
            hx, hy = middle + sign * 0.085, 0.43 + 0.012 * branch
            lines.append([
                (hx + sign * length * t * cos(angle + bend * t), hy + length * t * sin(angle + bend * t),
                 0.024 * (1.05 - t))
                for t in (0.0, 0.25, 0.5, 0.75, 1.0)
            ])  # fmt: skip
    image += 0.16 * canvas.strokes(lines, 0.014)
    mediastinum = canvas.ramp(0.062 + 0.10 * (y - 0.42) ** 2 + 0.05 * canvas.ramp(0.1 - y, 0.2) - along, 0.03)
    lay(image, mediastinum, 0.72 + 0.06 * np.sin(y * (2 * pi / 0.062)) * canvas.ramp(0.03 - along, 0.02))
    lay(image, canvas.ellipse(middle + 0.055, 0.345, 0.045, 0.050, 0, 0.025), 0.72)  # arch of the aorta
    left_border = canvas.ellipse(middle + 0.085, bottom - 0.165, u(0.115, 0.150), u(0.185, 0.205), -0.62, 0.025)
    right_border = canvas.ellipse(middle - 0.020, bottom - 0.185, u(0.085, 0.100), 0.150, 0, 0.025)
    lay(image, np.maximum(left_border, right_border) * canvas.ramp(bottom + 0.02 - y, 0.02), 0.74)
    lay(image, canvas.ellipse(middle, 0.02, 0.022, 0.30, 0, 0.02), 0.52)  # the air in the windpipe

    clavicles = []
    for sign in (-1, 1):
        tilt = u(0.02, 0.05)
        clavicles.append([
            (middle + sign * (0.045 + 0.035 * t), top + 0.115 - tilt * t / 4 - 0.018 * sin(pi * t / 4), 0.03 - t / 1000)
            for t in range(9)
        ])  # fmt: skip
    image += 0.15 * canvas.strokes(clavicles, 0.012)

    return Scene(
        image,
        canvas.ellipse(middle, centre + 0.05, width * 1.03, half + 0.02, 0, 0.012),
        {
            "left": Region(middle - width * 0.56, 0.49, 0.065, 0.215),
            "right": Region(middle + width * 0.60, 0.47, 0.055, 0.215),
        },
    )


def nodule(canvas: Canvas, generator: np.random.Generator, image: Array, x: float, y: float, r: float) -> None:
    """A dense round shadow with a slightly uneven margin."""
    thickness = np.clip(1 - (canvas.radius(x, y, r, r)) ** 2, 0, 1)
    lay(image, 0.96 * canvas.blob(x, y, r, wobble(generator, 0.06), 0.014), 0.90 + 0.10 * thickness)


def effusion(canvas: Canvas, generator: np.random.Generator, image: Array, x: float, y: float, r: float) -> None:
    """A pocket of fluid: level on top, round below, much wider than high."""
    top = y - 0.45 * r
    pocket = canvas.ellipse(x, top, 1.8 * r, 1.15 * r, 0, 0.014)
    across = (canvas.x - x) / (1.8 * r)
    meniscus = top + 0.16 * r * (1 - across**2) + generator.uniform(-0.02, 0.02) * (canvas.x - x)
    depth = np.clip((canvas.y - top) / r, 0, 1)
    lay(image, 0.96 * pocket * canvas.ramp(canvas.y - meniscus, 0.008), 0.85 - 0.06 * depth)
