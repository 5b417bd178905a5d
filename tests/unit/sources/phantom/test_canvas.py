"""Shapes cover what geometry says, at every number of pixels."""

from __future__ import annotations

from math import pi

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mllmu_med.seeding import numpy_rng
from mllmu_med.sources.phantom.canvas import Canvas, canvas, lay, lay_colour


@given(
    st.floats(0.35, 0.65), st.floats(0.35, 0.65), st.floats(0.08, 0.3), st.floats(0.08, 0.3), st.floats(-3, 3),
    st.sampled_from([32, 64, 100]),
)  # fmt: skip
def test_an_ellipse_covers_its_area_around_its_centre(
    cx: float, cy: float, rx: float, ry: float, angle: float, size: int
) -> None:
    surface = canvas(size)
    mask = surface.ellipse(cx, cy, rx, ry, angle)
    assert mask.mean() == pytest.approx(pi * rx * ry, rel=0.06)
    assert (mask * surface.x).sum() / mask.sum() == pytest.approx(cx, abs=0.004)
    assert (mask * surface.y).sum() / mask.sum() == pytest.approx(cy, abs=0.004)


def test_a_positive_angle_turns_clockwise_on_screen() -> None:
    mask = canvas(64).ellipse(0.5, 0.5, 0.4, 0.05, pi / 4)
    assert mask[42, 42] == 1  # towards the lower right
    assert mask[21, 42] == 0


def test_ramp_is_one_pixel_wide_or_as_soft_as_asked() -> None:
    surface = Canvas(10)
    edge = surface.ramp(surface.x - 0.5)[0]
    assert edge.tolist() == pytest.approx([0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    soft = surface.ramp(surface.x - 0.5, 0.4)[0]
    assert soft.tolist() == pytest.approx([0, 0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1, 1], abs=1e-6)


def test_a_blob_without_wobble_is_a_disk() -> None:
    surface = canvas(64)
    disk, blob = surface.ellipse(0.4, 0.6, 0.2, 0.2), surface.blob(0.4, 0.6, 0.2, [])
    assert np.abs(disk - blob).max() < 1e-5
    second_harmonic = surface.blob(0.4, 0.6, 0.2, [0.2, 0.0])
    along, across = second_harmonic[38].sum() / 64, second_harmonic[:, 25].sum() / 64
    assert (along, across) == (pytest.approx(2 * 0.2 * 1.2, abs=0.01), pytest.approx(2 * 0.2 * 0.8, abs=0.01))


@pytest.mark.parametrize("cells", [4, 16, 60])
def test_texture_has_zero_mean_and_unit_variance_where_pixels_resolve_it(cells: int) -> None:
    samples = np.stack([canvas(128).texture(numpy_rng(0, number), cells) for number in range(200)])
    assert samples.dtype == np.float32
    assert np.abs(samples.mean(0)).max() < 0.35
    assert samples.std() == pytest.approx(1, abs=0.08)


def test_texture_finer_than_the_pixels_fades_as_when_scaled_down() -> None:
    fine, coarse = (canvas(size).texture(numpy_rng(7), 96) for size in (128, 32))
    scaled = fine.reshape(32, 4, 32, 4).mean((1, 3))
    assert coarse.std() < 0.6 * fine.std()
    assert np.abs(scaled - coarse).max() < 0.05


def test_a_stroke_covers_length_times_width() -> None:
    line = [(0.2, 0.3, 0.06), (0.8, 0.3, 0.06)]
    mask = canvas(100).strokes([line])
    assert mask.mean() == pytest.approx(0.6 * 0.06 + pi * 0.03**2, rel=0.03)
    thin = canvas(100).strokes([[(0.2, 0.305, 0.004), (0.8, 0.305, 0.004)]])
    assert thin.max() == pytest.approx(0.4)  # 0.4 of a pixel wide


def test_strokes_of_several_lines_are_their_maximum_and_may_leave_the_picture() -> None:
    surface = canvas(50)
    one = [(-0.2, 0.1, 0.05), (0.5, 0.1, 0.03), (0.6, 1.3, 0.02)]
    two = [(0.5, 0.5, 0.1), (0.52, 0.5, 0.1)]
    both = surface.strokes([one, two])
    assert np.array_equal(both, np.maximum(surface.strokes([one]), surface.strokes([two])))
    assert both[5, 0] == 1  # the line comes in from the left
    assert both[49].max() > 0.5  # and leaves at the bottom
    assert both[0, 40:].max() == 0


def test_laying_a_value_blends_by_coverage() -> None:
    grey = np.full((2, 2), 0.2, np.float32)
    lay(grey, np.array([[0, 0.5], [1, 1]], np.float32), 0.8)
    assert grey.tolist() == [pytest.approx([0.2, 0.5]), pytest.approx([0.8, 0.8])]
    colour = np.zeros((3, 1, 1), np.float32)
    lay_colour(colour, np.full((1, 1), 0.5, np.float32), (1.0, 0.5, 0.0), 0.8)
    assert colour.ravel().tolist() == pytest.approx([0.4, 0.2, 0.0])
