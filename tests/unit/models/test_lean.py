"""The last layer at answer positions only: the same numbers from less work, and out of the way of whoever looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mllmu_med.models import vlm as adapter
from mllmu_med.models.anatomy import anatomy, recorded_outputs
from mllmu_med.models.groups import Lora, set_trainable
from mllmu_med.models.lean import answers_only
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.training.learn import answer_loss
from tests.conftest import FAMILY_NAMES
from tests.invariant.cases import gradients, mixed, relative_difference

Load = Callable[[str], VisionLanguageModel]


@contextmanager
def everywhere(model: Any, layout: Any) -> Iterator[bool]:
    """What ``answers_only`` is where it stays out."""
    yield False


def last_layer(vlm: VisionLanguageModel) -> nn.Module:
    return anatomy(vlm.model).layers[-1]


@contextmanager
def rows_of(module: nn.Module) -> Iterator[list[int]]:
    """How many positions pass through a linear layer, pass by pass (asked of the layer's product, not by a hook)."""
    seen: list[int] = []
    forward = module.forward

    def counted(values: Tensor) -> Tensor:
        seen.append(values[..., 0].numel())
        result: Tensor = forward(values)
        return result

    module.forward = counted  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        del module.forward


def long_prompts(vlm: VisionLanguageModel) -> list[Question]:
    return [q._replace(question=f"{q.question} {q.question}") for q in mixed(vlm, weighted=True)]


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("how", ["full", "lora"])
def test_loss_and_gradients_are_those_of_the_whole_layer(
    load_tiny: Load, family: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    vlm = load_tiny(family)
    set_trainable(vlm, {"language": how}, Lora(rank=4, alpha=8, dropout=0.0), seed=3)
    questions = long_prompts(vlm)
    lean = answer_loss(vlm, questions, 4)
    lean_gradients = gradients(vlm, lean)
    monkeypatch.setattr(adapter, "answers_only", everywhere)
    whole = answer_loss(vlm, questions, 4)
    assert lean.item() == pytest.approx(whole.item(), rel=1e-6)
    assert relative_difference(lean_gradients, gradients(vlm, whole)) < 1e-5


@pytest.mark.parametrize("packed", [True, False])
def test_the_mlp_sees_the_answer_positions_and_no_others(load_tiny: Load, packed: bool) -> None:
    vlm = load_tiny("llava")
    vlm.packed = packed
    questions = long_prompts(vlm)
    last, first = last_layer(vlm), anatomy(vlm.model).layers[0]
    with rows_of(last.get_submodule("mlp.down_proj")) as seen, rows_of(first.get_submodule("mlp.down_proj")) as before:
        rows, _ = vlm.rows(questions, 4)
        _, layout = vlm.hidden(rows)
    assert seen == [len(layout.target)]
    assert before == [layout.input_ids.numel()]
    assert len(layout.target) < layout.input_ids.numel()


def test_whoever_looks_sees_the_whole_layer(load_tiny: Load) -> None:
    vlm = load_tiny("llava")
    rows, _ = vlm.rows(long_prompts(vlm), 4)
    last = last_layer(vlm)
    with torch.no_grad(), recorded_outputs({0: last}) as held:
        vlm.hidden(rows)
        whole = held[0]
    with torch.no_grad(), recorded_outputs({0: last.get_submodule("mlp")}) as held:
        _, layout = vlm.hidden(rows)
    assert held[0].shape == whole.shape
    unread = torch.ones(whole.shape[:2], dtype=torch.bool)
    unread[layout.row, layout.column] = False
    assert held[0][unread].abs().sum() > 0


def test_it_stays_out_where_the_forward_pass_is_repeated(load_tiny: Load) -> None:
    vlm = load_tiny("llava")
    rows, _ = vlm.rows(long_prompts(vlm), 4)
    layout = vlm.layout(rows)
    vlm.model.gradient_checkpointing_enable()
    for training in (False, True):
        vlm.model.train(training)
        with answers_only(vlm.model, layout) as does:
            assert does is not training


def test_no_hook_is_left_behind(load_tiny: Load) -> None:
    vlm = load_tiny("llava")
    rows, _ = vlm.rows(long_prompts(vlm), 4)
    layout = vlm.layout(rows)

    def interrupted() -> None:
        with answers_only(vlm.model, layout) as does:
            assert does
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in last_layer(vlm).modules())


def test_a_model_of_another_build_is_left_alone(load_tiny: Load) -> None:
    vlm = load_tiny("llava")
    layout = vlm.layout(vlm.rows(long_prompts(vlm), 4)[0])
    with answers_only(nn.Linear(2, 2), layout) as does:
        assert not does
