"""The vocabulary and the distribution of random truths."""

from __future__ import annotations

from collections import Counter

import pytest

from mllmu_med.seeding import numpy_rng
from mllmu_med.sources.phantom import ATTRIBUTES, MODALITIES, Truth, random_truth


def test_indices_name_the_truth() -> None:
    truth = Truth("abdominal CT", "metastasis", "right", "large", 2)
    names = {name: ATTRIBUTES[name][index] for name, index in truth.indices().items()}
    assert names == {
        "modality": "abdominal CT",
        "finding": "metastasis",
        "side": "right",
        "size": "large",
        "count": "two",
    }
    assert truth.organ == "liver"


def test_a_normal_picture_has_index_zero_everywhere_but_in_the_modality() -> None:
    assert Truth("histology slide").indices() == {"modality": 4, "finding": 0, "side": 0, "size": 0, "count": 0}


def test_five_modalities_with_two_findings_each_that_no_other_has() -> None:
    assert len(MODALITIES) == 5
    assert len(ATTRIBUTES["finding"]) == len(set(ATTRIBUTES["finding"])) == 11


def test_random_truths_are_balanced_and_consistent() -> None:
    truths = [random_truth(numpy_rng(3, number)) for number in range(4_000)]
    modalities = Counter(truth.modality for truth in truths)
    assert all(count == pytest.approx(800, abs=100) for count in modalities.values())
    abnormal = [truth for truth in truths if truth.finding]
    assert len(abnormal) == pytest.approx(2_800, abs=120)
    assert Counter(truth.side for truth in abnormal)["left"] == pytest.approx(len(abnormal) / 2, abs=110)
    assert Counter(truth.size for truth in abnormal)["small"] == pytest.approx(len(abnormal) / 2, abs=110)
    assert {truth.count for truth in abnormal if truth.size == "small"} == {1, 2, 3}
    assert {truth.count for truth in abnormal if truth.size == "large"} == {1, 2}
    assert all(truth.finding in MODALITIES[truth.modality].findings for truth in abnormal)
    assert all(truth == Truth(truth.modality) for truth in truths if not truth.finding)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (1.0, 50)])
def test_the_share_of_findings_can_be_set(share: float, expected: int) -> None:
    assert sum(random_truth(numpy_rng(number), share).finding is not None for number in range(50)) == expected
