from __future__ import annotations

import pytest

from mllmu_med.benchmark.builder import build_benchmark
from mllmu_med.benchmark.plan import BenchmarkPlan
from mllmu_med.sources.images import EncodedImage
from mllmu_med.sources.phantom import PhantomSource
from tests.unit.benchmark.check.tampering import Good, manifest_of

PLAN = BenchmarkPlan(
    patients_forgotten=3, patients_retained=3, patients_holdout=2, forms=("leak", "direct", "text", "burned"),
    wrong_rules=1, wrong_image_facts=6, wrong_text_facts=4, rule_share=0.4, repetitions=(3,),
)  # fmt: skip


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Good:
    """A sound benchmark with every subset, every form and burned-in values."""
    source = PhantomSource(48, size=96, text_facts=12, test_share=0.2, validation_share=0.1)
    built = build_benchmark(source, PLAN, tmp_path_factory.mktemp("good") / "benchmark", seed=5)
    samples = tuple(built.samples())
    stored = [(image_id, built.image(image_id).size) for image_id in built.image_ids()]
    images = tuple(EncodedImage(built.image_bytes(image_id), image_id, *size) for image_id, size in stored)
    return Good(built.path, manifest_of(built.path), samples, images)
