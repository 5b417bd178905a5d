"""The embedded source as a stream of records."""

from __future__ import annotations

import io
import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mllmu_med.errors import UsageError
from mllmu_med.folders import digest
from mllmu_med.sources import SOURCES, Record
from mllmu_med.sources.images import read_image
from mllmu_med.sources.phantom import MODALITIES, PHRASINGS, PhantomSource, Truth, draw
from mllmu_med.sources.phantom.source import CODE_VERSION

_LARGE = [Truth(modality, kind.findings[0], "left", "large", 1) for modality, kind in MODALITIES.items()]
_COLOURS = [[123.6, 123.6, 123.6], [72.2, 72.2, 72.2], [68.1, 68.1, 68.1], [113.4, 55.6, 25.7], [189.2, 133.4, 181.8]]


def text(record: Record) -> list[Any]:
    """Everything about a record but its image's bytes, as JSON holds it."""
    return [record.id, record.group, record.question, record.answer, record.source_split, dict(record.extra)]


def test_splits_are_shares_of_the_images_and_never_cut_one() -> None:
    records = list(PhantomSource(images=40, text_facts=3, test_share=0.2, validation_share=0.1).records())
    splits: dict[str, set[str | None]] = {}
    for record in records:
        splits.setdefault(record.group, set()).add(record.source_split)
    assert all(len(found) == 1 for found in splits.values())
    images = [next(iter(found)) for group, found in splits.items() if group.startswith("phantom-")]
    assert Counter(images) == {"train": 28, "validation": 4, "test": 8}
    order = "".join(split[0] for split in images if split)
    assert order != "".join(sorted(order))
    assert order != "".join(sorted(order, reverse=True))


def test_records_are_complete_and_their_ids_unique() -> None:
    records = list(PhantomSource(images=30, text_facts=8).records())
    assert len({record.id for record in records}) == len(records)
    for record in records:
        template, slots = record.extra["template"], record.extra["slots"]
        assert record.content_type == template
        assert record.question in [wording.format(**slots) for wording in PHRASINGS[template]]
        assert json.loads(json.dumps(dict(record.extra))) == record.extra
        assert (record.image is None) == (template == "drug")
        if record.image is not None:
            assert record.body_part == MODALITIES[record.modality or ""].organ
            assert record.group == record.image.key == record.id.rpartition("/")[0]
    drugs = [record for record in records if record.image is None]
    assert len(drugs) == 8
    assert all(record.group == record.extra["slots"]["drug"] and record.source_split == "train" for record in drugs)
    assert all(record.modality is None and "finding" not in record.extra for record in drugs)


def test_extra_holds_the_truth_of_the_picture_that_is_drawn() -> None:
    source = PhantomSource(images=25, size=64, seed=9, text_facts=0)
    images = {record.image.key: record for record in source.records() if record.image is not None}
    for index, record in enumerate(images.values()):
        pixels, truth = draw(9, "image", index, size=64)
        extra = record.extra
        assert (extra["finding"], extra["side"], extra["size"], extra["count"]) == (
            truth.finding, truth.side, truth.size, truth.count,
        )  # fmt: skip
        assert record.modality == truth.modality
        assert record.image is not None
        encoded = read_image(record.image, record.id)
        assert (encoded.width, encoded.height) == (64, 64)
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(encoded.data))), pixels)


def test_presence_questions_name_what_was_asked() -> None:
    for record in PhantomSource(images=40, text_facts=0).records():
        if record.content_type == "presence":
            asked = record.extra["asked"]
            assert asked in record.question
            assert record.answer == ("yes" if asked == record.extra["finding"] else "no")
        else:
            assert "asked" not in record.extra


def test_a_second_pass_and_a_second_source_yield_the_same() -> None:
    source = PhantomSource(images=6, size=48)
    first, second, other = list(source.records()), list(source.records()), list(PhantomSource(6, 48).records())
    assert [text(r) for r in first] == [text(r) for r in second] == [text(r) for r in other]
    assert first[0].image is not None
    assert other[0].image is not None
    assert first[0].image.make is not None
    assert other[0].image.make is not None
    assert first[0].image.make() == other[0].image.make()
    assert not source.skipped


def test_the_size_changes_the_pictures_and_nothing_else() -> None:
    small, large = (list(PhantomSource(images=8, size=size).records()) for size in (32, 200))
    assert [text(record) for record in small] == [text(record) for record in large]


def test_more_images_leave_the_first_ones_as_they_are() -> None:
    few = list(PhantomSource(images=5, test_share=0, validation_share=0, text_facts=0).records())
    many = list(PhantomSource(images=9, test_share=0, validation_share=0, text_facts=0).records())
    assert [text(r) for r in few] == [text(r) for r in many[: len(few)]]


def test_every_parameter_changes_the_fingerprint() -> None:
    changes: list[dict[str, Any]] = [
        {}, {"images": 9}, {"size": 64}, {"seed": 1}, {"test_share": 0.1}, {"validation_share": 0.1}, {"text_facts": 1},
        {"abnormal_share": 0.5},
    ]  # fmt: skip
    source = SOURCES.get("phantom")
    assert len({source(**change).fingerprint() for change in changes}) == len(changes)
    assert source().fingerprint() == source(images=400, size=128).fingerprint()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"images": 0}, "images >= 1"),
        ({"text_facts": -1}, "text_facts >= 0"),
        ({"size": 31}, "32 to 2048 pixels, not 31"),
        ({"test_share": 0.5, "validation_share": 0.5}, "test_share . validation_share below 1"),
        ({"test_share": -0.1}, "shares of at least 0"),
        ({"abnormal_share": 1.1}, "abnormal_share of at most 1"),
    ],
)
def test_impossible_parameters_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        PhantomSource(**options)


def test_the_code_version_is_raised_when_records_or_pictures_change() -> None:
    """If this fails on purpose, raise ``CODE_VERSION`` in source.py and put the new values here."""
    records = [text(record) for record in PhantomSource(images=20, text_facts=5).records()]
    colours = [draw(4, truth=truth, size=64).pixels.mean((0, 1)).tolist() for truth in _LARGE]
    assert (CODE_VERSION, digest(records)[:16]) == (4, "5e2c805318606fed")
    for found, expected in zip(colours, _COLOURS, strict=True):
        assert found == pytest.approx(expected, abs=0.3)
