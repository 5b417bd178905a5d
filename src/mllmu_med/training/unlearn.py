"""Unlearning: a method's loss on pairs of forget and retain records, provided with exactly what it declares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from mllmu_med.benchmark.sample import Sample, Stratum
from mllmu_med.errors import UsageError
from mllmu_med.methods.interface import Answers, Batch, Method, Needs
from mllmu_med.models.references import ReferenceCache
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.seeding import derive, rng
from mllmu_med.training.checkpoints import Checkpoints
from mllmu_med.training.examples import span_weights
from mllmu_med.training.loop import StepLoss, TrainingLog, forward_precision, optimise
from mllmu_med.training.sampling import balanced
from mllmu_med.training.settings import LoopSettings

REFUSALS = {
    "en": (
        "I cannot answer that.", "I do not know.", "I am not able to share this.", "That information is not available.",
        "I cannot say.", "I have no information about that.", "I am unable to help with this.", "I am not sure.",
    ),
    "zh": ("我无法回答。", "我不知道。", "我不能提供这个信息。", "没有相关信息。", "抱歉，我不清楚。"),
}  # fmt: skip


@dataclass(frozen=True)
class UnlearnSettings:
    """How a method is fed.

    Attributes:
        forget_batch, retain_batch: records per step.
        branches: most questions of one image in a packed row.
        retain_share: share of the retain records that the method may use, 0…1, chosen per cluster (patient or image);
        the
            rest is evaluated but never seen.
        span_weights: on answers with private spans, only the private tokens are forgotten.
        normals: random normal answers per forget record, for the methods that need them.
        phrasings: most further wordings of each forget record that are unlearnt too; None = all.
    """

    forget_batch: int = 6
    retain_batch: int = 10
    branches: int = 4
    retain_share: float = 1.0
    span_weights: bool = True
    normals: int = 5
    phrasings: int | None = None


class Pairs(NamedTuple):
    """The questions a method works on."""

    forget: list[list[Question]]  # by stratum
    retain: list[list[Question]]  # by stratum
    refusals: dict[Question, list[Question]]
    normals: dict[Question, list[Question]]


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


def pair_questions(
    vlm: VisionLanguageModel,
    forget: Sequence[Sample],
    retain: Sequence[Sample],
    needs: Needs,
    settings: UnlearnSettings,
    seed: int,
) -> Pairs:
    """Turn samples into the questions that the method's needs ask for.

    Forget records carry span weights. Refusals and normal answers are *labels of their own*: their tokens, not the true
    answer's, are what the loss sees (a public port returns the true answer here).
    """
    strata: dict[str, list[Question]] = {}
    refusals: dict[Question, list[Question]] = {}
    normals: dict[Question, list[Question]] = {}
    pool = sorted({s.answer for s in retain if s.fact_id is None} or {s.answer for s in retain})
    for sample in forget:
        weights = span_weights(vlm.prompts, sample) if settings.span_weights else None
        draw = rng(seed, "alternates", sample.id)
        for wording in (sample.question, *sample.phrasings[: settings.phrasings]):
            question = Question(sample.image_id, wording, sample.answer, weights)
            strata.setdefault(sample.stratum, []).append(question)
            if Needs.REFUSALS in needs:
                choice = draw.choice(REFUSALS.get(sample.language, REFUSALS["en"]))
                refusals[question] = [Question(sample.image_id, wording, choice)]
            if Needs.NORMALS in needs:
                other = [answer for answer in pool if answer != sample.answer]
                if len(other) < settings.normals:
                    raise UsageError(f"normals={settings.normals}, but the retain set has {len(other)} other answers")
                drawn = draw.sample(other, settings.normals)
                normals[question] = [Question(sample.image_id, wording, answer) for answer in drawn]
    kept: dict[str, list[Question]] = {}
    for sample in retain if Needs.RETAIN in needs else ():
        for wording in (sample.question, *sample.phrasings):
            kept.setdefault(sample.stratum, []).append(Question(sample.image_id, wording, sample.answer))
    return Pairs([strata[k] for k in sorted(strata)], [kept[k] for k in sorted(kept)], refusals, normals)


class StepQuestions(NamedTuple):
    """The questions of one step; empty lists where the method has no need."""

    forget: list[Question]
    retain: list[Question]
    refusals: list[Question]
    normals: list[Question]


def unlearn(
    vlm: VisionLanguageModel,
    method: Method,
    forget: Sequence[Sample],
    retain: Sequence[Sample],
    loop: LoopSettings,
    settings: UnlearnSettings,
    *,
    seed: int,
    title: str = "unlearn",
    checkpoints: Checkpoints | None = None,
) -> TrainingLog:
    """Unlearn the forget samples in place.

    The pairing of forget and retain records is a function of (seed, step). References are cached before the first step,
    while the weights still are θ0's. An empty forget set leaves the weights as they are.
    """
    if not forget:
        return TrainingLog(stopped="nothing to forget")
    retain = usable_retain(retain, settings.retain_share, seed)
    needs = method.needs
    if Needs.RETAIN in needs and not retain:
        raise UsageError(f"{method.label} needs retain records, but retain_share={settings.retain_share} leaves none")
    pairs = pair_questions(vlm, forget, retain, needs, settings, seed)
    flat_forget = [q for stratum in pairs.forget for q in stratum]
    flat_retain = [q for stratum in pairs.retain for q in stratum]
    draw_forget = balanced(_indices(pairs.forget), settings.forget_batch, seed, "forget")
    draw_retain = balanced(_indices(pairs.retain), settings.retain_batch, seed, "retain") if flat_retain else None

    cache = ReferenceCache(vlm, branches=max(8, settings.branches))
    half = forward_precision(vlm, loop.precision) == "bf16"
    with torch.autocast(vlm.device.type, torch.bfloat16, enabled=half):  # θ0 and θ are computed alike
        if Needs.REFERENCE_LOGPROB in needs:
            cache.fill(flat_forget, hidden=False)
        if Needs.RETAIN_REFERENCE in needs:
            steps = range(loop.steps * loop.accumulation)
            seen = dict.fromkeys(i for step in steps for i in draw_retain(step)) if draw_retain else {}
            cache.fill([flat_retain[i] for i in seen], hidden=True)

    def batch_of(step: int) -> StepQuestions:
        chosen = [flat_forget[i] for i in draw_forget(step)]
        return StepQuestions(
            chosen,
            [flat_retain[i] for i in draw_retain(step)] if draw_retain else [],
            [alternate for q in chosen for alternate in pairs.refusals.get(q, ())],
            [alternate for q in chosen for alternate in pairs.normals.get(q, ())],
        )

    def loss_of(step: StepQuestions) -> StepLoss:
        batch = answer_batch(vlm, step, needs, cache, settings.branches)
        loss = method.loss(batch)
        parts = {"loss": loss.total, "forget": loss.forget}
        if loss.retain is not None:
            parts["retain"] = loss.retain
        return parts

    def diverged(entry: dict[str, float]) -> bool:
        return method.diverged(entry["forget"])

    return optimise(vlm, loop, batch_of, loss_of, title=title, seed=seed, checkpoints=checkpoints, diverged=diverged)


def answer_batch(
    vlm: VisionLanguageModel, step: StepQuestions, needs: Needs, cache: ReferenceCache, branches: int
) -> Batch:
    """All answers of a step from one forward pass over packed rows, split into the groups that the method sees."""
    groups = [list(step.forget), list(step.retain), list(step.refusals), list(step.normals)]
    questions = [q for group in groups for q in group]
    rows, order = vlm.rows(questions, branches)
    hidden, layout = vlm.hidden(rows)
    logits = vlm.logits(hidden)
    position = [0] * len(order)
    for place, index in enumerate(order):
        position[index] = place
    # Token indices of each branch, in the order of the questions, so that groups are contiguous and match the cache.
    counts = layout.owner.bincount(minlength=layout.branches).tolist()
    starts = [0]
    for count in counts:
        starts.append(starts[-1] + count)
    made: list[Answers | None] = []
    first = 0
    for group in groups:
        if not group:
            made.append(None)
            continue
        places = [position[first + i] for i in range(len(group))]
        first += len(group)
        tokens = [t for place in places for t in range(starts[place], starts[place + 1])]
        owner = [i for i, place in enumerate(places) for _ in range(counts[place])]
        pick = layout.target.new_tensor(tokens)
        made.append(
            Answers(
                logits=logits[pick],
                target=layout.target[pick],
                owner=layout.target.new_tensor(owner),
                weight=layout.weight[pick],
                records=len(group),
            )
        )
    forget, retain, refusals, normals = made
    assert forget is not None
    if Needs.REFERENCE_LOGPROB in needs:
        forget = with_reference(forget, logprob=cache.logprob(step.forget))
    if Needs.RETAIN_REFERENCE in needs and retain is not None:
        retain = with_reference(retain, logits=cache.logits(step.retain))
    return Batch(forget, retain, refusals, normals)


def with_reference(answers: Answers, **reference: object) -> Answers:
    """The answers with θ0's ``logprob`` or ``logits`` beside them."""
    from dataclasses import replace

    return replace(answers, **{f"reference_{name}": value for name, value in reference.items()})  # type: ignore[arg-type]


def _indices(strata: Sequence[Sequence[Question]]) -> list[list[int]]:
    """Indices of the members of each stratum in the flat list."""
    found, start = [], 0
    for stratum in strata:
        found.append(list(range(start, start + len(stratum))))
        start += len(stratum)
    return found
