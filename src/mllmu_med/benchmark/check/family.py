"""A family of checks: what it needs to see, and when it says what it found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from mllmu_med.benchmark.check.findings import Finding
from mllmu_med.benchmark.sample import Sample


class Family(Protocol):
    """Checks of one kind. All samples are streamed past it twice; it remembers as little of them as it can.

    A family that has nothing to say at one of these moments leaves the method as it is.
    """

    def note(self, sample: Sample) -> None:
        """First pass: remember what is needed to judge."""
        return

    def judge(self, sample: Sample) -> Iterator[Finding]:
        """Second pass: what is wrong with this sample."""
        yield from ()

    def conclude(self) -> Iterator[Finding]:
        """What is wrong with all of them together."""
        yield from ()
