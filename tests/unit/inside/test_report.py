"""Everything inside one model as one JSON-able result, from what is on disk."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from mllmu_med.inside.depth_score import Patched
from mllmu_med.inside.lens import Reading
from mllmu_med.inside.linear_probes import FORGOTTEN, Outcome
from mllmu_med.inside.means import ClusterMeans, with_interval
from mllmu_med.inside.report import Inside, inside_results, read_inside, write_inside, write_readings
from tests.unit.inside.conftest import SAMPLES


def measured(level: float) -> Inside:
    """A model that knows everything at level 1 and nothing at level 0, in two layers."""
    readings, patched, probes = [], [], []
    for sample in SAMPLES:
        for layer in (0, 1):
            for which, s in (("trained", -8 + 7 * level), ("other", -8 - level)):
                readings.append(Reading(sample.id, which, layer, s, s, 9 - 8 * level))
                for target, plain in (("theta0", (-1, -9)), ("oracle", (-8, -8))):
                    patched.append(Patched(sample.id, which, target, layer, plain[which == "other"], s))
            probes.append(Outcome("value", FORGOTTEN, layer, sample.id, 10, 2 + 8 * level, 2.0))
    return Inside(readings, patched, probes)


THETA0, ORACLE = measured(1.0), measured(0.0)


@pytest.mark.parametrize("level", [0.0, 0.25, 1.0])
def test_every_part_says_how_much_is_gone(level: float) -> None:
    results = inside_results(SAMPLES, measured(level), THETA0, ORACLE, seed=0, bootstrap=50)
    gone = pytest.approx(1 - level)
    for subset in ("forget/privacy", "forget/incorrectness"):
        lens, depth = results["lens"][subset], results["depth"][subset]
        for share in (lens["erased"], lens["erased_contrast"], depth["uds"], depth["contrast"], depth["reverse"]):
            assert share is not None
            assert share["mean"]["value"] == gone
            assert share["mean"]["low"] == gone
    assert [layer["left"] for layer in results["probes"]["value"]["layers"]] == pytest.approx([level, level])
    json.dumps(results, allow_nan=False)


def test_a_diverged_model_gives_json_too() -> None:
    nan = math.nan
    broken = Inside(
        [replace(one, answer=nan, telling=nan, rank=nan) for one in THETA0.readings],
        [replace(one, patched=nan) for one in THETA0.patched],
        THETA0.probes,
    )
    results = inside_results(SAMPLES, broken, THETA0, ORACLE, seed=0, bootstrap=50)
    json.dumps(results, allow_nan=False)
    assert results["depth"]["forget/privacy"]["uds"] is None


def test_what_is_written_comes_back_and_gives_the_same_results(tmp_path: Path) -> None:
    own = measured(0.5)
    write_readings(own.readings, tmp_path)
    write_inside(own.patched, own.probes, tmp_path)
    back = read_inside(tmp_path, tmp_path)
    assert (list(back.readings), list(back.patched), list(back.probes)) == (own.readings, own.patched, own.probes)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write_readings(back.readings, tmp_path)
    write_inside(back.patched, back.probes, tmp_path)
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_means_are_weighted_and_their_intervals_those_of_clusters() -> None:
    means = ClusterMeans(SAMPLES, seed=0, bootstrap=0)
    assert means.of({"f0": 1.0, "f1": 4.0}) == {"value": 2.5, "low": None, "high": None}
    assert means.of({"f0": 1.0, "f1": 4.0}, {"f0": 3.0, "f1": 1.0})["value"] == 1.75
    one_patient = [replace(sample, patient_id="p", group="p") for sample in SAMPLES]
    certain = ClusterMeans(one_patient, seed=0, bootstrap=50).of({"f0": 1.0, "f1": 4.0})
    assert certain == {"value": 2.5, "low": 2.5, "high": 2.5}, "one patient's questions are no independent draws"
    drawn = ClusterMeans(SAMPLES, seed=0, bootstrap=200).draws({"f0": 1.0, "f1": 4.0})
    assert drawn[0] == 2.5
    assert {1.0, 4.0} <= set(drawn[1:][~(drawn[1:] != drawn[1:])])
    assert with_interval(drawn)["low"] == 1.0
