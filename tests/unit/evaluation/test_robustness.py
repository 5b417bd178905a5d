from __future__ import annotations

import math

import numpy as np
import pytest

from mllmu_med.evaluation.levels import LEVELS, Levels
from mllmu_med.evaluation.robustness import recovered_by, with_usual_truth


def levels(**known: float) -> Levels:
    return {name: np.asarray(known.get(name, math.nan)) for name in LEVELS}


def test_what_is_recovered_stands_beside_theta0_and_the_oracle() -> None:
    found = recovered_by(
        {"attack a: v": levels(leakage=0.3)}, {"attack a: v": levels(leakage=0.9)}, {"attack a: v": levels(leakage=0.1)}
    )
    assert found == {"attack a: v": {"privacy": {"model": 0.3, "original": 0.9, "oracle": 0.1, "forget": 0.75}}}


def test_an_attack_that_theta0_withstands_measures_nothing() -> None:
    (one,) = recovered_by({"p": levels(leakage=0.3)}, {"p": levels(leakage=0.3)}, {"p": levels(leakage=0.25)}).values()
    assert one["privacy"]["forget"] is None


def test_attacks_that_were_not_made_on_the_references_are_left_out() -> None:
    assert recovered_by({"p": levels(leakage=0.3)}, {}, {"p": levels(leakage=0.0)}) == {}
    assert recovered_by({"p": levels()}, {"p": levels()}, {"p": levels()}) == {}


def test_the_truth_is_that_of_the_usual_question() -> None:
    """e_f = harmonic mean of the suppression under the attack and of the usual restoration, whatever it gives there."""
    attacked = {"p": levels(wrong=0.5, correct=0.0)}
    three = [
        with_usual_truth(made, levels(correct=correct))
        for made, correct in ((attacked, 0.25), ({"p": levels(wrong=1.0)}, 0.0), ({"p": levels(wrong=0.0)}, 1.0))
    ]
    (one,) = recovered_by(*three).values()
    assert one["incorrectness"]["forget"] == pytest.approx(2 / (1 / 0.5 + 1 / 0.25), abs=1e-6)
    assert attacked["p"]["correct"] == 0, "what was given is not changed"
