from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from mllmu_med.benchmark.images.blends import blend_of
from mllmu_med.benchmark.images.changes import CHANGES, STRENGTHS, change
from mllmu_med.benchmark.images.variants import vary
from mllmu_med.errors import UsageError
from mllmu_med.evaluation.probe_images import BLANK, blank_image, image_loader, under_noise

OWN = Image.effect_mandelbrot((64, 48), (-2, -1.5, 1, 1.5), 50).convert("RGB")


@pytest.fixture
def load() -> Callable[[str], Image.Image]:
    benchmark: Any = SimpleNamespace(image=lambda image_id: OWN if image_id == "i1" else pytest.fail(image_id))
    return image_loader(benchmark)


def test_every_identifier_means_what_it_says(load: Callable[[str], Image.Image]) -> None:
    assert load("i1") is OWN
    assert load(BLANK).tobytes() == blank_image().tobytes()
    assert load("i1#noise").tobytes() == under_noise(OWN, "i1").tobytes()
    assert load("i1#variant-2").tobytes() == vary(OWN, 2, "i1").tobytes()
    for kind in CHANGES:
        for strength in STRENGTHS:
            assert load(f"i1#{kind}-{strength}").tobytes() == change(OWN, kind, strength, "i1").tobytes()


def test_a_blend_is_the_mean_of_an_image_and_a_mirrored_one() -> None:
    """Left red and right black, with left white and right black in another size: mirrored, its right is white."""
    images = {"a": Image.new("RGB", (2, 1)), "b": Image.new("L", (40, 60))}
    images["a"].putpixel((0, 0), (200, 0, 0))
    images["b"].paste(255, (0, 0, 20, 60))
    benchmark: Any = SimpleNamespace(image=images.__getitem__)
    load = image_loader(benchmark)
    both = load(blend_of("a", "b"))
    assert (both.size, both.mode) == ((2, 1), "RGB")
    left, right = both.getpixel((0, 0)), both.getpixel((1, 0))
    assert left == pytest.approx((100, 0, 0), abs=15)
    assert right == pytest.approx((127, 127, 127), abs=15)
    own = load(blend_of("a", "a"))
    assert [own.getpixel((x, 0)) for x in (0, 1)] == [(100, 0, 0), (100, 0, 0)]
    assert load("b#blend-a").size == (40, 60)
    for one, other in (("a#noise", "b"), ("a", "b#noise")):
        with pytest.raises(ValueError, match="as they are"):
            blend_of(one, other)


@pytest.mark.parametrize(
    "name", ["blend-i1#noise", "blur-easy", "crop", "crop-most", "variant", "variant-x", "variant-4", "noise-"]
)
def test_unknown_changes_are_refused(load: Callable[[str], Image.Image], name: str) -> None:
    with pytest.raises(UsageError, match=r"no such change|strength"):
        load(f"i1#{name}")
