"""How many cores there are, and how many threads a computation takes."""

from __future__ import annotations

import os

import pytest

from mllmu_med.cores import all_threads, cores, wait_shortly


def test_only_cores_that_the_process_may_use_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container with 2 of 64 cores must not compute with 64 threads."""
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5}, raising=False)
    assert cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cores() == 64
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores() == 1


@pytest.mark.parametrize(
    ("limit", "expected"), [("1", 1), ("3", 3), ("", 5), ("0", 5), ("many", 5), ("4,2", 4), (None, 5)]
)
def test_a_users_limit_holds(monkeypatch: pytest.MonkeyPatch, limit: str | None, expected: int) -> None:
    monkeypatch.setattr("mllmu_med.cores.cores", lambda: 5)
    monkeypatch.delenv("OMP_NUM_THREADS")
    if limit is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", limit)
    assert all_threads() == expected


def test_threads_wait_shortly_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.setenv(name, "7")
        monkeypatch.delenv(name)
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    wait_shortly()
    assert "GOMP_SPINCOUNT" not in os.environ
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setenv("GOMP_SPINCOUNT", "5")
    wait_shortly()
    assert os.environ["GOMP_SPINCOUNT"] == "5"
    assert os.environ["KMP_BLOCKTIME"] == "1"
