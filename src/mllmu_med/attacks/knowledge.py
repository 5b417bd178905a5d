"""What the attacker is given: which samples are attacked, watched, trained on."""

from __future__ import annotations

from collections.abc import Sequence

from mllmu_med.attacks.interface import FORGET, Data
from mllmu_med.benchmark.sample import Sample, Stratum, Subset
from mllmu_med.evaluation.utility import PRIVATE_STRATA
from mllmu_med.seeding import rng


def attackers_data(
    samples: Sequence[Sample],
    asked: Sequence[Sample],
    *,
    targets: int,
    bystanders: int,
    unrelated: int,
    max_new_tokens: int,
    seed: int,
) -> Data:
    """Choose what is attacked and what the attacker may use, by seed.

    Args:
        samples: of the whole benchmark.
        asked: those that the evaluation asks; targets and bystanders are among them.
        targets: most of each kind of forget sample; whole clusters (patients, images) are taken until it is reached.
        bystanders: most test samples, and most of the retained patients'.
        unrelated: most ordinary training samples. None is of a target's or bystander's group, image or patient.
    """
    attacked = [
        sample
        for subset in FORGET
        for sample in _whole_clusters([s for s in asked if s.subset is subset], targets, seed, subset.value)
    ]
    test = [s for s in asked if s.subset is Subset.TEST and s.stratum is Stratum.GENERAL]
    kept = [s for s in asked if s.subset is Subset.RETAIN and s.stratum in PRIVATE_STRATA]
    watched = [
        *_whole_clusters(test, bystanders, seed, "test bystanders"),
        *_whole_clusters(kept, bystanders, seed, "retained bystanders"),
    ]
    taken = [*attacked, *watched]
    groups = {sample.group for sample in taken}
    patients = {sample.patient_id for sample in taken if sample.patient_id is not None}
    images = {sample.image_id for sample in taken if sample.image_id is not None}
    free = [
        s
        for s in samples
        if s.subset is Subset.RETAIN
        and s.stratum is Stratum.GENERAL
        and s.group not in groups
        and s.image_id not in images
        and s.patient_id not in patients
    ]
    return Data(
        targets=attacked,
        bystanders=watched,
        unrelated=_whole_clusters(free, unrelated, seed, "unrelated"),
        retained=[s for s in samples if s.subset is Subset.RETAIN and s.stratum in PRIVATE_STRATA],
        seed=seed,
        max_new_tokens=max_new_tokens,
    )


def _whole_clusters(samples: Sequence[Sample], most: int, seed: int, what: str) -> list[Sample]:
    """Whole clusters in seeded order until ``most`` samples are reached; all where there are no more. Order is kept."""
    if len(samples) <= most:
        return list(samples)
    clusters = sorted({sample.cluster for sample in samples})
    rng(seed, "attack", what).shuffle(clusters)
    chosen: set[str] = set()
    count = 0
    for cluster in clusters:
        if count >= most:
            break
        chosen.add(cluster)
        count += sum(sample.cluster == cluster for sample in samples)
    return [sample for sample in samples if sample.cluster in chosen]
