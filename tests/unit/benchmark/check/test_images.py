from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from mllmu_med.benchmark.sample import Probe, Subset
from mllmu_med.sources.images import EncodedImage, image_digest
from tests.unit.benchmark.check.tampering import Good, about, changed, encoded, ordinary, told


def test_images_that_are_unreadable_or_other_than_named_are_told(good: Good, tmp_path: Path) -> None:
    broken, cut, other, sized = (s.image_id for s in ordinary(good.samples, Subset.TEST)[:4])
    short = good.image(cut).data[:-200]
    changes = {
        broken: {"data": b"not an image"}, cut: {"data": short}, other: {"data": good.image(sized).data},
        sized: {"width": 4000},
    }  # fmt: skip
    images = [image._replace(**changes.get(image.id, {})) for image in good.images]
    found = told(good.tampered(tmp_path / "b", images=images, shown=None))
    general = [text for text in found if text.startswith(("error [images] the ", "error [images] im"))]
    assert general == sorted([
        f"error [images] image {broken[:12]} cannot be read: not an image",
        f"error [images] the bytes of image {broken[:12]} have another hash",
        next(t for t in general if t.startswith(f"error [images] image {cut[:12]} cannot be read: the image is trunc")),
        f"error [images] the bytes of image {cut[:12]} have another hash",
        f"error [images] the bytes of image {other[:12]} have another hash",
        f"error [images] image {sized[:12]} is 96 × 96 pixels, not 4000 × 96",
    ])  # fmt: skip
    for image_id, text in (
        (broken, "its image cannot be read"), (cut, "its image cannot be read"),
        (other, "the bytes of its image have another hash"),
    ):  # fmt: skip
        users = [s.id for s in good.samples if s.image_id == image_id]
        assert all(f"error [images] {user}: {text}" in found for user in users)


def test_missing_repeated_and_unused_images_are_told(good: Good, tmp_path: Path) -> None:
    first, second = ordinary(good.samples, Subset.TEST)[:2]
    unused = encoded(Image.effect_noise((40, 40), 80))
    twice = good.image(second.image_id)
    images = [*(image for image in good.images if image.id != first.image_id), unused, twice, twice]
    found = told(good.tampered(tmp_path / "b", images=images, shown=None))
    users = {s.id for s in good.samples if s.image_id == first.image_id}
    assert users <= {text.split(" ")[2].rstrip(":") for text in found if f"image {str(first.image_id)[:12]}" in text}
    assert "error [images] one image is stored 3 times" in found
    assert f"warning [images] no sample uses image {unused.id[:12]}" in found


def test_an_image_that_only_a_probe_uses_is_used(good: Good) -> None:
    shown = {s.image_id for s in good.samples}
    assert {probe.image_id for s in good.samples for probe in s.probes} - shown - {None}  # and nothing is found


def test_a_probe_of_an_image_that_is_not_stored_is_told(good: Good, tmp_path: Path) -> None:
    sample = good.one(subset=Subset.FORGET_PRIVACY, form="direct")
    probes = (*sample.probes, Probe("other-9", sample.question, "other", "f" * 64))
    report = good.tampered(tmp_path / "b", changed(good.samples, {sample.id: {"probes": probes}}))
    assert told(report) == [f"error [images] {sample.id}: a probe's image ffffffffffff is not stored"]


@pytest.mark.parametrize("how", ["jpeg", "half as large again", "brighter", "cropped"])
def test_the_same_picture_in_two_parts_is_told(how: str, good: Good, tmp_path: Path) -> None:
    tested, trained = ordinary(good.samples, Subset.TEST)[3], ordinary(good.samples, Subset.RETAIN)[0]
    picture = good.picture(tested.image_id).convert("RGB")
    again = {
        "jpeg": lambda: encoded(picture, format="JPEG", quality=80),
        "half as large again": lambda: encoded(picture.resize((144, 144))),
        "brighter": lambda: encoded(ImageEnhance.Brightness(picture).enhance(1.04)),
        "cropped": lambda: encoded(picture.crop((1, 1, 95, 95))),
    }[how]()
    samples = changed(good.samples, {trained.id: {"image_id": again.id}})
    expected = (
        f"[leak: similar image] {tested.id}: its image is the same to the eye as that of {trained.id} in training; it "
        "stands in test itself"
    )
    report = good.tampered(tmp_path / "merge", samples, images=[*good.images, again])
    assert told(report) == [f"error {expected}"]
    if how == "jpeg":
        plan = {**good.manifest["plan"], "similar_images": "keep"}
        kept = good.tampered(tmp_path / "keep", samples, images=[*good.images, again], manifest={"plan": plan})
        assert told(kept) == [f"warning {expected}"]
        assert kept.ok


def test_the_same_picture_twice_in_one_part_is_no_matter(good: Good, tmp_path: Path) -> None:
    one, other = ordinary(good.samples, Subset.TEST)[:2]
    again = encoded(good.picture(one.image_id).convert("RGB"), format="JPEG", quality=90)
    samples = changed(good.samples, {other.id: {"image_id": again.id}})
    assert told(good.tampered(tmp_path / "b", samples, images=[*good.images, again])) == []


def test_similar_pictures_are_tied_through_others(good: Good, tmp_path: Path) -> None:
    # Whichever pair is found first, one line names both parts.
    tested, trained = ordinary(good.samples, Subset.TEST)[0], ordinary(good.samples, Subset.RETAIN)[:3]
    picture = good.picture(tested.image_id).convert("RGB")
    again = [encoded(picture, format="JPEG", quality=quality) for quality in (90, 80, 70)]
    changes = {s.id: {"image_id": image.id} for s, image in zip(trained, again, strict=True)}
    report = good.tampered(tmp_path / "b", changed(good.samples, changes), images=[*good.images, *again])
    assert report.counts == {("error", "leak: similar image"): 1}
    assert about(report, tested.id)


def test_blank_pictures_tie_nothing(good: Good, tmp_path: Path) -> None:
    black = [encoded(Image.new("L", (size, size))) for size in (50, 60)]
    tested, trained = ordinary(good.samples, Subset.TEST)[0], ordinary(good.samples, Subset.RETAIN)[0]
    changes = {tested.id: {"image_id": black[0].id}, trained.id: {"image_id": black[1].id}}
    assert told(good.tampered(tmp_path / "b", changed(good.samples, changes), images=[*good.images, *black])) == []


def test_sixteen_bit_images_are_no_pictures_that_are_read(good: Good, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64)).save(buffer, format="PNG")
    deep = EncodedImage(buffer.getvalue(), image_digest(buffer.getvalue()), 64, 64)
    sample = ordinary(good.samples, Subset.TEST)[0]
    samples = changed(good.samples, {sample.id: {"image_id": deep.id}})
    found = told(good.tampered(tmp_path / "b", samples, images=[*good.images, deep]))
    assert f"error [images] image {deep.id[:12]} cannot be read: more than 8 bits per channel (mode I;16)" in found
