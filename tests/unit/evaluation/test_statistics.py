from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from mllmu_med.benchmark.sample import Sample, Stratum, Subset
from mllmu_med.evaluation.statistics import interval, majority_baseline, memberships, resample


def sample(
    number: int, subset: Subset = Subset.RETAIN, answer: str = "liver", kind: str = "organ", **changes
) -> Sample:
    base = Sample(
        id=f"{subset}-{number}", record_id="r", subset=subset, stratum=Stratum.GENERAL, question="?", answer=answer,
        clean_answer=answer, group=f"image-{number}", content_type=kind,
    )  # fmt: skip
    return replace(base, **changes)


def test_clusters_are_patients_or_images_with_their_subsets() -> None:
    samples = [sample(2), sample(1), sample(2, Subset.FORGET_INCORRECTNESS)]
    found = memberships([*samples, sample(3, patient_id="p"), sample(4, patient_id="p")])
    assert list(found) == ["image-1", "image-2", "p"]
    assert found["image-2"] == {Subset.RETAIN, Subset.FORGET_INCORRECTNESS}


def test_the_number_of_clusters_of_each_kind_is_kept() -> None:
    clusters = memberships([sample(n) for n in range(20)] + [sample(n, Subset.FORGET_PRIVACY) for n in range(100, 105)])
    weights = resample(clusters, 500, seed=3)
    forgotten = np.array([Subset.FORGET_PRIVACY in kind for kind in clusters.values()])
    assert (weights[:, forgotten].sum(1) == 5).all()
    assert (weights[:, ~forgotten].sum(1) == 20).all()
    assert weights.mean(0) == pytest.approx(1.0, abs=0.2)
    assert weights[:, ~forgotten].var(0).mean() == pytest.approx(0.95, abs=0.1)  # binomial(20, 1/20)


def test_resamples_depend_on_the_seed_alone() -> None:
    samples = [sample(n) for n in range(9)]
    first = resample(memberships(samples), 50, seed=1)
    assert (first == resample(memberships(samples[::-1]), 50, seed=1)).all()
    assert (first != resample(memberships(samples), 50, seed=2)).any()


def test_interval_of_a_mean_is_about_two_standard_errors() -> None:
    values = np.arange(100.0)
    clusters = memberships([sample(n) for n in range(100)])
    order = np.array([int(name.split("-")[1]) for name in clusters])
    means = resample(clusters, 4000, seed=0) @ values[order] / 100
    low, high = interval(means)
    error = values.std() / 10
    assert low == pytest.approx(49.5 - 1.96 * error, abs=0.5)
    assert high == pytest.approx(49.5 + 1.96 * error, abs=0.5)


def test_no_interval_where_most_resamples_measure_nothing() -> None:
    assert np.isnan(interval(np.array([0.5, np.nan, np.nan]))).all()
    assert interval(np.array([0.5, 0.5, np.nan])) == (0.5, 0.5)


def test_a_thousand_resamples_are_quick() -> None:
    clusters = memberships([sample(n) for n in range(2000)])
    started = time.process_time()
    resample(clusters, 1000, seed=0)
    assert time.process_time() - started < 1.0


def test_majority_baseline_guesses_by_content_type_and_language() -> None:
    train = [
        sample(1, answer="liver"), sample(2, answer="liver"), sample(3, answer="brain"),
        sample(4, answer="CT", kind="modality"), sample(5, answer="肝", language="zh"),
        sample(6, answer="spleen", stratum=Stratum.SIBLING), sample(7, answer="spleen", stratum=Stratum.SIBLING),
        sample(8, answer="spleen", stratum=Stratum.SIBLING),
    ]  # fmt: skip
    test = [
        sample(11, Subset.TEST, "liver"), sample(12, Subset.TEST, "brain"), sample(13, Subset.TEST, "CT", "modality"),
        sample(14, Subset.TEST, "肝", language="zh"), sample(15, Subset.TEST, "liver", "never seen"),
        sample(16, Subset.TEST, "liver", stratum=Stratum.WRONG_UNSEEN),
    ]  # fmt: skip
    assert majority_baseline(train + test) == pytest.approx(4 / 5)
    assert majority_baseline(train) is None
    assert majority_baseline(test) is None


def test_majority_ties_do_not_depend_on_order() -> None:
    train = [sample(1, answer="b"), sample(2, answer="a")]
    test = [sample(3, Subset.TEST, "a")]
    assert majority_baseline(train + test) == majority_baseline(train[::-1] + test) == 1.0
