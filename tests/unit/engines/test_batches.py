"""What is planned as a batch is, alone, planned as the same batch in the same order: that is why it can be resumed."""

from __future__ import annotations

import random

import pytest

from mllmu_med.engines import likelihoods as module
from mllmu_med.engines.in_process import InProcess
from mllmu_med.models.generation import PIECE, Prompt
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
    assert max(map(len, told)) <= PIECE * batch

    prompts = [Prompt(q.image, q.question) for q in asked]
    plan = engine.plan_answers(prompts)
    assert sorted(place for places in plan for place in places) == list(range(len(prompts)))
    assert max(map(len, plan)) <= PIECE * batch
    assert len(plan) == -(-len(prompts) // (PIECE * batch))
    about = [{prompts[place].image for place in places} for places in plan]
    assert sum(map(len, about)) <= len(set().union(*about)) + len(plan) - 1, "image by image"
    for places in plan:
        assert engine.plan_answers([prompts[place] for place in places]) == [list(range(len(places)))]


def test_samples_are_planned_by_their_draws(llava: VisionLanguageModel) -> None:
    prompts = [Prompt(q.image, q.question) for q in questions(1, 20)]
    engine = InProcess(llava, 12)
    assert max(map(len, engine.plan_samples(prompts, 4))) == 3
    assert max(map(len, engine.plan_samples(prompts, 50))) == 1, "one prompt, however many its draws"
    for draws in (4, 50):
        assert sorted(p for places in engine.plan_samples(prompts, draws) for p in places) == list(range(20))


def test_details_are_computed_for_those_who_want_them(
    llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [Question(image, text, "no") for text in TEXTS for image in ("a", "b", "c", "wide")]
    detailed = {question for question in asked if question.image in ("b", "wide")}
    made = []
    whole = module._details

    def counted(hidden, logprobs, target, counts):  # type: ignore[no-untyped-def]
        made.append(len(counts))
        assert sum(counts) == len(hidden) == len(logprobs) == len(target)
        return whole(hidden, logprobs, target, counts)

    monkeypatch.setattr(module, "_details", counted)
    found = InProcess(llava, 6).likelihoods(asked, detailed=detailed)
    assert sum(made) == len(detailed) == 12
    assert [one.detail is not None for one in found] == [question in detailed for question in asked]
    alone = InProcess(llava, 1).likelihoods(asked, detailed=asked)
    for one, other in zip(found, alone, strict=True):
        assert one.detail is None or one.detail.expected == pytest.approx(other.detail.expected, abs=1e-3)
