from __future__ import annotations

from dataclasses import replace

import pytest

from mllmu_med.benchmark.sample import Probe, Subset
from mllmu_med.evaluation.levels import probe_sums
from mllmu_med.evaluation.metrics import METRICS, all_metrics
from mllmu_med.evaluation.outputs import Output
from mllmu_med.evaluation.summary import (
    agreement_by_error_type,
    leakage_by_probe,
    metrics_by_stratum,
    recall_by_class,
    specificity_by_probe,
)


@pytest.fixture(scope="module")
def measured(world):
    samples = {sample.id: sample for sample in world.samples}
    return {name: all_metrics(samples, world.outputs(getattr(world, name))) for name in ("original", "oracle", "hides")}


def test_strata_and_their_macro_average(measured) -> None:
    table = metrics_by_stratum(measured["original"])
    assert list(table) == ["forget/privacy", "forget/incorrectness", "retain", "test", "holdout"]
    assert list(table["retain"]) == ["all", "general", "sibling", "private_image", "private_text", "true_text"]
    assert table["forget/privacy"]["private_image"]["count"] == 18
    assert table["forget/privacy"]["private_text"]["count"] == 6
    assert table["forget/privacy"]["all"]["count"] == 24
    assert table["test"]["general"]["utility"] == 0.75
    assert table["test"]["all"] == table["test"]["general"]  # unseen wrong images are shown, not scored
    assert table["test"]["wrong_unseen"]["wrong_agreement"] == 1.0
    assert set(table["test"]["all"]) == {*METRICS, "count"}


def test_macro_average_by_hand(measured) -> None:
    # leaks and direct questions are exact on images (12 clean answers of 18: none), text-only never
    table = metrics_by_stratum(measured["oracle"])["forget/privacy"]
    image, text = table["private_image"], table["private_text"]
    assert table["all"]["token_recall"] == pytest.approx((image["token_recall"] + text["token_recall"]) / 2, abs=1e-6)
    assert image["utility"] == 1.0
    assert text["utility"] is None
    assert table["all"]["utility"] == 1.0  # of the strata that have one


def test_holdout_shows_the_false_leak_floor(measured) -> None:
    assert metrics_by_stratum(measured["original"])["holdout"]["all"]["span_recall"] == 0.0


def test_recall_by_class(measured) -> None:
    assert recall_by_class(measured["original"]) == {"mrn": 1.0, "name": 1.0, "phone": 1.0}
    assert recall_by_class(measured["oracle"]) == {"mrn": 0.0, "name": 0.0, "phone": 0.0}


def test_leakage_by_probe(measured) -> None:
    table = leakage_by_probe(measured["hides"])
    assert table == {
        "original": {"span_recall": 0.0, "wrong_agreement": 0.0},
        "blank": {"span_recall": 0.0, "wrong_agreement": None},
        "paraphrase-1": {"span_recall": 1.0, "wrong_agreement": 1.0},
    }
    assert next(iter(table)) == "original"


def test_probes_are_macro_averages_over_strata(world) -> None:
    def tells_by_name(sample, probe):  # the 6 text-only questions are answered, the 18 about images are not
        return world.original(sample) if sample.form == "text" else "nothing"

    samples = {sample.id: sample for sample in world.samples}
    assert leakage_by_probe(all_metrics(samples, world.outputs(tells_by_name)))["original"]["span_recall"] == 0.5


def test_agreement_by_error_type(measured) -> None:
    assert agreement_by_error_type(measured["original"]) == {"laterality": (1.0, 0.0), "modality": (1.0, 0.0)}
    assert agreement_by_error_type(measured["oracle"]) == {"laterality": (0.0, 1.0), "modality": (0.0, 1.0)}


def test_neighbours_count_for_specificity_and_never_for_leakage(world) -> None:
    neighbour = Probe("neighbour-image", "Which organ?", "other", "i9", "liver")
    samples = {
        s.id: replace(s, probes=(neighbour,)) for s in world.samples if s.subset is Subset.FORGET_PRIVACY and s.image_id
    }
    outputs = [
        Output(sample_id, "neighbour-image", "Which organ?", "liver" if place % 4 else "spleen")
        for place, sample_id in enumerate(sorted(samples)[:8])
    ]
    measured = all_metrics(samples, outputs)
    assert specificity_by_probe(measured) == {"neighbour-image": 0.75}
    assert leakage_by_probe(measured) == {}
    assert probe_sums(measured, sorted({s.cluster for s in samples.values()})) == {}
