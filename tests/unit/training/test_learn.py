"""Learning: the loss of a batch, and that a model learns what it is shown."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from mllmu_med.models.generation import Prompt, generate
from mllmu_med.models.groups import set_trainable
from mllmu_med.models.rows import Branch, Row, lay_out
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.training.learn import LearnSettings, answer_loss, learn, record_mean
from mllmu_med.training.settings import LoopSettings
from tests.invariant.cases import mixed


def test_every_record_counts_alike_and_every_token_by_its_weight() -> None:
    """Record 0: tokens 1 and 5 with weights 1 and 3 → (1 + 15)/4 = 4; record 1: token 10 → 10; mean 7."""
    rows = [Row(None, (Branch((1,), (2, 3), (1.0, 3.0)), Branch((1,), (4,))))]
    layout = lay_out(rows, [()], pad=0)
    assert record_mean(torch.tensor([1.0, 5.0, 10.0]), layout.weight, layout.owner, layout.branches).item() == 7


def test_the_loss_is_in_nats_a_token(llava: VisionLanguageModel) -> None:
    question = Question("a", "What is shown?", "chest X-ray")
    hidden, layout = llava.hidden(llava.rows([question], 1)[0])
    expected = cross_entropy(llava.logits(hidden), layout.target).item()
    assert answer_loss(llava, [question], 1).item() == pytest.approx(expected, rel=1e-6)


def test_what_is_learnt_is_said(llava: VisionLanguageModel) -> None:
    set_trainable(llava, {"language": "full"})
    questions = [q._replace(weights=None) for q in mixed(llava)]
    log = learn(llava, questions, LoopSettings(60, 5e-3, warmup=5), LearnSettings(batch=9), seed=0)
    assert log.curve[-1]["loss"] < 0.05 < log.curve[0]["loss"]
    answers = generate(llava, [Prompt(q.image, q.question) for q in questions], max_new_tokens=45, batch=9)
    assert [answer.text for answer in answers] == [q.answer for q in questions]
    assert not any(answer.truncated for answer in answers)


def test_each_step_takes_the_next_batch(llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine questions in steps of three: after three batches every question has been learnt once."""
    seen: list[str] = []
    branch = llava.branch
    monkeypatch.setattr(llava, "branch", lambda question: seen.append(question.question) or branch(question))
    set_trainable(llava, {"language": "full"})
    questions = mixed(llava)
    for steps, accumulation in ((3, 1), (1, 3)):
        seen.clear()
        loop = LoopSettings(steps, 1e-4, accumulation=accumulation)
        learn(llava, questions, loop, LearnSettings(batch=3, branches=1), seed=0)
        assert sorted(seen) == sorted(question.question for question in questions)
