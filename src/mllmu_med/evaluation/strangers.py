"""How much of what θ0 says of strangers is still said: a stand-in for patients whom nobody may look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

from mllmu_med.evaluation.scores import optional
from mllmu_med.evaluation.statistics import interval
from mllmu_med.seeding import numpy_rng


class StrangerAnswer(NamedTuple):
    """What a model says of a made-up patient; ``answer`` is the digest of it."""

    patient: str
    image: str | None
    question: str
    answer: str


class Strangers(TypedDict):
    """Answers about made-up patients that are θ0's, letter by letter.

    ``patients`` and ``questions``: how many; ``kept``: share of the answers, 0…1, 1 for θ0 itself; ``low`` and
    ``high``: its 95 % interval over patients, None below two of them.
    """

    patients: int
    questions: int
    kept: float
    low: float | None
    high: float | None


def strangers_kept(
    own: Sequence[StrangerAnswer], original: Sequence[StrangerAnswer], *, seed: int, bootstrap: int = 1000
) -> Strangers | None:
    """How far a model still is θ0 where it can only guess; None where nothing was asked.

    A model that is not allowed to look at a patient forgets that patient in the measure in which it changes here: what
    both have in common is the format, not the facts.

    Args:
        own, original: of the model and of θ0, to the same questions in the same order.
        seed: of the bootstrap.
        bootstrap: number of resamples of whole patients; 0 for no interval.

    Raises:
        ValueError: the questions differ.
    """
    import numpy as np

    if [one[:3] for one in own] != [one[:3] for one in original]:
        raise ValueError("the model and θ0 were asked about different strangers")
    if not own:
        return None
    same: dict[str, list[bool]] = {}
    for ours, theirs in zip(own, original, strict=True):
        same.setdefault(ours.patient, []).append(ours.answer == theirs.answer)
    kept, counts = np.array([sum(v) for v in same.values()]), np.array([len(v) for v in same.values()])
    low = high = None
    if bootstrap and len(same) > 1:
        drawn = numpy_rng(seed, "bootstrap", "strangers").multinomial(len(same), [1 / len(same)] * len(same), bootstrap)
        ends = interval((drawn @ kept) / (drawn @ counts))
        low, high = optional(ends[0]), optional(ends[1])
    share = float(kept.sum() / counts.sum())
    return {"patients": len(same), "questions": len(own), "kept": share, "low": low, "high": high}
