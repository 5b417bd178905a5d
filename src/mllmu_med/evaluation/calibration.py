"""Calibration: is a model as sure of its answers as it is right?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from math import fsum
from typing import NamedTuple, TypedDict

from mllmu_med.benchmark.sample import Subset
from mllmu_med.evaluation.metrics import Measured
from mllmu_med.evaluation.outputs import ORIGINAL
from mllmu_med.evaluation.scores import optional

BINS = 10
"""Bins of equal width over 0..1; the last one holds 1."""

RIGHT = 0.5
"""An answer of this utility or more counts as right where answers are sorted into right and wrong."""

_SUBSETS = (Subset.RETAIN, Subset.TEST)


class Judged(NamedTuple):
    """One answer: the model's confidence in it (0..1) and its utility (0..1)."""

    confidence: float
    utility: float


class Bin(TypedDict):
    """Answers of similar confidence: its mean, the mean utility, and how many there are."""

    confidence: float | None
    utility: float | None
    count: int


class Calibration(TypedDict):
    """Calibration of one subset.

    Attributes:
        error: :func:`calibration_error`, 0..1, lower is better.
        overconfidence: mean confidence − mean utility, −1..1; above 0 the model is surer than it is right.
        wrong_confidence: mean confidence in answers that are wrong (utility below :data:`RIGHT`), 0..1, lower is
            better; None where none is wrong.
        confident_wrong: share of all answers that are wrong and of a confidence of 0.9 or more, 0..1, lower is better.
        bins: the reliability diagram.
        count: answers.
    """

    error: float | None
    overconfidence: float | None
    wrong_confidence: float | None
    confident_wrong: float | None
    bins: list[Bin]
    count: int


def calibration_error(answers: Sequence[Judged]) -> float | None:
    """Expected calibration error: Σ_b (n_b / n) · |mean utility − mean confidence| of bin b; 0..1, lower is better.

    Over :data:`BINS` bins of equal width (Guo et al. 2017, arXiv 1706.04599, eq. 3). It grows with the number of bins
    where answers are few, so it is compared between models on the same samples only. None of no answers.
    """
    if not answers:
        return None
    gaps = [abs(fsum(one.utility for one in held) - fsum(one.confidence for one in held)) for held in _binned(answers)]
    return fsum(gaps) / len(answers)


def calibration(measured: Iterable[Measured]) -> dict[str, Calibration]:
    """``retain`` and ``test`` → calibration of the answers to original questions.

    Confidence is exp(mean log-probability of the generated answer's tokens), rightness the metric ``utility``, which is
    graded for long answers. Utility, not token likelihood, decides: a fluent wrong answer is wrong. Answers without
    confidence (an endpoint tells none) or whose confidence is no number are left out; a subset without any is absent.
    """
    answers: dict[Subset, list[Judged]] = {subset: [] for subset in _SUBSETS}
    for one in measured:
        confidence, utility = one.output.confidence, one.values.get("utility")
        if one.sample.subset not in answers or one.output.probe != ORIGINAL or confidence is None or utility is None:
            continue
        if not math.isnan(confidence):
            answers[one.sample.subset].append(Judged(min(1.0, math.exp(confidence)), utility))
    return {subset.value: _calibration(found) for subset, found in answers.items() if found}


_SURE = 0.9


def _calibration(answers: Sequence[Judged]) -> Calibration:
    wrong = [one.confidence for one in answers if one.utility < RIGHT]
    error = calibration_error(answers)
    return {
        "error": None if error is None else optional(error),
        "overconfidence": _mean([one.confidence - one.utility for one in answers]),
        "wrong_confidence": _mean(wrong),
        "confident_wrong": optional(sum(one >= _SURE for one in wrong) / len(answers)),
        "bins": [
            {
                "confidence": _mean([one.confidence for one in held]),
                "utility": _mean([one.utility for one in held]),
                "count": len(held),
            }
            for held in _binned(answers)
        ],
        "count": len(answers),
    }


def _binned(answers: Sequence[Judged]) -> list[list[Judged]]:
    bins: list[list[Judged]] = [[] for _ in range(BINS)]
    for one in answers:
        bins[min(BINS - 1, int(one.confidence * BINS))].append(one)
    return bins


def _mean(values: Sequence[float]) -> float | None:
    return optional(fsum(values) / len(values)) if values else None
