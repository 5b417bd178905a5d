"""What is left of the retain data that a method was not shown, by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from mllmu_med.benchmark.sample import Sample, Stratum, Subset
from mllmu_med.evaluation.metrics import Measured
from mllmu_med.evaluation.outputs import ORIGINAL, Output
from mllmu_med.evaluation.unused import unused_results

IMAGE, TEXT, GENERAL, TRUE = Stratum.PRIVATE_IMAGE, Stratum.PRIVATE_TEXT, Stratum.GENERAL, Stratum.TRUE_TEXT
PEOPLE = (
    ("p1", IMAGE, 1.0, 1.0), ("p1", TEXT, 0.75, 0.5),
    ("p2", IMAGE, 0.5, 1.0), ("p2", IMAGE, 0.25, 0.5), ("p2", TEXT, 0.0, 0.8),
    ("p3", IMAGE, 0.0, 1.0), ("p3", TEXT, 0.6, 1.0),
)  # fmt: skip
"""Patient, stratum, usefulness of the row's answer and of θ0's."""
IMAGES = (("i1", GENERAL, 1.0, 1.0), ("i2", GENERAL, 0.5, 1.0), ("i3", GENERAL, 1.0, 1.0), ("t1", TRUE, 0.25, 0.5))
UNUSED = {"p2", "p3", "i2", "i3", "t1"}


def one(number: int, cluster: str, stratum: Stratum, value: float, subset: Subset = Subset.RETAIN, **rest: Any) -> Any:
    patient = cluster if stratum in (IMAGE, TEXT) else None
    sample = Sample(f"s{number}", "r", subset, stratum, "?", "yes", group=cluster, patient_id=patient)
    return Measured(sample, Output(sample.id, rest.get("probe", ORIGINAL), "?", "yes"), {"utility": value})


def measured(lines: Sequence[tuple[str, Stratum, float, float]]) -> tuple[list[Measured], list[Measured]]:
    """The row's outputs, and θ0's."""
    own, original = ([one(n, c, s, (a, b)[k]) for n, (c, s, a, b) in enumerate(lines)] for k in (0, 1))
    return own, original


def test_levels_are_macro_averages_over_used_and_unused_clusters_and_the_share_is_of_theta0() -> None:
    found = unused_results(*measured([*PEOPLE, *IMAGES]), UNUSED, seed=0, bootstrap=0)
    assert list(found) == ["patients", "retain"]
    used, unused = found["patients"]["used"], found["patients"]["unused"]
    # used: p1, (1 + .75) / 2 against (1 + .5) / 2
    assert (used["clusters"], used["level"], used["original"]) == (1, 0.875, 0.75)
    assert used["share"] == pytest.approx(0.875 / 0.75, abs=1e-6)
    # unused: image (.5 + .25 + 0) / 3 = .25, text (0 + .6) / 2 = .3; θ0: image 2.5 / 3, text .9
    assert unused["clusters"] == 2
    assert unused["level"] == pytest.approx(0.275)
    assert unused["original"] == pytest.approx((2.5 / 3 + 0.9) / 2, abs=1e-6)
    assert unused["share"] == pytest.approx(0.275 / ((2.5 / 3 + 0.9) / 2), abs=1e-6)
    # ordinary: used i1; unused general (.5 + 1) / 2 = .75 and true text .25, against 1 and .5
    assert found["retain"]["used"] == {
        "clusters": 1, "level": 1.0, "original": 1.0, "share": 1.0, "low": None, "high": None,
    }  # fmt: skip
    assert found["retain"]["unused"]["clusters"] == 3
    assert found["retain"]["unused"]["share"] == pytest.approx(0.5 / 0.75, abs=1e-6)


def test_nothing_is_reported_where_all_may_be_used() -> None:
    assert unused_results(*measured(PEOPLE), set(), seed=0) == {}


def test_other_subsets_and_probes_do_not_count() -> None:
    own, original = measured(PEOPLE)
    before = unused_results(own, original, UNUSED, seed=0, bootstrap=0)
    beside = [
        one(90, "p2", IMAGE, 1.0, Subset.FORGET_PRIVACY), one(91, "p2", GENERAL, 1.0, Subset.TEST),
        one(3, "p2", IMAGE, 1.0, probe="paraphrase-1"), one(92, "p9", IMAGE, 1.0, Subset.HOLDOUT),
    ]  # fmt: skip
    assert unused_results([*own, *beside], [*original, *beside], UNUSED, seed=0, bootstrap=0) == before


def test_the_interval_is_over_the_unused_clusters_alone() -> None:
    # Of two patients drawn with replacement: p2 twice (¼), both (½), p3 twice (¼).
    only_p2 = ((0.375 + 0.0) / 2) / ((0.75 + 0.8) / 2)
    both, only_p3 = 0.275 / ((2.5 / 3 + 0.9) / 2), 0.3
    found = unused_results(*measured([*PEOPLE, *IMAGES]), UNUSED, seed=0, bootstrap=400)
    low, high = found["patients"]["unused"]["low"], found["patients"]["unused"]["high"]
    assert (low, high) == (pytest.approx(only_p2, abs=1e-6), pytest.approx(max(both, only_p3), abs=1e-6))
    assert found["patients"]["used"]["low"] is None, "one patient says nothing of the others"


def test_row_and_theta0_are_measured_on_the_same_draws() -> None:
    lines = [(f"p{n}", IMAGE, 0.05 * n, 0.1 * n) for n in range(1, 10)]
    kept = unused_results(*measured(lines), {f"p{n}" for n in range(1, 10)}, seed=0, bootstrap=100)["patients"]
    assert (kept["unused"]["share"], kept["unused"]["low"], kept["unused"]["high"]) == (0.5, 0.5, 0.5)
    assert kept["used"] == {
        "clusters": 0, "level": None, "original": None, "share": None, "low": None, "high": None,
    }  # fmt: skip


def test_where_theta0_knows_nothing_there_is_no_share() -> None:
    lines = [("p1", IMAGE, 0.5, 0.0), ("p2", IMAGE, 0.5, 0.0)]
    kept = unused_results(*measured(lines), {"p1", "p2"}, seed=0, bootstrap=20)["patients"]["unused"]
    assert (kept["level"], kept["original"], kept["share"], kept["low"]) == (0.5, 0.0, None, None)


def test_draws_in_which_theta0_knows_nothing_are_left_out() -> None:
    # p1 twice (¼): unknown; both (½): .5 / .5; p2 twice (¼): .5 / 1.
    lines = [("p1", IMAGE, 0.5, 0.0), ("p2", IMAGE, 0.5, 1.0)]
    kept = unused_results(*measured(lines), {"p1", "p2"}, seed=0, bootstrap=200)["patients"]["unused"]
    assert (kept["share"], kept["low"], kept["high"]) == (1.0, 0.5, 1.0)


def test_no_order_matters_and_the_seed_does() -> None:
    lines = [(f"p{n}", IMAGE, (0.37 * n) % 1, 0.5 + 0.05 * n) for n in range(10)]
    own, original = measured(lines)
    every = {f"p{n}" for n in range(10)}
    first = unused_results(own, original, every, seed=1, bootstrap=60)
    assert unused_results(own[::-1], original[::-1], every, seed=1, bootstrap=60) == first
    assert unused_results(own, original, every, seed=2, bootstrap=60) != first
