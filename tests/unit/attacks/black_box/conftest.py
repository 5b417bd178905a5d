"""A phantom benchmark with every form and class of private value, and hand-written samples."""

from __future__ import annotations

from typing import Any

import pytest

from mllmu_med.attacks.interface import FORGET, Data
from mllmu_med.attacks.knowledge import attackers_data
from mllmu_med.benchmark.builder import build_benchmark
from mllmu_med.benchmark.identities.classes import CLASSES
from mllmu_med.benchmark.plan import BenchmarkPlan
from mllmu_med.benchmark.sample import Sample
from mllmu_med.sources.phantom import PhantomSource

PLAN = BenchmarkPlan(
    patients_forgotten=3, patients_retained=6, patients_holdout=1, forms=("leak", "direct", "text", "burned"),
    wrong_rules=1, wrong_image_facts=6, wrong_text_facts=4, rule_share=0.4, repetitions=(3,),
    phi_classes=CLASSES, fields_per_patient=len(CLASSES), leaks_per_patient=3,
)  # fmt: skip


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """What the attacker of a small phantom benchmark is given; every forget sample is a target."""
    source = PhantomSource(64, size=96, text_facts=12, test_share=0.2, validation_share=0.1)
    built = build_benchmark(source, PLAN, tmp_path_factory.mktemp("phantom") / "benchmark", seed=5)
    samples: list[Sample] = built.samples()
    numbers: dict[str, Any] = {"targets": 10_000, "bystanders": 20, "unrelated": 60, "max_new_tokens": 8, "seed": 0}
    data = attackers_data(samples, samples, **numbers)
    assert {s.subset for s in data.targets} == set(FORGET)
    return data
