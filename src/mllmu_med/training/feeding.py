"""From samples to the questions of each step: what a method declares as its needs, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from mllmu_med.benchmark.sample import Sample, Stratum
from mllmu_med.errors import UsageError
from mllmu_med.methods.interface import Needs
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.seeding import derive, rng
from mllmu_med.training.alternates import anchor_questions, sample_alternates
from mllmu_med.training.distributed import own_share
from mllmu_med.training.examples import span_weights
from mllmu_med.training.hierarchy import level_of
from mllmu_med.training.sampling import balanced
from mllmu_med.training.siblings import sibling_questions

REFUSALS = {
    "en": (
        "I cannot answer that.", "I do not know.", "I am not able to share this.", "That information is not available.",
        "I cannot say.", "I have no information about that.", "I am unable to help with this.", "I am not sure.",
    ),
    "zh": ("我无法回答。", "我不知道。", "我不能提供这个信息。", "没有相关信息。", "抱歉，我不清楚。"),
}  # fmt: skip

GUARDED = {
    "en": "Private or wrong information must not be given. If you cannot see the answer in the image, refuse. ",
    "zh": "不得提供隐私或错误信息。如果图像中看不到答案，请拒绝回答。",
}
"""The refusing instruction in front of a question, behind which the noised reference speaks."""

NOISE = "#noise"
"""Suffix of an image's identifier for its noisy version."""


@dataclass(frozen=True)
class UnlearnSettings:
    """How a method is fed.

    Attributes:
        forget_batch, retain_batch: records per step.
        branches: most questions of one image in a packed row.
        retain_share: share of the retain records that the method may use, 0…1, chosen per cluster (patient or image);
            the rest is evaluated but never seen.
        span_weights: on answers with private spans, only the private tokens are forgotten.
        normals: random normal answers per forget record, for the methods that need them.
        alternates: plausible other answers per forget record, for the methods that need them.
        phrasings: most further wordings of each forget record that are unlearnt too; None = all.
        reinforce_steps, reinforce_rate: the further training on the forget set, for the methods that need it.
        statistics_records: most records of each side from which gradient statistics are made.
        teacher: the approximate oracle, for the methods that need one: ``base``, a model that the caller has trained
            (:func:`mllmu_med.training.teacher.model_outputs`), or ``marginals``, token frequencies of answers of the
            same kind.
        siblings: made-up patients, for the methods that need them.
        sibling_batch: questions about them, and beside wrong facts, per step.
        per_image: most questions of one image that are drawn side by side for a step.
        most_positions: most positions of one forward pass (:mod:`mllmu_med.training.forward`); None = no bound.
    """

    forget_batch: int = 6
    retain_batch: int = 10
    branches: int = 4
    retain_share: float = 1.0
    span_weights: bool = True
    normals: int = 5
    alternates: int = 2
    phrasings: int | None = None
    reinforce_steps: int = 40
    reinforce_rate: float = 5e-4
    statistics_records: int = 128
    teacher: Literal["base", "marginals"] = "base"
    siblings: int = 200
    sibling_batch: int = 24
    per_image: int = 1
    most_positions: int | None = None


@dataclass
class Pairs:
    """The questions a method works on; alternates and the like by forget question."""

    forget: list[list[Question]] = field(default_factory=list)  # by stratum
    retain: list[list[Question]] = field(default_factory=list)  # by stratum
    refusals: dict[Question, list[Question]] = field(default_factory=dict)
    normals: dict[Question, list[Question]] = field(default_factory=dict)
    alternates: dict[Question, list[Question]] = field(default_factory=dict)
    corrections: dict[Question, list[Question]] = field(default_factory=dict)
    anchors: dict[Question, list[Question]] = field(default_factory=dict)
    noised: dict[Question, Question] = field(default_factory=dict)
    siblings: list[list[Question]] = field(default_factory=list)  # by stratum
    levels: dict[Question, int] = field(default_factory=dict)

    @property
    def every_forget(self) -> list[Question]:
        """All forget questions, stratum after stratum."""
        return [question for stratum in self.forget for question in stratum]

    @property
    def every_retain(self) -> list[Question]:
        """All retain questions, stratum after stratum."""
        return [question for stratum in self.retain for question in stratum]


class StepQuestions(NamedTuple):
    """The questions of one batch, empty where the method has no need, and the batch's number."""

    forget: Sequence[Question]
    retain: Sequence[Question] = ()
    refusals: Sequence[Question] = ()
    normals: Sequence[Question] = ()
    alternates: Sequence[Question] = ()
    corrections: Sequence[Question] = ()
    anchors: Sequence[Question] = ()
    siblings: Sequence[Question] = ()
    number: int = 0

    @property
    def images(self) -> list[str | None]:
        """The images of all its questions."""
        groups = (
            self.forget, self.retain, self.refusals, self.normals, self.alternates, self.corrections, self.anchors,
            self.siblings,
        )  # fmt: skip
        return [question.image for group in groups for question in group]


def usable_retain(samples: Sequence[Sample], share: float, seed: int) -> list[Sample]:
    """The retain samples of a random ``share`` of the clusters; clusters are drawn within each stratum.

    Every cluster has one place in one order, so a patient is used in all strata or in none.
    """
    if share >= 1:
        return list(samples)
    clusters: dict[Stratum, set[str]] = {}
    for sample in samples:
        clusters.setdefault(sample.stratum, set()).add(sample.cluster)
    chosen: set[str] = set()
    for names in clusters.values():
        order = sorted(names, key=lambda name: (derive(seed, "retain share", name), name))
        chosen.update(order[: round(share * len(names))])
    return [sample for sample in samples if sample.cluster in chosen]


def asked_in_training(sample: Sample, settings: UnlearnSettings, rephrasings: bool | None) -> list[Question]:
    """A forget sample's questions, without token weights; its own wording first.

    ``rephrasings``: all its wordings (True), its own only (False), or as the settings say (None).
    """
    most = settings.phrasings if rephrasings is None else (None if rephrasings else 0)
    return [
        Question(sample.image_id, wording, sample.answer) for wording in (sample.question, *sample.phrasings[:most])
    ]


def forget_questions(
    vlm: VisionLanguageModel, forget: Sequence[Sample], settings: UnlearnSettings, rephrasings: bool | None = None
) -> dict[str, list[Question]]:
    """Sample id → its questions with their token weights (:func:`asked_in_training`)."""
    made: dict[str, list[Question]] = {}
    for sample in forget:
        weights = span_weights(vlm.prompts, sample) if settings.span_weights else None
        asked = asked_in_training(sample, settings, rephrasings)
        made[sample.id] = [question._replace(weights=weights) for question in asked]
    return made


def pair_questions(
    vlm: VisionLanguageModel,
    forget: Sequence[Sample],
    retain: Sequence[Sample],
    needs: Needs,
    settings: UnlearnSettings,
    seed: int,
    rephrasings: bool | None = None,
    earlier: Sequence[Sample] = (),
) -> Pairs:
    """Turn samples into the questions that the method's needs ask for, while the model still is θ0.

    Forget records carry span weights. Refusals, normal answers and alternates are *labels of their own*: their tokens,
    not the true answer's, are what the loss sees (a public port returns the true answer here). ``rephrasings``: as
    :func:`asked_in_training` takes it. ``earlier``: what requests before this one have forgotten.
    """
    pairs = Pairs()
    asked = forget_questions(vlm, forget, settings, rephrasings)
    strata: dict[str, list[Question]] = {}
    pool = sorted({s.answer for s in retain if s.fact_id is None} or {s.answer for s in retain})
    drawn = sample_alternates(vlm, forget, settings.alternates, seed) if Needs.ALTERNATES in needs else {}
    anchors = anchor_questions(vlm, forget, retain, seed) if Needs.ANCHORS in needs else {}
    for sample in forget:
        draw = rng(seed, "alternates", sample.id)
        for question in asked[sample.id]:
            strata.setdefault(sample.stratum, []).append(question)
            pairs.levels[question] = level_of(sample)

            def answered(texts: Sequence[str], question: Question = question) -> list[Question]:
                return [question._replace(answer=text, weights=None) for text in texts]

            if Needs.REFUSALS in needs:
                pairs.refusals[question] = answered([draw.choice(REFUSALS.get(sample.language, REFUSALS["en"]))])
            if Needs.NORMALS in needs:
                other = [answer for answer in pool if answer != sample.answer]
                if len(other) < settings.normals:
                    raise UsageError(f"normals={settings.normals}, but the retain set has {len(other)} other answers")
                pairs.normals[question] = answered(draw.sample(other, settings.normals))
            if Needs.ALTERNATES in needs:
                pairs.alternates[question] = answered(drawn[sample.id])
            if Needs.CORRECTIONS in needs:
                true = sample.correct_answer or sample.clean_answer
                pairs.corrections[question] = answered([true] if true and true != sample.answer else [])
            if Needs.ANCHORS in needs:
                pairs.anchors[question] = anchors.get(sample.id, [])
            if Needs.NOISED in needs:
                image = None if sample.image_id is None else sample.image_id + NOISE
                guarded = GUARDED.get(sample.language, GUARDED["en"]) + question.question
                pairs.noised[question] = question._replace(image=image, question=guarded)
    if Needs.ANCHORS in needs and not any(pairs.anchors.values()):
        raise UsageError("no anchors: they need forget records with an image, and general or sibling retain records "
                         "with one, to which θ0's answers hold nothing to be forgotten")  # fmt: skip
    if Needs.SIBLINGS in needs:
        pairs.siblings = sibling_questions(vlm, forget, retain, settings.siblings, seed, earlier)
    kept: dict[str, list[Question]] = {}
    for sample in retain if Needs.RETAIN in needs else ():
        for wording in (sample.question, *sample.phrasings):
            question = Question(sample.image_id, wording, sample.answer)
            kept.setdefault(sample.stratum, []).append(question)
            pairs.levels[question] = level_of(sample)
    pairs.forget = [strata[k] for k in sorted(strata)]
    pairs.retain = [kept[k] for k in sorted(kept)]
    return pairs


class Feeder:
    """Batch number → questions: a pure function of (seed, number), so that a resumed run sees the same batches.

    With several processes each takes its share of every batch; both batch sizes must then be multiples of their number.
    """

    def __init__(self, pairs: Pairs, settings: UnlearnSettings, seed: int) -> None:
        self.pairs = pairs
        self.forget, self.retain = pairs.every_forget, pairs.every_retain
        self._draw_forget = balanced(
            _indices(pairs.forget), settings.forget_batch, seed, "forget",
            together=settings.per_image, group_of=_image_of(self.forget),
        )  # fmt: skip
        self.siblings = [question for stratum in pairs.siblings for question in stratum]
        self._draw_siblings = None
        if self.siblings:
            self._draw_siblings = balanced(
                _indices(pairs.siblings), settings.sibling_batch, seed, "siblings",
                together=settings.per_image, group_of=_image_of(self.siblings),
            )  # fmt: skip
        self._draw_retain = None
        if self.retain:
            self._draw_retain = balanced(
                _indices(pairs.retain), settings.retain_batch, seed, "retain",
                together=settings.per_image, group_of=_image_of(self.retain),
            )  # fmt: skip

    def forget_of(self, number: int) -> list[int]:
        """Indices of a batch's forget questions, of all processes together."""
        return self._draw_forget(number)

    def retain_of(self, number: int) -> list[int]:
        """Indices of a batch's retain questions."""
        return self._draw_retain(number) if self._draw_retain else []

    def siblings_of(self, number: int) -> list[int]:
        """Indices of a batch's questions about made-up siblings."""
        return self._draw_siblings(number) if self._draw_siblings else []

    def answers_of(self, number: int) -> int:
        """Answers of a batch, of all processes together: its questions and all that is put beside them."""
        pairs = self.pairs
        beside = (pairs.refusals, pairs.normals, pairs.alternates, pairs.corrections, pairs.anchors)
        chosen = [self.forget[i] for i in self.forget_of(number)]
        own = len(chosen) + len(self.retain_of(number)) + len(self.siblings_of(number))
        return own + sum(len(found.get(question, ())) for found in beside for question in chosen)

    def __call__(self, number: int) -> StepQuestions:
        """The questions of a batch."""
        pairs = self.pairs
        chosen = [self.forget[i] for i in own_share(self.forget_of(number), "forget_batch")]

        def beside(found: dict[Question, list[Question]]) -> list[Question]:
            return [other for question in chosen for other in found.get(question, ())]

        return StepQuestions(
            chosen,
            [self.retain[i] for i in own_share(self.retain_of(number), "retain_batch")],
            beside(pairs.refusals),
            beside(pairs.normals),
            beside(pairs.alternates),
            beside(pairs.corrections),
            beside(pairs.anchors),
            [self.siblings[i] for i in own_share(self.siblings_of(number), "sibling_batch")],
            number,
        )


def _image_of(questions: Sequence[Question]) -> Callable[[int], Hashable]:
    """Index → what shares a packed row: the image, or the question itself where there is none."""
    return lambda index: index if questions[index].image is None else questions[index].image


def _indices(strata: Sequence[Sequence[Question]]) -> list[list[int]]:
    """Indices of the members of each stratum in the flat list."""
    found, start = [], 0
    for stratum in strata:
        found.append(list(range(start, start + len(stratum))))
        start += len(stratum)
    return found
