from __future__ import annotations

from typing import Any

from mllmu_med.attacks.interface import Data
from mllmu_med.attacks.knowledge import attackers_data
from mllmu_med.benchmark.sample import Sample, Stratum, Subset

GENERAL, PRIVATE = Stratum.GENERAL, Stratum.PRIVATE_IMAGE


def samples(kind: str, count: int, subset: Subset, stratum: Stratum, size: int = 3, **more: Any) -> list[Sample]:
    """``count`` samples in groups of ``size``, one image a group."""
    return [
        Sample(
            id=f"{kind}{n}", record_id=f"{kind}{n}", subset=subset, stratum=stratum, question="q", answer="a",
            group=f"{kind}-{n // size}", image_id=f"image-{kind}-{n // size}",
            patient_id=f"patient-{kind}-{n // size}" if stratum is PRIVATE else None, **more,
        )
        for n in range(count)
    ]  # fmt: skip


BENCHMARK = [
    *samples("f", 30, Subset.FORGET_PRIVACY, PRIVATE),
    *samples("w", 12, Subset.FORGET_INCORRECTNESS, Stratum.WRONG_IMAGE),
    *samples("k", 30, Subset.RETAIN, PRIVATE), *samples("t", 30, Subset.TEST, GENERAL),
    *samples("r", 60, Subset.RETAIN, GENERAL), *samples("h", 9, Subset.HOLDOUT, PRIVATE),
]  # fmt: skip


def data(seed: int = 0, **changes: int) -> Data:
    numbers = {"targets": 10, "bystanders": 6, "unrelated": 12, **changes}
    return attackers_data(BENCHMARK, BENCHMARK, **numbers, max_new_tokens=8, seed=seed)


def test_targets_are_whole_clusters_of_both_kinds() -> None:
    found = data()
    for subset, count in ((Subset.FORGET_PRIVACY, 12), (Subset.FORGET_INCORRECTNESS, 12)):
        own = [sample for sample in found.targets if sample.subset is subset]
        assert len(own) == count, "the next whole cluster, or all there are"
        clusters = {sample.cluster for sample in own}
        assert own == [s for s in BENCHMARK if s.subset is subset and s.cluster in clusters]
    assert len(data(targets=1000).targets) == 42


def test_nothing_the_attacker_trains_on_touches_what_is_scored() -> None:
    shared = samples("f", 3, Subset.RETAIN, GENERAL)  # ordinary records about a target's image
    every = [*BENCHMARK, *shared]
    found = attackers_data(every, every, targets=99, bystanders=99, unrelated=99, max_new_tokens=8, seed=0)
    assert len(found.unrelated) == 60
    scored = {s.image_id for s in (*found.targets, *found.bystanders)} | {s.group for s in found.targets}
    assert scored.isdisjoint({s.image_id for s in found.unrelated} | {s.group for s in found.unrelated})
    assert {s.subset for s in found.unrelated} == {Subset.RETAIN}


def test_bystanders_are_test_samples_and_retained_patients() -> None:
    found = data()
    kinds = [(sample.subset, sample.stratum) for sample in found.bystanders]
    assert kinds == [(Subset.TEST, GENERAL)] * 6 + [(Subset.RETAIN, PRIVATE)] * 6
    assert data(bystanders=0).bystanders == []


def test_the_choice_depends_on_the_seed_alone() -> None:
    assert data() == data()
    assert data(seed=1).targets != data().targets
