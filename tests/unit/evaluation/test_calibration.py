from __future__ import annotations

import math
from dataclasses import replace

import pytest

from mllmu_med.benchmark.sample import Sample, Stratum, Subset
from mllmu_med.evaluation.calibration import BINS, Judged, calibration, calibration_error
from mllmu_med.evaluation.metrics import Measured
from mllmu_med.evaluation.outputs import Output


def answer(confidence: float | None, utility: float, subset: Subset = Subset.TEST, probe: str = "original") -> Measured:
    sample = Sample("a", "a", subset, Stratum.GENERAL, "?", "yes", "a")
    return Measured(sample, Output("a", probe, "?", "yes", confidence=confidence), {"utility": utility})


def test_by_hand() -> None:
    # bin 0.8–0.9: confidence 0.8, 0.85, right once: |1 − 1.65| / 2; last bin: 1.0 right and 0.95 wrong: |1 − 1.95| / 2
    answers = [Judged(0.8, 1.0), Judged(0.85, 0.0), Judged(1.0, 1.0), Judged(0.95, 0.0)]
    assert calibration_error(answers) == pytest.approx((0.65 + 0.95) / 4)
    assert calibration_error(answers[::-1]) == calibration_error(answers)


def test_limits() -> None:
    assert calibration_error([]) is None
    assert calibration_error([Judged(1.0, 1.0), Judged(0.0, 0.0)]) == 0.0
    assert calibration_error([Judged(1.0, 0.0)]) == 1.0
    assert calibration_error([Judged(0.0, 1.0)]) == 1.0
    # half right at half confidence is perfect, though every single answer is off
    assert calibration_error([Judged(0.55, 1.0), Judged(0.55, 0.1)]) == pytest.approx(0.0)


def test_retain_and_test_are_told_apart_and_others_left_out() -> None:
    found = calibration(
        [
            answer(math.log(0.95), 0.0), answer(math.log(0.85), 1.0), answer(math.log(0.37), 0.4),
            answer(0.0, 1.0, Subset.RETAIN),
            answer(0.0, 0.0, Subset.FORGET_PRIVACY), answer(0.0, 0.0, probe="paraphrase-1"),
            answer(None, 0.0), answer(math.nan, 0.0),
        ]
    )  # fmt: skip
    assert list(found) == ["retain", "test"]
    assert (found["retain"]["error"], found["retain"]["wrong_confidence"], found["retain"]["count"]) == (0.0, None, 1)
    test = found["test"]
    assert test["count"] == 3
    assert test["error"] == pytest.approx((0.95 + 0.15 + 0.03) / 3, abs=1e-6)
    assert test["overconfidence"] == pytest.approx((0.95 - 0.15 - 0.03) / 3, abs=1e-6)
    assert test["wrong_confidence"] == pytest.approx((0.95 + 0.37) / 2, abs=1e-6)
    assert test["confident_wrong"] == pytest.approx(1 / 3, abs=1e-6)
    assert len(test["bins"]) == BINS
    assert [one["count"] for one in test["bins"]] == [0, 0, 0, 1, 0, 0, 0, 0, 1, 1]
    assert test["bins"][3] == {"confidence": pytest.approx(0.37), "utility": pytest.approx(0.4), "count": 1}
    assert test["bins"][0] == {"confidence": None, "utility": None, "count": 0}


def test_nothing_to_judge() -> None:
    assert calibration([]) == {}
    without = answer(-1.0, 1.0)
    assert calibration([replace(without, values={})]) == {}
