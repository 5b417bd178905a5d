"""All answers of a step from one forward pass over packed rows, split into the groups that a method sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from typing import Any, cast

from torch import Tensor

from mllmu_med.methods.chunked import DeferredLogits
from mllmu_med.methods.interface import Answers, Batch, Needs
from mllmu_med.models.references import ReferenceCache
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.training.feeding import Pairs, StepQuestions
from mllmu_med.training.forward import answer_states, deferred_logits, is_large_step, placed
from mllmu_med.training.teacher import TeacherOutputs


@dataclass(frozen=True)
class References:
    """What was computed while the weights still were θ0's.

    Attributes:
        theta0: θ0's outputs.
        reinforced: outputs of θ0 trained further on the forget set; None unless a method needs them.
        teacher: of an approximate oracle on the forget questions; None unless a method needs them.
        layers: decoder layers whose hidden states are kept.
    """

    theta0: ReferenceCache
    reinforced: ReferenceCache | None = None
    teacher: TeacherOutputs | None = None
    layers: tuple[int, ...] = ()


def answer_batch(
    vlm: VisionLanguageModel,
    step: StepQuestions,
    needs: Needs,
    references: References,
    branches: int,
    *,
    pairs: Pairs | None = None,
    number: int = 0,
    state: Mapping[str, Tensor] | None = None,
    most_positions: int | None = None,
) -> Batch:
    """One step's answers.

    Args:
        step: the questions.
        needs: what the method declares; nothing else is computed.
        references: outputs of θ0.
        branches: most questions of one image in a packed row.
        pairs: levels and noised questions.
        number: of the optimiser step.
        state: the method's.
        most_positions: most positions of one forward pass (:mod:`mllmu_med.training.forward`); None = no bound.
    """
    pairs = pairs or Pairs()
    named: dict[str, Sequence[Question]] = {
        "forget": step.forget,
        "retain": step.retain,
        "refusals": step.refusals,
        "normals": step.normals,
        "alternates": step.alternates,
        "corrections": step.corrections,
        "anchors": step.anchors,
        "siblings": step.siblings,
    }
    made = grouped_answers(vlm, named, references.layers if Needs.LAYERS in needs else (), branches, most_positions)
    theta0 = references.theta0
    for name in ("refusals", "normals", "alternates", "corrections"):
        if name in made:
            of = placed(_owners(step.forget, getattr(pairs, name)), made[name].target.device)
            made[name] = replace(made[name], of=of)
            if Needs.OTHERS_LOGPROB in needs:
                made[name] = replace(made[name], reference_logprob=theta0.logprob(named[name]))
    extra: dict[str, dict[str, Any]] = {"forget": {}, "retain": {}, "anchors": {}, "siblings": {}}
    if Needs.REFERENCE_LOGPROB in needs:
        extra["forget"]["reference_logprob"] = theta0.logprob(step.forget)
    if Needs.FORGET_REFERENCE in needs:
        extra["forget"]["reference_logits"] = reference_logits(vlm, theta0, step.forget, made["forget"])
    if Needs.NOISED in needs:
        extra["forget"]["noised_logits"] = theta0.logits([pairs.noised[q] for q in step.forget])
    if Needs.REINFORCED in needs and references.reinforced is not None:
        extra["forget"]["reinforced_logits"] = references.reinforced.logits(step.forget)
    if Needs.TEACHER in needs and references.teacher is not None:
        extra["forget"]["teacher"] = references.teacher.of(step.forget)
    if Needs.RETAIN_REFERENCE in needs and step.retain:
        extra["retain"]["reference_logits"] = reference_logits(vlm, theta0, step.retain, made["retain"])
    for name in ("anchors", "siblings"):
        if named[name]:
            extra[name]["reference_logits"] = reference_logits(vlm, theta0, named[name], made[name])
    for name in ("forget", "retain"):
        questions = named[name]
        if not questions:
            continue
        if Needs.HIERARCHY in needs:
            extra[name]["level"] = placed([pairs.levels[q] for q in questions], made[name].target.device)
        if Needs.LAYERS in needs:
            extra[name]["lens"] = vlm.lens
        if Needs.REFERENCE_LAYERS in needs:
            extra[name]["reference_layers"] = {layer: theta0.layer(questions, layer) for layer in references.layers}
    for name, fields in extra.items():
        if name in made:
            made[name] = replace(made[name], **fields)
    for name, need in (("anchors", Needs.ANCHORS), ("corrections", Needs.CORRECTIONS), ("retain", Needs.RETAIN)):
        if need in needs and name not in made:  # none of this batch's records has any, or no retain record may be used
            made[name] = _none_like(made["forget"])
    return Batch(**made, step=number, state=state or {})


def grouped_answers(
    vlm: VisionLanguageModel,
    groups: Mapping[str, Sequence[Question]],
    layers: Sequence[int],
    branches: int,
    most_positions: int | None = None,
) -> dict[str, Answers]:
    """Answers of named groups of questions, from one forward pass; empty groups are left out.

    Where the tokens of a group lie is worked out on the host, and nothing is read back from the device.
    """
    questions = [q for group in groups.values() for q in group]
    states = answer_states(vlm, questions, branches, layers=layers, most_positions=most_positions)
    # All groups through the head at once, or each group in parts of its own where the vocabulary is large.
    logits = None if is_large_step(vlm, len(states.hidden)) else vlm.logits(states.hidden)
    place_of = {index: place for place, index in enumerate(states.order)}
    # Token indices of each branch, in the order of the questions, so that groups are contiguous and match the cache.
    starts = [0, *accumulate(states.counts)]
    device = states.hidden.device
    made: dict[str, Answers] = {}
    first = 0
    for name, group in groups.items():
        places = [place_of[first + i] for i in range(len(group))]
        first += len(group)
        if not places:
            continue
        pick = placed([t for place in places for t in range(starts[place], starts[place + 1])], device)
        counts = [states.counts[place] for place in places]
        own = deferred_logits(vlm, states.hidden[pick], counts) if logits is None else logits[pick]
        made[name] = Answers(
            logits=cast(Tensor, own),
            target=states.target[pick],
            owner=placed([i for i, count in enumerate(counts) for _ in range(count)], device),
            weight=states.weight[pick],
            records=len(group),
            layers={layer: values[pick] for layer, values in states.inner.items()} if layers else None,
        )
    return made


def reference_logits(
    vlm: VisionLanguageModel, cache: ReferenceCache, questions: Sequence[Question], answers: Answers
) -> Tensor:
    """A reference's logits [K, V] on the answers; deferred, in the same parts, where the answers' own are."""
    if not isinstance(answers.logits, DeferredLogits):
        return cache.logits(questions)
    parts, start = [], 0
    for taken in answers.logits.answers:
        parts.append(partial(cache.logits, questions[start : start + taken]))
        start += taken
    return cast(Tensor, DeferredLogits(parts, answers.logits.counts, answers.logits.answers))


def _owners(forget: Sequence[Question], beside: Mapping[Question, Sequence[Question]]) -> list[int]:
    return [index for index, question in enumerate(forget) for _ in beside.get(question, ())]


def _none_like(answers: Answers) -> Answers:
    """Answers of no record, in the types of others: sums over them are 0."""
    # The whole of deferred logits is not asked for to take nothing of it.
    deferred = isinstance(answers.logits, DeferredLogits)
    logits, target = answers.weight.new_zeros(0, 1) if deferred else answers.logits[:0], answers.target[:0]
    return Answers(
        logits, target, target, answers.weight[:0], records=0, of=target, reference_logprob=logits[:, 0],
        reference_logits=logits.detach(), level=target,
        layers=None if answers.layers is None else {layer: states[:0] for layer, states in answers.layers.items()},
        reference_layers=None if answers.layers is None else {
            layer: states[:0].detach() for layer, states in answers.layers.items()
        },
    )  # fmt: skip
