from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mllmu_med.benchmark.builder import build_benchmark
from mllmu_med.benchmark.catalogue import Catalogue, read_catalogue
from mllmu_med.benchmark.plan import BenchmarkPlan
from mllmu_med.benchmark.store import Benchmark
from mllmu_med.sources.record import Record
from tests.unit.benchmark.fake_source import FakeSource, Listed

Read = Callable[..., Catalogue]

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


@pytest.fixture
def read(tmp_path: Path) -> Iterator[Read]:
    """Reads records into a catalogue of its own."""
    made: list[Catalogue] = []

    def reader(*records: Record, **arguments: object) -> Catalogue:
        folder = tmp_path / f"catalogue-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        made.append(read_catalogue(Listed(*records), folder, **arguments))  # type: ignore[arg-type]
        return made[-1]

    yield reader
    for catalogue in made:
        catalogue.spool.close()
