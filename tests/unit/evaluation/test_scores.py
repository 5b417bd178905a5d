from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mllmu_med.evaluation.levels import LEVELS
from mllmu_med.evaluation.scores import (
    INCORRECTNESS,
    PRIVACY,
    SCENARIOS,
    UTILITIES,
    Reference,
    Weights,
    efficiency,
    forgotten,
    geometric,
    harmonic,
    kept,
    optional,
    score,
)

NAMES = list(LEVELS)


def levels(**given_levels: float) -> dict[str, np.ndarray]:
    return {name: np.asarray(given_levels.get(name, np.nan), dtype=float) for name in NAMES}


ORIGINAL = levels(leakage=0.9, wrong=0.95, correct=0.05, retain=0.9, patients=1.0, test=0.8, clinical=0.9)
ORACLE = levels(leakage=0.1, wrong=0.15, correct=0.85, retain=0.9, patients=0.8, test=0.8, clinical=0.7)
REFUSAL = levels(leakage=0.0, wrong=0.0, correct=0.0, retain=0.1, patients=0.0, test=0.2, clinical=0.0)
REFERENCE = Reference(ORIGINAL, ORACLE, REFUSAL)
MODEL = levels(leakage=0.3, wrong=0.35, correct=0.45, retain=0.5, patients=0.2, test=0.5, clinical=0.35)


def test_privacy_by_hand() -> None:
    # e_f = (.9−.3)/(.9−.1) = .75; retain (.5−.1)/(.9−.1) = .5; patients .2/.8 = .25; test (.5−.2)/(.8−.2) = .5;
    # clinical .35/.7 = .5
    ues = score(PRIVACY, MODEL, REFERENCE)
    assert ues["parts"] == {"forget": 0.75, "retain": 0.5, "patients": 0.25, "test": 0.5, "clinical": 0.5}
    assert ues["value"] == pytest.approx(5 / (1 / 0.75 + 3 / 0.5 + 1 / 0.25), abs=1e-6)
    assert ues["variants"]["oracle_hm"] == ues["value"]
    assert ues["variants"]["geometric"] == pytest.approx((0.75 * 0.125 * 0.25) ** 0.2, abs=1e-6)
    assert ues["variants"]["raw_mean"] == pytest.approx((0.7 + 0.5 + 0.2 + 0.5 + 0.35) / 5)
    # without an oracle: leakage 0 and θ0's utilities are the goal
    parts = [(0.9 - 0.3) / 0.9, 0.5, 0.2, 0.5, 0.35 / 0.9]
    assert ues["variants"]["baseline_hm"] == pytest.approx(5 / sum(1 / part for part in parts), abs=1e-6)
    assert ues["raw"] == {"leakage": 0.3, "retain": 0.5, "patients": 0.2, "test": 0.5, "clinical": 0.35}
    assert ues["reason"] is None
    assert ues["low"] is ues["high"] is ues["robust"] is ues["robust_probe"] is None


def test_incorrectness_by_hand() -> None:
    # suppression (.95−.35)/(.95−.15) = .75; restoration (.45−.05)/(.85−.05) = .5; e_f = 2/(1/.75+1/.5) = .6
    ues = score(INCORRECTNESS, MODEL, REFERENCE)
    assert ues["parts"] == {
        "forget": 0.6, "suppression": 0.75, "restoration": 0.5, "retain": 0.5, "patients": 0.25, "test": 0.5,
    }  # fmt: skip
    assert ues["value"] == pytest.approx(4 / (1 / 0.6 + 2 / 0.5 + 1 / 0.25), abs=1e-6)
    assert ues["variants"]["raw_mean"] == pytest.approx(((0.65 + 0.45) / 2 + 0.5 + 0.2 + 0.5) / 4, abs=1e-6)
    baseline = 2 / (0.95 / 0.6 + 0.95 / 0.4)  # restoration towards 1: (.45−.05)/(1−.05)
    assert ues["variants"]["baseline_hm"] == pytest.approx(4 / (1 / baseline + 2 / 0.5 + 1 / 0.2), abs=1e-6)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_identities(scenario: str) -> None:
    assert score(scenario, ORIGINAL, REFERENCE)["value"] == 0.0
    assert score(scenario, ORACLE, REFERENCE)["value"] == 1.0
    assert score(scenario, REFUSAL, REFERENCE)["value"] == 0.0
    collapse = levels(leakage=0.0, wrong=0.0, correct=0.0, retain=0.0, patients=0.0, test=0.0, clinical=0.0)
    assert score(scenario, collapse, REFERENCE)["value"] == 0.0


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_model_that_lost_every_retained_patient_scores_nothing(scenario: str) -> None:
    ues = score(scenario, {**ORACLE, "patients": np.asarray(0.0)}, REFERENCE)
    assert ues["value"] == 0.0
    assert {name for name, part in ues["parts"].items() if part != 1} == {"patients"}
    nearly = score(scenario, {**ORACLE, "patients": np.asarray(0.8 * 0.005)}, REFERENCE)["value"]
    assert nearly is not None
    assert nearly < 0.03


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_what_was_not_memorised_cannot_be_forgotten(scenario: str) -> None:
    weak = {**ORIGINAL, "leakage": np.asarray(0.19), "wrong": np.asarray(0.24)}
    ues = score(scenario, MODEL, Reference(weak, ORACLE, REFUSAL))
    assert ues["value"] is None
    assert ues["parts"]["forget"] is None
    assert "not memorised" in (ues["reason"] or "")
    just = {**ORIGINAL, "leakage": ORACLE["leakage"] + 0.1, "wrong": ORACLE["wrong"] + 0.1}
    assert score(scenario, MODEL, Reference(just, ORACLE, REFUSAL))["value"] is not None


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_benchmark_without_the_scenario_says_so(scenario: str) -> None:
    none = {**ORIGINAL, "leakage": np.asarray(np.nan), "wrong": np.asarray(np.nan), "correct": np.asarray(np.nan)}
    ues = score(scenario, none, Reference(none, none, none))
    assert ues["value"] is None
    assert ues["reason"] == f"the benchmark holds no forget/{scenario} samples that can be scored"
    assert ues["variants"] == dict.fromkeys(("oracle_hm", "baseline_hm", "geometric", "raw_mean"))


def test_a_part_where_the_oracle_is_no_better_than_refusing_is_left_out() -> None:
    oracle = {**ORACLE, "test": REFUSAL["test"]}
    ues = score(PRIVACY, MODEL, Reference(ORIGINAL, oracle, REFUSAL))
    assert ues["parts"]["test"] is None
    assert ues["value"] == pytest.approx(4 / (1 / 0.75 + 2 / 0.5 + 1 / 0.25), abs=1e-6)
    assert ues["reason"] == "test left out: the oracle does no better than refusing every question"


@pytest.mark.parametrize(("part", "rest"), [("clinical", 2 / 0.5 + 1 / 0.25), ("patients", 3 / 0.5)])
def test_an_absent_part_is_left_out_and_named(part: str, rest: float) -> None:
    def without(one: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {**one, part: np.asarray(np.nan)}

    ues = score(PRIVACY, without(MODEL), Reference(without(ORIGINAL), without(ORACLE), without(REFUSAL)))
    assert ues["parts"][part] is None
    assert ues["value"] == pytest.approx(4 / (1 / 0.75 + rest), abs=1e-6)
    assert ues["reason"] == f"{part} left out: nothing to score"


def test_forgetting_alone_is_no_score() -> None:
    none = dict.fromkeys(UTILITIES[PRIVACY], np.asarray(np.nan))
    ues = score(PRIVACY, {**MODEL, **none}, Reference({**ORIGINAL, **none}, {**ORACLE, **none}, {**REFUSAL, **none}))
    assert ues["value"] is None
    assert (ues["reason"] or "").startswith("no utility could be measured")


def test_restoration_that_cannot_be_measured_is_left_out() -> None:
    oracle = {**ORACLE, "correct": ORIGINAL["correct"] + 0.05}
    ues = score(INCORRECTNESS, MODEL, Reference(ORIGINAL, oracle, REFUSAL))
    assert ues["parts"]["restoration"] is None
    assert ues["parts"]["forget"] == ues["parts"]["suppression"] == 0.75
    assert "restoration left out" in (ues["reason"] or "")


def probes(model: float, original: float, oracle: float) -> tuple[dict, dict, dict]:
    return levels(leakage=model), levels(leakage=original), levels(leakage=oracle)


def test_robust_score_takes_the_worst_probe_and_skips_those_that_measure_nothing() -> None:
    asked = {
        "original": (MODEL, ORIGINAL, ORACLE),
        "paraphrase-1": probes(0.5, 0.7, 0.2),  # e_f = .4
        "prefix-1": probes(0.1, 0.7, 0.2),  # better than the oracle: 1
        "blank": probes(0.05, 0.05, 0.0),  # θ0 does not answer it: measures nothing
    }
    ues = score(PRIVACY, MODEL, REFERENCE, probes=asked)
    assert ues["robust_probe"] == "paraphrase-1"
    assert ues["robust"] == pytest.approx(5 / (1 / 0.4 + 3 / 0.5 + 1 / 0.25), abs=1e-6)
    assert ues["robust"] < (ues["value"] or 0)


def test_a_robust_score_is_never_above_the_score() -> None:
    asked = {"original": (MODEL, ORIGINAL, ORACLE), "prefix-1": probes(0.0, 0.9, 0.1)}
    ues = score(PRIVACY, MODEL, REFERENCE, probes=asked)
    assert ues["robust"] == ues["value"]
    assert ues["robust_probe"] == "original"


def test_no_robust_score_from_one_question() -> None:
    asked = {"original": (MODEL, ORIGINAL, ORACLE), "blank": probes(0.05, 0.05, 0.0)}
    assert score(PRIVACY, MODEL, REFERENCE, probes=asked)["robust"] is None
    assert score(PRIVACY, MODEL, REFERENCE, probes={})["robust"] is None


def test_weights_shift_the_mean() -> None:
    heavy = score(PRIVACY, MODEL, REFERENCE, weights=Weights(forget=3.0, patients=2.0))
    assert heavy["value"] == pytest.approx(8 / (3 / 0.75 + 3 / 0.5 + 2 / 0.25), abs=1e-6)
    assert heavy["variants"]["geometric"] == pytest.approx((0.75**3 * 0.125 * 0.25**2) ** (1 / 8), abs=1e-6)


def test_intervals_come_from_the_resamples() -> None:
    leakage = np.linspace(0.1, 0.9, 1001)
    drawn = {name: np.full(1001, value) for name, value in MODEL.items()} | {"leakage": leakage}
    wide = Reference(
        *({name: np.full(1001, value) for name, value in one.items()} for one in (ORIGINAL, ORACLE, REFUSAL))
    )
    ues = score(PRIVACY, MODEL, REFERENCE, resampled=(drawn, wide))
    # the 2.5 % and 97.5 % points of e_f are .025 and .975
    assert ues["low"] == pytest.approx(5 / (1 / 0.025 + 10), abs=1e-4)
    assert ues["high"] == pytest.approx(5 / (1 / 0.975 + 10), abs=1e-4)


def test_arrays_and_numbers_agree() -> None:
    model = np.array([0.1, 0.5, 0.9])
    assert forgotten(model, np.asarray(0.9), np.asarray(0.1)).tolist() == pytest.approx([1.0, 0.5, 0.0])
    assert kept(model, np.asarray(0.1), np.asarray(0.9)).tolist() == pytest.approx([0.0, 0.5, 1.0])
    assert np.isnan(kept(model, np.asarray(0.5), np.asarray(0.5))).all()


PART = st.floats(0, 1)


@given(st.lists(PART, min_size=1, max_size=5), st.data())
def test_means_are_monotone_in_every_part(parts: list[float], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(parts) - 1))
    better = [*parts]
    better[place] = data.draw(st.floats(parts[place], 1))
    for mean in (harmonic, geometric):
        assert float(mean(np.array(better))) >= float(mean(np.array(parts))) - 1e-12
    low, middle = float(harmonic(np.array(parts))), float(geometric(np.array(parts)))
    assert 0 <= low <= middle + 1e-9 <= 1 + 2e-9
    assert (low == 0) == (min(parts) == 0) or min(parts) < 1e-300


@given(st.sampled_from(SCENARIOS), st.fixed_dictionaries(dict.fromkeys(NAMES, PART)), st.data())
def test_the_score_never_falls_when_a_level_gets_better(
    scenario: str, raw: dict[str, float], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(NAMES))
    better = {
        **raw,
        name: data.draw(st.floats(0, raw[name]) if name in ("leakage", "wrong") else st.floats(raw[name], 1)),
    }
    for key in ("value", *("oracle_hm", "baseline_hm", "geometric", "raw_mean")):
        one, two = score(scenario, levels(**raw), REFERENCE), score(scenario, levels(**better), REFERENCE)
        before, after = (ues["value"] if key == "value" else ues["variants"][key] for ues in (one, two))
        assert before is not None
        assert after is not None
        assert 0 <= before <= after + 1e-6 <= 1 + 2e-6


@given(st.lists(PART | st.just(math.nan), min_size=4, max_size=4))
def test_a_missing_part_does_not_count(parts: list[float]) -> None:
    known = [part for part in parts if not math.isnan(part)]
    values = dict(zip(("forget", *UTILITIES[INCORRECTNESS]), (np.asarray(part) for part in parts), strict=True))
    found = optional(efficiency(INCORRECTNESS, values))
    if math.isnan(parts[0]) or len(known) == 1:
        assert found is None
    else:
        assert found == pytest.approx(float(harmonic(np.array(known))), abs=1e-6)


def test_numbers_at_the_boundary_to_json() -> None:
    assert optional(math.nan) is optional(math.inf) is None
    assert math.copysign(1, optional(-0.0) or 0.0) == 1
