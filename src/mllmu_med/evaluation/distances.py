"""How far a model is from the oracle: from two models' outputs on the same questions.

All of it compares what the two say of the trained answers; the oracle is a model, not a limit, and two oracles of
different seeds are a distance apart too. That distance is the noise floor that every number here is read against.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from math import fsum
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from mllmu_med.benchmark.sample import Sample, Subset
from mllmu_med.evaluation.outputs import ORIGINAL, Output
from mllmu_med.evaluation.scores import optional
from mllmu_med.evaluation.truth_ratio import fact_truth_ratio, value_truth_ratios

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mllmu_med.attacks.interface import Attempt

    FloatArray = NDArray[np.float64]

FLOOR = -103.0
"""Nats. The smallest float32 is e^−103.3: where the oracle gives less than this, or nothing, this is taken instead, so
that no distance is infinite. It makes distances smaller, never larger."""

_FORGET = (Subset.FORGET_PRIVACY, Subset.FORGET_INCORRECTNESS)


class KS(NamedTuple):
    """A two-sample Kolmogorov–Smirnov test.

    Attributes:
        statistic: largest difference of the two distribution functions, 0..1, lower = more alike.
        p_value: 0..1, higher = more alike.
        log10_p_value: ≤ 0; TOFU plots forget quality so. Not below −307.
    """

    statistic: float
    p_value: float
    log10_p_value: float


class Distance(TypedDict):
    """A model's distance from the oracle on one subset; None where ``reasons`` says why.

    Attributes:
        ks, forget_quality, log10_forget_quality: :func:`ks_test` of the truth ratios (forget subsets).
        kl, js: means over answers of :func:`divergences`, nats per token, lower = more alike.
        bits_per_token, bits_per_answer: means over answers of :func:`residual_bits`, lower is better.
        most_bits: the largest of ``bits_per_answer``.
        truth_ratios, distributions, answers: how many samples stand behind these three groups.
    """

    ks: float | None
    forget_quality: float | None
    log10_forget_quality: float | None
    kl: float | None
    js: float | None
    bits_per_token: float | None
    bits_per_answer: float | None
    most_bits: float | None
    truth_ratios: int
    distributions: int
    answers: int
    reasons: dict[str, str]


def ks_test(model: Sequence[float], oracle: Sequence[float]) -> KS | None:
    """Kolmogorov–Smirnov test of two sets of truth ratios; its p-value is TOFU's forget quality (arXiv 2401.06121).

    A high p-value says that the two could not be told apart by these samples, not that they are equal: few samples give
    high p-values. The test takes samples for independent, which questions about one patient are not, so that p-values
    are too small rather than too large. None where one side is empty.
    """
    from scipy import stats

    if not model or not oracle:
        return None
    found = stats.ks_2samp(model, oracle)
    p_value = min(1.0, float(found.pvalue))
    return KS(float(found.statistic), p_value, math.log10(max(p_value, sys.float_info.min)))


def divergences(model: Sequence[Sequence[float]], oracle: Sequence[Sequence[float]]) -> tuple[float, float] | None:
    """KL(θ ‖ θ*) and Jensen–Shannon divergence of the next-token distributions, in nats per token, means over tokens.

    KL = Σ_c p(c) (log p(c) − log q(c)), 0 … ∞: large where the model expects what the oracle does not. JS is the mean
    of the KL of both from their mean, 0 … ln 2. The distributions are over the 64 cells of a fixed partition of the
    vocabulary (:func:`~mllmu_med.engines.likelihoods.cell_of`), so by the data processing inequality both are **lower
    bounds** of the divergences over tokens: 0 does not prove that two models are equal. None where a value is not a
    number, there are no tokens, or the two have different numbers of them.

    Args:
        model, oracle: [tokens, cells] log-probabilities (nats) at the same answer tokens.
    """
    import numpy as np

    p, q = (np.asarray(one, dtype=float) for one in (model, oracle))
    if p.shape != q.shape or p.size == 0 or np.isnan(p).any() or np.isnan(q).any():
        return None
    p, q = (_normalised(one) for one in (p, q))
    middle = np.logaddexp(p, q) - math.log(2)
    kl = _kl(p, q)
    js = (_kl(p, middle) + _kl(q, middle)) / 2
    return max(0.0, kl), min(max(0.0, js), math.log(2))


def _normalised(logs: FloatArray) -> FloatArray:
    """Floored, and the rounding of float32 taken out."""
    import numpy as np

    floored = np.maximum(logs, FLOOR)
    normalised: FloatArray = floored - np.logaddexp.reduce(floored, axis=-1, keepdims=True)
    return normalised


def _kl(p: FloatArray, q: FloatArray) -> float:
    import numpy as np

    return float((np.exp(p) * (p - q)).sum(-1).mean())


def residual_bits(model: Sequence[float], oracle: Sequence[float]) -> float | None:
    """(1 / ln 2) · max(0, log p_θ(y) − log p_θ*(y)): bits of the trained answer that are left, 0 … ∞, lower is better.

    How much shorter the answer could be written down with the model than with the oracle. 0 where the oracle finds it
    as likely; 1 bit halves the guesses. None where a log-probability is not a number, there are no tokens, or the two
    have different numbers of them.

    Args:
        model, oracle: log-probabilities (nats) of the answer's tokens.
    """
    if not model or len(model) != len(oracle) or any(map(math.isnan, (*model, *oracle))):
        return None
    difference = fsum(model) - fsum(max(FLOOR, one) for one in oracle)
    return max(0.0, difference) / math.log(2)


def oracle_distances(
    samples: Mapping[str, Sample],
    outputs: Iterable[Output],
    oracle_outputs: Iterable[Output],
    attempts: Iterable[Attempt] = (),
    oracle_attempts: Iterable[Attempt] = (),
) -> dict[str, Distance]:
    """Subset → distance from the oracle, on the original questions that both were asked; JSON-able, order-free.

    Args:
        samples: by identifier.
        outputs, oracle_outputs: of the model and of the oracle.
        attempts, oracle_attempts: of the attack ``exposure`` on both, for the truth ratios of private values; those of
            wrong facts come from the outputs.
    """
    mine, theirs = _original(outputs), _original(oracle_outputs)
    values = value_truth_ratios(samples, attempts), value_truth_ratios(samples, oracle_attempts)
    found = {}
    for subset in Subset:
        shared = sorted(key for key in mine.keys() & theirs.keys() if samples[key].subset is subset)
        if shared:
            pairs = [(mine[key], theirs[key]) for key in shared]
            found[subset.value] = _distance(subset, [samples[key] for key in shared], pairs, values)
    return found


def _original(outputs: Iterable[Output]) -> dict[str, Output]:
    return {output.sample_id: output for output in outputs if output.probe == ORIGINAL}


def _distance(
    subset: Subset,
    samples: Sequence[Sample],
    pairs: Sequence[tuple[Output, Output]],
    values: tuple[Mapping[str, float], Mapping[str, float]],
) -> Distance:
    ratios = _truth_ratios(subset, samples, pairs, values)
    apart = [divergences(one.cells, two.cells) for one, two in pairs if one.cells and two.cells]
    told = [(one.logprobs, two.logprobs) for one, two in pairs if one.logprobs and two.logprobs]
    bits = [(residual_bits(one, two), len(one)) for one, two in told]
    known = [one for one in apart if one is not None]
    left = [(one, count) for one, count in bits if one is not None]
    ks = ks_test([one for one, _ in ratios], [two for _, two in ratios])
    distance: Distance = {
        "ks": optional(ks.statistic) if ks else None,
        "forget_quality": ks.p_value if ks else None,
        "log10_forget_quality": optional(ks.log10_p_value) if ks else None,
        "kl": _mean([kl for kl, _ in known]),
        "js": _mean([js for _, js in known]),
        "bits_per_token": _mean([one / count for one, count in left]),
        "bits_per_answer": _mean([one for one, _ in left]),
        "most_bits": optional(max(one for one, _ in left)) if left else None,
        "truth_ratios": len(ratios),
        "distributions": len(known),
        "answers": len(left),
        "reasons": {},
    }
    distance["reasons"] = _reasons(distance, subset, unlike=len(apart) + len(bits) - len(known) - len(left))
    return distance


def _truth_ratios(
    subset: Subset,
    samples: Sequence[Sample],
    pairs: Sequence[tuple[Output, Output]],
    values: tuple[Mapping[str, float], Mapping[str, float]],
) -> list[tuple[float, float]]:
    if subset is Subset.FORGET_PRIVACY:
        keys = [sample.id for sample in samples if sample.id in values[0] and sample.id in values[1]]
        return [(values[0][key], values[1][key]) for key in keys]
    if subset is not Subset.FORGET_INCORRECTNESS:
        return []
    found = (
        (fact_truth_ratio(sample, one), fact_truth_ratio(sample, two))
        for sample, (one, two) in zip(samples, pairs, strict=True)
    )
    return [(one, two) for one, two in found if one is not None and two is not None]


def _reasons(distance: Distance, subset: Subset, *, unlike: int) -> dict[str, str]:
    """Why something is None."""
    unusable = "; those stored are not numbers, or of different answer tokens" if unlike else ""
    reasons = {}
    if subset not in _FORGET:
        reasons["forget_quality"] = "the truth ratio is of what should be forgotten"
    elif not distance["truth_ratios"]:
        needed = "attempts of 'exposure' on both" if subset is Subset.FORGET_PRIVACY else "likelihoods of both answers"
        reasons["forget_quality"] = f"no truth ratios: they need {needed}"
    if not distance["distributions"]:
        reasons["kl"] = f"no answer distributions are stored of both models{unusable}"
    if not distance["answers"]:
        reasons["bits_per_answer"] = f"no likelihoods are stored of both models{unusable}"
    return reasons


def _mean(values: Sequence[float]) -> float | None:
    return optional(fsum(values) / len(values)) if values else None
