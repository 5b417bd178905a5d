from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

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


@pytest.mark.parametrize("name", ["blur-easy", "crop", "crop-most", "variant", "variant-x", "variant-4", "noise-"])
def test_unknown_changes_are_refused(load: Callable[[str], Image.Image], name: str) -> None:
    with pytest.raises(UsageError, match=r"no such change|strength"):
        load(f"i1#{name}")
