from __future__ import annotations

from pathlib import Path

import pytest

from mllmu_med.benchmark import writing
from mllmu_med.benchmark.sample import Node, Probe, Region, Sample, Span, Stratum, Subset
from mllmu_med.benchmark.store import FORMAT, Benchmark
from mllmu_med.benchmark.writing import write_images, write_ledger, write_samples
from mllmu_med.errors import DataError
from mllmu_med.folders import staged
from mllmu_med.sources.images import EncodedImage, image_digest
from tests.unit.benchmark.fake_source import png

FULL = Sample(
    "s1", "r1", Subset.FORGET_PRIVACY, Stratum.PRIVATE_IMAGE, "Q?", "CT; Zoë 王", "g1", "i1", clean_answer="CT",
    language="zh", answer_type="open", modality="CT", body_part="head", content_type="modality", form="leak",
    patient_id="p1", fact_id="p1/name", rule_id="rule-1", error_type="organ", severity="high", wrong_answer="a",
    correct_answer="b", repetitions=6, spans=(Span("name", "Zoë", 4, 7, 12.5),), phrasings=("A?", "B?"),
    probes=(Probe("blank", "Q?", "blank"), Probe("neighbour-image", "R?", "other", "i2", "no", "en")), accepted=("X",),
    hierarchy=(Node("institution", "A"), Node("patient", "p1")), regions=(Region("name", 1, 2, 3, 4),),
)  # fmt: skip
BARE = Sample("s2", "r2", Subset.TEST, Stratum.GENERAL, "Q?", "yes", "g2")


def encoded(number: int) -> EncodedImage:
    return EncodedImage(png(number), image_digest(png(number)), 8, 8)


def written(path: Path, samples: list[Sample], images: int = 5) -> Benchmark:
    with staged(path, {"format": FORMAT}) as stage:
        write_samples(stage, samples)
        write_ledger(stage, [])
        write_images(stage, (encoded(number) for number in range(images)))
    return Benchmark.open(path)


def test_a_sample_comes_back_as_it_was(tmp_path: Path) -> None:
    benchmark = written(tmp_path / "b", [BARE, FULL])
    assert benchmark.samples() == [FULL, BARE]  # subset after subset
    assert benchmark.samples(Subset.TEST) == [BARE]
    assert benchmark.samples(Subset.RETAIN) == []
    assert benchmark.ledger() == []
    names = sorted(p.name for p in (tmp_path / "b" / "samples").iterdir())
    assert names == ["forget_privacy-00000.parquet", "test-00000.parquet"]


def test_images_come_back_over_shards_and_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_GROUP_ROWS", 2)
    monkeypatch.setattr(writing, "_SHARD_BYTES", 3 * len(png(0)))
    benchmark = written(tmp_path / "b", [FULL], images=9)
    assert len(list((tmp_path / "b" / "images").iterdir())) > 1
    assert benchmark.image_ids() == [image_digest(png(number)) for number in range(9)]
    for number in (0, 8, 3, 4, 0):
        assert benchmark.image_bytes(image_digest(png(number))) == png(number)
    picture = benchmark.image(image_digest(png(7)))
    assert (picture.mode, picture.size, picture.getpixel((0, 0))) == ("RGB", (8, 8), (7, 0, 0))


def test_at_most_one_row_group_is_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_GROUP_BYTES", 2 * len(png(0)))
    made: list[int] = []
    groups = writing._row_groups(encoded(made.append(n) or n) for n in range(20))  # type: ignore[func-returns-value]
    assert len(next(groups)) <= 3
    assert len(made) <= 3


def test_an_unknown_image_and_another_format_are_refused(tmp_path: Path) -> None:
    benchmark = written(tmp_path / "b", [FULL])
    with pytest.raises(DataError, match="no image nothere"):
        benchmark.image_bytes("nothere")
    with staged(tmp_path / "c", {"format": "mllmu-med/benchmark/99"}) as stage:
        write_samples(stage, [])
    with pytest.raises(DataError, match="the format is 'mllmu-med/benchmark/99'"):
        Benchmark.open(tmp_path / "c")
    with pytest.raises(DataError, match=r"no manifest\.json"):
        Benchmark.open(tmp_path)


def test_load_dataset_opens_both_configurations(built: Benchmark, tmp_path: Path) -> None:
    import datasets

    datasets.disable_progress_bars()
    samples = datasets.load_dataset(str(built.path), cache_dir=str(tmp_path))
    assert sorted(samples) == ["forget_incorrectness", "forget_privacy", "holdout", "retain", "test"]
    assert samples["retain"].num_rows == len(built.samples(Subset.RETAIN))
    leak = next(row for row in samples["forget_privacy"] if row["form"] == "leak")
    span = leak["spans"][0]
    assert leak["answer"][span["start"] : span["end"]] == span["value"]
    images = datasets.load_dataset(str(built.path), "images", split="images", cache_dir=str(tmp_path))
    assert isinstance(images.features["image"], datasets.Image)
    assert images[0]["image"].size == (16, 16)
    assert images["image_id"][:] == built.image_ids()
