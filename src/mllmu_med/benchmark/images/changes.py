"""Single changes of an image at three strengths, for attacks: crop, flip, window, noise, JPEG.

Unlike a variant (:mod:`mllmu_med.benchmark.images.variants`), which mixes small changes and keeps what an image shows,
each of these makes one change and may go far: a flip changes the side of a finding, a hard crop may lose it.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, get_args

from mllmu_med.errors import UsageError
from mllmu_med.seeding import numpy_rng, rng

if TYPE_CHECKING:
    from PIL import Image

Change = Literal["crop", "flip", "window", "noise", "jpeg"]
Strength = Literal["easy", "medium", "hard"]
CHANGES: tuple[Change, ...] = get_args(Change)
STRENGTHS: tuple[Strength, ...] = get_args(Strength)

CROP = {"easy": 0.95, "medium": 0.85, "hard": 0.70}
"""Share of each side that is kept, at a place drawn by key; enlarged back to the image's size."""

FLIP = {"easy": (True, False), "medium": (False, True), "hard": (True, True)}
"""Left and right exchanged, top and bottom exchanged."""

WINDOW = {"easy": 0.80, "medium": 0.60, "hard": 0.40}
"""Width of the window that is stretched to the full range, as a share of the image's own range of values (1st to 99th
percentile); all else is clipped. It lies at the lower or the upper end, a quarter of the rest away from it, by key."""

NOISE = {"easy": 0.03, "medium": 0.08, "hard": 0.20}
"""Standard deviation of Gaussian noise, as a share of the full range; the same in all channels, so that hues stay."""

JPEG = {"easy": 50, "medium": 20, "hard": 6}
"""Quality of one more compression, colours at half resolution."""

_FULL = 255


def change(image: Image.Image, kind: str, strength: str, key: str) -> Image.Image:
    """The image after one change, of the same size; grey (``L``) if the image is, else ``RGB``.

    Equal pixels, kind, strength and key give equal pixels, in whatever process. Where a change draws something, it
    draws the same at all strengths.

    Args:
        kind: one of :data:`CHANGES`.
        strength: one of :data:`STRENGTHS`.
        key: usually the image's id.

    Raises:
        UsageError: no such change or strength.
    """
    if kind not in _MAKE or strength not in STRENGTHS:
        raise UsageError(
            f"no such change of an image: '{kind}-{strength}'; there are {', '.join(CHANGES)}, each "
            f"{', '.join(STRENGTHS)}"
        )
    return _MAKE[kind](image if image.mode in ("L", "RGB") else image.convert("RGB"), strength, key)


def _crop(image: Image.Image, strength: str, key: str) -> Image.Image:
    from PIL import Image as Pictures

    random = rng("image change", "crop", key)
    right, down = random.random(), random.random()
    width, height = image.size
    kept_width, kept_height = max(1.0, CROP[strength] * width), max(1.0, CROP[strength] * height)
    left, top = right * (width - kept_width), down * (height - kept_height)
    box = (left, top, left + kept_width, top + kept_height)
    return image.resize(image.size, Pictures.Resampling.BICUBIC, box=box)


def _flip(image: Image.Image, strength: str, key: str) -> Image.Image:
    from PIL import Image as Pictures

    sides, ends = FLIP[strength]
    if sides:
        image = image.transpose(Pictures.Transpose.FLIP_LEFT_RIGHT)
    return image.transpose(Pictures.Transpose.FLIP_TOP_BOTTOM) if ends else image


def _window(image: Image.Image, strength: str, key: str) -> Image.Image:
    import numpy as np
    from PIL import Image as Pictures

    pixels = np.asarray(image, dtype=np.float64)
    low, high = np.percentile(pixels, (1, 99))
    span = max(high - low, 1.0)
    width = WINDOW[strength] * span
    rest = span - width
    begin = low + rest * (0.25 if rng("image change", "window", key).random() < 0.5 else 0.75)
    stretched = np.clip((pixels - begin) / width, 0, 1) * _FULL
    return Pictures.fromarray(np.rint(stretched).astype(np.uint8))


def _noise(image: Image.Image, strength: str, key: str) -> Image.Image:
    import numpy as np
    from PIL import Image as Pictures

    pixels = np.asarray(image, dtype=np.float64)
    noise = numpy_rng("image change", "noise", key).standard_normal(pixels.shape[:2]) * (NOISE[strength] * _FULL)
    noisy = pixels + (noise if pixels.ndim == 2 else noise[:, :, None])
    return Pictures.fromarray(np.rint(np.clip(noisy, 0, _FULL)).astype(np.uint8))


def _jpeg(image: Image.Image, strength: str, key: str) -> Image.Image:
    from PIL import Image as Pictures

    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=JPEG[strength])
    with Pictures.open(io.BytesIO(buffer.getvalue())) as stored:
        return stored.convert(image.mode)


_MAKE: dict[str, Callable[[Image.Image, str, str], Image.Image]] = {
    "crop": _crop, "flip": _flip, "window": _window, "noise": _noise, "jpeg": _jpeg,
}  # fmt: skip
