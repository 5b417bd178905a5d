"""θ0 trained further on the forget set: what it says then is kept, and nothing else remains of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from mllmu_med.errors import MedError
from mllmu_med.models.groups import Lora, set_trainable
from mllmu_med.models.references import ReferenceCache
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.training.feeding import UnlearnSettings
from mllmu_med.training.learn import LearnSettings, answer_loss, learn
from mllmu_med.training.loop import trainable_parameters
from mllmu_med.training.reinforce import reinforced_outputs
from mllmu_med.training.settings import LoopSettings
from tests.invariant.cases import mixed
from tests.invariant.jobs import weights_digest

Load = Callable[[str], VisionLanguageModel]
FEEDING = UnlearnSettings(forget_batch=3, retain_batch=2, branches=3, reinforce_steps=12, reinforce_rate=4e-3)
LOOP = LoopSettings(100, 1e-5, warmup=40, accumulation=3, weight_decay=0.01)
FURTHER = LoopSettings(12, 4e-3, warmup=3, weight_decay=0.01, checkpoint_every=0)
"""What the settings above amount to: a quarter of the steps is warm-up, no accumulation, no checkpoints."""


def prepared(vlm: VisionLanguageModel, mode: str) -> VisionLanguageModel:
    set_trainable(vlm, {"language": mode}, Lora(rank=2, alpha=4, dropout=0.1))
    return vlm


def _logprob(vlm: VisionLanguageModel, questions: list[Question]) -> torch.Tensor:
    cache = ReferenceCache(vlm, adapted=True)
    cache.fill(questions, hidden=False)
    return cache.logprob(questions)


def reinforce(vlm: VisionLanguageModel, forget: list[Question], **changes: Any) -> Any:
    settings = replace(FEEDING, **changes)
    return reinforced_outputs(vlm, trainable_parameters(vlm), forget, settings, LOOP, 7)


@pytest.mark.parametrize("mode", ["full", "lora"])
@pytest.mark.parametrize("training", [True, False])
def test_the_weights_come_back_bit_by_bit(mode: str, training: bool, vlm: VisionLanguageModel) -> None:
    prepared(vlm, mode)
    vlm.model.train(training)
    before, names = weights_digest(vlm.model), set(trainable_parameters(vlm))
    reinforce(vlm, mixed(vlm)[:5])
    assert weights_digest(vlm.model) == before
    assert set(trainable_parameters(vlm)) == names
    assert vlm.model.training is training
    assert all(p.grad is None for p in vlm.model.parameters()), "no gradient is left to be added to the next"


@pytest.mark.parametrize("mode", ["full", "lora"])
def test_the_outputs_are_those_of_the_reinforced_model(mode: str, llava: VisionLanguageModel, load_tiny: Load) -> None:
    """The same training, done openly on another copy of θ0; still so after θ0 itself has been trained on."""
    forget = mixed(llava)[:5]
    cache = reinforce(prepared(llava, mode), forget)
    copy = prepared(load_tiny("llava"), mode)
    with torch.no_grad():
        before = answer_loss(copy, forget, 3).item()
    learn(copy, forget, FURTHER, LearnSettings(batch=5, branches=3), seed=7)
    order = [forget[i] for i in (3, 0, 4)]
    with torch.no_grad():
        assert answer_loss(copy, forget, 3).item() < before - 0.5, "it has learnt"
        expected = copy.logits(copy.hidden(copy.rows(order, 1)[0])[0])
        theta0 = llava.logits(llava.hidden(llava.rows(order, 1)[0])[0])
    for _ in range(2):
        torch.testing.assert_close(cache.logits(order), expected, rtol=1e-4, atol=1e-4)
        assert float((cache.logits(order) - theta0).abs().max()) > 0.1
        assert not cache.logits(order).requires_grad
        learn(llava, forget[::-1], LoopSettings(3, 1e-2, warmup=0), LearnSettings(batch=5), seed=0)


@pytest.mark.parametrize("mode", ["full", "lora"])
def test_half_precision_around_it_changes_what_is_learnt_by_rounding_alone(
    mode: str, llava: VisionLanguageModel
) -> None:
    """As in unlearning, where θ0's outputs are computed within autocast, whose copies of weights must not be kept."""
    forget, half = mixed(llava)[:5], replace(LOOP, precision="bf16")
    prepared(llava, mode)
    parameters, before = trainable_parameters(llava), weights_digest(llava.model)
    with torch.no_grad():
        theta0 = -_logprob(llava, forget).mean()
    whole = -reinforced_outputs(llava, parameters, forget, FEEDING, LOOP, 7).logprob(forget).mean()
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            llava.hidden(llava.rows(forget, 3)[0])  # copies of the weights are made
        rounded = -reinforced_outputs(llava, parameters, forget, FEEDING, half, 7).logprob(forget).mean()
        assert weights_digest(llava.model) == before
        with torch.no_grad():
            again = -_logprob(llava, forget).mean()
    assert whole < theta0 - 0.3
    assert float(rounded) == pytest.approx(float(whole), abs=0.15 * float(theta0 - whole))
    assert float(again) == pytest.approx(float(theta0), abs=0.05), "and θ0 is asked again with its own weights"


def test_whole_answers_are_learnt_and_outputs_kept_by_the_weighted_question(llava: VisionLanguageModel) -> None:
    """Span weights choose what is unlearnt; what is reinforced is the answer. Both give the same model."""
    plain = mixed(llava)[:5]
    weighted = [question._replace(weights=(0.0,) * 3 + (1.0,) * (len(llava.prompts.answer_tokens(question.answer)) - 3))
                for question in plain]  # fmt: skip
    prepared(llava, "full")
    torch.testing.assert_close(reinforce(llava, weighted).logits(weighted), reinforce(llava, plain).logits(plain))


def test_nothing_depends_on_the_process_and_everything_on_the_seed(llava: VisionLanguageModel) -> None:
    prepared(llava, "lora")
    forget = mixed(llava)[:5]
    parameters = trainable_parameters(llava)
    torch.manual_seed(1)
    first = reinforced_outputs(llava, parameters, forget, FEEDING, LOOP, 7).logits(forget)
    state = torch.get_rng_state()
    torch.manual_seed(2)
    again = reinforced_outputs(llava, parameters, forget, FEEDING, LOOP, 7).logits(forget)
    other = reinforced_outputs(llava, parameters, forget, FEEDING, LOOP, 8).logits(forget)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    torch.manual_seed(1)
    assert torch.equal(state, torch.get_rng_state()), "the process's own generator is not moved"


def test_more_reinforcement_knows_the_answers_better(llava: VisionLanguageModel) -> None:
    prepared(llava, "full")
    forget = mixed(llava)[:5]
    losses = []
    for steps in (4, 12, 30):
        logprob = reinforce(llava, forget, reinforce_steps=steps).logprob(forget)
        losses.append(-logprob.mean().item())
    assert losses[0] > losses[1] + 0.1 > losses[2] + 0.2


def test_no_forward_pass_is_longer_than_the_unlearnings_own(
    llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who bounds the memory of a step bounds that of reinforcing, too."""
    passes: list[int] = []
    plain = llava.hidden

    def counted(rows: Any, *more: Any, **named: Any) -> Any:
        passes.append(len(rows))
        return plain(rows, *more, **named)

    monkeypatch.setattr(llava, "hidden", counted)
    prepared(llava, "full")
    few = mixed(llava)[:5]
    reinforce(llava, few, reinforce_steps=1)
    assert passes[0] > 1, "one pass over all rows"
    passes.clear()
    reinforce(llava, few, reinforce_steps=1, most_positions=1)
    assert passes[0] == 1
    assert len(passes) > 1


@pytest.mark.parametrize("mode", ["full", "lora"])
def test_the_weights_come_back_from_a_training_that_fails(
    mode: str, llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(llava, mode)
    before = weights_digest(llava.model)

    def broken(*_: Any, **__: Any) -> None:
        with torch.no_grad():
            for parameter in trainable_parameters(llava).values():
                parameter.add_(1.0)
        raise MedError("the loss is not finite at step 2")

    monkeypatch.setattr("mllmu_med.training.reinforce.learn", broken)
    with pytest.raises(MedError, match="not finite"):
        reinforce(llava, mixed(llava)[:5])
    assert weights_digest(llava.model) == before
