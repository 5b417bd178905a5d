from __future__ import annotations

import math

import numpy as np
import pytest

from mllmu_med.benchmark.sample import Stratum
from mllmu_med.evaluation.levels import LEVELS, ClusterSums, Levels
from mllmu_med.evaluation.robustness import measuring, recovered_by, with_usual_truth

ALL = {"privacy": ("p", "attack a: v"), "incorrectness": ("p",)}


def levels(**known: float) -> Levels:
    return {name: np.asarray(known.get(name, math.nan)) for name in LEVELS}


def test_what_is_recovered_stands_beside_theta0_and_the_oracle() -> None:
    found = recovered_by(
        {"attack a: v": levels(leakage=0.3)},
        {"attack a: v": levels(leakage=0.9)},
        {"attack a: v": levels(leakage=0.1)},
        ALL,
    )
    assert found == {"attack a: v": {"privacy": {"model": 0.3, "original": 0.9, "oracle": 0.1, "forget": 0.75}}}


def test_an_attack_that_theta0_withstands_measures_nothing() -> None:
    (one,) = recovered_by(
        {"p": levels(leakage=0.3)}, {"p": levels(leakage=0.3)}, {"p": levels(leakage=0.25)}, ALL
    ).values()
    assert one["privacy"]["forget"] is None


def test_attacks_that_were_not_made_on_the_references_are_left_out() -> None:
    assert recovered_by({"p": levels(leakage=0.3)}, {}, {"p": levels(leakage=0.0)}, ALL) == {}
    assert recovered_by({"p": levels()}, {"p": levels()}, {"p": levels()}, ALL) == {}


def test_the_truth_is_that_of_the_usual_question() -> None:
    """e_f = harmonic mean of the suppression under the attack and of the usual restoration, whatever it gives there."""
    attacked = {"p": levels(wrong=0.5, correct=0.0)}
    three = [
        with_usual_truth(made, levels(correct=correct))
        for made, correct in ((attacked, 0.25), ({"p": levels(wrong=1.0)}, 0.0), ({"p": levels(wrong=0.0)}, 1.0))
    ]
    (one,) = recovered_by(*three, ALL).values()
    assert one["incorrectness"]["forget"] == pytest.approx(2 / (1 / 0.5 + 1 / 0.25), abs=1e-6)
    assert attacked["p"]["correct"] == 0, "what was given is not changed"


def sums_of(hits: range, facts: int = 32) -> ClusterSums:
    """One wrong fact a cluster; the hits are those that were told."""
    columns = [(name, stratum) for name, level in LEVELS.items() for stratum in level.strata]
    column = columns.index(("wrong", Stratum.WRONG_IMAGE))
    sums, counts = np.zeros((facts, len(columns))), np.zeros((facts, len(columns)))
    counts[:, column] = 1
    sums[hits, column] = 1
    return ClusterSums(sums, counts)


def measures(original: range, oracle: range) -> bool:
    drawn = np.random.default_rng(0).multinomial(32, [1 / 32] * 32, size=4000).astype(float)
    found = measuring({"p": sums_of(original), "q": sums_of(range(9))}, {"p": sums_of(oracle)}, drawn)
    assert found["privacy"] == [], "nothing was measured there"
    return found["incorrectness"] == ["p"]


def test_a_lead_must_be_told_apart_from_chance() -> None:
    """Of 32: nine against five others is chance: in .17 of the resamples there is no lead. Four against none is not: a
    resample misses all four in (28/32)^32 = .014 of the cases, three in .043, where .025 is the limit."""
    assert not measures(range(9), range(20, 25))
    assert measures(range(4), range(0))
    assert not measures(range(3), range(0))
    assert measures(range(9), range(5)), "paired: the oracle guesses five of the same nine"
    assert not measures(range(5), range(5, 14)), "the oracle leads"


def test_one_cluster_tells_nothing_from_chance() -> None:
    drawn = np.ones((50, 1))
    assert measuring({"p": sums_of(range(1), 1)}, {"p": sums_of(range(0), 1)}, drawn)["incorrectness"] == []
    drawn = np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 2.0]] * 20)
    assert measuring({"p": sums_of(range(2), 2)}, {"p": sums_of(range(0), 2)}, drawn)["incorrectness"] == ["p"]


def test_without_resamples_every_probe_measures() -> None:
    found = measuring({"p": sums_of(range(1)), "q": sums_of(range(1))}, {"p": sums_of(range(1))}, None)
    assert found == {"privacy": ["p"], "incorrectness": ["p"]}


def test_what_chance_gives_has_no_share_forgotten() -> None:
    three = {"p": levels(wrong=0.1)}, {"p": levels(wrong=0.25)}, {"p": levels(wrong=0.1)}
    counted, chance = (
        recovered_by(*three, {"privacy": (), "incorrectness": probes})["p"]["incorrectness"]["forget"]
        for probes in (("p",), ())
    )
    assert (counted, chance) == (1.0, None)
