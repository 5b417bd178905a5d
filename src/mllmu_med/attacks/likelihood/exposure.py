"""Exposure: how far the true answer stands out among answers that could as well have been the true one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum
from typing import TYPE_CHECKING, ClassVar

from mllmu_med.attacks.alternatives import alternatives, true_answer
from mllmu_med.attacks.interface import Attempt, Data, Weighing
from mllmu_med.benchmark.sample import Sample
from mllmu_med.errors import UsageError
from mllmu_med.evaluation.ranking import PER_TOKEN, TOTAL, rank
from mllmu_med.progress import bar

if TYPE_CHECKING:  # its numbers are needed where scores are computed again, without a model
    from mllmu_med.engines.interface import Engine
    from mllmu_med.models.vlm import Question


@dataclass(frozen=True)
class Exposure(Weighing):
    """Rank the true answer among alternatives by likelihood (Carlini et al. 2018, arXiv 1802.08232, section 4).

    The attacker suspects a patient or a fact, asks the ordinary question, and looks which of the possible answers the
    model finds likeliest: no answer is generated, so refusing does not help. The alternatives are those of
    :func:`~mllmu_med.attacks.alternatives.alternatives`, the same for every model.

    Two variants, from one pass. ``total`` ranks by log p(answer), as Carlini et al. do; ``per-token`` by its mean over
    the answer's tokens (end token included), which does not favour short answers.

    An attempt's ``rank`` counts the alternatives that are no less likely than the true answer, plus 1: ties count
    against the attacker, and a diverged model (NaN) ranks the truth last. ``scores`` are of the true answer, then of
    its alternatives, in the variant's unit (nats, or nats per token). A sample without alternatives is not attacked.

    Attributes:
        candidates: most alternatives of one sample. With N of them a guess is right with probability 1/(N + 1), and no
            more than log2(N + 1) bits of exposure can be seen directly.
        budget: the attacker's guesses: the attack succeeds where the rank is at most this. 1 unless given, because the
            alternatives are only a sample of what is possible.
    """

    label: ClassVar = "Exposure"
    source: ClassVar = "arXiv 1802.08232"
    summary: ClassVar = "rank the true answer among others of its kind by likelihood"
    cost: ClassVar = "51 likelihoods"

    candidates: int = 50
    budget: int = 1

    def __post_init__(self) -> None:
        if self.candidates < 1 or not 1 <= self.budget <= self.candidates:
            raise UsageError(
                f"candidates={self.candidates} must be 1 or more, and budget={self.budget} from 1 to that: with more "
                "guesses the truth is always among them"
            )

    def weigh(self, engine: Engine, data: Data) -> list[Attempt]:
        """Two attempts on every target that has alternatives."""
        answers: dict[str, list[str]] = {}
        for target in data.targets:
            others = alternatives(target, self.candidates, data.seed)
            if others:
                answers[target.id] = [true_answer(target), *others]
        attacked = [target for target in data.targets if target.id in answers]
        asked = [_question(target, answer) for target in attacked for answer in answers[target.id]]
        distinct = list(dict.fromkeys(asked))
        with bar("exposure", len(distinct)) as progress:
            found = dict(zip(distinct, engine.likelihoods(distinct, progress=progress), strict=True))
        attempts = []
        for target in attacked:
            logprobs = [found[_question(target, answer)].logprobs for answer in answers[target.id]]
            totals = [fsum(one) for one in logprobs]
            means = [total / len(one) for total, one in zip(totals, logprobs, strict=True)]
            attempts += [_attempt(target, TOTAL, totals), _attempt(target, PER_TOKEN, means)]
        return attempts


def _question(sample: Sample, answer: str) -> Question:
    from mllmu_med.models.vlm import Question

    return Question(sample.image_id, sample.question, answer)


def _attempt(sample: Sample, variant: str, scores: Sequence[float]) -> Attempt:
    return Attempt("exposure", variant, sample.id, sample.question, scores=tuple(scores), rank=rank(scores))
