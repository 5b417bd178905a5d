"""The desk that edits work at: activations of groups of records, weights to be changed, training taken back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn

from mllmu_med.benchmark.sample import Sample
from mllmu_med.errors import UsageError
from mllmu_med.memory import peak_memory_mb
from mllmu_med.methods.edits.interface import Delta, Edit, Recorded, Siblings
from mllmu_med.methods.interface import ModelFacts, Needs, Objective
from mllmu_med.models.anatomy import anatomy, model_facts, recorded_outputs
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.progress import Bar, bar
from mllmu_med.seeding import torch_rng
from mllmu_med.training.checkpoints import Checkpoints
from mllmu_med.training.deltas import ModelDelta, add, copied, difference, restore
from mllmu_med.training.feeding import Pairs, UnlearnSettings, pair_questions, usable_retain
from mllmu_med.training.loop import TrainingLog, forward_precision, trainable_parameters
from mllmu_med.training.nodes import Beside, Neighbourhood, forget_nodes
from mllmu_med.training.sampling import balanced
from mllmu_med.training.settings import LoopSettings
from mllmu_med.training.unlearn import check_support, unlearn

PASS = 32
"""Questions in one pass while activations are recorded."""

Recorder = Callable[[dict[int, nn.Module]], Any]


class ModelDesk:
    """The model of an edit (:class:`mllmu_med.methods.edits.interface.Desk`).

    What is to be forgotten is recorded whole; of retained groups at most ``settings.statistics_records`` questions,
    drawn evenly from the strata.

    Args:
        vlm: θ0; edits change it in place. What has ``requires_grad`` is what may be changed.
        forget: at least one sample.
        retain: the edit sees ``settings.retain_share`` of them.
        loop: how to train, where the edit asks for it.
        settings: which wordings, token weights and batches are used.
        seed: of everything drawn.
        title: of progress bars.
        checkpoints: from which a training is resumed.

    Attributes:
        tuned: the log of each training that the edit asked for.
        recorded: answers that passed through the model while activations were recorded.
    """

    def __init__(
        self,
        vlm: VisionLanguageModel,
        forget: Sequence[Sample],
        retain: Sequence[Sample],
        loop: LoopSettings,
        settings: UnlearnSettings,
        *,
        seed: int,
        title: str = "edit",
        checkpoints: Checkpoints | None = None,
    ) -> None:
        self.vlm, self.forget, self.retain = vlm, list(forget), list(retain)
        self.usable = usable_retain(retain, settings.retain_share, seed)
        self.loop, self.settings, self.seed, self.title = loop, settings, seed, title
        self.checkpoints = checkpoints
        self.facts: ModelFacts = model_facts(vlm)
        self.generator = torch_rng(seed, "edit")
        self.tuned: list[TrainingLog] = []
        self.recorded = 0
        self._recording = False

    # --- training ---------------------------------------------------------------------------------------------------

    def tune(self, objective: Objective) -> ModelDelta:
        """Train with this objective on the desk's records and return what changed; the weights come back bit by bit."""
        parameters = trainable_parameters(self.vlm)
        before = copied(parameters)
        number = len(self.tuned)
        where = self.checkpoints
        if where is not None and number:  # each training of one edit has a checkpoint of its own
            where = Checkpoints(where.folder.with_name(f"{where.folder.name}~{number}"), f"{where.key}/{number}")
        try:
            log = unlearn(
                self.vlm, objective, self.forget, self.retain, self.loop, self.settings, seed=self.seed,
                title=f"{self.title}: {objective.label}", checkpoints=where,
            )  # fmt: skip
            made = difference(parameters, before)
        finally:
            restore(parameters, before)
        self.tuned.append(log)
        return made

    def apply(self, delta: Delta) -> None:
        """Add a difference to the weights; adapters take it up, frozen weights never change."""
        if not isinstance(delta, ModelDelta):
            raise TypeError(f"a difference of another desk: {type(delta).__name__}")
        add(self.vlm, delta)

    def weight(self, module: str, layer: int) -> Tensor:
        """[out, in] the weights of a linear layer of the decoder, to be changed in place.

        Raises:
            UsageError: they are frozen, or there are none of this name.
        """
        linear = self._linear(module, layer)
        if hasattr(linear, "base_layer") or not linear.weight.requires_grad:
            raise UsageError(
                f"{module} of layer {layer} is frozen and cannot be changed in place; set model.trainable.language=full"
            )
        weight: Tensor = linear.weight.detach()
        return weight

    def _linear(self, module: str, layer: int) -> Any:
        linears = anatomy(self.vlm.model).linears()
        if (layer, module) not in linears:
            known = ", ".join(sorted({name for index, name in linears if index == layer})) or "none"
            raise UsageError(
                f"layer {layer} of the decoder of {type(self.vlm.model).__name__} has no linear layer '{module}', "
                f"which this method looks at; its linear layers: {known}"
            )
        return linears[layer, module][1]

    # --- groups of records ------------------------------------------------------------------------------------------

    def nodes(self) -> Mapping[str, Siblings]:
        """Each patient or fact to be forgotten → the retained records nearest to it in the hierarchy."""
        return {name: Siblings(beside.name, beside.level) for name, (_, beside) in self._nodes.items()}

    @cached_property
    def _nodes(self) -> dict[str, tuple[list[Sample], Beside]]:
        neighbourhood = Neighbourhood(self.usable)
        return {name: (samples, neighbourhood.beside(samples)) for name, samples in forget_nodes(self.forget).items()}

    @cached_property
    def _beside(self) -> dict[str, list[Sample]]:
        return {beside.name: beside.samples for _, beside in self._nodes.values()}

    @cached_property
    def _pairs(self) -> Pairs:
        needs = Needs.RETAIN | Needs.REFUSALS
        return pair_questions(self.vlm, self.forget, self.usable, needs, self.settings, self.seed)

    def questions(self, group: str) -> list[Question]:
        """The questions of a group, those about one image side by side, so that each image is encoded once.

        Raises:
            UsageError: the group is empty.
        """
        paired = {"text_only": "pictured", "retain_text_only": "retain_pictured"}
        if group in paired:
            return [question._replace(image=None) for question in self.questions(paired[group])]
        if group == "forget":
            found = self._pairs.every_forget
        elif group == "refusals":
            found = [refusal for question in self._pairs.every_forget for refusal in self._pairs.refusals[question]]
        elif group == "pictured":
            found = [question for question in self._pairs.every_forget if question.image is not None]
        elif group == "retain":
            found = self._drawn(self._pairs.retain, group)
        elif group == "retain_pictured":
            strata = [[q for q in stratum if q.image is not None] for stratum in self._pairs.retain]
            found = self._drawn(strata, group)
        elif group in self._nodes:
            found = self._paired(self._nodes[group][0], []).every_forget
        elif group in self._beside:
            found = self._drawn(self._paired([], self._beside[group]).retain, group)
        else:
            raise KeyError(f"no group '{group}' at the desk")
        if not found:
            raise UsageError(f"this method needs {group.replace('_', ' ')} records, and there are none")
        return sorted(found, key=lambda question: (question.image is None, question.image or ""))

    def _paired(self, forget: Sequence[Sample], retain: Sequence[Sample]) -> Pairs:
        return pair_questions(self.vlm, forget, retain, Needs.RETAIN, self.settings, self.seed)

    def _drawn(self, strata: Sequence[Sequence[Question]], group: str) -> list[Question]:
        """At most ``statistics_records`` different questions, as many of each stratum as there are."""
        every = [question for stratum in strata for question in stratum]
        if len(every) <= self.settings.statistics_records:
            return every
        places, start = [], 0
        for stratum in strata:
            places.append(range(start, start + len(stratum)))
            start += len(stratum)
        draw = balanced(places, self.settings.statistics_records, self.seed, f"desk {group}")
        return [every[index] for index in dict.fromkeys(draw(0))]

    # --- activations ------------------------------------------------------------------------------------------------

    def inputs(self, group: str, module: str, layers: Sequence[int]) -> Recorded:
        """[T, in] inputs of linear layers at the answer positions of a group."""
        return self._record(group, {layer: self._linear(module, layer) for layer in layers}, recorded_inputs)

    def outputs(self, group: str, module: str, layers: Sequence[int]) -> Recorded:
        """[T, out] outputs of linear layers at the answer positions of a group."""
        return self._record(group, {layer: self._linear(module, layer) for layer in layers}, recorded_outputs)

    def hidden(self, group: str, layers: Sequence[int]) -> Recorded:
        """[T, H] hidden states behind decoder layers at the answer positions of a group."""
        found = anatomy(self.vlm.model).layers
        return self._record(group, {layer: found[layer] for layer in layers}, recorded_outputs)

    def _record(self, group: str, modules: dict[int, nn.Module], recorder: Recorder) -> Recorded:
        questions = self.questions(group)
        with self._bar(group, len(questions)) as progress:
            for start in range(0, len(questions), PASS):
                chunk = questions[start : start + PASS]
                yield self._pass(chunk, modules, recorder)
                self.recorded += len(chunk)
                progress.advance(len(chunk))

    @contextmanager
    def _bar(self, group: str, total: int) -> Iterator[Bar]:
        """A bar, unless another recording of this desk shows one: two groups may be recorded side by side."""
        if self._recording:
            yield Bar()
            return
        self._recording = True
        try:
            with bar(f"{self.title}: {group}", total) as progress:
                yield progress
        finally:
            self._recording = False

    @torch.no_grad()
    def _pass(
        self, questions: Sequence[Question], modules: dict[int, nn.Module], recorder: Recorder
    ) -> dict[int, Tensor]:
        """Activations of some questions in their order, from one forward pass over packed rows without dropout."""
        vlm = self.vlm
        vlm.model.eval()
        rows, order = vlm.rows(questions, self.settings.branches)
        half = forward_precision(vlm, self.loop.precision) == "bf16"
        with recorder(modules) as held, torch.autocast(vlm.device.type, torch.bfloat16, enabled=half):
            _, layout = vlm.hidden(rows)
        question = torch.tensor(order, device=layout.owner.device)[layout.owner]
        tokens = torch.argsort(question, stable=True)
        tokens = tokens[layout.weight[tokens] > 0]
        row, column = layout.row[tokens], layout.column[tokens]
        return {layer: states[row, column].float() for layer, states in held.items()}


@contextmanager
def recorded_inputs(modules: dict[int, nn.Module]) -> Iterator[dict[int, Tensor]]:
    """Record what modules are given in the forward passes within the block; a later pass overwrites."""
    held: dict[int, Tensor] = {}

    def hook(index: int) -> Any:
        def record(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            held[index] = inputs[0]

        return record

    handles = [module.register_forward_pre_hook(hook(index)) for index, module in modules.items()]
    try:
        yield held
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class Edited:
    """What an edit did.

    Attributes:
        numbers: the edit's own; empty if there was nothing to forget.
        log: of its trainings one after another; ``seconds`` are those of the whole edit.
        recorded: answers that passed through the model while activations were recorded.
    """

    numbers: Mapping[str, float] = field(default_factory=dict)
    log: TrainingLog = field(default_factory=TrainingLog)
    recorded: int = 0


def carry_out(
    vlm: VisionLanguageModel,
    method: Edit,
    forget: Sequence[Sample],
    retain: Sequence[Sample],
    loop: LoopSettings,
    settings: UnlearnSettings,
    *,
    seed: int,
    title: str = "edit",
    checkpoints: Checkpoints | None = None,
) -> Edited:
    """Edit the model in place, so that the forget samples are forgotten.

    An empty forget set leaves the weights as they are.

    Args:
        vlm: θ0; what has ``requires_grad`` may change.
        method: the edit.
        forget, retain: samples of these subsets.
        loop: how to train, where the edit trains.
        settings: how it is fed.
        seed: of everything drawn.
        title: of progress bars.
        checkpoints: from which a training is resumed.

    Raises:
        UsageError: the edit cannot work on these weights or data; the message says why.
    """
    if not forget:
        return Edited(log=TrainingLog(stopped="nothing to forget"))
    check_support(vlm, cast(Any, method))  # it reads what methods of all kinds say of themselves
    desk = ModelDesk(vlm, forget, retain, loop, settings, seed=seed, title=title, checkpoints=checkpoints)
    if Needs.RETAIN in method.needs and not desk.usable:
        raise UsageError(f"{method.label} needs retain records, but retain_share={settings.retain_share} leaves none")
    vlm.model.eval()
    began = time.perf_counter()
    numbers = {name: float(value) for name, value in method.edit(desk).items()}
    log = TrainingLog(seconds=time.perf_counter() - began, peak_memory_mb=peak_memory_mb(vlm.device))
    for own in desk.tuned:
        log.curve += [{**entry, "step": entry["step"] + log.steps} for entry in own.curve]
        log.steps, log.trained, log.stopped = log.steps + own.steps, own.trained, log.stopped or own.stopped
        log.answers += own.answers
    return Edited(numbers, log, desk.recorded)
