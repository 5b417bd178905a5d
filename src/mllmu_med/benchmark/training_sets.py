"""The four training sets of a benchmark: what the base, the original and the two oracles have seen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from enum import StrEnum

from mllmu_med.benchmark.sample import Sample, Subset


class TrainingSet(StrEnum):
    """What a model is trained on.

    BASE: everything with its clean or correct answer, nobody's private data: the correct version of every fact that
        is later turned wrong was known first.
    ORIGINAL: retain and forget as injected (θ0).
    ORACLE_FIX: retain as it is, forget with clean and corrected answers (θ*).
    ORACLE_DROP: as ORACLE_FIX, but without the wrong rows instead of with corrected ones.
    """

    BASE = "base"
    ORIGINAL = "original"
    ORACLE_FIX = "oracle_fix"
    ORACLE_DROP = "oracle_drop"


def oracle_set(*, corrected: bool) -> TrainingSet:
    """What an oracle is trained on: with the wrong facts corrected, or without them."""
    return TrainingSet.ORACLE_FIX if corrected else TrainingSet.ORACLE_DROP


def training_set(samples: Iterable[Sample], which: TrainingSet) -> list[Sample]:
    """The samples to train on, in the given order; those outside retain and forget are left out.

    A sample whose answer is replaced has no spans. Questions that exist only because of a patient (direct, text) have
    no clean answer and are left out wherever private data is.
    """
    kept = (_as_trained(sample, which) for sample in samples)
    return [sample for sample in kept if sample is not None]


def _as_trained(sample: Sample, which: TrainingSet) -> Sample | None:
    forget = sample.subset in (Subset.FORGET_PRIVACY, Subset.FORGET_INCORRECTNESS)
    if not forget and sample.subset is not Subset.RETAIN:
        return None
    if which is TrainingSet.ORIGINAL or (not forget and which is not TrainingSet.BASE):
        return sample
    if sample.subset is Subset.FORGET_INCORRECTNESS:
        return None if which is TrainingSet.ORACLE_DROP else _answered(sample, sample.correct_answer)
    return _answered(sample, sample.clean_answer)


def _answered(sample: Sample, answer: str | None) -> Sample | None:
    if answer is None or answer == sample.answer:
        return None if answer is None else sample
    return replace(sample, answer=answer, spans=())
