"""What a step may do to save time and memory, and what it may not: wait for the device, or come to other numbers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from mllmu_med.methods import chunked
from mllmu_med.models.groups import Lora, set_trainable
from mllmu_med.models.load import load_model
from mllmu_med.models.vlm import VisionLanguageModel
from mllmu_med.testing.bench import LOOP, SEED, modes_of, trainable_model, weights
from mllmu_med.testing.comparing import relative_difference
from mllmu_med.testing.naming import made
from mllmu_med.testing.records import FEEDING, FORGET, RETAIN
from mllmu_med.training import learn as learning
from mllmu_med.training import unlearn as unlearning
from mllmu_med.training.feeding import UnlearnSettings
from mllmu_med.training.forward import AnswerStates, answer_states, row_lengths, row_parts
from mllmu_med.training.learn import LearnSettings, answer_loss, learn
from mllmu_med.training.loop import layers_recomputed, optimise
from mllmu_med.training.settings import LoopSettings
from mllmu_med.training.unlearn import unlearn
from tests.conftest import picture
from tests.invariant.cases import gradients, mixed
from tests.invariant.cases import relative_difference as gradient_difference
from tests.invariant.host_reads import HostReads, watched

Load = Callable[[str], VisionLanguageModel]
STEPS = replace(LOOP, steps=2, checkpoint_every=0, log_every=10)
FEW = ("grad_diff", "npo", "kl_min", "idk", "llmu", "sim_npo", "npo+gu", "npo+sam", "pdu", "rmu", "duo")
"""Methods of every kind: losses, references, alternates, gradient rules, dual variables, hidden states, levels."""


# --- nothing is read back from the device


def reads_of_steps(
    vlm: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch, module: Any, train: Callable[[], Any]
) -> list[str]:
    """What the steps of a training read back; not what is done before the first of them."""
    found: list[str] = []
    with watched(vlm) as reads:

        def steps(*arguments: Any, **named: Any) -> Any:
            reads.found.clear()
            log = optimise(*arguments, **named)
            found.extend(reads.found)
            return log

        monkeypatch.setattr(module, "optimise", steps)
        train()
    return found


@pytest.mark.parametrize("name", FEW)
def test_the_steps_of_a_method_read_nothing_back(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    vlm = trainable_model(modes_of(made(name))[0])
    with torch.no_grad():
        answer_loss(vlm, mixed(vlm)[:2], 2)  # a model's first forward pass compares itself with transformers' own
    found = reads_of_steps(
        vlm, monkeypatch, unlearning,
        lambda: unlearn(vlm, made(name), FORGET, RETAIN, replace(STEPS, accumulation=2), FEEDING, seed=SEED),
    )  # fmt: skip
    assert found == []


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
def test_the_steps_of_learning_read_nothing_back(family: str, load_tiny: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    vlm = load_tiny(family)
    set_trainable(vlm, {"language": "full"})
    questions = mixed(vlm)
    with torch.no_grad():
        answer_loss(vlm, questions, 4)  # features, and the model's own first comparison
    found = reads_of_steps(
        vlm, monkeypatch, learning, lambda: learn(vlm, questions, STEPS, LearnSettings(batch=4), seed=0)
    )
    assert found == []


READS: dict[str, Callable[[Tensor], Any]] = {
    "item": lambda loss: loss.item(),
    "float": float,
    "truth": lambda loss: bool(loss > 0),
    "list": lambda loss: loss.tolist(),
    "cpu": lambda loss: loss.cpu(),
    "mask": lambda loss: loss[None][loss[None] > 0],
    "nonzero": lambda loss: loss[None].nonzero(),
    "table": lambda loss: loss.new_tensor([1.0, 2.0]),
    "text": lambda loss: f"{loss}",
}


@pytest.mark.parametrize("kind", READS)
def test_whatever_reads_back_is_noticed(kind: str, llava: VisionLanguageModel) -> None:
    with watched(llava) as reads:
        loss = answer_loss(llava, mixed(llava)[:2], 2)
        reads.found.clear()
        READS[kind](torch.tensor(1.0))
        assert reads.found == [], "what is on the host may be read"
        READS[kind](loss.detach())
    assert reads.found


def test_the_watch_itself_starts_with_nothing() -> None:
    reads = HostReads()
    assert not reads.placed(torch.ones(3))


# --- parts of a step, recomputed layers, logits in parts: the same weights


def trained(
    name: str, monkeypatch: pytest.MonkeyPatch | None = None, *, largest: int | None = None,
    loop: LoopSettings = STEPS, feeding: UnlearnSettings = FEEDING,
) -> dict[str, Tensor]:  # fmt: skip
    """The weights after two steps."""
    vlm = trainable_model(modes_of(made(name))[0], dropout=0.1)
    if monkeypatch is not None and largest is not None:
        monkeypatch.setattr(chunked, "LARGEST", largest)
    unlearn(vlm, made(name), FORGET, RETAIN, loop, feeding, seed=SEED)
    return weights(vlm)


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor], name: str) -> None:
    start = weights(trainable_model(modes_of(made(name))[0], dropout=0.1))
    assert relative_difference(expected, start) > 1e-4, "something has been trained"
    moved = {key: value - start[key] for key, value in expected.items() if value.is_floating_point()}
    also = {key: found[key] - start[key] for key in moved}
    assert relative_difference(also, moved) < 2e-2, "AdamW's first steps magnify the rounding of small gradients"


@pytest.mark.parametrize("name", ["grad_diff", "npo", "kl_min", "pdu", "rmu", "npo+gu", "npo+sam"])
def test_a_step_in_parts_is_the_step(name: str) -> None:
    """Whatever couples the records: a rule on whole gradients, a dual variable, states of inner layers."""
    parts = trained(name, feeding=replace(FEEDING, most_positions=30))
    assert_close(parts, trained(name), name)


@pytest.mark.parametrize("name", ["grad_diff", "npo", "rmu", "npo+gu"])
def test_a_step_with_recomputed_layers_is_the_step(name: str) -> None:
    again = trained(name, loop=replace(STEPS, gradient_checkpointing=True))
    assert_close(again, trained(name), name)


@pytest.mark.parametrize("name", ["grad_diff", "npo", "kl_min", "idk", "llmu", "undial", "npo+gu", "jensun"])
def test_a_step_with_logits_in_parts_is_the_step(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that need all logits, such as ``undial``, get them."""
    whole = trained(name)
    assert_close(trained(name, monkeypatch, largest=300 * 8), whole, name)


@pytest.mark.parametrize("name", ["npo", "kl_min", "idk", "llmu", "grad_diff"])
def test_these_never_hold_all_logits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(self: chunked.DeferredLogits) -> Tensor:
        raise AssertionError("somebody has asked for all logits")

    monkeypatch.setattr(chunked.DeferredLogits, "whole", property(never))
    trained(name, monkeypatch, largest=300 * 8)
    with pytest.raises(AssertionError, match="all logits"):
        trained("undial", monkeypatch, largest=300 * 8)


def saved_bytes(make: Callable[[], Tensor]) -> int:
    """Bytes that a forward pass keeps for the backward pass, each memory once."""
    held: dict[int, Any] = {}

    def note(tensor: Tensor) -> Tensor:
        held[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        make()
    return sum(storage.nbytes() for storage in held.values())


def test_gradients_in_parts_are_those_of_one_pass_and_keep_less(vlm: VisionLanguageModel) -> None:
    set_trainable(vlm, {"language": "full"})
    questions = mixed(vlm, weighted=True)
    rows, _ = vlm.rows(questions, 2)
    lengths = row_lengths(vlm, rows)
    assert len(row_parts(rows, lengths, max(lengths))) > 2, "there is something to divide"
    whole = gradients(vlm, answer_loss(vlm, questions, 2))
    parts = gradients(vlm, answer_loss(vlm, questions, 2, max(lengths)))
    assert gradient_difference(parts, whole) < 1e-5
    own = sum(parameter.nbytes for parameter in vlm.model.parameters())
    kept = [saved_bytes(lambda most=most: answer_loss(vlm, questions, 2, most)) for most in (None, max(lengths))]
    assert kept[1] < min(own, 0.35 * kept[0]), "the rows' states are not kept"


def test_recomputed_layers_give_the_same_gradients_and_keep_less(
    vlm: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropout included: what is computed again drops the same. (The last layer's shorter way draws less of it.)"""
    monkeypatch.setattr("mllmu_med.models.vlm.answers_only", lambda *_: nullcontext())
    set_trainable(vlm, {"language": "lora"}, Lora(rank=2, alpha=4, dropout=0.1), seed=0)
    questions = mixed(vlm, weighted=True)
    found, kept = [], []
    for enabled in (False, True):
        vlm.model.train()
        with layers_recomputed(vlm, enabled):
            torch.manual_seed(3)
            found.append(gradients(vlm, answer_loss(vlm, questions, 4)))
            kept.append(saved_bytes(lambda: answer_loss(vlm, questions, 4)))
    assert gradient_difference(found[1], found[0]) < 1e-5
    assert kept[1] < 0.8 * kept[0]
    vlm.model.train()
    assert saved_bytes(lambda: answer_loss(vlm, questions, 4)) == pytest.approx(kept[0], rel=0.05), "off again"


def test_layers_are_recomputed_where_the_settings_say_so(llava: VisionLanguageModel) -> None:
    set_trainable(llava, {"language": "full"})
    seen: list[bool] = []
    run = llava.network.forward

    def noted(*arguments: Any) -> Any:
        seen.append(all(layer.gradient_checkpointing for layer in llava.model.model.language_model.layers))
        return run(*arguments)

    llava.network.forward = noted  # type: ignore[method-assign]
    for enabled in (True, False):
        learn(llava, mixed(llava), replace(STEPS, gradient_checkpointing=enabled), LearnSettings(batch=9), seed=0)
    assert seen == [True, True, False, False]


def test_the_states_of_a_step_are_those_of_its_rows(llava: VisionLanguageModel) -> None:
    """Part by part, rows filled by length: question by question the same, states of inner layers beside them too."""
    questions = mixed(llava, weighted=True)
    with torch.no_grad():
        whole = answer_states(llava, questions, 2, layers=(0,))
        parts = answer_states(llava, questions, 2, layers=(0,), most_positions=1)
    assert parts.order != whole.order, "there is something to put in order"

    def by_question(tensor: Tensor, made: AnswerStates) -> list[Tensor]:
        assert sum(made.counts) == len(tensor)
        split = dict(zip(made.order, tensor.split(made.counts), strict=True))
        return [split[index] for index in range(len(questions))]

    for states in ("hidden", "target", "weight"):
        mine, theirs = by_question(getattr(parts, states), parts), by_question(getattr(whole, states), whole)
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    inner = by_question(parts.inner[0], parts), by_question(whole.inner[0], whole)
    torch.testing.assert_close(*inner, rtol=1e-4, atol=1e-5)


# --- number formats


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_what_trains_is_float32_on_a_base_of_16_bits(mode: str, model_folder: Any) -> None:
    """Adapters, gradients and both moments; the frozen base keeps its 16 bits. Trained in full, weights are float32."""
    vlm = load_model(model_folder("llava"), dtype="bfloat16")
    vlm.attach_images(picture)
    assert {p.dtype for p in vlm.model.parameters()} == {torch.bfloat16}
    set_trainable(vlm, {"language": mode}, Lora(rank=2, alpha=4), seed=0)
    kinds: dict[str, set[torch.dtype]] = {"gradient": set(), "moment": set(), "loss": set()}
    step, made = torch.optim.AdamW.step, list[torch.optim.AdamW]()

    def noted(self: torch.optim.AdamW, *arguments: Any) -> Any:
        kinds["gradient"] |= {
            p.grad.dtype for group in self.param_groups for p in group["params"] if p.grad is not None
        }
        done = step(self, *arguments)
        kinds["moment"] |= {held[name].dtype for held in self.state.values() for name in ("exp_avg", "exp_avg_sq")}
        made.append(self)
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", noted)
        log = learn(vlm, mixed(vlm), STEPS, LearnSettings(batch=9), seed=0)
    trains = {p.dtype for p in vlm.model.parameters() if p.requires_grad}
    frozen = {p.dtype for p in vlm.model.parameters() if not p.requires_grad}
    assert (trains, frozen) == ({torch.float32}, {torch.bfloat16})
    assert kinds["gradient"] == kinds["moment"] == {torch.float32}
    assert made
    assert log.curve[-1]["loss"] > 0
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=mode == "full"):
        states = answer_states(vlm, mixed(vlm)[:2], 2)
        assert vlm.logits(states.hidden).dtype is torch.float32
