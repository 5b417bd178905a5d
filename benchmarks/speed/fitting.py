"""Does a cost grow in a straight line? A least-squares line, its fit, and the exponent of a power law."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mllmu_med.errors import MedError

FIT = 0.98
"""Least R² of what is called linear."""
EXPONENT = 1.25
"""Largest exponent of what is called linear: above it costs grow faster than the cause."""


class Line(NamedTuple):
    """y = fixed + each · x.

    Attributes:
        fixed: cost that does not grow.
        each: cost of one more.
        fit: R², 1 = on the line.
        exponent: of the power law y ∝ x^k fitted to the same points; 1 = linear without a fixed part.
    """

    fixed: float
    each: float
    fit: float
    exponent: float

    @property
    def linear(self) -> bool:
        """On a line, or growing more slowly than one; a flat series counts as linear too."""
        return (self.fit >= FIT and self.exponent <= EXPONENT) or abs(self.exponent) < 0.1

    def at(self, x: float) -> float:
        """The line's value; an extrapolation outside of what was measured."""
        return self.fixed + self.each * x

    def words(self, unit: str, cause: str) -> str:
        """The line, or that there is none."""
        if not self.linear and self.exponent > EXPONENT:
            return f"not linear: grows as {cause}^{self.exponent:.2f} (R² of a line {self.fit:.3f})"
        if not self.linear:
            return f"too scattered for a line (R² {self.fit:.3f}); grows as {cause}^{self.exponent:.2f}"
        return f"{self.fixed:.3g} {unit} + {self.each:.3g} {unit} × {cause} (R² {self.fit:.3f})"


def line(x: Sequence[float], y: Sequence[float]) -> Line:
    """The line through at least three points with positive x and y, each weighted by 1/y: equal relative errors."""
    if len(x) < 3 or len(x) != len(y) or min(x) <= 0 or min(y) <= 0:
        raise MedError("a line needs three points with positive coordinates")
    horizontal, vertical = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    each, fixed = np.polyfit(horizontal, vertical, 1, w=1 / vertical)
    rest = ((vertical - fixed - each * horizontal) ** 2).sum()
    spread = ((vertical - vertical.mean()) ** 2).sum()
    exponent = float(np.polyfit(np.log(horizontal), np.log(vertical), 1)[0])
    return Line(float(fixed), float(each), float(1 - rest / spread) if spread else 1.0, exponent)
