"""Images whose bytes stand in rows: equal ones are one, and none is kept."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from mllmu_med.errors import DataError
from mllmu_med.sources.embedded import EmbeddedImages
from mllmu_med.sources.images import image_digest


def test_the_key_is_the_digest_of_the_bytes() -> None:
    images = EmbeddedImages("f")
    first, second, third = (images.ref(data, lambda: None) for data in (b"a", b"b", b"a"))
    assert first.key == third.key == image_digest(b"a") != second.key
    assert first.path is None


def test_the_last_image_is_at_hand_and_others_are_read_again() -> None:
    images, reads = EmbeddedImages("f"), []

    def again(data: bytes) -> bytes:
        reads.append(data)
        return data

    first, second = images.ref(b"a", lambda: again(b"a")), images.ref(b"b", lambda: again(b"b"))
    assert first.make is not None
    assert second.make is not None
    assert (second.make(), reads) == (b"b", [])
    assert (first.make(), reads) == (b"a", [b"a"])
    assert (second.make(), reads) == (b"b", [b"a"])


def test_only_one_image_is_held() -> None:
    images = EmbeddedImages("f")
    tracemalloc.start()
    try:
        kept = [images.ref(bytes([number]) * 1_000_000, lambda: None) for number in range(50)]
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len({ref.key for ref in kept}) == 50
    assert 1_000_000 < held < 1_200_000


@pytest.mark.parametrize("now", [b"other", None])
def test_an_image_that_has_changed_is_an_error(now: bytes | None) -> None:
    images = EmbeddedImages(Path("f.parquet"))
    first = images.ref(b"a", lambda: now)
    images.ref(b"b", lambda: None)
    assert first.make is not None
    with pytest.raises(DataError, match=r"^f\.parquet: an image has changed since it was first read"):
        first.make()
