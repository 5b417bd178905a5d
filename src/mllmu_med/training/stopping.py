"""When to stop without an oracle: once the forget answers are known no better than anybody would know them.

Figures that whoever has the model and the deletion request can compute. The *mean excess*, in nats a token, is what the
model knows of the forget answers beyond an approximate oracle. The *membership AUC* compares the forgotten patients'
likelihoods with those of made-up siblings, who never were anywhere: .5 where they cannot be told apart. *Extractable*
is the share of the answers that the model would still give.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mllmu_med.benchmark.sample import Sample, Stratum
from mllmu_med.errors import UsageError
from mllmu_med.evaluation.membership import Kind, kind_of
from mllmu_med.models.rows import chunk_rows
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.training.distributed import average
from mllmu_med.training.examples import span_weights as token_weights
from mllmu_med.training.teacher import TeacherOutputs
from mllmu_med.training.watching import Sighting

log = logging.getLogger("mllmu_med")

_PASS = 128  # questions in one forward pass
RECOGNISED, OVER_FORGOTTEN = 0.6, 0.4
"""Membership AUCs above which forgotten records stand out as known still, and below which as too unlikely."""
MUCH = 0.05
"""An extractable share that is worth a warning."""


class Left(NamedTuple):
    """What is left to forget; in a training's curve by these names.

    Attributes:
        excess: mean excess, nats a token, ≥ 0; lower is better.
        extractable: share of the forget answers, 0…1, of which every private token is the most likely one after those
            before it, and which the model knows better by more than the rule's excess than an approximate oracle does
            (else a right guess would count); lower is better.
        auc: membership AUC against made-up siblings over pairs of one kind, 0…1; None where no patient is forgotten.
    """

    excess: float
    extractable: float
    auc: float | None


@dataclass(frozen=True)
class StopSettings:
    """When nothing is left to forget.

    Attributes:
        excess: largest mean excess, nats a token, > 0.
        band: how far above .5 the membership AUC may be, 0….5. Far below .5 records are less likely than a stranger's,
            which gives them away as well: going on makes it worse, so that ends the training, too.
        every: steps between measurements (rounded up to entries of the curve).

    Raises:
        UsageError: a value out of its range.
    """

    excess: float = 0.3
    band: float = 0.02
    every: int = 10

    def __post_init__(self) -> None:
        if not self.excess > 0:
            raise UsageError(f"stop_excess={self.excess} is never reached: it must be above 0")
        if not 0 <= self.band <= 0.5:
            raise UsageError(f"stop_band={self.band} is no distance from an AUC of .5: it must lie in 0….5")
        if self.every < 1:
            raise UsageError(f"nothing can be measured every {self.every} steps")


class ExcessStop:
    """Ends the training at the first measurement with a small mean excess and a membership AUC not above .5.

    Measured is every forget sample in its own wording. Members and strangers are compared where they are asked about
    an image, and only with questions of their own kind, as the evaluation does with patients held out.

    Args:
        vlm: the model.
        forget: the forget samples.
        strangers: samples of made-up patients that are never trained on.
        teacher: the approximate oracle's outputs.
        settings: when to stop.
        span_weights: whether only private tokens are to be forgotten.
        autocast: context of each forward pass, as in training.
    """

    def __init__(
        self,
        vlm: VisionLanguageModel,
        forget: Sequence[Sample],
        strangers: Sequence[Sample],
        teacher: TeacherOutputs,
        settings: StopSettings,
        *,
        span_weights: bool = True,
        autocast: Callable[[], Any] = nullcontext,
    ) -> None:
        self.vlm, self.teacher, self.settings, self.autocast = vlm, teacher, settings, autocast
        self.forget = [
            Question(s.image_id, s.question, s.answer, token_weights(vlm.prompts, s) if span_weights else None)
            for s in forget
        ]
        own, other = _by_kind(forget), _by_kind(strangers)
        kinds = [kind for kind in own if kind in other]
        self.members, self.strangers = [own[kind] for kind in kinds], [other[kind] for kind in kinds]

    def due(self, step: int, log_every: int) -> bool:
        """Whether a measurement falls between the last entry of the curve and this one."""
        every = self.settings.every
        return step // every > (step - log_every) // every

    def look(self, step: int) -> Sighting:
        """Measure after ``step`` steps; what is left goes into the curve."""
        measured = self.measure()
        left, _, auc = measured
        numbers = {name: value for name, value in measured._asdict().items() if value is not None}
        band = self.settings.band
        if not left <= self.settings.excess or (auc is not None and not auc <= 0.5 + band):
            return Sighting(numbers)
        seen = "" if auc is None else f", membership AUC {auc:.2f} against made-up siblings"
        if auc is not None and auc < OVER_FORGOTTEN:
            seen += ": more was forgotten than a stranger's record would be; a lower rate comes to rest nearer .5"
        return Sighting(numbers, f"nothing was left to forget at step {step}: mean excess {left:.3f} nat{seen}")

    @torch.no_grad()
    def measure(self) -> Left:
        """What is left to forget at the present weights."""
        vlm = self.vlm
        was_training = vlm.model.training
        vlm.model.eval()
        forget = [question._replace(weights=None) for question in self.forget]
        asked = dict.fromkeys([*forget, *(q for group in (*self.members, *self.strangers) for q in group)])
        told = self._told(list(asked))
        vlm.model.train(was_training)
        found = {question: logprob for question, (logprob, _) in told.items()}
        each = torch.stack([self._excess(own, found[bare]) for own, bare in zip(self.forget, forget, strict=True)])
        given = torch.stack([_all_first(own, told[bare][1]) for own, bare in zip(self.forget, forget, strict=True)])
        left = each.mean()
        numbers = [left, (given & (each > self.settings.excess)).to(left.dtype).mean()]
        if self.members:
            won, pairs = left.new_zeros(()), 0
            for members, strangers in zip(self.members, self.strangers, strict=True):
                own = torch.stack([found[question].mean() for question in members])
                other = torch.stack([found[question].mean() for question in strangers])
                won += (own[:, None] > other).sum() + 0.5 * (own[:, None] == other).sum()
                pairs += len(own) * len(other)
            numbers.append(won / pairs)
        average(numbers)  # equal in every process already, but for rounding; no two may come to different decisions
        known, given_still, *auc = map(float, numbers)
        return Left(known, given_still, auc[0] if auc else None)

    def _excess(self, question: Question, logprob: Tensor) -> Tensor:
        over = (logprob - self.teacher.of([question]).target.double()).relu()
        if question.weights is None:
            return over.mean()
        weight = over.new_tensor(question.weights)
        return (over * weight).sum() / weight.sum()

    def _told(self, questions: list[Question]) -> dict[Question, tuple[Tensor, Tensor]]:
        """Question → [K] log p_θ of its answer tokens, double precision, and [K] whether none is more likely."""
        rows, order = self.vlm.rows(questions, 8)
        found: dict[Question, tuple[Tensor, Tensor]] = {}
        done = 0
        for chunk in chunk_rows(rows, _PASS):
            counts = [len(branch.answer) for row in chunk for branch in row.branches]
            with self.autocast():
                hidden, layout = self.vlm.hidden(chunk)
                logits = self.vlm.logits(hidden)
            logprob = logits.log_softmax(-1).gather(-1, layout.target[:, None])[:, 0].double()
            first = logits.argmax(-1) == layout.target
            parts = zip(torch.split(logprob, counts), torch.split(first, counts), strict=True)
            for place, part in zip(order[done : done + len(counts)], parts, strict=True):
                found[questions[place]] = part
            done += len(counts)
        return found


def tell_what_is_left(title: str, left: Mapping[str, float], steps: int, rule: StopSettings | None) -> None:
    """Log that a training has ended before all was forgotten: a warning where answers are still given or where the
    ``rule`` that was to end it does not hold; else a note where a mean excess, or an AUC far from .5, gives members
    away.

    Nobody else may notice: losses fall, and whoever has no oracle has nothing to compare them with.

    Args:
        left: the last entry of the curve.
    """
    if "excess" not in left:
        return
    known = f"knows {left['excess']:.2f} nats a token more of them than an approximate oracle would"
    much, auc = left["excess"] > (rule or StopSettings()).excess, left.get("auc", 0.5)
    if left["extractable"] > MUCH or (rule and much):
        log.warning(
            "%s: not all is forgotten: after %d steps the model would still give %.0f %% of the forget answers and %s; "
            "give it more steps or a higher learning rate",
            title, steps, 100 * left["extractable"], known,
        )  # fmt: skip
    elif much or auc > RECOGNISED:
        log.info(
            "%s: forgotten, not hidden: after %d steps the model would give %.0f %% of the forget answers, but %s, "
            "and a membership test may find them%s",
            title, steps, 100 * left["extractable"], known,
            f" (AUC {auc:.2f} against made-up patients; a higher rate brings it nearer .5)" if "auc" in left else "",
        )  # fmt: skip
    elif auc < OVER_FORGOTTEN and rule is None:
        log.info(
            "%s: more was forgotten than a stranger's record would be (AUC %.2f against made-up patients), and a "
            "membership test may find that; a lower rate brings it nearer .5", title, auc,
        )  # fmt: skip


def _all_first(question: Question, first: Tensor) -> Tensor:
    """Whether no other token is more likely than a weighted one."""
    return (
        first.all() if question.weights is None else first[first.new_tensor(question.weights, dtype=torch.bool)].all()
    )


def _by_kind(samples: Sequence[Sample]) -> dict[Kind, list[Question]]:
    """Questions about patients' images by kind of record, as the evaluation compares them."""
    found: dict[Kind, list[Question]] = {}
    for sample in samples:
        if sample.stratum is Stratum.PRIVATE_IMAGE:
            found.setdefault(kind_of(sample), []).append(Question(sample.image_id, sample.question, sample.answer))
    return found
