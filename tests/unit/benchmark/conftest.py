from __future__ import annotations

import pytest

from mllmu_med.benchmark.builder import build_benchmark
from mllmu_med.benchmark.plan import BenchmarkPlan
from mllmu_med.benchmark.store import Benchmark
from tests.unit.benchmark.fake_source import FakeSource

PLAN = BenchmarkPlan(
    patients_forgotten=4, patients_retained=5, patients_holdout=3, wrong_rules=1, wrong_image_facts=8,
    wrong_text_facts=5, rule_share=0.2,
)  # fmt: skip


@pytest.fixture(scope="session")
def plan() -> BenchmarkPlan:
    return PLAN


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    """A finished benchmark; read only."""
    return build_benchmark(FakeSource(), PLAN, tmp_path_factory.mktemp("built") / "benchmark", seed=3)
