"""The made-up run of ``fake_run`` as fixtures."""

from __future__ import annotations

from typing import Any

import pytest

from mllmu_med.evaluation.outputs import Output
from tests.unit.report.fake_run import FakeBenchmark, make_benchmark, make_outputs, make_results


@pytest.fixture
def results() -> dict[str, Any]:
    return make_results()


@pytest.fixture
def benchmark_samples() -> FakeBenchmark:
    return make_benchmark()


@pytest.fixture
def outputs(benchmark_samples: FakeBenchmark) -> dict[str, list[Output]]:
    return make_outputs(benchmark_samples)
