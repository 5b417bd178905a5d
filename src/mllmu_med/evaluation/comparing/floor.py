"""The noise floor: how far two oracles of different seeds are from each other.

An oracle is one training run. Another, with the same data and another seed, answers a little differently, and by every
measure of this package it is some way off. A method that is no further off cannot be told from an oracle.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import permutations

from mllmu_med.benchmark.sample import Sample, Subset
from mllmu_med.errors import DataError, UsageError
from mllmu_med.evaluation.comparing.sides import MEMBERSHIP_AUC, SCORES, make_side
from mllmu_med.evaluation.distances import oracle_distances
from mllmu_med.evaluation.outputs import Output
from mllmu_med.evaluation.scores import optional

_OF_KL = (Subset.FORGET_PRIVACY, Subset.FORGET_INCORRECTNESS, Subset.TEST)


def gaps(
    samples: Sequence[Sample], model: Iterable[Output], original: Sequence[Output], oracle: Sequence[Output]
) -> dict[str, float | None]:
    """How far a model is from an oracle, each ≥ 0, 0 = as the oracle, None where not measurable.

    ``privacy`` and ``incorrectness``: 1 − UES against this oracle. ``membership_auc``: |AUC − AUC*| of the LOSS attack.
    ``kl.<subset>``: mean KL of the answer distributions, nats per token (see :func:`oracle_distances`).
    """
    given = list(model)
    side, ideal = (make_side("the model", samples, outputs, original, oracle) for outputs in (given, oracle))
    names = (*SCORES, MEMBERSHIP_AUC)
    own, other = (one.values(names, one.once()) for one in (side, ideal))
    found: dict[str, float | None] = {name: optional(1 - own[name][0]) for name in SCORES}
    both = MEMBERSHIP_AUC in own and MEMBERSHIP_AUC in other
    found[MEMBERSHIP_AUC] = optional(abs(own[MEMBERSHIP_AUC][0] - other[MEMBERSHIP_AUC][0])) if both else None
    apart = oracle_distances(side.samples, given, oracle)
    for subset in _OF_KL:
        found[f"kl.{subset.value}"] = apart[subset.value]["kl"] if subset.value in apart else None
    return found


def noise_floor(
    samples: Sequence[Sample], original: Sequence[Output], oracles: Mapping[str, Sequence[Output]]
) -> dict[str, float | None]:
    """The largest gap between any two of the oracles, each in turn taken for the model: names as in :func:`gaps`.

    A method whose gap is not above it cannot be told from an oracle. With two oracles the floor is one draw of a
    distance, and a rough one: three give six.

    Raises:
        UsageError: fewer than two oracles.
        DataError: they were not asked the same samples.
    """
    if len(oracles) < 2:
        raise UsageError("the noise floor is the distance between oracles: give at least one more")
    asked = {name: {output.sample_id for output in given} for name, given in oracles.items()}
    first = next(iter(asked))
    for name, ids in asked.items():
        if ids != asked[first]:
            raise DataError(
                f"the oracles of '{first}' and '{name}' were not asked the same samples",
                mend="Evaluate them again in one run.",
            )
    found = [gaps(samples, oracles[one], original, oracles[other]) for one, other in permutations(oracles, 2)]
    names = dict.fromkeys(name for gap in found for name in gap)
    known = {name: [value for gap in found if (value := gap[name]) is not None] for name in names}
    return {name: max(values, default=None) for name, values in known.items()}


def within(gap: float | None, floor: float | None) -> bool | None:
    """Whether a gap is no larger than the floor: the model cannot be told from an oracle. None where one is unknown."""
    return None if gap is None or floor is None else gap <= floor
