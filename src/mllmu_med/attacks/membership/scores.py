"""Six scores that tell a record the model was trained on from one it never saw.

Each is computed from stored outputs, one record at a time. The suspicion is always of the same kind: the model finds
the record's answer easier than it should. Definitions as in the public suite MIMIR (arXiv 2402.07841), with the sign
turned so that higher means more likely a member.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from mllmu_med.attacks.interface import Inferring
from mllmu_med.benchmark.sample import Sample
from mllmu_med.evaluation.memorisation import mean_logprob
from mllmu_med.evaluation.outputs import Output

_SHARE = 0.2
_LEAST_DEVIATION = 1e-3
"""Nats. Where the model is certain of one token the deviation is 0; public code has the same floor (variance 1e-6)."""


class _Scored(Inferring):
    """A score of one record at a time."""

    cost: ClassVar = "no pass of its own: read off the stored likelihoods"
    budget: int

    def score(self, sample: Sample, output: Output, reference: Output | None) -> float | None:
        """The record's score, None where an output it needs is missing."""
        raise NotImplementedError

    def infer(
        self, samples: Mapping[str, Sample], outputs: Mapping[str, Output], reference: Mapping[str, Output]
    ) -> dict[str, float]:
        """See :class:`~mllmu_med.attacks.interface.Inferring`. Scores that are no number are left out."""
        found = {}
        for sample_id, output in outputs.items():
            value = self.score(samples[sample_id], output, reference.get(sample_id))
            if value is not None and not math.isnan(value):
                found[sample_id] = value
        return found


@dataclass(frozen=True)
class Loss(_Scored):
    """LOSS (Yeom et al. 2018, arXiv 1709.01604): mean log p(y_t | x, y_<t) over the answer's tokens, nats, ≤ 0."""

    label: ClassVar[str] = "Loss"
    source: ClassVar[str] = "arXiv 1709.01604"
    summary: ClassVar[str] = "a member's answer has a low loss"

    budget: int = field(default=1, init=False)

    def score(self, sample: Sample, output: Output, reference: Output | None) -> float | None:
        """Minus the mean token loss."""
        return mean_logprob(output.logprobs)


@dataclass(frozen=True)
class Zlib(_Scored):
    """ZLIB (Carlini et al. 2021, arXiv 2012.07805): mean log-probability divided by the answer's zlib length.

    The length is that of the UTF-8 text compressed at zlib's default level, in bytes: what is long and varied may have
    a higher loss. Nats per byte, ≤ 0. Zlib adds about 8 bytes of its own, so on answers of a few words it hardly tells
    more than LOSS.
    """

    label: ClassVar[str] = "Zlib"
    source: ClassVar[str] = "arXiv 2012.07805"
    summary: ClassVar[str] = "a member's loss is low for how much text there is to compress"

    budget: int = field(default=1, init=False)

    def score(self, sample: Sample, output: Output, reference: Output | None) -> float | None:
        """Mean log-probability per compressed byte."""
        mean = mean_logprob(output.logprobs)
        return None if mean is None else mean / len(zlib.compress(sample.answer.encode()))


@dataclass(frozen=True)
class MinK(_Scored):
    """Min-K % (Shi et al. 2024, arXiv 2310.16789): mean log-probability of the least likely tokens, nats, ≤ 0.

    Attributes:
        share: of the tokens, 0…1; max(1, ⌊share · T⌋) of T tokens count.
    """

    label: ClassVar[str] = "Min-K %"
    source: ClassVar[str] = "arXiv 2310.16789"
    summary: ClassVar[str] = "even a member's least likely tokens are not unlikely"

    share: float = _SHARE
    budget: int = field(default=1, init=False)

    def score(self, sample: Sample, output: Output, reference: Output | None) -> float | None:
        """Mean of the lowest log-probabilities."""
        return mean_of_lowest(output.logprobs, self.share)


@dataclass(frozen=True)
class MinKPlus(_Scored):
    """Min-K %++ (Zhang et al. 2024, arXiv 2404.02936): Min-K % of each token's log-probability as a z-score.

    z_t = (log p(y_t) − μ_t) / σ_t, with μ_t and σ_t mean and standard deviation of log p(v) over the vocabulary, v
    drawn from the model itself. σ_t is taken as 10⁻³ at least. Needs the whole distribution, so it has no variant
    without the image where that is not stored.

    Attributes:
        share: of the tokens, as in Min-K %.
    """

    label: ClassVar[str] = "Min-K %++"
    source: ClassVar[str] = "arXiv 2404.02936"
    summary: ClassVar[str] = "a member's tokens stand out from what else the model could have said there"

    share: float = _SHARE
    budget: int = field(default=1, init=False)

    def score(self, sample: Sample, output: Output, reference: Output | None) -> float | None:
        """Mean of the lowest z-scores."""
        if output.logprobs is None or output.expected is None or output.deviation is None:
            return None
        parts = zip(output.logprobs, output.expected, output.deviation, strict=True)
        return mean_of_lowest([(log - mean) / max(spread, _LEAST_DEVIATION) for log, mean, spread in parts], self.share)


@dataclass(frozen=True)
class GradNorm(_Scored):
    """GradNorm (arXiv 2402.17012): minus the norm of the loss's gradient, ≤ 0.

    The Frobenius norm of the gradient of the mean token loss with respect to the **output head alone**, which needs no
    backward pass. Public code averages the norms over all weights: the figures of the two cannot be compared.
    """

    label: ClassVar[str] = "GradNorm"
    source: ClassVar[str] = "arXiv 2402.17012"
    summary: ClassVar[str] = "training on a member would hardly change the output head any more"

    budget: int = field(default=1, init=False)

    def score(self, sample: Sample, output: Output, reference: Output | None) -> float | None:
        """Minus the gradient's norm."""
        return None if output.head_gradient is None else -output.head_gradient


@dataclass(frozen=True)
class Reference(_Scored):
    """Reference (Carlini et al. 2021, arXiv 2012.07805): how much likelier the answer is than to a reference.

    Mean log-probability minus that of a model that was never trained on members or non-members (the base), nats. What
    is easy for every model is not held against the record.
    """

    label: ClassVar[str] = "Reference"
    source: ClassVar[str] = "arXiv 2012.07805"
    summary: ClassVar[str] = "a member's loss is lower than the base model's on the same answer"

    budget: int = field(default=1, init=False)

    def score(self, sample: Sample, output: Output, reference: Output | None) -> float | None:
        """Difference of the mean log-probabilities."""
        own = mean_logprob(output.logprobs)
        other = None if reference is None else mean_logprob(reference.logprobs)
        return None if own is None or other is None else own - other


def mean_of_lowest(values: Sequence[float] | None, share: float) -> float | None:
    """Mean of the max(1, ⌊share · T⌋) lowest of T values; None of nothing, or where one is no number."""
    if not values or any(math.isnan(value) for value in values):
        return None
    lowest = sorted(values)[: max(1, int(share * len(values)))]
    return math.fsum(lowest) / len(lowest)
