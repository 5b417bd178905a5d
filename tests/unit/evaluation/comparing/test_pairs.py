"""The differences of two rows: the values of the results, intervals that cover, sentences that say what was found."""

from __future__ import annotations

import json
import math
import random as python_random

import numpy as np
import pytest

from mllmu_med.benchmark.sample import Stratum, Subset
from mllmu_med.errors import DataError, UsageError
from mllmu_med.evaluation.comparing.pairs import compare_sides, corrected, sentence
from mllmu_med.evaluation.comparing.sides import PARTS, SCORES, make_side, mixture
from mllmu_med.evaluation.rows import score_rows
from tests.unit.evaluation.conftest import World, build_world

UTILITY = "retain.utility"


@pytest.fixture(scope="module")
def world() -> World:
    return build_world()


def outputs_of(world: World) -> dict[str, list]:
    policies = {"theta0": world.original, "oracle": world.oracle, "lossy": lossy, "gone": world.forgets_neighbours}
    return {name: world.outputs(policy, -0.1 if name == "theta0" else -0.5) for name, policy in policies.items()}


def lossy(sample, probe: str = "original") -> str:
    """Like the oracle, but every other retained patient is gone."""
    odd = sample.patient_id is not None and int(sample.patient_id[-1]) % 2
    return "unknown person" if odd and sample.subset == Subset.RETAIN else World.oracle(sample, probe)


def side(world: World, name: str, given: dict[str, list] | None = None):
    given = given or outputs_of(world)
    return make_side(name, world.samples, given[name], given["theta0"], given["oracle"])


def found(one, other, quantities=SCORES, **choices) -> dict:
    differences = corrected(compare_sides([one], [other], quantities, seed=0, bootstrap=200, draws=199, **choices))
    return {difference["quantity"]: difference for difference in differences}


def test_every_value_is_that_of_the_results(world) -> None:
    given = outputs_of(world)
    rows = {row["name"]: row for row in score_rows(world.samples, given, {}, seed=0, bootstrap=0)}
    for name in ("theta0", "oracle", "lossy", "gone"):
        one = side(world, name, given)
        values = {q: float(v[0]) for q, v in one.values(one.quantities(), one.once()).items()}
        for scenario, ues in rows[name]["ues"].items():
            assert values[scenario] == pytest.approx(ues["value"], abs=1e-6)
            for part, value in ues["parts"].items():
                shared = scenario == "incorrectness" and part in ("retain", "patients", "test")
                assert values[f"{'privacy' if shared else scenario}.{part}"] == pytest.approx(value, abs=1e-6)
        metrics = 0
        for subset, strata in rows[name]["metrics"].items():
            for metric, value in strata["all"].items():
                if metric != "count" and value is not None:
                    assert values[f"{subset}.{metric}"] == pytest.approx(value, abs=1e-6)
                    metrics += 1
        assert metrics > 40
        private = rows[name]["metrics"]["forget/privacy"]["private_image"]
        assert values["membership_auc"] == pytest.approx(private["membership_auc"])


def test_the_interval_is_on_the_resamples_of_the_score(world) -> None:
    """The oracle's UES is 1 in every resample, so the difference has the mirror image of the row's own interval."""
    given = outputs_of(world)
    row = score_rows(world.samples, given, {}, seed=0, bootstrap=200)[3]
    assert row["name"] == "lossy"
    one = found(side(world, "oracle", given), side(world, "lossy", given), ["privacy"])["privacy"]
    ues = row["ues"]["privacy"]
    assert (one["low"], one["high"]) == pytest.approx((1 - ues["high"], 1 - ues["low"]), abs=1e-5)


def test_a_real_difference_is_told_apart_and_said_so(world) -> None:
    one = found(side(world, "lossy"), side(world, "gone"), ["privacy", "privacy.patients", "privacy.forget"])
    patients = one["privacy.patients"]
    assert (patients["value_a"], patients["value_b"], patients["difference"]) == (0.5, 0.0, 0.5)
    assert (patients["test"], patients["paired"]) == ("sign-flip", True)
    assert one["privacy.forget"]["difference"] == 0.0
    assert one["privacy.forget"]["told_apart"] is False
    assert "cannot be told apart" in one["privacy.forget"]["sentence"]


def test_the_sentence_needs_both_the_test_and_the_interval(make_plain) -> None:
    one = found(make_plain([0.9] * 12, "x"), make_plain([0.4] * 12, "y"), [UTILITY])[UTILITY]
    assert one["told_apart"] is True
    assert one["sentence"].startswith("On utility (retain), x is 0.50 higher than y (0.90 against 0.40;")
    for changes in ({"low": -0.1}, {"p": 0.2}):
        (again,) = corrected([{**one, **changes}])
        assert again["told_apart"] is False
        assert "cannot be told apart" in again["sentence"]
    (turned,) = corrected([{**one, "difference": -0.5, "low": -0.6, "high": -0.4}])
    assert "0.50 lower than y" in turned["sentence"]
    assert "cannot be compared" in sentence({**one, "difference": None})


def test_scores_and_the_rest_are_families_of_their_own() -> None:
    base = {"a": "x", "b": "y", "value_a": 0.1, "value_b": 0.2, "difference": -0.1, "low": -0.2, "high": -0.01}
    given = [("privacy", 0.02), ("privacy.forget", 0.01), ("incorrectness", 0.03), ("retain.bleu", 0.04)]
    rows = [{**base, "quantity": name, "p": p} for name, p in given]
    assert [one["p_holm"] for one in corrected(rows)] == pytest.approx([0.04, 0.02, 0.04, 0.04])


def test_the_interval_of_a_paired_difference_covers(make_plain) -> None:
    random = np.random.default_rng(2)
    covered = 0
    for repetition in range(200):
        patient = random.normal(0, 0.2, 40)
        one, other = make_plain(patient + random.normal(0.1, 0.1, 40)), make_plain(patient + random.normal(0, 0.1, 40))
        (difference,) = compare_sides([one], [other], [UTILITY], seed=repetition, bootstrap=300, draws=9)
        covered += difference["low"] <= 0.1 <= difference["high"]
    assert 0.90 <= covered / 200 <= 0.99


def test_pairing_narrows_the_interval(make_plain) -> None:
    patient = np.random.default_rng(0).random(30)
    one, other = make_plain(patient + 0.05), make_plain(patient, "b")
    elsewhere = make_plain(patient, "b", benchmark="two")
    paired, apart = (found(one, against, [UTILITY])[UTILITY] for against in (other, elsewhere))
    assert paired["high"] - paired["low"] == pytest.approx(0.0, abs=1e-9)
    assert apart["high"] - apart["low"] > 0.1
    assert (apart["test"], apart["paired"]) == ("bootstrap", False)
    assert paired["p"] < apart["p"]


def test_power_counts_the_clusters_behind_the_quantity(world) -> None:
    one, other = side(world, "lossy"), side(world, "gone")
    both = found(one, other, ["privacy", "privacy.forget", "privacy.patients", "retain.utility"], wanted_difference=0.1)
    assert both["privacy.forget"]["power"]["clusters"] == 6
    assert both["privacy.patients"]["power"]["clusters"] == 8
    scored = {Subset.FORGET_PRIVACY: None, Subset.RETAIN: None, Subset.TEST: Stratum.GENERAL}
    behind = {one.cluster for one in world.samples if scored.get(one.subset, "") in (None, one.stratum)}
    assert both["privacy"]["power"]["clusters"] == len(behind)
    power = both["privacy.patients"]["power"]
    assert power["needed"] > power["clusters"]
    assert power["power"] < 0.8
    assert both["privacy.forget"]["power"]["deviation"] == 0.0


def test_several_seeds_are_not_pooled(make_plain) -> None:
    random = np.random.default_rng(0)
    values = [random.random(20) for _ in range(3)]
    one = [make_plain(v + shift, "x") for v, shift in zip(values, (0.1, 0.2, 0.3), strict=True)]
    other = [make_plain(v, "y") for v in values]
    (difference,) = compare_sides(one, other, [UTILITY], seed=0, bootstrap=100)
    assert (difference["seeds"], difference["test"]) == (3, "t over seeds")
    assert difference["difference"] == pytest.approx(0.2)
    assert difference["between_seeds"] == pytest.approx(0.1)
    assert difference["p"] == pytest.approx(0.0742, abs=1e-3)  # t = 0.2 / (0.1/√3) with 2 degrees of freedom
    with pytest.raises(UsageError, match="same number"):
        compare_sides(one, other[:2], [UTILITY], seed=0)


def test_seeds_on_one_benchmark_are_no_further_benchmarks(make_plain) -> None:
    """Benchmark one says .1 and .3, so .2; two says .5: t = .35 / (.2121 / √2) with 1 degree of freedom, not 2."""
    patients = np.random.default_rng(0).random(20)
    shifts = (("one", 0.1), ("two", 0.5), ("one", 0.3))
    one = [make_plain(patients + shift, "x", benchmark) for benchmark, shift in shifts]
    other = [make_plain(patients, "y", benchmark) for benchmark, _ in shifts]
    (difference,) = compare_sides(one, other, [UTILITY], seed=0, bootstrap=100)
    assert (difference["seeds"], difference["test"]) == (3, "t over benchmarks")
    assert difference["difference"] == pytest.approx(0.35)
    assert difference["value_a"] - difference["value_b"] == pytest.approx(0.35, abs=1e-6)
    assert difference["between_seeds"] == pytest.approx(0.3 / math.sqrt(2))
    assert difference["p"] == pytest.approx(0.2578, abs=1e-3)


def test_benchmarks_that_agree_are_believed_no_more_than_their_patients_allow(make_plain) -> None:
    """Both say .5 with a variance of .25 / 20 over patients: ± t(1) √(.0125 / 2), not that of one draw of patients."""
    shifts, none = [0.0, 1.0] * 10, [0.0] * 20
    one, other = (
        [make_plain(values, name, where) for where in ("one", "two")]
        for name, values in zip("xy", (shifts, none), strict=True)
    )
    (difference,) = compare_sides(one, other, [UTILITY], seed=0, bootstrap=4000)
    assert (difference["difference"], difference["test"]) == (pytest.approx(0.5), "t over seeds")
    assert (difference["low"], difference["high"]) == pytest.approx(
        (0.5 - 12.706 * math.sqrt(0.0125 / 2), 1.0), rel=0.1
    )


def test_a_benchmark_is_the_same_where_both_sides_have_it(make_plain) -> None:
    one = [make_plain([0.1, 0.2, 0.3], "x", "one") for _ in range(3)]
    other = [make_plain([0.0] * 3, "y", where) for where in ("two", "two", "three")]
    (difference,) = compare_sides(one, other, [UTILITY], seed=0, bootstrap=10)
    assert difference["test"] == "t over benchmarks"


def test_the_interval_over_benchmarks_with_several_seeds_each_covers(make_plain) -> None:
    """Four benchmarks of 20 patients, three seeds on each: patients, what is learnt once a benchmark, and seeds."""
    random, covered = np.random.default_rng(5), 0
    for repetition in range(100):
        one, other = [], []
        for benchmark in "abcd":
            patients = random.normal(0, 0.2, 20) + random.normal(0, 0.05)
            for _ in range(3):
                one.append(make_plain(patients + random.normal(0, 0.02), "x", benchmark))
                other.append(make_plain(np.zeros(20), "y", benchmark))
        (difference,) = compare_sides(one, other, [UTILITY], seed=repetition, bootstrap=100)
        covered += difference["low"] <= 0 <= difference["high"]
    assert 90 <= covered <= 100


def test_an_interval_that_is_not_known_is_none(make_plain) -> None:
    one, other = (make_plain([math.nan] * 5, name) for name in "xy")
    for sides in (([one], [other]), ([one] * 2, [other] * 2)):
        (difference,) = compare_sides(*sides, [UTILITY], seed=0, bootstrap=10, draws=9)
        assert (difference["difference"], difference["low"], difference["high"]) == (None, None, None)


def test_what_stands_on_one_patient_is_never_told_apart(make_plain) -> None:
    few = build_world(forgotten=1)
    given = {name: few.outputs(policy, -0.1) for name, policy in (("theta0", few.original), ("oracle", few.oracle))}
    given["noise"] = few.outputs(few.oracle, -0.5)
    one, other = side(few, "theta0", given), side(few, "noise", given)
    found = {d["quantity"]: d for d in corrected(compare_sides(
        [one], [other], ["privacy", "privacy.forget", "retain.utility", "membership_auc"], seed=0, bootstrap=50
    ))}  # fmt: skip
    for name in ("privacy", "privacy.forget", "membership_auc"):
        assert (found[name]["low"], found[name]["high"], found[name]["told_apart"]) == (None, None, None), name
    assert found["privacy.forget"]["difference"] == -1.0
    assert found["retain.utility"]["low"] is not None
    twice = compare_sides([one, one], [other, other], ["privacy.forget"], seed=0, bootstrap=50)
    assert (twice[0]["p"], twice[0]["low"]) == (None, None)
    assert make_plain([0.5], "x").has_spread(UTILITY) is False


def test_no_order_matters(world) -> None:
    given = outputs_of(world)
    turned = {name: python_random.Random(1).sample(outputs, len(outputs)) for name, outputs in given.items()}
    first = found(side(world, "lossy", given), side(world, "gone", given), (*SCORES, *PARTS, "membership_auc"))
    again = make_side("lossy", world.samples[::-1], turned["lossy"], turned["theta0"], turned["oracle"])
    other = make_side("gone", world.samples[::-1], turned["gone"], turned["theta0"], turned["oracle"])
    assert found(again, other, (*SCORES, *PARTS, "membership_auc")) == first
    json.dumps(first, allow_nan=False)


def test_a_mixture_of_a_row_with_itself_is_the_row(world) -> None:
    one = side(world, "lossy")
    tosses = np.random.default_rng(0).integers(0, 2, size=(5, len(one.clusters))).astype(float)
    names = [name for name in one.quantities() if name != "membership_auc"]
    mixed = mixture(one, one).values(names, np.hstack([tosses, 1 - tosses]))
    plain = one.values(names, one.once())
    for name in names:
        assert mixed[name] == pytest.approx(np.repeat(plain[name], 5), nan_ok=True)


def test_rows_asked_other_samples_are_refused(world) -> None:
    given = outputs_of(world)
    missing = [one for one in given["gone"] if one.sample_id != "2-0-text"]
    with pytest.raises(DataError, match="not those of the samples that θ0 was asked"):
        make_side("gone", world.samples, missing, given["theta0"], given["oracle"])
    with pytest.raises(DataError, match="record"):
        make_side("gone", world.samples[1:], given["gone"], given["theta0"], given["oracle"])
    with pytest.raises(DataError, match="gone"):
        make_side("gone", world.samples, [*given["gone"], given["gone"][0]], given["theta0"], given["oracle"])


def test_a_row_without_likelihoods_is_compared_in_the_rest(world) -> None:
    given = outputs_of(world)
    from dataclasses import replace

    silent = [replace(one, logprobs=None, greedy=None) for one in given["lossy"]]
    quiet = make_side("silent", world.samples, silent, given["theta0"], given["oracle"])
    both = found(side(world, "lossy", given), quiet, ["privacy", "membership_auc", "retain.probability"])
    assert both["privacy"]["difference"] == 0.0
    for name in ("membership_auc", "retain.probability"):
        assert both[name]["difference"] is None
        assert both[name]["p_holm"] is None
        assert "nothing to measure" in both[name]["sentence"]
