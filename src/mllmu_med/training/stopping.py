"""When to stop without an oracle: once the forget answers are known no better than anybody would know them.

Two figures, both computable by whoever has the model and the deletion request. The *mean excess*, in nats a token, is
what the model knows of the forget answers beyond an approximate oracle. The *membership AUC* compares the forgotten
patients' likelihoods with those of made-up siblings, who never were anywhere: .5 where they cannot be told apart.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

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
OVER_FORGOTTEN = 0.4
"""A membership AUC below which forgotten records stand out as too unlikely."""


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
        """Measure after ``step`` steps: ``excess`` and, where there are patients, ``auc`` in the curve."""
        left, auc = self.measure()
        numbers = {"excess": left} if auc is None else {"excess": left, "auc": auc}
        band = self.settings.band
        if not left <= self.settings.excess or (auc is not None and not auc <= 0.5 + band):
            return Sighting(numbers)
        seen = "" if auc is None else f", membership AUC {auc:.2f} against made-up siblings"
        if auc is not None and auc < OVER_FORGOTTEN:
            seen += ": more was forgotten than a stranger's record would be; a lower rate comes to rest nearer .5"
        return Sighting(numbers, f"nothing was left to forget at step {step}: mean excess {left:.3f} nat{seen}")

    @torch.no_grad()
    def measure(self) -> tuple[float, float | None]:
        """Mean excess in nats a token, and the membership AUC over pairs of one kind."""
        vlm = self.vlm
        was_training = vlm.model.training
        vlm.model.eval()
        forget = [question._replace(weights=None) for question in self.forget]
        asked = dict.fromkeys([*forget, *(q for group in (*self.members, *self.strangers) for q in group)])
        found = self._logprobs(list(asked))
        vlm.model.train(was_training)
        each = [self._excess(own, found[bare]) for own, bare in zip(self.forget, forget, strict=True)]
        left = torch.stack(each).mean()
        numbers = [left]
        if self.members:
            won, pairs = left.new_zeros(()), 0
            for members, strangers in zip(self.members, self.strangers, strict=True):
                own = torch.stack([found[question].mean() for question in members])
                other = torch.stack([found[question].mean() for question in strangers])
                won += (own[:, None] > other).sum() + 0.5 * (own[:, None] == other).sum()
                pairs += len(own) * len(other)
            numbers.append(won / pairs)
        average(numbers)  # equal in every process already, but for rounding; no two may come to different decisions
        return float(numbers[0]), float(numbers[1]) if self.members else None

    def _excess(self, question: Question, logprob: Tensor) -> Tensor:
        over = (logprob - self.teacher.of([question]).target.double()).relu()
        if question.weights is None:
            return over.mean()
        weight = over.new_tensor(question.weights)
        return (over * weight).sum() / weight.sum()

    def _logprobs(self, questions: list[Question]) -> dict[Question, Tensor]:
        """Question → [K] log p_θ of its answer tokens, double precision."""
        rows, order = self.vlm.rows(questions, 8)
        found: dict[Question, Tensor] = {}
        done = 0
        for chunk in chunk_rows(rows, _PASS):
            counts = [len(branch.answer) for row in chunk for branch in row.branches]
            with self.autocast():
                hidden, layout = self.vlm.hidden(chunk)
                logits = self.vlm.logits(hidden)
            logprob = logits.log_softmax(-1).gather(-1, layout.target[:, None])[:, 0].double()
            for place, values in zip(order[done : done + len(counts)], torch.split(logprob, counts), strict=True):
                found[questions[place]] = values
            done += len(counts)
        return found


def warn_of_excess(title: str, excess: float | None, steps: int, settings: StopSettings) -> None:
    """Log that a training has ended and a mean excess, nats a token, is left that its rule would not have stopped at.

    Nobody else may notice: losses fall, and whoever has no oracle has nothing to compare them with.
    """
    if excess is not None and excess > settings.excess:
        log.warning(
            "%s: not forgotten: after %d steps the model still knows %.2f nats a token more of the forget answers than "
            "an approximate oracle would; give it more steps or a higher learning rate",
            title, steps, excess,
        )  # fmt: skip


def _by_kind(samples: Sequence[Sample]) -> dict[Kind, list[Question]]:
    """Questions about patients' images by kind of record, as the evaluation compares them."""
    found: dict[Kind, list[Question]] = {}
    for sample in samples:
        if sample.stratum is Stratum.PRIVATE_IMAGE:
            found.setdefault(kind_of(sample), []).append(Question(sample.image_id, sample.question, sample.answer))
    return found
