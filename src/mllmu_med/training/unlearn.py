"""Unlearning: a method's loss on pairs of forget and retain records, provided with exactly what it declares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mllmu_med.benchmark.sample import Sample
from mllmu_med.errors import UsageError
from mllmu_med.methods.addons.interface import ParameterView
from mllmu_med.methods.composition import Composite, composed
from mllmu_med.methods.interface import Loss, Needs, Objective, Supports
from mllmu_med.models.anatomy import model_facts
from mllmu_med.models.groups import group_of, has_adapter, plain_name
from mllmu_med.models.references import ReferenceCache
from mllmu_med.models.sharding import is_sharded
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.seeding import torch_rng
from mllmu_med.training.answers import References, answer_batch
from mllmu_med.training.backward import RuledBackward, StepLoss, loss_parts
from mllmu_med.training.budget import BudgetSettings, RetainBudget
from mllmu_med.training.checkpoints import Checkpoints, TrainableParameters
from mllmu_med.training.cost import Counter
from mllmu_med.training.distributed import own_share, processes
from mllmu_med.training.feeding import (
    Feeder,
    Pairs,
    StepQuestions,
    UnlearnSettings,
    forget_questions,
    pair_questions,
    usable_retain,
)
from mllmu_med.training.forward import refuse_parts
from mllmu_med.training.loop import TrainingLog, forward_precision, optimise, trainable_parameters
from mllmu_med.training.reinforce import reinforced_outputs
from mllmu_med.training.scope import focused, parameterised
from mllmu_med.training.settings import LoopSettings
from mllmu_med.training.siblings import made_up_beside
from mllmu_med.training.statistics import gradient_statistics
from mllmu_med.training.stopping import ExcessStop, StopSettings, tell_what_is_left
from mllmu_med.training.strangers import stranger_levels, with_strangers
from mllmu_med.training.teacher import TeacherOutputs, counted_outputs
from mllmu_med.training.watching import Watch

STRANGERS = 64
"""Made-up patients that the forgotten ones are compared with: as many behind the ceiling, as many for membership."""


def unlearn(
    vlm: VisionLanguageModel,
    method: Objective | Composite,
    forget: Sequence[Sample],
    retain: Sequence[Sample],
    loop: LoopSettings,
    settings: UnlearnSettings,
    *,
    seed: int,
    title: str = "unlearn",
    checkpoints: Checkpoints | None = None,
    budget: BudgetSettings | None = None,
    validation: Sequence[Question] = (),
    taken: Mapping[str, Tensor] | None = None,
    teacher: TeacherOutputs | None = None,
    stop: StopSettings | None = None,
    watches: Sequence[Watch] = (),
    earlier: Sequence[Sample] = (),
) -> TrainingLog:
    """Unlearn the forget samples in place.

    The pairing of forget and retain records is a function of (seed, step). What the method needs of θ0 is computed
    before the first step, while the weights still are θ0's. An empty forget set leaves the weights as they are. Where
    an approximate oracle was at hand, the last entry of the curve has what is left to forget
    (:class:`~mllmu_med.training.stopping.Left`), and a warning says when answers are still given.

    Args:
        vlm: θ0; what has ``requires_grad`` trains.
        method: an objective, with or without add-ons.
        forget, retain: samples of these subsets.
        loop: how to optimise.
        settings: how the method is fed.
        seed: of pairing, alternates and the method's own draws.
        checkpoints: where to resume from and save to.
        budget: ends the training before the ``validation`` answers get worse than it allows.
        taken: directions that adapters of earlier requests use, by parameter, for the rules that keep off them.
        teacher: an approximate oracle's outputs on the forget questions (:func:`forget_questions`), where
            ``settings.teacher`` is ``base`` and the method, or ``stop``, needs them.
        stop: ends the training once nothing is left to forget.
        watches: further measurements, at entries of the curve; they are made first.
        earlier: samples that earlier requests have forgotten: made-up patients hold nothing of theirs.

    Raises:
        UsageError: the method cannot work on these weights or data; the message says why.
    """
    method = composed(method)
    if not forget:
        return TrainingLog(stopped="nothing to forget")
    check_support(vlm, method)
    refuse_parts(vlm, settings.most_positions)
    retain = usable_retain(retain, settings.retain_share, seed)
    needs = method.needs
    if stop is not None:
        needs |= Needs.TEACHER
    own_share(range(settings.forget_batch), "forget_batch")  # refused here, before anything costly
    own_share(range(settings.retain_batch if Needs.RETAIN in needs else 0), "retain_batch")
    own_share(range(settings.sibling_batch if Needs.SIBLINGS in needs else 0), "sibling_batch")
    if Needs.RETAIN in needs and not retain and Needs.SIBLINGS not in needs:
        raise UsageError(
            f"{method.label} needs retain records, but retain_share={settings.retain_share} leaves none; without any, "
            "add made-up ones to the method's name: +siblings"
        )
    if budget is not None and not validation:
        raise UsageError("a retain budget needs validation records, and there are none")
    facts = model_facts(vlm)
    with focused(vlm, method.focus(facts), method.label), parameterised(vlm, method.parameterisation):
        parameters = trainable_parameters(vlm)
        half = forward_precision(vlm, loop.precision) == "bf16"

        def autocast() -> Any:
            return torch.autocast(vlm.device.type, torch.bfloat16, enabled=half)

        with autocast():  # θ0 and θ are computed alike
            pairs = pair_questions(vlm, forget, retain, needs, settings, seed, method.objective.rephrasings, earlier)
            feeder = Feeder(pairs, settings, seed)
            references = make_references(vlm, method, pairs, feeder, loop, settings, parameters, seed)
            if Needs.TEACHER in needs:
                teacher = made_teacher(vlm, method, forget, retain, settings, seed, teacher, earlier)
                strangers = made_up_beside(forget, retain, STRANGERS, seed, earlier=earlier)
                asked = forget_questions(vlm, forget, settings, method.objective.rephrasings)
                teacher = with_strangers(teacher, vlm, forget, asked, stranger_levels(vlm, strangers))
                references = replace(references, teacher=teacher)
        own = method.start(facts, torch_rng(seed, "method"))
        state = {f"method/{name}": value.to(vlm.device) for name, value in own.items()}

        def loss_of(step: StepQuestions) -> Loss:
            batch = answer_batch(
                vlm, step, needs, references, settings.branches,
                pairs=pairs, number=step.number // loop.accumulation, state=_part(state, "method/"),
                most_positions=settings.most_positions,
            )  # fmt: skip
            return method.loss(batch)

        backward: RuledBackward | None = None
        if method.rule is not None:
            backward = _ruled(
                vlm, method, parameters, pairs, settings, loop, seed, state, loss_of, autocast, taken or {}
            )

        def after(scalars: StepLoss) -> None:
            if backward is not None:
                backward.settle()
            for name, value in method.advance(_part(state, "method/"), scalars).items():
                state[f"method/{name}"] = value

        watches = list(watches)
        left: ExcessStop | None = None
        if teacher is not None:
            first = max(STRANGERS, settings.siblings)  # neither siblings nor those behind the ceiling
            strangers = made_up_beside(forget, retain, STRANGERS, seed, first=first, earlier=earlier)
            left = ExcessStop(
                vlm, forget, strangers, teacher, stop or StopSettings(), span_weights=settings.span_weights,
                autocast=autocast,
            )  # fmt: skip
            watches += [left] if stop is not None else []
        if budget is not None:
            watches.append(RetainBudget(vlm, validation, budget, parameters, _Prefixed(state, "budget/"), autocast))
        log = optimise(
            vlm, loop, feeder, lambda step: loss_parts(loss_of(step)), title=title, seed=seed, checkpoints=checkpoints,
            diverged=method.diverged, parameters=parameters, backward=backward, state=state, after=after,
            watches=watches, images_of=lambda step: step.images,
            cost=Counter(vlm, recomputed=loop.gradient_checkpointing),
        )  # fmt: skip
        if left is not None and log.curve:
            if stop is None or budget is not None:  # a budget may have brought earlier weights back
                log.curve[-1] |= left.look(log.steps).numbers
            tell_what_is_left(title, log.curve[-1], log.steps, stop)
        log.answers = sum(map(feeder.answers_of, range(log.steps * loop.accumulation)))
        if Needs.REINFORCED in needs:
            log.answers += settings.reinforce_steps * (settings.forget_batch + settings.retain_batch)
        if method.rule is not None and log.curve:
            numbers = (range(step * loop.accumulation, (step + 1) * loop.accumulation) for step in range(log.steps))
            log.curve[-1] |= method.rule.account([[i for n in own for i in feeder.forget_of(n)] for own in numbers])
        return log


def check_support(vlm: VisionLanguageModel, method: Composite) -> None:
    """Refuse weights that the method cannot work on.

    Raises:
        UsageError: says what it supports.
    """
    held = Supports.FULL
    if has_adapter(vlm):
        held = Supports.QUANTISED if vlm.quantised else Supports.LORA
    several = [Supports.DISTRIBUTED] * (processes() > 1) + [Supports.FSDP2] * is_sharded(vlm)
    method.supports.check(method.label, held, *several)


def make_references(
    vlm: VisionLanguageModel,
    method: Composite,
    pairs: Pairs,
    feeder: Feeder,
    loop: LoopSettings,
    settings: UnlearnSettings,
    parameters: TrainableParameters,
    seed: int,
) -> References:
    """Compute, with θ0's weights, what the method needs of θ0 in the steps to come."""
    needs, layers = method.needs, method.layers(model_facts(vlm))
    cache = ReferenceCache(vlm, branches=max(8, settings.branches))
    kept = layers if Needs.REFERENCE_LAYERS in needs else ()
    if Needs.REFERENCE_LOGPROB in needs or Needs.FORGET_REFERENCE in needs or kept:
        cache.fill(feeder.forget, hidden=Needs.FORGET_REFERENCE in needs, layers=kept)
    if Needs.NOISED in needs:
        cache.fill(list(pairs.noised.values()), hidden=True)
    if Needs.OTHERS_LOGPROB in needs:
        for others in (pairs.refusals, pairs.normals, pairs.alternates, pairs.corrections):
            cache.fill([q for found in others.values() for q in found], hidden=False)
    if Needs.ANCHORS in needs:
        cache.fill([q for found in pairs.anchors.values() for q in found], hidden=True)
    steps = range(loop.steps * loop.accumulation)
    if Needs.SIBLINGS in needs:
        seen = dict.fromkeys(i for step in steps for i in feeder.siblings_of(step))
        cache.fill([feeder.siblings[i] for i in seen], hidden=True, among=feeder.siblings)
    if (Needs.RETAIN_REFERENCE in needs or kept) and feeder.retain:
        seen = dict.fromkeys(i for step in steps for i in feeder.retain_of(step))
        drawn = [feeder.retain[i] for i in seen]
        cache.fill(drawn, hidden=Needs.RETAIN_REFERENCE in needs, layers=kept, among=feeder.retain)
    reinforced = None
    if Needs.REINFORCED in needs:
        reinforced = reinforced_outputs(vlm, parameters, feeder.forget, settings, loop, seed)
    return References(cache, reinforced, layers=layers)


def made_teacher(
    vlm: VisionLanguageModel,
    method: Composite,
    forget: Sequence[Sample],
    retain: Sequence[Sample],
    settings: UnlearnSettings,
    seed: int,
    given: TeacherOutputs | None = None,
    earlier: Sequence[Sample] = (),
) -> TeacherOutputs:
    """The approximate oracle's outputs: those given, or counted from usable retain answers and made-up ones.

    Raises:
        UsageError: those of a model are asked for, and none were given.
    """
    if settings.teacher == "marginals":
        asked = forget_questions(vlm, forget, settings, method.objective.rephrasings)
        return counted_outputs(vlm, forget, retain, asked, settings, seed, earlier)
    if given is None:
        raise UsageError(
            f"{method.label} needs an approximate oracle, and no outputs of one were given; without base weights set "
            "teacher=marginals"
        )
    return given.to(vlm.device)


def _ruled(
    vlm: VisionLanguageModel,
    method: Composite,
    parameters: TrainableParameters,
    pairs: Pairs,
    settings: UnlearnSettings,
    loop: LoopSettings,
    seed: int,
    state: dict[str, Tensor],
    loss_of: Any,
    autocast: Any,
    taken: Mapping[str, Tensor],
) -> RuledBackward:
    assert method.rule is not None
    statistics = None
    if Needs.GRADIENT_STATISTICS in method.needs:
        statistics = gradient_statistics(
            vlm, parameters, pairs.every_forget, pairs.every_retain, most=settings.statistics_records, seed=seed,
            autocast=autocast,
        )  # fmt: skip
    view = ParameterView(
        {name: p.shape for name, p in parameters.items()},
        {name: group_of(plain_name(name)) for name in parameters},
        statistics,
        torch_rng(seed, "rule"),
        taken,
    )
    held = _Prefixed(state, "rule/")
    held.update({name: value.to(vlm.device) for name, value in method.rule.start(view).items()})
    return RuledBackward(method.rule, parameters, loss_of, held, autocast, clip=loop.clip)


def _part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


class _Prefixed(MutableMapping[str, Tensor]):
    """A part of the state under a prefix: what is written to it lies in the whole, where checkpoints find it."""

    def __init__(self, whole: dict[str, Tensor], prefix: str) -> None:
        self.whole, self.prefix = whole, prefix

    def __setitem__(self, name: str, value: Tensor) -> None:
        self.whole[self.prefix + name] = value

    def __getitem__(self, name: str) -> Tensor:
        return self.whole[self.prefix + name]

    def __delitem__(self, name: str) -> None:
        del self.whole[self.prefix + name]

    def __iter__(self) -> Iterator[str]:
        return iter(_part(self.whole, self.prefix))

    def __len__(self) -> int:
        return len(_part(self.whole, self.prefix))
