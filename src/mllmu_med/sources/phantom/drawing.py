"""Draw a phantom picture: anatomy first, then the finding, then the camera's imperfections."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial
from math import cos, hypot, sin, sqrt, tau
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mllmu_med.progress import bar
from mllmu_med.seeding import Key, numpy_rng
from mllmu_med.sources.phantom import abdominal_ct, brain_mri, chest_xray, fundus, histology
from mllmu_med.sources.phantom.canvas import Array, canvas
from mllmu_med.sources.phantom.scene import Anatomy, Painter, Scene
from mllmu_med.sources.phantom.truth import ATTRIBUTES, Truth, random_truth

Pixels: TypeAlias = NDArray[np.uint8]

_ANATOMIES: dict[str, Anatomy] = {
    "chest X-ray": chest_xray.anatomy,
    "brain MRI": brain_mri.anatomy,
    "abdominal CT": abdominal_ct.anatomy,
    "fundus photograph": fundus.anatomy,
    "histology slide": histology.anatomy,
}
_PAINTERS: dict[str, Painter] = {
    "nodule": chest_xray.nodule,
    "effusion": chest_xray.effusion,
    "glioma": brain_mri.glioma,
    "infarct": brain_mri.infarct,
    "cyst": abdominal_ct.cyst,
    "metastasis": abdominal_ct.metastasis,
    "exudate": fundus.exudate,
    "hemorrhage": fundus.hemorrhage,
    "carcinoma": histology.carcinoma,
    "necrosis": histology.necrosis,
}
_RADIUS = {"small": (0.058, 0.066), "large": (0.108, 0.118)}
_REACH = {"effusion": 1.8}  # half-width of a lesion relative to its radius, where it is not 1
PART = 250
"""Pictures that a process draws at a time."""
_GAP = 0.025  # between the outlines of two lesions: about one and a half pixels of a 64-pixel picture


class Picture(NamedTuple):
    """A drawn picture. pixels: uint8 [size, size, 3], RGB."""

    pixels: Pixels
    truth: Truth


class Pictures(NamedTuple):
    """Many drawn pictures.

    pixels: uint8 [count, size, size, 3], RGB. attributes: for each name of ``ATTRIBUTES`` the class indices, int64
    [count].
    """

    pixels: Pixels
    attributes: dict[str, NDArray[np.int64]]


def _place(generator: np.random.Generator, scene: Scene, truth: Truth) -> list[tuple[float, float, float]]:
    """Centres and radii of the lesions: inside the side's region, apart from each other and from what to avoid.

    If chance leaves no room for the last ones, there are fewer.
    """
    assert truth.side is not None
    assert truth.size is not None
    region, reach = scene.regions[truth.side], _REACH.get(truth.finding or "", 1.0)
    c, s = cos(region.angle), sin(region.angle)
    best: list[tuple[float, float, float]] = []
    for _ in range(20):
        placed: list[tuple[float, float, float]] = []
        for _ in range(12 * truth.count):
            r = generator.uniform(*_RADIUS[truth.size])
            turn, distance = generator.uniform(0, tau), sqrt(generator.random())
            dx, dy = region.rx * distance * cos(turn), region.ry * distance * sin(turn)
            x, y = region.cx + c * dx - s * dy, region.cy + s * dx + c * dy
            apart = all(
                hypot((x - a) / reach, y - b) > r + other + _GAP for a, b, other in placed
            ) and all(hypot(x - a, y - b) > r + other for a, b, other in scene.avoid)  # fmt: skip
            if apart:
                placed.append((x, y, r))
            if len(placed) == truth.count:
                return placed
        best = max(best, placed, key=len)
    return best


def _develop(generator: np.random.Generator, image: Array) -> Pixels:
    """Exposure, grain and rounding: a float picture becomes uint8 [size, size, 3]."""
    size = image.shape[-1]
    gain, offset = generator.uniform(0.9, 1.08), generator.uniform(-0.015, 0.015)
    developed = image * (gain + 0.028 * canvas(size).texture(generator, 96)) + offset
    rounded = (np.clip(developed, 0, 1) * 255 + 0.5).astype(np.uint8)
    if rounded.ndim == 2:
        return np.repeat(rounded[:, :, None], 3, axis=2)
    return np.ascontiguousarray(rounded.transpose(1, 2, 0))


def draw(*keys: Key, size: int = 128, truth: Truth | None = None, abnormal_share: float = 0.7) -> Picture:
    """The picture that belongs to ``keys``; the same at every size, but for the number of pixels.

    With equal keys and different truths of one modality, anatomy and exposure are the same: only the lesions differ.

    Args:
        keys: seed and names, as for ``mllmu_med.seeding.rng``.
        size: side in pixels.
        truth: what to show; drawn at random from ``keys`` if None.
        abnormal_share: how often a random picture has a finding.

    Returns:
        pixels and the truth as drawn (its count is lower than asked where the lesions did not fit).
    """
    generator = numpy_rng(*keys, "phantom")
    truth = truth or random_truth(generator, abnormal_share)
    surface = canvas(size)
    scene = _ANATOMIES[truth.modality](surface, generator)
    if truth.finding is not None:
        lesions = _place(generator, scene, truth)
        normal = scene.image.copy()
        for x, y, r in lesions:
            _PAINTERS[truth.finding](surface, generator, scene.image, x, y, r)
        scene.image[...] = normal + scene.inside * (scene.image - normal)
        truth = Truth(truth.modality, truth.finding, truth.side, truth.size, len(lesions))
    return Picture(_develop(numpy_rng(*keys, "phantom", "camera"), scene.image), truth)


def draw_many(count: int, size: int, *keys: Key, jobs: int = 1) -> Pictures:
    """``count`` independent random pictures; number i is ``draw(*keys, i, size=size)``. ``jobs``: processes."""
    pixels = np.empty((count, size, size, 3), np.uint8)
    attributes = {name: np.empty(count, np.int64) for name in ATTRIBUTES}
    parts = [range(start, min(start + PART, count)) for start in range(0, count, PART)]
    work = partial(_draw_part, size=size, keys=keys)
    # A few parts are drawn sooner than processes start.
    several = jobs > 1 and len(parts) > jobs
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) if several else nullcontext()
    with bar("Drawing pictures", count) as progress, _one_thread_each(), pool as workers:
        for part, drawn in zip(parts, (workers.map if workers else map)(work, parts), strict=True):
            pixels[part.start : part.stop] = drawn.pixels
            for name, values in drawn.attributes.items():
                attributes[name][part.start : part.stop] = values
            progress.advance(len(part))
    return Pictures(pixels, attributes)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes that start within the block have one thread for matrix products: several each would wait for cores."""
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _draw_part(numbers: range, *, size: int, keys: tuple[Key, ...]) -> Pictures:
    drawn = [draw(*keys, number, size=size) for number in numbers]
    indices = [truth.indices() for _, truth in drawn]
    return Pictures(
        np.stack([picture for picture, _ in drawn]),
        {name: np.array([one[name] for one in indices], np.int64) for name in ATTRIBUTES},
    )
