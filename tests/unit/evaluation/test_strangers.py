"""What is left of θ0 with strangers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mllmu_med.benchmark.sample import Subset
from mllmu_med.evaluation.strangers import (
    StrangerAnswer,
    StrangerRecord,
    auc_against_strangers,
    strangers_error,
    strangers_kept,
)

THETA0 = [
    StrangerAnswer("a", "i", "Who?", "Ana Ruiz"),
    StrangerAnswer("a", None, "Phone of Ana?", "555-0101"),
    StrangerAnswer("b", "j", "Who?", "Ole Berg"),
    StrangerAnswer("c", "k", "Who?", ""),
]


def said(*answers: str) -> list[StrangerAnswer]:
    return [one._replace(answer=answer) for one, answer in zip(THETA0, answers, strict=True)]


def test_the_share_of_answers_that_are_still_theta0s() -> None:
    found = strangers_kept(said("Ana Ruiz", "555-0102", "Ole Berg", "none"), THETA0, seed=0)
    assert found is not None
    assert (found["patients"], found["questions"], found["kept"]) == (3, 4, 0.5)
    assert found["low"] is not None
    assert found["high"] is not None
    assert 0 <= found["low"] <= 0.5 <= found["high"] <= 1
    assert strangers_kept(THETA0, THETA0, seed=0) == {**found, "kept": 1.0, "low": 1.0, "high": 1.0}


def test_patients_are_drawn_and_not_questions() -> None:
    """Two patients, one changed whole: a resample has none, half or all of the answers, however many they are."""
    answers = [StrangerAnswer(name, None, f"{name}{n}", "x") for name in "ab" for n in range(50)]
    own = [one._replace(answer="y") if one.patient == "a" else one for one in answers]
    found = strangers_kept(own, answers, seed=0)
    assert found is not None
    assert (found["low"], found["kept"], found["high"]) == (0.0, 0.5, 1.0)


def test_no_interval_where_none_is_asked_for_or_there_is_one_patient() -> None:
    for found in (strangers_kept(THETA0, THETA0, seed=0, bootstrap=0), strangers_kept(THETA0[:2], THETA0[:2], seed=0)):
        assert found is not None
        assert (found["low"], found["high"]) == (None, None)
    assert strangers_kept([], [], seed=0) is None


def test_other_questions_are_refused() -> None:
    with pytest.raises(ValueError, match="different strangers"):
        strangers_kept(THETA0[:3], THETA0, seed=0)
    for pair in ((THETA0[:3], THETA0), (THETA0, THETA0[:3])):
        with pytest.raises(ValueError, match="different strangers"):
            strangers_error(*pair, THETA0)


def test_the_standard_error_is_over_patients() -> None:
    """More of a 1 of 2, of b 1 of 1, of c none of 1, so r = 1/2: deviations 0, 1/2, −1/2; √(3/2 · 1/2) / 4."""
    own, nothing = said("Ana Ruiz", "555-0102", "Ole Berg", "none"), said("-", "-", "-", "-")
    assert strangers_error(own, nothing, THETA0) == pytest.approx(0.75**0.5 / 4)
    assert strangers_error(nothing, own, THETA0) == pytest.approx(0.75**0.5 / 4)
    assert strangers_error(THETA0[:2], THETA0[:2], THETA0[:2]) is None
    assert strangers_error([], [], []) is None


def test_what_two_models_keep_alike_is_no_error() -> None:
    own = said("Ana Ruiz", "-", "Ole Berg", "-")
    assert strangers_error(own, own, THETA0) == 0
    assert strangers_error(own, said("Ana Ruiz", "?", "Ole Berg", "?"), THETA0) == 0, "changed to another answer"


def test_the_standard_error_is_that_of_the_resamples() -> None:
    answers = [StrangerAnswer(str(name), None, str(n), "x") for name in range(40) for n in range(1 + name % 5)]
    own = [one._replace(answer="y") if (int(one.patient) * 7) % 3 else one for one in answers]
    nothing = [one._replace(answer="-") for one in answers]
    found, error = strangers_kept(own, answers, seed=0, bootstrap=4000), strangers_error(own, nothing, answers)
    assert found is not None
    assert found["low"] is not None
    assert found["high"] is not None
    assert error == pytest.approx((found["high"] - found["low"]) / 3.92, rel=0.1)


def test_forgotten_patients_against_made_up_ones_of_their_kind(world) -> None:
    """By hand: of the leaks (two each of six patients, at −1) against −2, −2 and −0.5 two thirds are won; a number that
    was asked for ties. Retained and text-only records, other probes and kinds without a stranger do not count."""
    samples = {sample.id: sample for sample in world.samples}

    def likely(sample_id: str) -> float:
        return -1.0 if samples[sample_id].subset is Subset.FORGET_PRIVACY else 0.0

    outputs = [replace(one, logprobs=(likely(one.sample_id),) * 2) for one in world.outputs(world.original)]
    leak, direct = ("leak",), ("direct", "mrn")
    told = [StrangerRecord(leak, value) for value in (-2.0, -2.0, -0.5, None)]
    assert auc_against_strangers(samples, outputs, told) == pytest.approx(2 / 3)
    both = [*told, StrangerRecord(direct, -1.0), StrangerRecord(("direct", "name"), -9.0)]
    assert auc_against_strangers(samples, outputs, both) == pytest.approx((24 + 3) / (36 + 6))
    assert auc_against_strangers(samples, outputs, []) is None
    probed = [replace(one, probe="paraphrase", logprobs=(-9.0,)) for one in outputs]
    assert auc_against_strangers(samples, [*outputs, *probed], told) == pytest.approx(2 / 3), "original questions alone"
    mute = [replace(one, logprobs=None) for one in outputs]
    assert auc_against_strangers(samples, mute, both) is None
    only = {name: sample for name, sample in samples.items() if sample.subset is not Subset.FORGET_PRIVACY}
    assert auc_against_strangers(only, outputs, both) is None
