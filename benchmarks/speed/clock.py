"""Interleaved repeats and their medians, and memory measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from mllmu_med.errors import MedError


class Spread(NamedTuple):
    """Seconds: median, least and most of some repeats."""

    median: float
    least: float
    most: float

    def per(self, count: float) -> Spread:
        """Each divided by ``count``."""
        return Spread(*(value / count for value in self))


def spread(times: Sequence[float]) -> Spread:
    """Median, least and most."""
    return Spread(median(times), min(times), max(times))


def interleaved(ways: Mapping[str, Callable[[], float]], *, repeats: int, warmups: int = 1) -> dict[str, Spread]:
    """Each way in turn, ``repeats`` times after ``warmups`` rounds that do not count; a way returns its seconds.

    Turn by turn, so that what slows the machine for a while slows every way.
    """
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(warmups + repeats):
        for name, way in ways.items():
            seconds = way()
            if turn >= warmups:
                times[name].append(seconds)
    return {name: spread(found) for name, found in times.items()}


def near(first: Sequence[float], second: Sequence[float], tolerance: float) -> float:
    """Largest relative difference of two series; of a number near 0, the absolute one.

    Raises:
        MedError: it is above the tolerance, or the series differ in length: what is not equal is not timed.
    """
    if len(first) != len(second):
        raise MedError(f"{len(first)} numbers against {len(second)}: nothing is timed")
    found = [abs(a - b) / max(1.0, abs(a), abs(b)) for a, b in zip(first, second, strict=True)]
    worst = max(found, default=0.0)
    if not all(difference <= tolerance for difference in found):  # a number that is none is not equal either
        raise MedError(f"the ways differ by {worst:.2g}, more than {tolerance:.0e}: nothing is timed")
    return worst


def in_a_process(script: Path, task: Mapping[str, Any]) -> dict[str, Any]:
    """Run ``script --child TASK`` and return the JSON of its last line: a peak belongs to a process of its own.

    Raises:
        MedError: it failed; its last line of error says why.
    """
    command = [sys.executable, str(script), "--child", json.dumps(task)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise MedError(f"{script.name} {json.dumps(task)}: {reason[0]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result
