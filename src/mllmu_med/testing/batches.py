"""Random batches that hold exactly what a method declares, and ways to change them that must, or must not, matter."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from mllmu_med.methods.composition import Composite
from mllmu_med.methods.interface import Answers, Batch, ModelFacts, Needs, Teacher
from mllmu_med.training.teacher import coarse

FACTS = ModelFacts(layers=6, width=5, vocabulary=9)
LENGTHS = (3, 1, 4, 2)
"""Answer tokens of the four records of a batch."""

GROUPS = ("forget", "retain", "refusals", "normals", "alternates", "corrections", "anchors", "siblings")
OTHERS = {Needs.REFUSALS: "refusals", Needs.NORMALS: "normals", Needs.ALTERNATES: "alternates",
          Needs.CORRECTIONS: "corrections"}  # fmt: skip
_OWNERS = {"refusals": (0, 1, 2, 3), "normals": (0, 0, 1, 1, 2, 2, 3, 3), "alternates": (0, 0, 1, 1, 2, 2, 3, 3),
           "corrections": (1, 2), "anchors": (0, 1, 1)}  # fmt: skip
REFERENCES = ("reference_logprob", "reference_logits", "noised_logits", "reinforced_logits")


def random_batch(method: Composite, *, seed: int = 0, dtype: torch.dtype = torch.float64, step: int = 0) -> Batch:
    """Four forget records with answers of 3, 1, 4 and 2 tokens, and beside them what the method's needs name.

    Token weights are fractions; only two of the four forget records have a correction, and two have anchors.
    """
    generator = torch.Generator().manual_seed(seed)
    needs, layers = method.needs, method.layers(FACTS)
    lens = torch.randn(FACTS.width, FACTS.vocabulary, generator=generator, dtype=dtype)

    def group(name: str) -> Answers:
        of = _OWNERS.get(name)
        lengths = [LENGTHS[i % 4] for i in range(len(of or LENGTHS))]
        return _answers(generator, dtype, lengths, None if name == "anchors" else of)

    def noise(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator, dtype=dtype)

    forget = group("forget")
    if Needs.REFERENCE_LOGPROB in needs:
        forget = replace(forget, reference_logprob=-noise(forget.target).abs() - 0.1)
    if Needs.FORGET_REFERENCE in needs:
        forget = replace(forget, reference_logits=noise(forget.logits))
    if Needs.NOISED in needs:
        forget = replace(forget, noised_logits=noise(forget.logits))
    if Needs.REINFORCED in needs:
        forget = replace(forget, reinforced_logits=noise(forget.logits))
    if Needs.TEACHER in needs:
        forget = replace(forget, teacher=teacher_of(noise(forget.logits), forget.target))
    retain = group("retain") if Needs.RETAIN in needs else None
    if retain is not None and Needs.RETAIN_REFERENCE in needs:
        retain = replace(retain, reference_logits=noise(retain.logits))

    def inner(answers: Answers) -> Answers:
        shape = len(answers.target), FACTS.width
        if Needs.LAYERS in needs:
            own = {layer: torch.randn(shape, generator=generator, dtype=dtype) for layer in layers}
            answers = replace(answers, layers=own, lens=lambda states: states @ lens)
        if Needs.REFERENCE_LAYERS in needs:
            theirs = {layer: torch.randn(shape, generator=generator, dtype=dtype) for layer in layers}
            answers = replace(answers, reference_layers=theirs)
        return answers

    others: dict[str, Any] = {}
    for need, name in OTHERS.items():
        if need in needs:
            others[name] = group(name)
            if Needs.OTHERS_LOGPROB in needs:
                others[name] = replace(others[name], reference_logprob=-noise(others[name].target).abs() - 0.1)
    if Needs.ANCHORS in needs:
        anchors = group("anchors")
        others["anchors"] = replace(anchors, reference_logits=noise(anchors.logits))
    if Needs.SIBLINGS in needs:
        siblings = group("siblings")
        others["siblings"] = replace(siblings, reference_logits=noise(siblings.logits))
    forget, retain = inner(forget), None if retain is None else inner(retain)
    if Needs.HIERARCHY in needs:
        forget = replace(forget, level=torch.tensor([4, 4, 4, 4]))
        retain = None if retain is None else replace(retain, level=torch.tensor([1, 2, 3, 3]))
    state = method.start(FACTS, torch.Generator().manual_seed(seed))
    state = {name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items()}
    return Batch(forget, retain, **others, step=step, state=state)


def _answers(
    generator: torch.Generator, dtype: torch.dtype, lengths: Sequence[int], of: Sequence[int] | None
) -> Answers:
    count = sum(lengths)
    return Answers(
        logits=2 * torch.randn(count, FACTS.vocabulary, generator=generator, dtype=dtype),
        target=torch.randint(FACTS.vocabulary, (count,), generator=generator),
        owner=torch.tensor([record for record, length in enumerate(lengths) for _ in range(length)]),
        weight=torch.randint(1, 5, (count,), generator=generator).to(dtype) / 4,
        records=len(lengths),
        of=None if of is None else torch.tensor(of),
    )


def teacher_of(logits: Tensor, target: Tensor) -> Teacher:
    """What an approximate oracle with these logits [K, V] is known by: five tokens of the nine, and the rest; of every
    other token also what a stranger's is like."""
    made = coarse(logits.log_softmax(-1), target, 5)
    stranger = torch.full_like(made["target"], math.inf)
    stranger[::2] = made["target"][::2] - 0.5
    return Teacher(made["target"], made["tokens"], made["logprobs"], made.get("rest"), stranger)


def groups_of(batch: Batch) -> Iterator[tuple[str, Answers]]:
    """The groups that a batch has."""
    for name in GROUPS:
        answers = getattr(batch, name)
        if answers is not None:
            yield name, answers


def each_group(batch: Batch, change: Callable[[str, Answers], Answers]) -> Batch:
    """A batch with every group changed."""
    changed: dict[str, Any] = {name: change(name, answers) for name, answers in groups_of(batch)}
    return batch._replace(**changed)


def each_token(answers: Answers, pick: Tensor, **other: Any) -> Answers:
    """The tokens ``pick`` of a group, with everything that is known of each."""
    changes: dict[str, Any] = {"target": answers.target[pick], "owner": answers.owner[pick]}
    for name in ("logits", "weight", *REFERENCES):
        value = getattr(answers, name)
        changes[name] = None if value is None else value[pick]
    if answers.teacher is not None:
        taken = {name: value[pick] for name, value in answers.teacher._asdict().items() if value is not None}
        changes["teacher"] = answers.teacher._replace(**taken)
    for name in ("layers", "reference_layers"):
        held = getattr(answers, name)
        changes[name] = None if held is None else {layer: states[pick] for layer, states in held.items()}
    return replace(answers, **{**changes, **other})


def chosen_records(answers: Answers, records: Sequence[int], forget: Sequence[int] | None = None) -> Answers:
    """The records of a group, in this order; there may be none.

    Args:
        records: of the group.
        forget: for groups beside the forget records: which of these, in the new order, ``of`` now counts.
    """
    places = [(answers.owner == record).nonzero()[:, 0] for record in records]
    pick = torch.cat([*places, answers.owner[:0]])
    owner = torch.cat([*(torch.full_like(own, new) for new, own in enumerate(places)), answers.owner[:0]])
    of = answers.of
    if of is not None and forget is not None:
        of = of.new_tensor([list(forget).index(int(of[record])) for record in records])
    level = None if answers.level is None else answers.level[list(records)]
    return each_token(answers, pick, owner=owner, records=len(records), of=of, level=level)


def chosen_batch(batch: Batch, records: Sequence[int]) -> Batch:
    """The forget and retain records ``records`` of a random batch, in this order, with what stands beside them."""

    def choose(name: str, answers: Answers) -> Answers:
        of = _OWNERS.get(name)
        if of is None:
            return chosen_records(answers, records)
        return chosen_records(answers, [i for record in records for i, own in enumerate(of) if own == record], records)

    return each_group(batch, choose)


def without(batch: Batch, need: Needs) -> Batch:
    """A batch from which what one need provides is missing."""
    groups = {**OTHERS, Needs.RETAIN: "retain", Needs.ANCHORS: "anchors", Needs.SIBLINGS: "siblings"}
    if need in groups:
        gone: dict[str, Any] = {groups[need]: None}
        return batch._replace(**gone)
    fields: dict[Needs, tuple[str | None, tuple[str, ...]]] = {
        Needs.REFERENCE_LOGPROB: ("forget", ("reference_logprob",)),
        Needs.FORGET_REFERENCE: ("forget", ("reference_logits",)),
        Needs.RETAIN_REFERENCE: ("retain", ("reference_logits",)),
        Needs.NOISED: ("forget", ("noised_logits",)),
        Needs.REINFORCED: ("forget", ("reinforced_logits",)),
        Needs.TEACHER: ("forget", ("teacher",)),
        Needs.LAYERS: (None, ("layers", "lens")),
        Needs.REFERENCE_LAYERS: (None, ("reference_layers",)),
        Needs.HIERARCHY: (None, ("level",)),
        Needs.OTHERS_LOGPROB: ("others", ("reference_logprob",)),
    }
    where, names = fields[need]

    def drop(group: str, answers: Answers) -> Answers:
        here = where is None or group == where or (where == "others" and group in OTHERS.values())
        nothing: dict[str, Any] = dict.fromkeys(names)
        return replace(answers, **nothing) if here else answers

    return each_group(batch, drop)


def tensors_of(batch: Batch) -> dict[str, Tensor]:
    """Every tensor of a batch, by a name of its own."""
    found = {f"state.{name}": value for name, value in batch.state.items()}
    for group, answers in groups_of(batch):
        for name in (field.name for field in fields(answers)):
            value = getattr(answers, name)
            if isinstance(value, Tensor):
                found[f"{group}.{name}"] = value
            elif isinstance(value, dict):
                found |= {f"{group}.{name}.{layer}": states for layer, states in value.items()}
            elif isinstance(value, Teacher):
                found |= {f"{group}.{name}.{key}": own for key, own in value._asdict().items() if own is not None}
    return found


def with_live_outputs(batch: Batch) -> tuple[Batch, dict[str, Tensor]]:
    """The batch with the model's outputs as leaves that take gradients; and these, by name."""
    leaves: dict[str, Tensor] = {}

    def live(group: str, answers: Answers) -> Answers:
        logits = leaves[f"{group}.logits"] = answers.logits.detach().clone().requires_grad_()
        layers = answers.layers
        if layers is not None:
            layers = {layer: states.detach().clone().requires_grad_() for layer, states in layers.items()}
            leaves.update({f"{group}.layers.{layer}": states for layer, states in layers.items()})
        return replace(answers, logits=logits, layers=layers)

    return each_group(batch, live), leaves
