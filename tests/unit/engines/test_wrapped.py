from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from mllmu_med.engines.interface import Likelihood
from mllmu_med.engines.wrapped import Wrapped
from mllmu_med.models.generation import Answer, Prompt
from mllmu_med.models.vlm import Question


class Echo:
    """Says what it was asked."""

    tells_likelihoods = True

    def answers(self, prompts: Sequence[Prompt], **_: Any) -> list[Answer]:
        return [Answer(f"{prompt.image}: {prompt.question}", False) for prompt in prompts]

    def samples(self, prompts: Sequence[Prompt], *, draws: int, **_: Any) -> list[list[str]]:
        return [[prompt.question] * draws for prompt in prompts]

    def likelihoods(
        self, questions: Sequence[Question], *, detailed: Collection[Question] = (), **_: Any
    ) -> list[Likelihood]:
        return [Likelihood((float(len(q.question)), float(q in detailed)), ()) for q in questions]


def test_the_instruction_stands_before_every_question_and_answers_stay_the_same_ones() -> None:
    wrapped = Wrapped(Echo(), "Be good.")
    prompts = [Prompt("a", "Who?"), Prompt(None, "Where?")]
    assert [answer.text for answer in wrapped.answers(prompts, max_new_tokens=4)] == [
        "a: Be good.\nWho?", "None: Be good.\nWhere?",
    ]  # fmt: skip
    assert wrapped.samples(prompts, draws=2, temperature=1.0, max_new_tokens=4, seed=0)[1] == ["Be good.\nWhere?"] * 2


def test_likelihoods_are_those_behind_the_instruction_details_included() -> None:
    questions = [Question("a", "Who?", "x"), Question("a", "Where is it?", "y")]
    found = Wrapped(Echo(), "Be good.").likelihoods(questions, detailed=[questions[1]])
    assert [one.logprobs for one in found] == [(13.0, 0.0), (21.0, 1.0)]
    assert Wrapped(Echo(), "x").tells_likelihoods
