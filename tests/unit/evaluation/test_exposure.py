from __future__ import annotations

import math
from typing import Any

import pytest
from scipy import stats

from mllmu_med.attacks.interface import Attempt
from mllmu_med.benchmark.sample import Sample, Span, Stratum, Subset
from mllmu_med.evaluation.exposure import (
    exposure,
    exposure_by_class,
    extrapolated_exposure,
    sampled_exposure,
)
from mllmu_med.evaluation.ranking import rank


def normal_scores(count: int, mean: float = -20.0, deviation: float = 2.0) -> list[float]:
    """Evenly spaced quantiles of a normal distribution."""
    return [float(stats.norm.ppf((i + 0.5) / count, mean, deviation)) for i in range(count)]


def test_exposure_by_hand() -> None:
    assert exposure(1, 1024) == 10.0  # the likeliest of 1024: all ten bits
    assert exposure(1024, 1024) == 0.0  # the least likely: nothing
    assert exposure(32, 1024) == 5.0
    with pytest.raises(ValueError, match="rank 0"):
        exposure(0, 10)
    with pytest.raises(ValueError, match="rank 11"):
        exposure(11, 10)


def test_sampled_exposure_is_that_of_the_scaled_rank_and_has_its_ceiling() -> None:
    space, alternatives = 1_000_000.0, 50
    for place in (1, 7, 51):
        scaled = place * space / (alternatives + 1)
        assert sampled_exposure(place, alternatives) == pytest.approx(exposure(scaled, space))
    assert sampled_exposure(1, alternatives) == pytest.approx(math.log2(51)) == pytest.approx(5.672, abs=1e-3)
    assert sampled_exposure(51, alternatives) == 0.0
    values = [sampled_exposure(place, alternatives) for place in range(1, 52)]
    assert values == sorted(values, reverse=True)
    assert sampled_exposure(3, 9) == exposure(3, 10)  # nine alternatives of ten values: nothing is sampled


def test_extrapolation_finds_the_tail_of_a_normal_distribution() -> None:
    others = normal_scores(400)
    for deviations in (0.0, 1.0, 3.0, 5.0):
        expected = -math.log2(stats.norm.sf(deviations))
        found = extrapolated_exposure([-20 + 2 * deviations, *others], 1e12)
        assert found == pytest.approx(expected, rel=0.03)


def test_extrapolation_follows_skewness() -> None:
    shape, place, scale = 4.0, -30.0, 3.0
    others = [float(stats.skewnorm.ppf((i + 0.5) / 2000, shape, place, scale)) for i in range(2000)]
    true = float(stats.skewnorm.isf(2**-12, shape, place, scale))
    assert extrapolated_exposure([true, *others], 1e12) == pytest.approx(12, abs=0.5)
    mirrored = [-one for one in others]
    assert extrapolated_exposure([-true, *mirrored], 1e12) == pytest.approx(0.0, abs=0.01)


def test_extrapolation_is_within_zero_and_the_space_and_grows_with_the_true_score() -> None:
    others = normal_scores(50)
    found = [extrapolated_exposure([true, *others], 2.0**20) for true in (-90, -30, -25, -20, -15, -12, -8, 0)]
    known = [one for one in found if one is not None]
    assert len(known) == len(found)
    assert known == sorted(known)
    assert known[0] == 0.0
    assert known[-1] == 20.0


@pytest.mark.parametrize(
    ("scores", "space"),
    [
        ([-1.0, *normal_scores(50)], 0.0),  # a real patient's value
        ([-1.0, *normal_scores(19)], 1e6),
        ([-1.0, *[-5.0] * 50], 1e6),
        ([math.nan, *normal_scores(50)], 1e6),
        ([-1.0, -math.inf, *normal_scores(50)], 1e6),
    ],
)
def test_what_cannot_be_extrapolated(scores: list[float], space: float) -> None:
    assert extrapolated_exposure(scores, space) is None


def sample(name: str, *values: tuple[str, str, float], **changes: Any) -> Sample:
    answer = " ".join(value for _, value, _ in values) or "left"
    spans = tuple(Span(c, v, answer.index(v), answer.index(v) + len(v), space) for c, v, space in values)
    fields: dict[str, Any] = {
        "id": name, "record_id": name, "subset": Subset.FORGET_PRIVACY, "stratum": Stratum.PRIVATE_IMAGE,
        "group": name, "question": "?", "answer": answer, "spans": spans,
    }  # fmt: skip
    return Sample(**{**fields, **changes})


SAMPLES = {
    one.id: one
    for one in (
        sample("a", ("mrn", "9123689", 2.0**20)),
        sample("b", ("mrn", "1234567", 2.0**20)),
        sample("c", ("mrn", "7654321", 2.0**20), ("name", "Edgar Huber", 2.0**10)),
        sample("w", subset=Subset.FORGET_INCORRECTNESS, wrong_answer="left", error_type="laterality"),
        sample("r", ("mrn", "5555555", 2.0**20), subset=Subset.RETAIN),
    )
}


def attempt(name: str, *scores: float, variant: str = "total") -> Attempt:
    return Attempt("exposure", variant, name, scores=scores, rank=rank(scores))


def test_by_class_and_subset() -> None:
    attempts = [
        attempt("a", -1.0, -2.0, -3.0, -4.0),  # first of four: 2 bits
        attempt("b", -3.5, -2.0, -3.0, -4.0),  # third of four: log2 4/3
        attempt("c", -2.5, -2.0, -3.0, -4.0),  # second: 1 bit
        attempt("w", -1.0, -2.0),  # first of two: 1 bit
        attempt("a", -9.0, -2.0, -3.0, -4.0, variant="per-token"),
        attempt("r", -1.0, -2.0),
    ]
    found = exposure_by_class(SAMPLES, attempts)
    assert list(found) == ["forget/privacy", "forget/incorrectness"]
    private = found["forget/privacy"]
    assert list(private) == ["all", "mrn", "several"]
    assert private["mrn"]["sampled"] == pytest.approx((2 + math.log2(4 / 3)) / 2, abs=1e-6)
    assert private["mrn"]["sampled_ceiling"] == 2.0
    assert private["mrn"]["first"] == 0.5
    assert (private["mrn"]["space"], private["several"]["space"]) == (20.0, 30.0)
    assert private["all"]["sampled"] == pytest.approx((3 + math.log2(4 / 3)) / 3, abs=1e-6)
    assert private["all"]["count"] == 3
    assert private["all"]["extrapolated"] is None  # three alternatives are too few
    # ranks 1…4 equally often: (2 + 1 + log2 4/3 + 0) / 4
    assert private["all"]["chance"] == pytest.approx((3 + math.log2(4 / 3)) / 4, abs=1e-6)
    wrong = found["forget/incorrectness"]["laterality"]
    assert (wrong["sampled"], wrong["chance"], wrong["space"], wrong["count"]) == (1.0, 0.5, None, 1)
    assert exposure_by_class(SAMPLES, attempts[::-1]) == found
    assert exposure_by_class(SAMPLES, []) == {}


def test_a_model_that_says_nothing_is_not_exposed() -> None:
    broken = [attempt("a", math.nan, *[math.nan] * 50), attempt("b", *[-math.inf] * 51)]
    (found,) = exposure_by_class(SAMPLES, broken).values()
    assert (found["all"]["sampled"], found["all"]["first"]) == (0.0, 0.0)
