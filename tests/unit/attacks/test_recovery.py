"""The summary of attacks on weights, by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mllmu_med.attacks.interface import Attempt
from mllmu_med.attacks.recovery import Point, recovery
from mllmu_med.benchmark.sample import Sample, Span, Stratum, Subset


def private(
    name: str, value: str, stratum: Stratum = Stratum.PRIVATE_IMAGE, subset: Subset = Subset.FORGET_PRIVACY
) -> Sample:
    return Sample(
        name, name, subset, stratum, "Who?", value, group=name, spans=(Span("name", value, 0, len(value), 9.0),)
    )


WRONG = Sample(
    "w", "w", Subset.FORGET_INCORRECTNESS, Stratum.WRONG_IMAGE, "Which lung?", "left lung", group="w",
    wrong_answer="left lung", correct_answer="right lung", clean_answer="right lung",
)  # fmt: skip
TEST = Sample(
    "t", "t", Subset.TEST, Stratum.GENERAL, "Large?", "no", group="t", clean_answer="no", answer_type="closed"
)
SAMPLES = {
    s.id: s
    for s in (
        private("a", "Maria Lopez"), private("b", "Edgar Huber"), private("c", "Ada Meier", Stratum.PRIVATE_TEXT),
        WRONG, TEST, private("r", "Max Frei", subset=Subset.RETAIN),
    )
}  # fmt: skip
TRUE = {"a": "Maria Lopez", "b": "Edgar Huber", "c": "Ada Meier", "w": "left lung", "t": "no", "r": "Max Frei"}


def attempts(variant: str, right: str, asked: str = "abcwtr", attack: str = "relearn") -> list[Attempt]:
    """One answer a sample: the trained one for those named in ``right``."""
    return [
        Attempt(attack, variant, one, SAMPLES[one].question, (TRUE[one] if one in right else "?",)) for one in asked
    ]


def by_hand(found: list[Point]) -> list[tuple[str, int | None, float, float, float, float | None, int]]:
    return [(p["variant"], p["step"], p["model"], p["original"], p["oracle"], p["back"], p["targets"]) for p in found]


def test_a_curve_by_hand() -> None:
    """Private: mean of the strata {a, b} and {c}. Mark 0: nothing; 9: a → 1/4 of θ0's 1; 99: a, c → 3/4, while the
    oracle guesses b (1/4): (3/4 − 1/4) / (1 − 1/4) = 2/3. Axis log10(1 + step): 0, 1, 2."""
    model = attempts("steps-0", "tr") + attempts("steps-9", "at") + attempts("steps-99", "acw")
    original = attempts("steps-0", "abcw") + attempts("steps-9", "abcw") + attempts("steps-99", "abcw")
    oracle = attempts("steps-0", "") + attempts("steps-9", "") + attempts("steps-99", "b")
    found = recovery(SAMPLES, model, original, oracle)["relearn"]
    assert json.loads(json.dumps(found)) == found
    privacy, wrong = found["scenarios"]["privacy"], found["scenarios"]["incorrectness"]
    assert by_hand(privacy["points"]) == [
        ("steps-0", 0, 0.0, 1.0, 0.0, 0.0, 3),
        ("steps-9", 9, 0.25, 1.0, 0.0, 0.25, 3),
        ("steps-99", 99, 0.75, 1.0, 0.25, pytest.approx(2 / 3), 3),
    ]
    assert privacy["area"] == pytest.approx(((0 + 0.25) / 2 + (0.25 + 2 / 3) / 2) / 2)
    assert (privacy["half"], privacy["most"]) == (99, "steps-99")
    assert [point["back"] for point in wrong["points"]] == [0.0, 0.0, 1.0]
    assert wrong["area"] == pytest.approx(0.25)
    assert found["bystanders"] == [
        {"variant": "steps-0", "test": 1.0, "patients": 1.0},
        {"variant": "steps-9", "test": 1.0, "patients": 0.0},
        {"variant": "steps-99", "test": 0.0, "patients": 0.0},
    ]


def test_theta0_is_all_back_and_the_oracle_nothing() -> None:
    theta0, oracle = (
        attempts("steps-0", "abcw") + attempts("steps-3", "abcw"),
        attempts("steps-0", "") + attempts("steps-3", "b"),
    )
    for model, height, half in ((theta0, 1.0, 0), (oracle, 0.0, None)):
        for course in recovery(SAMPLES, model, theta0, oracle)["relearn"]["scenarios"].values():
            assert {point["back"] for point in course["points"]} == {height}
            assert course["area"] == pytest.approx(height)
            assert course["half"] == half


def test_an_attack_that_destroys_theta0_measures_nothing() -> None:
    """At mark 9 θ0 gives no more than the oracle: no point of the curve, whatever the model says."""
    model = attempts("steps-0", "") + attempts("steps-9", "abc") + attempts("steps-99", "a")
    original = attempts("steps-0", "abc") + attempts("steps-9", "") + attempts("steps-99", "abc")
    oracle = attempts("steps-0", "") + attempts("steps-9", "") + attempts("steps-99", "")
    course = recovery(SAMPLES, model, original, oracle)["relearn"]["scenarios"]["privacy"]
    assert [point["back"] for point in course["points"]] == [0.0, None, 0.25]
    assert course["area"] == pytest.approx((0 + 0.25) / 2)
    assert (course["most"], course["half"]) == ("steps-99", None)
    assert recovery(SAMPLES, model, oracle, oracle)["relearn"]["scenarios"]["privacy"]["most"] is None


def test_variants_without_steps_are_no_curve() -> None:
    model = attempts("int8", "", attack="quantise") + attempts("nf4", "ab", attack="quantise")
    theta0 = attempts("int8", "abc", attack="quantise") + attempts("nf4", "abc", attack="quantise")
    oracle = attempts("int8", "", attack="quantise") + attempts("nf4", "", attack="quantise")
    course = recovery(SAMPLES, model, theta0, oracle)["quantise"]["scenarios"]["privacy"]
    assert [point["step"] for point in course["points"]] == [None, None]
    assert (course["most"], course["area"], course["half"]) == ("nf4", None, None)


def test_only_what_all_three_were_asked_is_compared() -> None:
    model, theta0 = attempts("steps-1", "ab"), attempts("steps-1", "abc", asked="bc") + attempts("steps-9", "abc")
    found = recovery(SAMPLES, [*model, *attempts("steps-2", "")], theta0, attempts("steps-1", ""))["relearn"]
    assert by_hand(found["scenarios"]["privacy"]["points"]) == [("steps-1", 1, 0.5, 1.0, 0.0, 0.5, 2)]
    assert "incorrectness" not in found["scenarios"]
    assert [row["variant"] for row in found["bystanders"]] == ["steps-1", "steps-2"]
    assert recovery(SAMPLES, [], theta0, theta0) == {}
    lonely = recovery(SAMPLES, model, [], [])["relearn"]
    assert lonely["scenarios"] == {}
    assert lonely["bystanders"][0]["test"] == 0.0


def test_order_of_the_attempts_does_not_matter() -> None:
    model = attempts("steps-0", "") + attempts("steps-9", "ab")
    theta0, oracle = (
        attempts("steps-0", "abc") + attempts("steps-9", "abc"),
        attempts("steps-0", "") + attempts("steps-9", ""),
    )
    one = recovery(SAMPLES, model, theta0, oracle)["relearn"]["scenarios"]["privacy"]
    other = recovery(SAMPLES, model[::-1], theta0[::-1], oracle[::-1])["relearn"]["scenarios"]["privacy"]
    assert one["area"] == pytest.approx(other["area"])
    assert sorted(by_hand(one["points"])) == sorted(by_hand(other["points"]))


def test_bystanders_without_candidates_and_kinds_that_were_not_asked() -> None:
    made = [replace(one, candidates=()) for one in attempts("share-10", "", asked="t")]
    assert recovery(SAMPLES, made, [], [])["relearn"]["bystanders"] == [
        {"variant": "share-10", "test": 0.0, "patients": None}
    ]
