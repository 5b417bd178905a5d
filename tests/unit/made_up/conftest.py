"""The finished benchmark of the benchmark's own tests."""

from __future__ import annotations

from tests.unit.benchmark.conftest import built, plan

__all__ = ["built", "plan"]
