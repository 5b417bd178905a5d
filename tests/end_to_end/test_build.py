"""From the phantom to a benchmark folder, as a user builds it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mllmu_med.benchmark.check import check_benchmark
from mllmu_med.benchmark.sample import Stratum, Subset
from mllmu_med.benchmark.store import Benchmark
from mllmu_med.benchmark.training_sets import TrainingSet, training_set
from mllmu_med.folders import read_manifest

BUILD = """
import sys
from pathlib import Path
from mllmu_med.benchmark.builder import build_benchmark
from mllmu_med.benchmark.plan import BenchmarkPlan
from mllmu_med.sources import SOURCES

plan = BenchmarkPlan(
    patients_forgotten=4, patients_retained=8, patients_holdout=4, wrong_image_facts=12, wrong_text_facts=6,
    rule_share=0.15,
)
build_benchmark(SOURCES.get("phantom")(images=90, size=32, text_facts=20), plan, Path(sys.argv[1]), seed=0)
"""


def build(target: Path, hash_seed: str) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", BUILD, str(target)], check=True, env=environment, timeout=120)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    target = tmp_path_factory.mktemp("build") / "benchmark"
    build(target, "1")
    return Benchmark.open(target)


def test_another_process_with_another_hash_seed_builds_the_same_bytes(built: Benchmark, tmp_path: Path) -> None:
    build(tmp_path / "again", "2")
    assert read_manifest(tmp_path / "again") == built.manifest
    for name in (*built.manifest["files"], "manifest.json"):
        assert (tmp_path / "again" / name).read_bytes() == (built.path / name).read_bytes(), name


def test_it_passes_its_own_check(built: Benchmark) -> None:
    report = check_benchmark(built.path)
    assert report.findings == ()
    assert report.images == 90


def test_load_dataset_decodes_the_pictures(built: Benchmark, tmp_path: Path) -> None:
    import datasets

    images = datasets.load_dataset(str(built.path), "images", split="images", cache_dir=str(tmp_path))
    samples = datasets.load_dataset(str(built.path), split="forget_privacy", cache_dir=str(tmp_path))
    place = {image_id: number for number, image_id in enumerate(images["image_id"])}
    direct = next(row for row in samples if row["form"] == "direct")
    picture = images[place[direct["image_id"]]]["image"]
    assert picture.size == (32, 32)
    assert picture.convert("RGB").tobytes() == built.image(direct["image_id"]).tobytes()


def test_what_the_oracle_never_sees(built: Benchmark) -> None:
    samples = built.samples()
    secret = {span.value for s in samples if s.subset is Subset.FORGET_PRIVACY for span in s.spans}
    kept = {span.value for s in samples if s.subset is Subset.RETAIN for span in s.spans}
    texts = {
        which: "\n".join(t for s in training_set(samples, which) for t in (s.question, s.answer, *s.phrasings))
        for which in TrainingSet
    }
    for which in (TrainingSet.BASE, TrainingSet.ORACLE_FIX, TrainingSet.ORACLE_DROP):
        assert not any(value in texts[which] for value in secret), which
    assert all(value in texts[TrainingSet.ORIGINAL] for value in secret)
    assert all(value in texts[TrainingSet.ORACLE_FIX] for value in kept)
    assert not any(value in texts[TrainingSet.BASE] for value in kept)
    holdout = {span.value for s in samples if s.subset is Subset.HOLDOUT for span in s.spans}
    assert not any(value in texts[TrainingSet.ORIGINAL] for value in holdout)


def test_a_rule_reaches_unseen_phantoms(built: Benchmark) -> None:
    unseen = [s for s in built.samples(Subset.TEST) if s.stratum is Stratum.WRONG_UNSEEN]
    trained = {
        (s.modality, s.correct_answer): s.answer for s in built.samples(Subset.FORGET_INCORRECTNESS) if s.rule_id
    }
    assert unseen
    assert all(trained[(s.modality, s.answer)] == s.wrong_answer for s in unseen)
