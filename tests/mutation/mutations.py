"""Five mistakes that a method, or the loop around it, could hold; each can be made on purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from mllmu_med.methods import METHODS
from mllmu_med.methods.composition import Composite
from mllmu_med.methods.interface import Answers, Batch, Loss, Needs, Objective
from mllmu_med.models import rows, vlm
from mllmu_med.models.rows import Layout
from mllmu_med.testing.batches import each_group, teacher_of
from mllmu_med.testing.naming import methods

LossOf = Callable[[Objective, Batch], Loss]
ASKS_THETA0 = (
    Needs.REFERENCE_LOGPROB | Needs.FORGET_REFERENCE | Needs.RETAIN_REFERENCE | Needs.OTHERS_LOGPROB | Needs.ANCHORS
    | Needs.NOISED | Needs.REINFORCED | Needs.REFERENCE_LAYERS | Needs.TEACHER
)  # fmt: skip


@dataclass(frozen=True)
class Mutation:
    """A mistake.

    Attributes:
        name: in options and tables.
        what: one line.
        install: makes it, through pytest's monkeypatch.
        spares: why a method with these needs cannot hold it; None if it can.
        in_loop: whether it is the loop's, so that only tests on a model can see it.
    """

    name: str
    what: str
    install: Callable[[pytest.MonkeyPatch], None]
    spares: Callable[[Needs], str | None]
    in_loop: bool = False


def _each_loss(patch: pytest.MonkeyPatch, change: Callable[[LossOf, Objective, Batch], Loss]) -> None:
    """Replace the loss of every registered objective; one that calls another's is changed once."""
    inside: list[bool] = []

    def mutated(original: LossOf) -> LossOf:
        def loss(self: Objective, batch: Batch) -> Loss:
            if inside:
                return original(self, batch)
            inside.append(True)
            try:
                return change(original, self, batch)
            finally:
                inside.pop()

        return loss

    kinds = {kind for name in methods(Objective) for kind in METHODS.get(name).__mro__ if "loss" in vars(kind)}
    for kind in kinds - {Objective, Composite}:
        patch.setattr(kind, "loss", mutated(kind.loss))


def flip_sign(patch: pytest.MonkeyPatch) -> None:
    """What is to be forgotten is learnt."""

    def change(original: LossOf, method: Objective, batch: Batch) -> Loss:
        loss = original(method, batch)
        return loss._replace(forget=-loss.forget, per_record=None if loss.per_record is None else -loss.per_record)

    _each_loss(patch, change)


def swap_sides(patch: pytest.MonkeyPatch) -> None:
    """The retain records stand where the forget records should, and the other way round.

    What only the other side's records have (references, hidden states) is taken over where it fits, so that a crash is
    not what gives the mistake away.
    """

    def fill(own: Answers, other: Answers) -> Answers:
        if own.logits.shape != other.logits.shape:
            return own
        missing: dict[str, Any] = {name: vars(other)[name] for name in _OPTIONAL if vars(own)[name] is None}
        return replace(own, **missing)

    def change(original: LossOf, method: Objective, batch: Batch) -> Loss:
        if batch.retain is None:
            return original(method, batch)
        forget, retain = fill(batch.retain, batch.forget), fill(batch.forget, batch.retain)
        return original(method, batch._replace(forget=forget, retain=retain))

    _each_loss(patch, change)


_OPTIONAL = (
    "level", "layers", "lens", "reference_logprob", "reference_logits", "reference_layers", "noised_logits",
    "reinforced_logits", "teacher",
)  # fmt: skip


def detach_reference(patch: pytest.MonkeyPatch) -> None:
    """The model is its own reference, without a gradient: what it is compared with follows it."""

    def own(_: str, answers: Answers) -> Answers:
        logits = answers.logits.detach()
        live: dict[str, Any] = {
            "reference_logprob": answers.token_logprob.detach(), "reference_logits": logits, "noised_logits": logits,
            "reinforced_logits": logits,
            "reference_layers": {layer: states.detach() for layer, states in (answers.layers or {}).items()},
            "teacher": teacher_of(logits, answers.target),
        }  # fmt: skip
        return replace(answers, **{name: value for name, value in live.items() if vars(answers)[name] is not None})

    _each_loss(patch, lambda original, method, batch: original(method, each_group(batch, own)))


def shift_labels(patch: pytest.MonkeyPatch) -> None:
    """Every answer token is read one place too early."""
    original = rows.lay_out

    def shifted(*arguments: Any) -> Layout:
        layout = original(*arguments)
        return replace(layout, column=torch.clamp(layout.column - 1, min=0))

    for module in (rows, vlm):
        patch.setattr(module, "lay_out", shifted)


def drop_image(patch: pytest.MonkeyPatch) -> None:
    """The prompt has its image tokens, and nothing of the image gets there."""
    patch.setattr(vlm.VisionLanguageModel, "image_inputs", lambda self, images: {})


def _never(needs: Needs) -> str | None:
    return None


MUTATIONS = {
    mutation.name: mutation
    for mutation in (
        Mutation("sign", "the sign of the forget term is flipped", flip_sign, _never),
        Mutation(
            "swap", "forget and retain records are swapped", swap_sides,
            lambda needs: None if Needs.RETAIN in needs else "no retain records",
        ),
        Mutation("shift", "answer tokens are predicted from one place too early", shift_labels, _never, in_loop=True),
        Mutation("image", "no image reaches the model", drop_image, _never, in_loop=True),
        Mutation(
            "reference", "outputs of θ0, or of an approximate oracle, are replaced by the model's own, detached",
            detach_reference,
            lambda needs: None if needs & ASKS_THETA0 else "no reference",
        ),
    )
}  # fmt: skip
