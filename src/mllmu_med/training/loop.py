"""The loop: a step's batch is a function of its number, so a resumed run takes the steps of an uninterrupted one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from mllmu_med.errors import Interrupted, MedError, UsageError
from mllmu_med.memory import peak_memory_mb
from mllmu_med.models.network import unwrap
from mllmu_med.models.sharding import apart, clip_gradients, own_rank
from mllmu_med.models.vlm import VisionLanguageModel
from mllmu_med.progress import bar
from mllmu_med.seeding import derive
from mllmu_med.training.backward import Backward, StepLoss
from mllmu_med.training.checkpoints import Checkpoints, TrainableParameters
from mllmu_med.training.cost import Counter
from mllmu_med.training.distributed import agreed, average_gradients, averaged
from mllmu_med.training.interrupts import graceful_stop
from mllmu_med.training.prefetch import decoded_ahead
from mllmu_med.training.settings import LoopSettings
from mllmu_med.training.watching import Watch

B = TypeVar("B")

COUNTED = "cost"
"""Where a checkpoint holds what was counted."""


@dataclass
class TrainingLog:
    """What a stage did.

    Attributes:
        curve: entries {step, lr, loss, …parts}, means over the steps since the last entry.
        steps: optimiser steps taken (fewer than asked for if the method stopped itself).
        seconds: wall time of the steps of this process.
        peak_memory_mb: of the process (CPU) or the device (CUDA).
        stopped: why it ended early, or None.
        trained: how many parameters trained.
        flops: floating-point operations of the steps (:mod:`mllmu_med.training.cost`), those before an interruption
            included; of this process, where there are several. None = nobody counted.
        answers: answers of the batches of all steps and processes, each as often as it was drawn, and of a training
            that the method needs beforehand; 0 = nobody counted.
    """

    curve: list[dict[str, float]] = field(default_factory=list)
    steps: int = 0
    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    stopped: str | None = None
    trained: int = 0
    flops: float | None = None
    answers: int = 0


def optimise(
    vlm: VisionLanguageModel,
    settings: LoopSettings,
    batch_of: Callable[[int], B],
    loss_of: Callable[[B], StepLoss],
    *,
    title: str,
    seed: int,
    checkpoints: Checkpoints | None = None,
    diverged: Callable[[dict[str, float]], bool] | None = None,
    parameters: TrainableParameters | None = None,
    backward: Backward | None = None,
    state: dict[str, Tensor] | None = None,
    after: Callable[[StepLoss], None] | None = None,
    watches: Sequence[Watch] = (),
    images_of: Callable[[B], Iterable[str | None]] | None = None,
    cost: Counter | None = None,
) -> TrainingLog:
    """Minimise ``loss_of(batch_of(i))["loss"]`` with AdamW.

    Args:
        vlm: the model; what has ``requires_grad`` trains.
        batch_of: batch number (step · accumulation + j) → batch; pure.
        loss_of: batch → scalars; ``loss`` is differentiated, the others are recorded.
        seed: of dropout, where the model has any. The process's own generator is neither read nor moved.
        checkpoints: where to resume from and save to.
        diverged: asked at each entry of the curve; True ends the training.
        parameters: what trains, if it is more than the model's own (e.g. heads of a warm-up task).
        backward: how a step's batches become gradients, where that is not one pass of the total.
        state: tensors that checkpoints hold beside weights and moments; changed in place.
        after: told each step's scalars, means over its batches and over all processes, before the next step.
        watches: measure at entries of the curve, in this order, and may end the training.
        images_of: batch → images it shows, which are then decoded beside the steps before.
        cost: counts the steps.

    Raises:
        MedError: the loss is not finite; the step is named.
        Interrupted: a stop was asked for; the state is saved and the same command goes on from it.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()
    accelerator = Accelerator(mixed_precision=forward_precision(vlm, settings.precision), cpu=vlm.device.type == "cpu")
    parameters = parameters or trainable_parameters(vlm)

    def plain(batches: Sequence[B], optimizer: torch.optim.Optimizer, step: int) -> list[StepLoss]:
        made: list[StepLoss] = []
        for batch in batches:
            with accelerator.autocast():
                losses = loss_of(batch)
            accelerator.backward(losses["loss"] / len(batches))
            made.append({name: value.detach() for name, value in losses.items()})
        average_gradients(parameters.values())
        return made

    backward = backward or plain
    optimizer = torch.optim.AdamW(
        [{"params": kind} for kind in apart(parameters.values())],
        lr=settings.learning_rate,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    log, first = TrainingLog(trained=sum(p.numel() for p in parameters.values())), 0
    recent: list[StepLoss] = []
    state = {} if state is None else state
    vlm.model.train()
    began = time.perf_counter()
    devices = [vlm.device] if vlm.device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices),
        layers_recomputed(vlm, settings.gradient_checkpointing),
        nullcontext() if cost is None else cost.counting(),
        decoded_ahead(vlm, _images(batch_of, images_of), settings.steps * settings.accumulation) as reach,
        graceful_stop() as stop,
        bar(title, settings.steps) as progress,
    ):
        # Each process drops out its own; the first one what a single process would.
        torch.manual_seed(derive(seed, "dropout", *filter(None, [own_rank()])))
        if checkpoints is not None and (found := checkpoints.load(parameters, optimizer, state)) is not None:
            first, log.curve = found
            if cost is not None and COUNTED in state:
                cost.restore(state[COUNTED])
        progress.advance(first)
        for step in range(first, settings.steps):
            for group in optimizer.param_groups:
                group["lr"] = settings.rate(step)
            numbers = range(step * settings.accumulation, (step + 1) * settings.accumulation)
            reach(numbers.start)
            scalars = averaged(_mean(backward([batch_of(number) for number in numbers], optimizer, step)))
            recent.append(scalars)
            clip_gradients(parameters.values(), settings.clip)
            optimizer.step()
            torch.clear_autocast_cache()  # within an outer block copies of the weights would outlive the step
            optimizer.zero_grad(set_to_none=True)
            if after is not None:
                after(scalars)
            log.steps = step + 1
            progress.advance(1)
            if log.steps % settings.log_every and log.steps < settings.steps:
                continue
            # Everything below reads numbers back from the device, so it happens only every ``log_every`` steps; a
            # checkpoint there has no half-averaged entry of the curve to carry.
            entry = _summary(recent, log.steps, settings.rate(step))
            recent = []
            log.curve.append(entry)
            progress.advance(0, note=f"loss {entry['loss']:.3f}")
            if diverged is not None and diverged(entry):
                log.stopped = f"the method's stopping rule held at step {log.steps}"
            last = log.stopped is not None or log.steps == settings.steps
            for watch in watches:
                # However the training ends: weights that were not measured are not given back.
                if last or log.stopped is not None or watch.due(log.steps, settings.log_every):
                    seen = watch.look(log.steps)
                    entry.update(seen.numbers)
                    log.stopped = seen.stop or log.stopped
            stopping = agreed(stop.requested, vlm.device)
            # A stop that comes in the last steps is meant for the stages behind: it must not be lost.
            if (last or log.stopped is not None) and not stopping:
                break
            # A training that has ended itself would go on from a state of its last step; it ends again from an earlier.
            if checkpoints is not None and log.stopped is None and (stopping or settings.checkpoint_due(log.steps)):
                if cost is not None:
                    state[COUNTED] = cost.state()
                checkpoints.save(log.steps, parameters, optimizer, log.curve, state)
            if stopping:
                where = "resume with the same command" if checkpoints is not None else "nothing of this stage was kept"
                raise Interrupted(f"stopped at step {log.steps} of {settings.steps} ({title}); {where}")
    vlm.model.eval()
    log.steps = max(log.steps, first)
    log.seconds = time.perf_counter() - began
    log.peak_memory_mb = peak_memory_mb(vlm.device)
    log.flops = None if cost is None else cost.flops
    return log


@contextmanager
def layers_recomputed(vlm: VisionLanguageModel, enabled: bool) -> Iterator[None]:
    """Within the block, if enabled, a layer that trains keeps its input only and is computed again going backward.

    Raises:
        UsageError: the model's class cannot do it.
    """
    if not enabled:
        yield
        return
    from torch.utils.checkpoint import checkpoint

    model = unwrap(vlm.model)
    if not model.supports_gradient_checkpointing:
        raise UsageError(
            f"{type(model).__name__} has no layers that could be computed again; set gradient_checkpointing to false"
        )
    # Not ``gradient_checkpointing_enable``: it also makes the inputs require gradients, for good, which only the
    # reentrant kind needs, and which would send the backward pass through a frozen tower.
    model._set_gradient_checkpointing(True, partial(checkpoint, use_reentrant=False))
    try:
        yield
    finally:
        model._set_gradient_checkpointing(False)


def _images(
    batch_of: Callable[[int], B], images_of: Callable[[B], Iterable[str | None]] | None
) -> Callable[[int], Iterable[str | None]] | None:
    return None if images_of is None else lambda number: images_of(batch_of(number))


def trainable_parameters(vlm: VisionLanguageModel) -> TrainableParameters:
    """Parameters that train, by name."""
    return {name: p for name, p in vlm.model.named_parameters() if p.requires_grad}


def forward_precision(vlm: VisionLanguageModel, asked: str) -> str:
    """``no`` or ``bf16`` (autocast): as asked for, except where frozen weights of half precision meet trained ones."""
    kinds = {p.dtype for name, p in vlm.model.named_parameters() if ".lora_" not in name}
    return "bf16" if len(kinds) > 1 else asked


def _mean(losses: list[StepLoss]) -> StepLoss:
    """Means over the batches of a step."""
    if len(losses) == 1:
        return losses[0]
    return {name: torch.stack([entry[name] for entry in losses]).mean(0) for name in losses[0]}


def _summary(recent: list[StepLoss], step: int, rate: float) -> dict[str, float]:
    """Means over the steps since the last entry of the curve; ``step`` is the last of them."""
    names = list(recent[0])
    table = torch.stack([torch.stack([entry[name].float() for name in names]) for entry in recent])
    for place, values in enumerate(table.tolist()):
        if not all(math.isfinite(value) for value in values):
            found = ", ".join(f"{name} {value}" for name, value in zip(names, values, strict=True))
            at = step - len(recent) + 1 + place
            raise MedError(f"the loss is not finite at step {at}: {found}. Lower the learning rate.")
    return {"step": float(step), "lr": rate, **dict(zip(names, table.mean(0).tolist(), strict=True))}
