"""The images that are asked about: the benchmark's, and what probes and attacks make of them, by identifier."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image

from mllmu_med.benchmark.images.blends import PREFIX, blend
from mllmu_med.benchmark.images.changes import CHANGES, change
from mllmu_med.benchmark.images.variants import vary
from mllmu_med.benchmark.store import Benchmark
from mllmu_med.errors import UsageError
from mllmu_med.models.vlm import VisionLanguageModel
from mllmu_med.seeding import numpy_rng

BLANK = "blank"


def blank_image() -> Image.Image:
    """The image of the blank probe: mid-grey, because some processors drop an all-black image as padding."""
    return Image.new("RGB", (256, 256), (128, 128, 128))


def under_noise(image: Image.Image, key: str) -> Image.Image:
    """The image with Gaussian noise of twice its own contrast: what it shows cannot be read off any more."""
    import numpy as np

    pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    noise = numpy_rng("noise", key).normal(0.0, 2 * max(float(pixels.std()), 20.0), pixels.shape)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def image_loader(benchmark: Benchmark) -> Callable[[str], Image.Image]:
    """How an identifier becomes an image.

    ``ID`` is an image of the benchmark, ``blank`` the blank image; ``ID#CHANGE`` what a change makes of an image:
    ``variant-2`` (:func:`~mllmu_med.benchmark.images.variants.vary`), ``noise`` (:func:`under_noise`), one of the
    attacks' changes at one of their strengths, e.g. ``crop-easy`` or ``noise-hard``
    (:func:`~mllmu_med.benchmark.images.changes.change`), or ``blend-OTHER``: the mean of the image and a second one,
    whose identifier is ``OTHER`` (:func:`~mllmu_med.benchmark.images.blends.blend`).
    """

    def load(image_id: str) -> Image.Image:
        if image_id == BLANK:
            return blank_image()
        original, _, name = image_id.partition("#")
        image = benchmark.image(original)
        if name.startswith(PREFIX) and "#" not in name:
            return blend(image, benchmark.image(name.removeprefix(PREFIX)))
        return _changed(image, name, original) if name else image

    return load


def _changed(image: Image.Image, name: str, key: str) -> Image.Image:
    if name == "noise":
        return under_noise(image, key)
    kind, _, strength = name.partition("-")
    if kind == "variant" and strength.isdecimal():
        return vary(image, int(strength), key)
    if kind in CHANGES:
        return change(image, kind, strength, key)
    raise UsageError(f"no such change of an image: '{name}'")


def attach_benchmark(vlm: VisionLanguageModel, benchmark: Benchmark) -> None:
    """Let the model find images by identifier (:func:`image_loader`)."""
    vlm.attach_images(image_loader(benchmark))
