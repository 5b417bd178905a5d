"""Made-up patients as a stand-in for those whom nobody may look at, or whom nobody has.

How much of what θ0 says of them is still said tells what becomes of retained patients who are not shown to a method.
Whether the forgotten can be told from them tells what a membership test would find, without patients held out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from mllmu_med.benchmark.sample import Sample, Stratum, Subset
from mllmu_med.evaluation.membership import Kind, auc_by_kind, kind_of
from mllmu_med.evaluation.memorisation import mean_logprob
from mllmu_med.evaluation.outputs import ORIGINAL, Output
from mllmu_med.evaluation.scores import optional
from mllmu_med.evaluation.statistics import interval
from mllmu_med.seeding import numpy_rng

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class StrangerAnswer(NamedTuple):
    """What a model says of a made-up patient; ``answer`` is the digest of it."""

    patient: str
    image: str | None
    question: str
    answer: str


class StrangerRecord(NamedTuple):
    """A made-up patient's record about an image: its kind, as membership tests compare them, and the mean
    log-probability of its answer (nats a token, ≤ 0; None where a diverged model gives none)."""

    kind: Kind
    logprob: float | None


class OfStrangers(NamedTuple):
    """What a model was asked about made-up patients; both empty where it was not."""

    answers: Sequence[StrangerAnswer]
    records: Sequence[StrangerRecord]


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
    kept, counts = _by_patient(own, original)
    patients = len(counts)
    if not patients:
        return None
    low = high = None
    if bootstrap and patients > 1:
        drawn = numpy_rng(seed, "bootstrap", "strangers").multinomial(patients, [1 / patients] * patients, bootstrap)
        ends = interval((drawn @ kept) / (drawn @ counts))
        low, high = optional(ends[0]), optional(ends[1])
    share = float(kept.sum() / counts.sum())
    return {"patients": patients, "questions": len(own), "kept": share, "low": low, "high": high}


def strangers_error(
    own: Sequence[StrangerAnswer], other: Sequence[StrangerAnswer], original: Sequence[StrangerAnswer]
) -> float | None:
    """Standard error of the difference between what two models keep (:func:`strangers_kept`), ≥ 0; None below two
    patients.

    Paired, since both were asked the same, and over patients, since the answers about one of them change together. Of a
    ratio, by linearisation: with m patients, of whose n_i answers one model keeps d_i more than the other, and
    r = Σd / Σn, it is √(m / (m − 1) · Σ (d_i − r n_i)²) / Σn.
    """
    (ours, counts), (theirs, _) = _by_patient(own, original), _by_patient(other, original)
    patients, questions, more = len(counts), counts.sum(), ours - theirs
    if patients < 2:
        return None
    squares = ((more - more.sum() / questions * counts) ** 2).sum()
    return float((patients / (patients - 1) * squares) ** 0.5 / questions)


def auc_against_strangers(
    samples: Mapping[str, Sample], outputs: Iterable[Output], strangers: Iterable[StrangerRecord]
) -> float | None:
    """Membership AUC of forgotten patients against made-up ones, by mean log-probability: 0…1, .5 where they cannot be
    told apart, as :func:`~mllmu_med.evaluation.membership.membership_auc` has it against patients held out.

    Needs neither an oracle nor anybody's record that was kept from training. None without likelihoods on both sides.

    Args:
        samples: by identifier; outputs of others are left out.
        outputs: of the model.
        strangers: of the same model.
    """
    members: defaultdict[Kind, list[float]] = defaultdict(list)
    others: defaultdict[Kind, list[float]] = defaultdict(list)
    for output in outputs:
        sample = samples.get(output.sample_id)
        if sample is None or output.probe != ORIGINAL or (value := mean_logprob(output.logprobs)) is None:
            continue
        if (sample.subset, sample.stratum) == (Subset.FORGET_PRIVACY, Stratum.PRIVATE_IMAGE):
            members[kind_of(sample)].append(value)
    for kind, told in strangers:
        if told is not None:
            others[kind].append(told)
    return auc_by_kind(members, others)


def _by_patient(
    own: Sequence[StrangerAnswer], original: Sequence[StrangerAnswer]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Answers that are still θ0's and answers, patient by patient."""
    import numpy as np

    if [one[:3] for one in own] != [one[:3] for one in original]:
        raise ValueError("the model and θ0 were asked about different strangers")
    same: dict[str, list[bool]] = {}
    for ours, theirs in zip(own, original, strict=True):
        same.setdefault(ours.patient, []).append(ours.answer == theirs.answer)
    kept, counts = ([measure(v) for v in same.values()] for measure in (sum, len))
    return np.array(kept, dtype=np.int64), np.array(counts, dtype=np.int64)
