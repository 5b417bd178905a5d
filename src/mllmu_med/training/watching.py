"""What watches a training: measures every few steps, and may end it."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Sighting(NamedTuple):
    """What was seen at a step.

    Attributes:
        numbers: for the entry of the curve.
        stop: why the training ends here; None: it goes on.
    """

    numbers: dict[str, float]
    stop: str | None = None


class Watch(Protocol):
    """A measurement at entries of the curve."""

    def due(self, step: int, log_every: int) -> bool:
        """Whether a measurement falls between the last entry of the curve and this one."""
        ...

    def look(self, step: int) -> Sighting:
        """Measure after ``step`` steps."""
        ...
