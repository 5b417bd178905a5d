"""Attacks through the logit lens: what the last layer no longer says may still stand in the layers before it.

The lens behind layer l is D(l) = softmax(W_U · LN(h_l)), with the model's own final norm LN and head W_U (Patil et al.,
arXiv 2309.17410; UnLOK-VQA, arXiv 2505.01456). Layers count from 0; D(−1) is the lens on what enters the first. Each
attack reads two things, each with B guesses (``budget``):

- **the first token**, as published: C = ∪_l top-k D(l), for the differences ∪_l (top-k ∪ bottom-k), with the layers
  taking turns (latest first) until B tokens are there, so that C holds each layer's top ⌊B / number of lists⌋;
- **the whole answer**, ours: the true answer is ranked among alternatives of its kind. Teacher-forced through the lens
  of layer l an answer has S_l = Σ_t log D_t(l)[y_t]; head projection ranks by S_l, the differences by those of
  P_l = exp(S_l / T), the geometric mean of its T tokens' probabilities (of one token: its probability). A first token
  alone proves little: 20 guesses hold all ten digits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from mllmu_med.attacks.alternatives import alternatives, true_answer
from mllmu_med.attacks.interface import Attempt, Reading, Subject
from mllmu_med.attacks.weights.relearning import RelearnDisjoint
from mllmu_med.attacks.weights.restoring import restored
from mllmu_med.attacks.white_box.candidates import both_ends, difference, take_turns
from mllmu_med.attacks.white_box.lens import LensView, kept_view
from mllmu_med.benchmark.sample import Sample
from mllmu_med.errors import UsageError
from mllmu_med.models.anatomy import anatomy
from mllmu_med.models.prompts import PromptFormat
from mllmu_med.models.vlm import Question
from mllmu_med.seeding import rng

FIRST_TOKEN, TOKENS, ALL_LAYERS = "first-token", "tokens", "all-layers"
"""Variants beside those of single layers (``layer-3``)."""


@dataclass(frozen=True)
class _Projection(Reading):
    """What the attacks have in common.

    Variants of a sample's attempts:

    - ``first-token``: value = 1 / place of the true answer's first token among the B candidates, 0 where it is not
      among them; the published criterion, successful within b ≤ B guesses where value ≥ 1 / b.
    - ``tokens``: the candidates themselves, as text, judged like any guess: they succeed where a value is one token.
    - ``layer-l``: rank of the whole true answer by the scores of one layer (or of the difference that ends there).
    - ``all-layers``: its rank where the layers take turns with their best answers, so that B guesses are B in all.

    A difference ranks from both ends in turns, since unlearning may show as a rise or as a fall. Equal scores are
    ranked by lot. A sample with fewer than 2 B answers to choose from is not ranked: mere guessing would succeed
    more often than not.

    Attributes:
        budget: B, guesses in all; of a difference half of them from each end.
        alternatives: answers that the true one is ranked among.
    """

    name: ClassVar[str]
    order: ClassVar[int]
    budget: int = 20
    alternatives: int = 99

    def __post_init__(self) -> None:
        if self.budget < 1:
            raise UsageError(f"{self.name}: budget is {self.budget}, and an attack has at least one guess")
        if self.alternatives + 1 < self._fewest:
            raise UsageError(
                f"{self.name}: with {self.budget} guesses among {self.alternatives + 1} answers, guessing succeeds too "
                f"often. Give at least {self._fewest - 1} alternatives, or a smaller budget."
            )

    @property
    def _fewest(self) -> int:
        """Answers that a rank is given among: guessing succeeds in half of the cases at most."""
        return 2 * self.budget

    def read(self, subject: Subject) -> list[Attempt]:
        """Attempts on all targets.

        Raises:
            UsageError: the model has too few decoder layers for the differences.
        """
        vlm, data = subject.vlm, subject.data
        layers = len(anatomy(vlm.model).layers)
        if layers < self.order:
            raise UsageError(f"{self.name} takes differences over {self.order} layers, and the model has {layers}")
        answers = [self._answers(sample, data.seed) for sample in data.targets]
        questions: list[Question] = []
        first: list[int] = []
        for sample, texts in zip(data.targets, answers, strict=True):
            first.append(len(questions) + texts.index(true_answer(sample)))
            questions += [Question(sample.image_id, sample.question, text) for text in texts]
        view = kept_view(vlm, questions, first=set(first), budget=self.budget, batch=subject.batch)
        found: list[Attempt] = []
        begin = 0
        for sample, texts, place in zip(data.targets, answers, first, strict=True):
            found += self._token_attempts(sample, view.tokens[place, self.order], vlm.prompts)
            if len(texts) >= self._fewest:
                found += self._rank_attempts(sample, view, range(begin, begin + len(texts)), place)
            begin += len(texts)
        subject.notes[self.name] = self._notes([len(texts) for texts in answers])
        return found

    def _answers(self, sample: Sample, seed: int) -> list[str]:
        """The true answer and its alternatives, in an order by lot, so that ties tell nothing."""
        texts = list(dict.fromkeys([true_answer(sample), *alternatives(sample, self.alternatives, seed)]))
        rng(seed, "lens ranking", sample.id).shuffle(texts)
        return texts

    def _token_attempts(self, sample: Sample, tokens: list[int], prompts: PromptFormat) -> Iterator[Attempt]:
        true = prompts.answer_tokens(true_answer(sample))[0]
        value = 1 / (tokens.index(true) + 1) if true in tokens else 0.0
        yield Attempt(self.name, FIRST_TOKEN, sample.id, sample.question, value=value)
        texts = dict.fromkeys(prompts.decode([token]) for token in tokens)
        yield Attempt(self.name, TOKENS, sample.id, sample.question, tuple(text for text in texts if text))

    def _rank_attempts(self, sample: Sample, view: LensView, places: range, true: int) -> Iterator[Attempt]:
        scores = view.scores[:, places.start : places.stop]
        if self.order:
            scores = (scores / view.lengths[places.start : places.stop]).exp()
        orders: list[list[int]] = []
        for place in range(max(1, self.order), len(scores)):  # what enters the first layer is in place 0
            change = difference(scores[place - self.order : place + 1].unbind())
            of_layer = both_ends(change.tolist(), bottom=self.order > 0)
            orders = [*of_layer, *orders]  # the latest layer's turn is the first
            yield self._ranked(sample, f"layer-{place - 1}", of_layer, true - places.start)
        yield self._ranked(sample, ALL_LAYERS, orders, true - places.start)

    def _ranked(self, sample: Sample, variant: str, orders: Sequence[Sequence[int]], true: int) -> Attempt:
        rank = take_turns(orders).index(true) + 1
        return Attempt(self.name, variant, sample.id, sample.question, rank=rank)

    def _notes(self, answers: Sequence[int]) -> dict[str, Any]:
        ranked = [count for count in answers if count >= self._fewest]
        chance = sum(self.budget / count for count in ranked) / len(ranked) if ranked else None
        return {"ranked": len(ranked), "too_few_alternatives": len(answers) - len(ranked), "chance": chance}


@dataclass(frozen=True)
class HeadProjection(_Projection):
    """Head projection: the most likely first tokens, and whole answers, by D(l) of each of the L layers."""

    name: ClassVar = "head_projection"
    label: ClassVar = "Head projection"
    source: ClassVar = "arXiv 2309.17410, 2505.01456"
    summary: ClassVar = "reads the answer off every layer through the model's own output head"
    cost: ClassVar = "one teacher-forced pass over 100 answers, with the output head applied to every layer"
    order: ClassVar = 0


@dataclass(frozen=True)
class ProbabilityDelta(_Projection):
    """Probability delta: by D(l) − D(l−1), l = 0…L−1, from both ends: what a layer adds, and what it takes away."""

    name: ClassVar = "probability_delta"
    label: ClassVar = "Probability delta"
    source: ClassVar = "arXiv 2309.17410, 2505.01456"
    summary: ClassVar = "reads what each layer adds to the answer's probability or takes away from it"
    cost: ClassVar = HeadProjection.cost
    order: ClassVar = 1


@dataclass(frozen=True)
class SecondDelta(_Projection):
    """PD²: by D(l) − 2 D(l−1) + D(l−2), l = 1…L−1, from both ends: where a rise or a fall sets in or breaks off."""

    name: ClassVar = "probability_delta_2"
    label: ClassVar = "Probability delta squared"
    source: ClassVar = "arXiv 2505.01456"
    summary: ClassVar = "reads the second difference of the answer's probability over three layers"
    cost: ClassVar = HeadProjection.cost
    order: ClassVar = 2


@dataclass(frozen=True)
class FineTunedProjection(_Projection):
    """Fine-tunes on unrelated records, then reads the weights by head projection.

    What was only suppressed comes back up, although nothing of it is in the data. The training is that of
    :class:`~mllmu_med.attacks.weights.relearning.RelearnDisjoint`; the model is afterwards what it was, to the bit.

    Attributes:
        steps: of fine-tuning.
        learning_rate: of AdamW, constant behind the warm-up; for the embedded model, large checkpoints want less.
        batch: records per step.
    """

    name: ClassVar = "finetuned_projection"
    label: ClassVar = "Fine-tuned head projection"
    source: ClassVar = "arXiv 2505.01456"
    summary: ClassVar = "fine-tunes on unrelated records, then reads every layer through the output head"
    cost: ClassVar = "its share of 30 training steps, and " + HeadProjection.cost
    order: ClassVar = 0
    steps: int = 30
    learning_rate: float = 1e-3
    batch: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1:
            raise UsageError(f"{self.name}: steps is {self.steps}; without training this is head_projection")

    def read(self, subject: Subject) -> list[Attempt]:
        """Attempts on all targets; none, with a note, where there are no unrelated records to train on.

        Raises:
            UsageError: an unrelated record shares an image or a patient with a target.
            MedError: the fine-tuning diverged.
        """
        notes: dict[str, Any] = {}
        tuning = RelearnDisjoint(steps=(self.steps,), learning_rate=self.learning_rate, batch=self.batch)
        found: list[Attempt] = []
        with restored(subject.vlm, tuning.touches) as copied:
            for _ in tuning.tampered(replace(subject, notes=notes)):
                found = super().read(subject)
        subject.notes[self.name] = {**subject.notes.get(self.name, {}), **notes, "copied_bytes": copied}
        return found
