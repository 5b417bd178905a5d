"""How attempts that rank the true answer among alternatives are written down and read."""

from __future__ import annotations

from collections.abc import Sequence

TOTAL, PER_TOKEN = "total", "per-token"
"""Variants: ranked by the answers' log-probabilities (nats), and by their means over the tokens (nats per token)."""


def rank(scores: Sequence[float]) -> int:
    """Place (from 1) of the first score, the true answer's, among all; higher scores come first.

    Ties count against it, and a score that is not a number is neither beaten nor beats another: a diverged model ranks
    the true answer last.
    """
    return 1 + sum(not scores[0] > other for other in scores[1:])
