"""The ways that are timed: equal losses where they must be, an error where they are not, and the costs they claim."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from benchmarks import step
from benchmarks.speed import records, ways
from benchmarks.speed.objectives import OBJECTIVES, objective
from benchmarks.speed.peers_step import IGNORED, PeersLoop, collate, labels_loss_difference, token_losses
from benchmarks.speed.work import step_flops, step_parts
from mllmu_med.errors import MedError
from mllmu_med.models.fast_linear import FastLinear
from mllmu_med.models.vlm import VisionLanguageModel

WORK = records.drawn(1, 5)


@pytest.fixture(scope="module")
def theta0() -> VisionLanguageModel:
    return ways.new_model(ways.Task("mini", "npo"), WORK)


@pytest.mark.parametrize("method", OBJECTIVES)
def test_every_way_takes_the_same_steps(method: str, theta0: VisionLanguageModel) -> None:
    task = ways.Task("mini", method)
    losses = {
        way: step.make(way, task, WORK, ways.another(theta0, own_product=True)).losses(3)
        for way in ("fast", "plain", "peers", "released")
    }
    assert len(set(losses["fast"])) == 3  # the weights move
    for found in losses.values():
        assert found == pytest.approx(losses["fast"], rel=1e-4)


def test_a_qwen_is_compared_as_well() -> None:
    task = ways.Task("mini-qwen", "npo_kl")
    found, difference = step.compared(task, WORK, ["fast", "peers"], 1)
    assert difference < 1e-4
    assert [row["way"] for row in found] == ["fast", "peers"]
    assert found[0]["packed_tokens"] < found[0]["tokens"]


def test_a_wrong_way_is_not_timed(theta0: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    right = PeersLoop._npo
    monkeypatch.setattr(PeersLoop, "_npo", lambda self, batch, beta: right(self, batch, 1.01 * beta))
    monkeypatch.setattr(step, "new_model", lambda task, work: theta0)
    with pytest.raises(MedError, match="nothing is timed"):
        step.compared(ways.Task("mini", "npo"), WORK, ["fast", "peers"], 1)


def test_the_peers_loop_pays_what_it_says(theta0: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = PeersLoop(ways.Task("mini", "npo_kl"), WORK, ways.another(theta0, own_product=True))
    assert not any(type(module) is FastLinear for module in loop.vlm.model.modules())
    assert any(type(module) is nn.Linear for module in loop.theta0.model.modules())
    weights = {id(parameter) for parameter in loop.vlm.model.parameters()}
    assert weights.isdisjoint(id(parameter) for parameter in loop.theta0.model.parameters())  # a second model
    seen: list[tuple[str, int, int]] = []
    for name, vlm in (("theta", loop.vlm), ("theta0", loop.theta0)):
        vlm.model.model.vision_tower.register_forward_pre_hook(
            lambda module, args, kwargs, name=name: seen.append((name, len((*args, *kwargs.values())[0]), 0)),
            with_kwargs=True,
        )
        vlm.model.lm_head.register_forward_hook(
            lambda module, args, output, name=name: seen.append((f"{name} logits", *output.shape[:2]))
        )
    loop.losses(1)
    images = [count for name, count, _ in seen if name == "theta"]
    assert images == [4, 1, 4, 1]  # five questions a side, an image for each
    assert [count for name, count, _ in seen if name == "theta0"] == images
    shortest = min(len(theta0.prefix(s.image_id)) for s in WORK.samples)
    assert all(positions > shortest for name, _, positions in seen if name.endswith("logits"))  # every position


def test_labels_mean_what_transformers_means(theta0: VisionLanguageModel) -> None:
    loop = PeersLoop(ways.Task("mini", "npo"), WORK, ways.another(theta0, own_product=True))
    questions = WORK.questions()[:4]
    assert labels_loss_difference(loop, questions) < 1e-6
    batch = collate(theta0, questions)
    counts = (batch.labels != IGNORED).sum(-1).tolist()
    assert counts == [len(theta0.branch(question).answer) for question in questions]
    losses = token_losses(torch.zeros(*batch.labels.shape, 7), batch.labels.clamp(max=6))
    assert losses[batch.labels[:, 1:] == IGNORED].eq(0).all()


def test_flops_are_those_of_the_formula(theta0: VisionLanguageModel) -> None:
    vlm = ways.another(theta0, own_product=True)
    task = ways.Task("mini", "npo")
    ways.make_trainable(vlm, task.numbers)
    questions = WORK.questions()
    layers, head = step_parts(vlm, questions, 5)
    width, inner, count, _, _ = task.numbers.text
    assert layers.parameters == count * (4 * width * width + 3 * width * inner)
    assert layers.tokens == ways.packed_tokens(vlm, questions, 5)
    assert head.parameters == width * vlm.model.config.get_text_config().vocab_size
    assert head.tokens == sum(len(vlm.branch(question).answer) for question in questions)
    linear = 6.0 * (layers.parameters * layers.tokens + head.parameters * head.tokens)
    assert linear < step_flops(vlm, questions, 5) < 1.2 * linear


def test_objectives_need_what_they_are_timed_for() -> None:
    from mllmu_med.methods.interface import Needs

    needs = {name: objective(name).needs for name in OBJECTIVES}
    assert Needs.REFERENCE_LOGPROB in needs["npo"]
    assert Needs.RETAIN_REFERENCE in needs["npo_kl"] & needs["kl_min"] & needs["llmu"]
    assert Needs.REFERENCE_LOGPROB in needs["npo_kl"]
    assert not needs["grad_diff"] & (Needs.REFERENCE_LOGPROB | Needs.RETAIN_REFERENCE)


def test_goals_are_read_off_the_rows() -> None:
    rows: list[dict[str, Any]] = [
        {"method": "npo_kl", "way": "fast", "median": 1.0, "ratio": 5.9, "utilisation": 0.4},
        {"method": "npo", "way": "fast", "median": 1.04, "ratio": 6.1, "utilisation": 0.4},
        {"method": "grad_diff", "way": "fast", "median": 1.0, "ratio": 4.0, "utilisation": 0.4},
    ]
    memory = {"finetune/grad_diff": {"peak": 100.0}, "fast/npo": {"peak": 104.0}, "fast/kl_min": {"peak": 106.0}}
    found = [line["verdict"] for line in step.goals(rows, memory, {"size": "tiny", "device": "cpu"})]
    assert found == ["not reached", "reached", "reached", "reached", "not reached"]
