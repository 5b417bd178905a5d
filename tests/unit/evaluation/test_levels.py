from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mllmu_med.benchmark.sample import Sample, Stratum, Subset
from mllmu_med.evaluation.levels import cluster_sums, probe_sums
from mllmu_med.evaluation.metrics import Measured, all_metrics
from mllmu_med.evaluation.outputs import Output


def measured(stratum: Stratum, value: float, cluster: str, subset: Subset = Subset.RETAIN, **values: float) -> Measured:
    sample = Sample(id="s", record_id="r", subset=subset, stratum=stratum, question="?", answer="a", group=cluster)
    return Measured(sample, Output("s", "original", "?", "a"), {"utility": value, **values})


MANY = [measured(Stratum.GENERAL, 1.0, f"image-{n % 3}") for n in range(98)]
FEW = [measured(Stratum.PRIVATE_IMAGE, 0.0, "patient-1"), measured(Stratum.PRIVATE_IMAGE, 0.5, "patient-2")]
CLUSTERS = ["image-0", "image-1", "image-2", "patient-1", "patient-2"]


def test_each_stratum_counts_once_however_many_records_it_has() -> None:
    facts = [measured(Stratum.TRUE_TEXT, 0.5, "image-0"), measured(Stratum.TRUE_TEXT, 0.0, "image-1")]
    assert float(cluster_sums(MANY + facts, CLUSTERS).levels()["retain"]) == pytest.approx((1.0 + 0.25) / 2)
    by_name = [measured(Stratum.PRIVATE_TEXT, 1.0, "patient-1")]
    assert float(cluster_sums(FEW + by_name, CLUSTERS).levels()["patients"]) == pytest.approx((0.25 + 1.0) / 2)


def test_retained_patients_are_a_level_of_their_own() -> None:
    levels = cluster_sums(MANY + FEW, CLUSTERS).levels()
    assert float(levels["patients"]) == 0.25
    assert float(levels["retain"]) == 1.0


def test_nothing_measured_is_nan() -> None:
    levels = cluster_sums(MANY, CLUSTERS).levels()
    assert np.isnan(levels["leakage"])
    assert np.isnan(levels["patients"])
    assert float(levels["retain"]) == 1.0


def test_weights_repeat_clusters() -> None:
    sums = cluster_sums(MANY + FEW, CLUSTERS)
    weights = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 2], [1, 0, 0, 0, 0]], dtype=float)
    levels = sums.levels(weights)
    assert levels["patients"][:2].tolist() == [0.25, 0.5]
    assert np.isnan(levels["patients"][2])
    assert levels["retain"].tolist() == [1.0, 1.0, 1.0]


def test_unseen_images_under_a_wrong_rule_are_not_test_utility() -> None:
    both = [
        measured(Stratum.GENERAL, 1.0, "image-0", Subset.TEST),
        measured(Stratum.WRONG_UNSEEN, 0.0, "image-1", Subset.TEST),
    ]
    assert float(cluster_sums(both, CLUSTERS).levels()["test"]) == 1.0


def test_probes_have_levels_of_their_own(world) -> None:
    samples = {sample.id: sample for sample in world.samples}
    clusters = sorted({sample.cluster for sample in world.samples})
    found = probe_sums(all_metrics(samples, world.outputs(world.hides)), clusters)
    assert list(found) == ["original", "blank", "paraphrase-1"]
    assert {probe: float(sums.levels()["leakage"]) for probe, sums in found.items()} == {
        "original": 0.0, "blank": 0.0, "paraphrase-1": 1.0,
    }  # fmt: skip
    assert float(found["paraphrase-1"].levels()["wrong"]) == 1.0


def test_values_are_counted_in_their_own_subset_alone() -> None:
    leak = measured(Stratum.PRIVATE_IMAGE, 1.0, "patient-1", Subset.FORGET_PRIVACY, span_recall=0.4)
    held = replace(leak, sample=replace(leak.sample, subset=Subset.HOLDOUT), values={"span_recall": 1.0})
    levels = cluster_sums([leak, held], CLUSTERS).levels()
    assert float(levels["leakage"]) == 0.4
    assert float(levels["clinical"]) == 1.0
    assert np.isnan(levels["patients"])
