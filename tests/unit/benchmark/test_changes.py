from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from mllmu_med.benchmark.images.changes import CHANGES, CROP, JPEG, NOISE, STRENGTHS, WINDOW, change
from mllmu_med.errors import UsageError
from mllmu_med.sources.phantom.drawing import draw


def phantom(index: int = 0, size: int = 128) -> Image.Image:
    return Image.fromarray(draw(0, "changes", index, size=size, abnormal_share=1.0).pixels)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=float)


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA"])
def test_size_stays_and_so_does_grey(kind: str, mode: str) -> None:
    image = phantom().convert(mode).crop((0, 0, 120, 77))
    for strength in STRENGTHS:
        made = change(image, kind, strength, "key")
        assert (made.size, made.mode) == (image.size, "L" if mode == "L" else "RGB")
        assert made.tobytes() != image.convert(made.mode).tobytes()


@pytest.mark.parametrize("kind", CHANGES)
def test_equal_arguments_give_equal_pixels_in_another_process(kind: str) -> None:
    code = (
        "import hashlib, sys; from tests.unit.benchmark.test_changes import phantom; "
        "from mllmu_med.benchmark.images.changes import change; "
        f"print(hashlib.sha256(change(phantom(), '{kind}', 'hard', 'key').tobytes()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert hashlib.sha256(change(phantom(), kind, "hard", "key").tobytes()).hexdigest() == other


@pytest.mark.parametrize("kind", [kind for kind in CHANGES if kind != "flip"])
@pytest.mark.parametrize("index", range(5))
def test_a_stronger_change_differs_more(kind: str, index: int) -> None:
    image = phantom(index)
    apart = [
        np.mean([np.abs(pixels(change(image, kind, s, f"k{key}")) - pixels(image)).mean() for key in range(4)])
        for s in STRENGTHS
    ]
    assert 0.3 < apart[0] < apart[1] < apart[2]


def test_flips_are_left_right_then_top_bottom_then_both() -> None:
    image = phantom()
    sides, ends, both = (pixels(change(image, "flip", strength, "key")) for strength in STRENGTHS)
    assert (sides == pixels(image)[:, ::-1]).all()
    assert (ends == pixels(image)[::-1]).all()
    assert (both == pixels(image)[::-1, ::-1]).all()


@pytest.mark.parametrize("strength", STRENGTHS)
def test_a_crop_keeps_the_stated_share_of_each_side(strength: str) -> None:
    """On a slope, the range that remains is the share of the side that was kept."""
    slope = np.tile(np.linspace(0, 200, 400), (300, 1))
    for image in (Image.fromarray(slope.astype(np.uint8)), Image.fromarray(slope.T.astype(np.uint8))):
        found = pixels(change(image, "crop", strength, "key"))
        assert (found.max() - found.min()) / 200 == pytest.approx(CROP[strength], abs=0.02)


def test_a_crop_lies_where_the_key_says() -> None:
    slope = Image.fromarray(np.tile(np.linspace(0, 255, 200), (200, 1)).astype(np.uint8))
    starts = [pixels(change(slope, "crop", "hard", f"k{key}")).min() for key in range(12)]
    assert min(starts) < 20
    assert max(starts) > 50
    assert all(start <= 255 * (1 - CROP["hard"]) + 2 for start in starts)


@pytest.mark.parametrize("strength", STRENGTHS)
def test_a_window_stretches_the_stated_share_of_the_values(strength: str) -> None:
    slope = np.tile(np.linspace(50, 150, 1001), (8, 1))
    image = Image.fromarray(np.rint(slope).astype(np.uint8))
    shares = []
    for key in range(6):
        found = pixels(change(image, "window", strength, f"k{key}"))
        assert (found.min(), found.max()) == (0, 255)
        assert (np.diff(found[0]) >= 0).all(), "order of values stays"
        inside = ((found > 0) & (found < 255)).mean()
        assert inside == pytest.approx(WINDOW[strength], abs=0.04)
        shares.append(round(float((found == 0).mean()), 1))
    assert len(set(shares)) == 2, "lower or upper end, by key"


def test_a_window_of_one_grey_is_one_grey() -> None:
    assert len(set(change(Image.new("L", (8, 8), 90), "window", "hard", "key").tobytes())) == 1


@pytest.mark.parametrize("strength", STRENGTHS)
def test_noise_has_the_stated_deviation_and_leaves_hues(strength: str) -> None:
    plain = Image.new("RGB", (200, 200), (128, 118, 138))
    found = pixels(change(plain, "noise", strength, "key"))
    assert found[..., 0].std() == pytest.approx(NOISE[strength] * 255, rel=0.05)
    inside = (found > 0).all(-1) & (found < 255).all(-1)
    assert (np.abs((found[..., 0] - found[..., 1])[inside] - 10) <= 1).all()
    assert change(plain, "noise", strength, "other").tobytes() != change(plain, "noise", strength, "key").tobytes()


def test_jpeg_is_compressed_at_the_stated_quality() -> None:
    import io

    image = phantom()
    for strength in STRENGTHS:
        buffer = io.BytesIO()
        image.save(buffer, format="JPEG", quality=JPEG[strength])
        expected = Image.open(io.BytesIO(buffer.getvalue()))
        assert change(image, "jpeg", strength, "any").tobytes() == expected.tobytes()
    assert JPEG["easy"] > JPEG["medium"] > JPEG["hard"]


@pytest.mark.parametrize(("kind", "strength"), [("blur", "easy"), ("crop", "most"), ("crop", ""), ("", "easy")])
def test_unknown_changes_and_strengths_are_refused(kind: str, strength: str) -> None:
    with pytest.raises(UsageError, match="no such change of an image"):
        change(phantom(), kind, strength, "key")


def test_a_tiny_image_survives() -> None:
    for kind in CHANGES:
        assert change(Image.new("RGB", (1, 1), (5, 6, 7)), kind, "hard", "key").size == (1, 1)
