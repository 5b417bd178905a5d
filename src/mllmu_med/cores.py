"""Processor cores: how many there are, and how many threads one computation takes."""

from __future__ import annotations

import os


def cores() -> int:
    """Cores that this process may run on, at least 1: those of its affinity, where the system knows one."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def thread_limit() -> str | None:
    """``OMP_NUM_THREADS`` as it stands in the environment (of a list for nested loops the first); None where it is not
    set."""
    return os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip() or None


def all_threads() -> int:
    """Threads of a computation that has the machine to itself: ``OMP_NUM_THREADS`` where it is a number above 0, else
    one a core."""
    limit = thread_limit()
    return int(limit) if limit is not None and limit.isdecimal() and int(limit) else cores()


def wait_shortly() -> None:
    """Have the threads of a computation wait for each other by spinning for some microseconds, unless the environment
    says otherwise. OpenMP reads it where torch is first imported: in this process, if that is still to come, and in
    those that it starts.

    By default they spin for long, and one other busy process then slows a training step tenfold; did they not spin at
    all, every step of a quiet machine would take twice as long.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # GNU's; spins
        os.environ.setdefault("KMP_BLOCKTIME", "1")  # LLVM's and Intel's; milliseconds
