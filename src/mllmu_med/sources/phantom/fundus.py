"""Colour photograph of the fundus: disc, macula, vessel tree; exudate and hemorrhage."""

from __future__ import annotations

from math import copysign, cos, hypot, pi, sin

import numpy as np

from mllmu_med.sources.phantom.canvas import Array, Canvas, lay_colour
from mllmu_med.sources.phantom.scene import Region, Scene, wobble

Line = list[tuple[float, float, float]]


def _vessel(
    generator: np.random.Generator, x: float, y: float, heading: float, curl: float, width: float, steps: int
) -> list[Line]:
    """One vessel as a polyline that bends by ``curl`` radians per step, and its branches."""
    lines: list[Line] = []
    line: Line = [(x, y, width)]
    for step in range(steps):
        heading += curl + generator.uniform(-0.10, 0.10)
        x, y, width = x + 0.075 * cos(heading), y + 0.075 * sin(heading), width * 0.88
        line.append((x, y, width))
        if hypot(x - 0.5, y - 0.5) > 0.46:
            break
        if steps > 3 and step in (1, 3):
            fork = heading - copysign(1, curl) * generator.uniform(0.5, 0.9) * (1 if step == 1 else -1)
            lines += _vessel(generator, x, y, fork, curl * 0.6, width * 0.7, 3)
    return [line, *lines]


def anatomy(canvas: Canvas, generator: np.random.Generator) -> Scene:
    """A normal fundus of a right or a left eye: the disc lies on either side."""
    u = generator.uniform
    sign = 1 if generator.random() < 0.5 else -1
    disc_x, disc_y = 0.5 + sign * u(0.225, 0.255), 0.5 + u(-0.03, 0.03)
    retina = canvas.ramp(0.455 - np.sqrt((canvas.x - 0.5) ** 2 + (canvas.y - 0.5) ** 2), 0.008)
    image = np.full((3, canvas.size, canvas.size), 0.015, np.float32)
    tone = u(-0.04, 0.04)
    lay_colour(image, retina, (0.80 + tone, 0.36 + tone, 0.13))
    shade = 1 - 0.9 * ((canvas.x - 0.5 - sign * 0.04) ** 2 + (canvas.y - 0.5) ** 2)
    image *= shade + 0.035 * canvas.texture(generator, 9)
    macula = canvas.ellipse(disc_x - sign * 0.29, disc_y + 0.02, 0.085, 0.085, 0, 0.12)
    lay_colour(image, 0.45 * macula, (0.45, 0.13, 0.05))

    # Disc with its cup, under the vessels that leave it.
    lay_colour(image, 0.5 * canvas.ellipse(disc_x, disc_y, 0.082, 0.090, 0, 0.04) * retina, (0.95, 0.58, 0.25))
    lay_colour(image, canvas.ellipse(disc_x, disc_y, 0.056, 0.063, 0, 0.012), (0.97, 0.74, 0.42))
    lay_colour(image, 0.8 * canvas.ellipse(disc_x - sign * 0.004, disc_y, 0.024, 0.028, 0, 0.02), (1.0, 0.90, 0.68))

    away = 0.0 if sign < 0 else pi  # heading from the disc across the macula
    veins: list[Line] = []
    arteries: list[Line] = []
    for up in (-1, 1):
        for vessels, heading, width in ((veins, 1.20, 0.022), (arteries, 1.45, 0.015)):
            turn = -sign * up * (heading + u(-0.1, 0.1))
            vessels += _vessel(generator, disc_x, disc_y, away + turn, -0.20 * copysign(1, turn), width, 9)
        turn = sign * up * u(0.55, 0.9)
        veins += _vessel(generator, disc_x, disc_y, away + pi + turn, 0.08 * copysign(1, turn), 0.014, 4)
    lay_colour(image, 0.75 * canvas.strokes(arteries, 0.004) * retina, (0.62, 0.12, 0.07))
    lay_colour(image, 0.85 * canvas.strokes(veins, 0.004) * retina, (0.42, 0.06, 0.05))

    return Scene(
        image,
        retina,
        {"left": Region(0.29, 0.5, 0.115, 0.255), "right": Region(0.71, 0.5, 0.115, 0.255)},
        ((disc_x, disc_y, 0.075),),
    )


def exudate(canvas: Canvas, generator: np.random.Generator, image: Array, x: float, y: float, r: float) -> None:
    """A pale yellow, waxy deposit with an uneven edge."""
    lay_colour(
        image,
        canvas.blob(x, y, r, wobble(generator, 0.12), 0.01),
        (1.0, 0.93, 0.52),
        0.97 + 0.03 * canvas.texture(generator, 40),
    )


def hemorrhage(canvas: Canvas, generator: np.random.Generator, image: Array, x: float, y: float, r: float) -> None:
    """A dark red blot."""
    shape = wobble(generator, 0.10)
    lay_colour(image, 0.4 * canvas.blob(x, y, r * 1.12, shape, 0.03), (0.45, 0.05, 0.03))
    lay_colour(
        image, 0.96 * canvas.blob(x, y, r, shape, 0.02), (0.21, 0.015, 0.02), 1 + 0.12 * canvas.texture(generator, 24)
    )
