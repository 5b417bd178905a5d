from __future__ import annotations

import math

import pytest

from mllmu_med.evaluation.ranking import rank


@pytest.mark.parametrize(
    ("scores", "place"),
    [
        ((-1.0, -2.0, -3.0), 1), ((-2.0, -1.0, -3.0), 2), ((-3.0, -1.0, -2.0), 3), ((-3.0,), 1),
        ((-1.0, -1.0, -1.0), 3),  # a model that tells nothing apart ranks the truth last
        ((-math.inf, -math.inf, -5.0), 3), ((-1.0, -math.inf), 1),
        ((math.nan, -1.0, -2.0), 3), ((-1.0, math.nan, -2.0), 2),
    ],
)  # fmt: skip
def test_the_place_of_the_first_score(scores: tuple[float, ...], place: int) -> None:
    assert rank(scores) == place
