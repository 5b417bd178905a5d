"""Pictures show what their truth says, the same at every size and in every process."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from mllmu_med.sources.phantom import ATTRIBUTES, MODALITIES, Truth, draw, draw_many
from mllmu_med.sources.phantom.truth import SIDES

ABNORMAL = [(modality, finding) for modality, kind in MODALITIES.items() for finding in kind.findings]


def lesions(truth: Truth, key: int, size: int = 192) -> np.ndarray:
    """Where the picture differs clearly from the normal one of the same keys, holes filled: bool [size, size]."""
    normal = draw("lesions", key, truth=Truth(truth.modality), size=size).pixels.astype(float)
    pixels = draw("lesions", key, truth=truth, size=size).pixels.astype(float)
    changed = np.abs(pixels - normal).max(2) > 30
    return np.asarray(ndimage.binary_opening(ndimage.binary_fill_holes(changed), iterations=2))


@pytest.mark.parametrize(("modality", "finding"), ABNORMAL)
@pytest.mark.parametrize("side", SIDES)
def test_lesions_are_where_and_as_many_as_the_truth_says(modality: str, finding: str, side: str) -> None:
    off = 0
    for key in range(6):
        for size, count in (("small", 3), ("large", 2), ("small", 1)):
            truth = draw("lesions", key, truth=Truth(modality, finding, side, size, count), size=32).truth
            assert truth.count == count, "the lesions must fit"
            labels, found = ndimage.label(lesions(truth, key))
            centres = ndimage.center_of_mass(labels > 0, labels, range(1, found + 1))
            off += found != count
            assert all((x < 96) == (side == "left") for _, x in centres)
    assert off <= 2  # two that nearly touch, or one on tissue of its own grey, may be taken for one or none


@pytest.mark.parametrize(("modality", "finding"), ABNORMAL)
def test_large_lesions_are_much_larger_than_small_ones(modality: str, finding: str) -> None:
    areas = {
        size: [lesions(Truth(modality, finding, side, size, 1), key).mean() for key in range(4) for side in SIDES]
        for size in ("small", "large")
    }
    assert np.median(areas["large"]) > 2 * np.median(areas["small"])
    assert np.median(areas["small"]) > 0.005  # 20 of 64 × 64 pixels


@pytest.mark.parametrize("modality", MODALITIES)
def test_the_two_findings_of_a_modality_look_different(modality: str) -> None:
    truths = [Truth(modality, finding, "left", "large", 1) for finding in MODALITIES[modality].findings]
    first, second = (np.mean([draw(5, key, truth=truth, size=64).pixels for key in range(12)], 0) for truth in truths)
    assert np.abs(first - second)[:, :32].max() > 25
    assert np.abs(first - second)[:, 44:].max() < 1  # the other side is the same


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("size", [64, 96])
def test_a_small_picture_is_a_large_one_scaled_down(modality: str, size: int) -> None:
    for key, finding in enumerate(MODALITIES[modality].findings):
        truth = Truth(modality, finding, "left", "small", 2)
        small, large = (draw("scale", key, truth=truth, size=pixels) for pixels in (size, 2 * size))
        scaled = np.asarray(Image.fromarray(large.pixels).resize((size, size), Image.Resampling.BOX)).astype(float)
        difference = np.abs(scaled - small.pixels)
        assert small.truth == large.truth
        assert difference.mean() < 3.5
        assert np.percentile(difference, 99) < 45


def test_colour_only_where_there_is_colour() -> None:
    for modality in MODALITIES:
        red, green, blue = draw(1, truth=Truth(modality), size=64).pixels.reshape(-1, 3).T.astype(int)
        if modality == "fundus photograph":
            assert red.mean() > 1.8 * green.mean() > 2.5 * blue.mean()
        elif modality == "histology slide":
            assert red.mean() > blue.mean() > green.mean()
        else:
            assert np.array_equal(red, green)
            assert np.array_equal(green, blue)


def test_pixels_are_uint8_and_follow_the_keys() -> None:
    first = draw(0, "a", 1, size=48)
    assert (first.pixels.shape, first.pixels.dtype) == ((48, 48, 3), np.uint8)
    assert first.pixels.flags.c_contiguous
    assert np.array_equal(first.pixels, draw(0, "a", 1, size=48).pixels)
    assert not np.array_equal(first.pixels, draw(0, "a", 2, size=48).pixels)


def test_only_the_lesions_differ_from_the_normal_picture_of_the_same_keys() -> None:
    truth = Truth("fundus photograph", "exudate", "right", "small", 2)
    normal, abnormal = (draw("pair", truth=shown, size=96).pixels for shown in (Truth(truth.modality), truth))
    assert np.array_equal(normal[:, :44], abnormal[:, :44])
    assert not np.array_equal(normal, abnormal)


def test_two_pictures_of_one_truth_differ() -> None:
    truth = Truth("brain MRI", "glioma", "left", "large", 1)
    one, two = (draw(key, truth=truth, size=64).pixels.astype(float) for key in range(2))
    assert np.abs(one - two).mean() > 5


def test_draw_many_is_draw_for_each_number() -> None:
    pictures = draw_many(5, 40, 3, "tower")
    assert pictures.pixels.shape == (5, 40, 40, 3)
    assert set(pictures.attributes) == set(ATTRIBUTES)
    for index in range(5):
        pixels, truth = draw(3, "tower", index, size=40)
        assert np.array_equal(pictures.pixels[index], pixels)
        assert {name: int(values[index]) for name, values in pictures.attributes.items()} == truth.indices()
    assert pictures.attributes["finding"].dtype == np.int64
    assert draw_many(0, 40, 3).pixels.shape == (0, 40, 40, 3)


def test_several_processes_draw_what_one_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mllmu_med.sources.phantom.drawing.PART", 3)
    one, two = draw_many(10, 40, 3, "tower"), draw_many(10, 40, 3, "tower", jobs=2)
    assert np.array_equal(one.pixels, two.pixels)
    assert all(np.array_equal(values, two.attributes[name]) for name, values in one.attributes.items())


def test_two_processes_draw_equal_bytes() -> None:
    code = (
        "import hashlib, sys; from mllmu_med.sources.phantom import draw_many; "
        "print(hashlib.sha256(draw_many(25, 64, 11, 'process').pixels.tobytes()).hexdigest())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONHASHSEED": threads, "OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads},
        ).stdout.strip()
        for threads in ("1", "2")
    }  # fmt: skip
    assert outputs == {hashlib.sha256(draw_many(25, 64, 11, "process").pixels.tobytes()).hexdigest()}


def test_drawing_is_fast_enough_to_warm_up_on() -> None:
    draw_many(20, 64, 0, "warm")
    start = time.process_time()
    draw_many(200, 64, 0, "speed")
    assert (time.process_time() - start) / 200 < 0.006  # about 0.001 s on a quiet core
