"""What is planned as a batch is, alone, planned as the same batch in the same order: that is why it can be resumed."""

from __future__ import annotations

import random

import pytest

from mllmu_med.engines.in_process import InProcess
from mllmu_med.models.generation import Prompt
from mllmu_med.models.vlm import Question, VisionLanguageModel

TEXTS = ("Is it normal?", "What is shown in the image?", "Who is it?", "Phone?", "Born?", "Which organ is this?")


def questions(seed: int, count: int) -> list[Question]:
    """Some of one image, some of others, some of none, in any order, a few twice."""
    random.seed(seed)
    images = ("a", "a", "a", "b", "wide", "c", None)
    answers = ("a nodule", "Maria Lopez", "no")
    return [
        Question(random.choice(images), random.choice(TEXTS), random.choice(answers)) for _ in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("batch", [1, 4, 7, 16])
@pytest.mark.parametrize("seed", range(4))
def test_a_planned_batch_alone_is_planned_as_it_is(vlm: VisionLanguageModel, seed: int, batch: int) -> None:
    engine, asked = InProcess(vlm, batch), questions(seed, 60)
    detailed = frozenset(asked[::3])
    plan = engine.plan_likelihoods(asked, detailed)
    told = [[asked[place] for place in places] for places in plan]
    assert sorted({q for one in told for q in one}, key=str) == sorted(set(asked), key=str)
    assert sum(map(len, told)) == len(set(asked)), "equal questions are in one pass once"
    for one in told:
        assert engine.plan_likelihoods(one, detailed) == [list(range(len(one)))]
        assert vlm.rows(one, 8)[1] == list(range(len(one))), "and its rows are laid out in this order"

    prompts = [Prompt(q.image, q.question) for q in asked]
    plan = engine.plan_answers(prompts)
    assert sorted(place for places in plan for place in places) == list(range(len(prompts)))
    assert max(map(len, plan)) <= batch
    for places in plan:
        assert engine.plan_answers([prompts[place] for place in places]) == [list(range(len(places)))]


def test_samples_are_planned_by_their_draws(llava: VisionLanguageModel) -> None:
    prompts = [Prompt(q.image, q.question) for q in questions(1, 20)]
    engine = InProcess(llava, 12)
    assert max(map(len, engine.plan_samples(prompts, 4))) == 3
    assert max(map(len, engine.plan_samples(prompts, 50))) == 1, "one prompt, however many its draws"
    for draws in (4, 50):
        assert sorted(p for places in engine.plan_samples(prompts, draws) for p in places) == list(range(20))


def test_details_nobody_wants_are_few(llava: VisionLanguageModel) -> None:
    """Questions with details come first, so that they share passes with one another."""
    asked = [Question(image, text, "no") for text in TEXTS for image in ("a", "b", "c", "wide")]
    detailed = {question for question in asked if question.image in ("b", "wide")}
    plan = InProcess(llava, 6).plan_likelihoods(asked, detailed)
    assert [sum(asked[place] in detailed for place in places) for places in plan] == [6, 6, 0, 0]
