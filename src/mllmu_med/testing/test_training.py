"""A few steps of the real loop with every method: what moves, what does not, and what a run may not depend on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from mllmu_med.errors import UsageError
from mllmu_med.methods.interface import Supports
from mllmu_med.models.anatomy import anatomy, model_facts
from mllmu_med.models.groups import group_of, plain_name
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.testing.bench import LOOP, LORA, modes_of, train, trainable_model, weights
from mllmu_med.testing.comparing import assert_bit_identical, relative_difference
from mllmu_med.testing.naming import combinations, made, trained
from mllmu_med.testing.records import FORGET
from mllmu_med.testing.two_processes import trained_weights
from mllmu_med.training.checkpoints import Checkpoints
from mllmu_med.training.examples import span_weights
from mllmu_med.training.learn import answer_loss

HELD = [(name, mode) for name in trained() for mode in modes_of(made(name))]
OtherFamily = Callable[[str, str], VisionLanguageModel]
IDS = [f"{name}-{mode}" for name, mode in HELD]


class Killed(Exception):
    """Stands for the end of a process."""


class KilledAfterSaving(Checkpoints):
    """Saves a checkpoint, and is not heard of again."""

    def save(self, *arguments: Any) -> None:
        """As ever, and then the end."""
        super().save(*arguments)
        raise Killed


class Run(NamedTuple):
    """Four steps: the weights before and after, the curve, and how many nats a token the forget answers lost."""

    before: dict[str, Tensor]
    after: dict[str, Tensor]
    curve: list[dict[str, float]]
    forgot: float


@cache
def undisturbed(name: str, mode: str) -> Run:
    """A run that nobody disturbs. Adapters have dropout."""
    vlm = trainable_model(mode, dropout=LORA.dropout)
    before, known = weights(vlm), forget_loss(vlm)
    log = train(made(name), vlm)
    assert log.stopped is None
    assert log.steps == LOOP.steps
    return Run(before, weights(vlm), log.curve, forget_loss(vlm) - known)


def forget_loss(vlm: VisionLanguageModel) -> float:
    """Mean negative log-likelihood of what is to be forgotten, in nats a token, without dropout."""
    questions = [Question(s.image_id, s.question, s.answer, span_weights(vlm.prompts, s)) for s in FORGET]
    was_training = vlm.model.training
    vlm.model.eval()
    with torch.no_grad():
        loss = float(answer_loss(vlm, questions, 3))
    vlm.model.train(was_training)
    return loss


@pytest.mark.parametrize("name", trained())
def test_an_empty_forget_set_leaves_the_weights_bit_identical(name: str) -> None:
    method = made(name)
    for mode in modes_of(method):
        vlm = trainable_model(mode)
        before = weights(vlm)
        log = train(method, vlm, forget=())
        assert (log.steps, log.stopped) == (0, "nothing to forget")
        assert_bit_identical(weights(vlm), before)


def in_focus(vlm: VisionLanguageModel, name: str) -> set[str]:
    """Names of the parameters that train, by the recipe and by the method's focus."""
    trainable = {key for key, parameter in vlm.model.named_parameters() if parameter.requires_grad}
    focus = made(name).focus(model_facts(vlm))
    if focus is None:
        return trainable
    inside = {
        full
        for (layer, module), (full, _) in anatomy(vlm.model).linears().items()
        if layer in focus.layers and module in focus.modules
    }
    return {key for key in trainable if plain_name(key).rpartition(".")[0] in inside}


@pytest.mark.parametrize(("name", "mode"), HELD, ids=IDS)
def test_what_is_frozen_stays_and_all_that_trains_moves(name: str, mode: str) -> None:
    before, after, _, _ = undisturbed(name, mode)
    vlm = trainable_model(mode)
    expected = in_focus(vlm, name)
    assert expected
    assert {group_of(plain_name(key)) for key in before.keys() - expected} >= {"vision"}, "the tower is frozen"
    # A parameter that several names share is in the state under each of them.
    twins = {p.data_ptr() for key, p in vlm.model.named_parameters() if key in expected}
    named = {key for key, value in vlm.model.state_dict().items() if value.data_ptr() in twins}
    moved = {key for key, value in before.items() if not torch.equal(after[key], value)}
    assert moved == named


@pytest.mark.parametrize("name", trained())
def test_the_forget_answers_become_less_likely(name: str) -> None:
    """Of a model that has learnt them, by small steps: the direction of the whole, from sign to optimiser."""
    assert undisturbed(name, modes_of(made(name))[0]).forgot > 1e-4


@pytest.mark.parametrize(("name", "mode"), HELD, ids=IDS)
def test_resumed_is_uninterrupted_bit_for_bit(name: str, mode: str, tmp_path: Path) -> None:
    """Killed behind the checkpoint at step 2, and gone on from it: weights and curve are those of an undisturbed run.

    What the method, its rule and AdamW carry from step to step must therefore be in the checkpoint.
    """
    _, expected, curve, _ = undisturbed(name, mode)
    method = made(name)
    with pytest.raises(Killed):
        train(
            method, trainable_model(mode, dropout=LORA.dropout),
            checkpoints=KilledAfterSaving(tmp_path / "checkpoint", "key"),
        )  # fmt: skip
    vlm = trainable_model(mode, dropout=LORA.dropout)
    log = train(method, vlm, checkpoints=Checkpoints(tmp_path / "checkpoint", "key"))
    assert_bit_identical(weights(vlm), expected)
    assert log.curve == curve


@pytest.mark.parametrize("name", [name for name in trained() if Supports.DISTRIBUTED in made(name).supports])
@pytest.mark.xdist_group("two-processes")
def test_two_processes_train_what_one_trains(name: str, pair: tuple[Path, dict[str, str]]) -> None:
    """Each takes half of every batch; the weights differ by rounding alone."""
    from safetensors.torch import load_file

    folder, failed = pair
    assert name not in failed, failed[name]
    shared, alone = load_file(folder / f"{name}.safetensors"), trained_weights(name)
    assert relative_difference(shared, alone) < 2e-3
    # AdamW makes a step of any length of a gradient that is 0 but for rounding: a lottery for single weights, and only
    # for them. A mistake in how the halves are put together moves all.
    apart = torch.cat([(shared[key] - value).abs().flatten() for key, value in alone.items()])
    assert int((apart > 3e-7).sum()) <= len(apart) // 1000


@pytest.mark.parametrize("name", combinations())
def test_takes_a_step_with_every_addon(name: str) -> None:
    """Whatever needs the two have, the loop provides them, and something moves; or they say in one line why not.

    An add-on may need what an objective lacks, e.g. a retain term. Then not a weight has changed.
    """
    vlm = trainable_model(modes_of(made(name.partition("+")[0]))[0])
    before = weights(vlm)
    try:
        log = train(made(name), vlm, loop=replace(LOOP, steps=1, checkpoint_every=0))
    except UsageError as error:
        assert_bit_identical(weights(vlm), before)
        assert "\n" not in str(error)  # noqa: PT017  it need not be raised
        return
    assert all(math.isfinite(value) for value in log.curve[0].values())
    assert any(not torch.equal(value, before[key]) for key, value in weights(vlm).items())


@pytest.mark.parametrize("family", ["idefics3", "qwen2_5_vl"])
@pytest.mark.parametrize("name", trained())
def test_trains_other_families_of_models(name: str, family: str, other_family: OtherFamily) -> None:
    """One step on other classes of models: the language model moves, the tower does not."""
    method = made(name)
    vlm = other_family(family, modes_of(method)[0])
    before = weights(vlm)
    log = train(method, vlm, loop=replace(LOOP, steps=1, checkpoint_every=0))
    assert all(math.isfinite(value) for value in log.curve[0].values())
    after = weights(vlm)
    groups = {group_of(plain_name(key)) for key, value in before.items() if not torch.equal(after[key], value)}
    assert "language" in groups or method.parameterisation is not None
    assert "vision" not in groups
