"""Objectives on hidden states in the loop: what they train, and that they unlearn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from mllmu_med.errors import UsageError
from mllmu_med.methods.interface import Objective
from mllmu_med.models.groups import Lora, set_trainable
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.training.feeding import UnlearnSettings
from mllmu_med.training.learn import LearnSettings, learn
from mllmu_med.training.settings import LoopSettings
from mllmu_med.training.unlearn import unlearn
from tests.invariant.jobs import FORGET, RETAIN
from tests.unit.methods.activation_cases import MADE, READING, STEERING

FEEDING = UnlearnSettings(forget_batch=3, retain_batch=4, branches=3)


def changed_names(
    vlm: VisionLanguageModel, method: Objective, steps: int = 6, rate: float = 2e-3
) -> tuple[set[str], list[Any]]:
    """Names of the weights that unlearning changed, and its curve."""
    before = {name: p.detach().clone() for name, p in vlm.model.named_parameters()}
    log = unlearn(vlm, method, FORGET, RETAIN, LoopSettings(steps, rate, warmup=0, log_every=2), FEEDING, seed=1)
    moved = {name for name, p in vlm.model.named_parameters() if not torch.equal(before[name], p)}
    return moved, log.curve


@pytest.mark.parametrize("name", STEERING)
@pytest.mark.parametrize("mode", ["full", "lora"])
def test_only_the_down_projections_in_focus_train(name: str, mode: str, vlm: VisionLanguageModel) -> None:
    """At the top of each tiny model: layers l − 2…l, and whatever trained before may train again afterwards."""
    set_trainable(vlm, {"language": mode}, Lora(rank=2, alpha=4))
    trainable = {name for name, p in vlm.model.named_parameters() if p.requires_grad}
    method: Any = replace(MADE[name], depth=1.0)  # type: ignore[type-var]
    moved, curve = changed_names(vlm, method)
    assert {"down_proj"} == {name.split(".mlp.")[1].split(".")[0] for name in moved}
    layers = {int(name.split(".layers.")[1].split(".")[0]) for name in moved}
    assert layers == set(range(len({n.split(".layers.")[1].split(".")[0] for n in trainable if ".layers." in n})))
    assert {name for name, p in vlm.model.named_parameters() if p.requires_grad} == trainable
    assert curve[0]["retain"] < 0.05 * curve[0]["forget"], "θ0's own states at first"
    assert curve[-1]["forget"] < curve[0]["forget"]


@pytest.mark.parametrize("name", STEERING)
def test_a_focus_outside_of_what_trains_is_refused(name: str, llava: VisionLanguageModel) -> None:
    set_trainable(llava, {"projector": "full"})
    with pytest.raises(UsageError, match="down_proj"):
        changed_names(llava, MADE[name])


def learnt(vlm: VisionLanguageModel) -> VisionLanguageModel:
    """A model that knows the forget answers."""
    set_trainable(vlm, {"language": "full"})
    asked = [Question(sample.image_id, sample.question, sample.answer) for sample in FORGET]
    learn(vlm, asked, LoopSettings(40, 5e-3, warmup=4), LearnSettings(batch=4), seed=0)
    return vlm


@pytest.mark.parametrize("name", READING)
def test_what_the_lens_reads_is_unlearnt_in_every_family(name: str, vlm: VisionLanguageModel) -> None:
    _, curve = changed_names(learnt(vlm), MADE[name], steps=24)
    assert curve[-1]["forget"] < 0.7 * curve[0]["forget"]


@pytest.mark.parametrize("name", READING)
def test_what_the_lens_reads_is_unlearnt_by_adapters(name: str, llava: VisionLanguageModel) -> None:
    set_trainable(learnt(llava), {"language": "lora"}, Lora(rank=4, alpha=8))
    moved, curve = changed_names(llava, MADE[name], steps=24, rate=2e-2)
    assert moved == {name for name, _ in llava.model.named_parameters() if ".lora_" in name}
    assert curve[-1]["forget"] < 0.7 * curve[0]["forget"]
