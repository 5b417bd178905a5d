"""What a step is fed with beyond forget, retain, refusals and normal answers: each need, and nothing without one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from mllmu_med.benchmark.sample import Stratum, Subset
from mllmu_med.methods.composition import Composite
from mllmu_med.methods.interface import Batch, Loss, Needs, Objective, State
from mllmu_med.methods.objectives.ascent import GradientDifference
from mllmu_med.models.groups import set_trainable
from mllmu_med.models.references import ReferenceCache
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.training.answers import References, answer_batch
from mllmu_med.training.feeding import NOISE, Feeder, Pairs, StepQuestions, UnlearnSettings, pair_questions
from mllmu_med.training.hierarchy import level_of
from mllmu_med.training.settings import LoopSettings
from mllmu_med.training.unlearn import unlearn
from tests.invariant.jobs import FORGET, RETAIN

SMALL = UnlearnSettings(forget_batch=4, retain_batch=4, branches=3, normals=2)
WRONG = replace(FORGET[3], correct_answer="no", wrong_answer="yes")
LEAK = replace(FORGET[0], clean_answer="chest X-ray")


def pairs(vlm: VisionLanguageModel, needs: Needs, forget: list[Any] | None = None, **changes: Any) -> Pairs:
    return pair_questions(vlm, forget or [LEAK, *FORGET[1:3], WRONG], RETAIN, needs, replace(SMALL, **changes), 1)


def test_only_a_known_truth_is_a_correction(llava: VisionLanguageModel) -> None:
    """The right answer to a wrong fact, and the clinical part of a leak; a direct question has none."""
    found = {q.question: [c.answer for c in held] for q, held in pairs(llava, Needs.CORRECTIONS).corrections.items()}
    assert found["Is there a nodule?"] == ["no"]
    assert found["Who is it?"] == ["chest X-ray"]
    assert found["What is the MRN?"] == []
    assert found["Phone of Maria Lopez?"] == []


def test_the_noised_question_is_guarded_and_keeps_answer_and_weights(llava: VisionLanguageModel) -> None:
    made = pairs(llava, Needs.NOISED)
    for question, noised in made.noised.items():
        assert noised.answer == question.answer
        assert noised.weights == question.weights
        assert noised.question.endswith(question.question)
        assert len(noised.question) > len(question.question)
        assert noised.image == (None if question.image is None else question.image + NOISE)


def test_levels_tell_the_target_from_what_stands_beside_it() -> None:
    assert {level_of(sample) for sample in FORGET} == {4}
    general = replace(RETAIN[0], stratum=Stratum.GENERAL)
    assert level_of(replace(general, stratum=Stratum.SIBLING)) == 3
    assert level_of(replace(general, stratum=Stratum.PRIVATE_TEXT, patient_id="p")) == 3
    assert level_of(replace(general, content_type="finding")) == 2
    assert level_of(replace(general, content_type="Organ")) == 1
    assert level_of(replace(general, content_type=None)) == 2
    assert level_of(replace(general, subset=Subset.FORGET_PRIVACY)) == 4


def test_rephrasings_are_the_methods_own_wish_before_the_settings(llava: VisionLanguageModel) -> None:
    def count(rephrasings: bool | None, phrasings: int | None) -> int:
        settings = replace(SMALL, phrasings=phrasings)
        made = pair_questions(llava, FORGET, RETAIN, Needs.NONE, settings, 1, rephrasings)
        return len(made.every_forget)

    assert [count(None, None), count(None, 0), count(True, 0), count(False, None)] == [8, 4, 8, 4]


def test_answers_beside_the_true_one_say_whose_they_are(llava: VisionLanguageModel) -> None:
    needs = Needs.CORRECTIONS | Needs.NORMALS | Needs.OTHERS_LOGPROB | Needs.HIERARCHY | Needs.RETAIN
    made = pairs(llava, needs)
    step = Feeder(made, SMALL, 1)(0)
    cache = ReferenceCache(llava)
    cache.fill([*step.normals, *step.corrections], hidden=False)
    batch = answer_batch(llava, step, needs, References(cache), 3, pairs=made)
    assert batch.normals is not None
    assert batch.normals.of is not None
    assert batch.normals.of.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert batch.corrections is not None
    assert batch.corrections.of is not None
    expected = [i for i, q in enumerate(step.forget) for _ in made.corrections[q]]
    assert batch.corrections.of.tolist() == expected
    for group in (batch.normals, batch.corrections):
        assert group.reference_logprob is not None
        torch.testing.assert_close(group.reference_logprob, group.token_logprob, rtol=1e-4, atol=2e-5)
    assert batch.forget.level is not None
    assert batch.forget.level.tolist() == [4, 4, 4, 4]
    assert batch.retain is not None
    assert batch.retain.level is not None
    assert batch.retain.level.tolist() == [made.levels[q] for q in step.retain]


def test_what_is_not_needed_is_not_there(llava: VisionLanguageModel) -> None:
    made = pairs(llava, Needs.RETAIN)
    batch = answer_batch(llava, Feeder(made, SMALL, 1)(0), Needs.RETAIN, References(ReferenceCache(llava)), 3)
    assert batch.retain is not None
    others = ("refusals", "normals", "alternates", "corrections", "anchors")
    assert all(getattr(batch, name) is None for name in others)
    for name in ("reference_logprob", "reference_logits", "layers", "noised_logits", "reinforced_logits", "level"):
        assert getattr(batch.forget, name) is None


def test_hidden_states_come_with_theta0s_beside_them(llava: VisionLanguageModel) -> None:
    needs = Needs.RETAIN | Needs.LAYERS | Needs.REFERENCE_LAYERS
    made = pairs(llava, needs)
    step = Feeder(made, SMALL, 1)(0)
    cache = ReferenceCache(llava)
    cache.fill([*step.forget, *step.retain], hidden=False, layers=(0, 1))
    batch = answer_batch(llava, step, needs, References(cache, layers=(0, 1)), 3, pairs=made)
    for group in (batch.forget, batch.retain):
        assert group is not None
        assert group.layers is not None
        assert group.reference_layers is not None
        for layer in (0, 1):
            assert group.layers[layer].shape[0] == len(group.target)
            torch.testing.assert_close(group.layers[layer], group.reference_layers[layer], rtol=1e-4, atol=1e-4)
    last = batch.forget.layers
    assert last is not None
    assert batch.forget.lens is not None
    torch.testing.assert_close(batch.forget.lens(last[1]), batch.forget.logits, rtol=1e-4, atol=1e-4)


def test_a_batch_is_a_function_of_its_number(llava: VisionLanguageModel) -> None:
    made = pairs(llava, Needs.RETAIN)
    first, again = Feeder(made, SMALL, 1), Feeder(made, SMALL, 1)
    assert [first(n) for n in (5, 0, 3)] == [again(n) for n in (5, 0, 3)]
    assert first(0).number == 0
    assert Feeder(made, SMALL, 2)(0) != first(0)


class Counting(GradientDifference):
    """Carries a number from step to step, and weighs its retain term by it."""

    def start(self, model: object, generator: torch.Generator) -> State:
        return {"count": torch.zeros(())}

    def loss(self, batch: Batch) -> Loss:
        made = super().loss(batch)
        assert batch.state["count"].item() == batch.step
        return made._replace(parts={"seen": batch.state["count"]})

    def advance(self, state: State, loss: object) -> State:
        return {"count": state["count"] + 1}


def test_a_methods_state_goes_from_step_to_step(llava: VisionLanguageModel) -> None:
    set_trainable(llava, {"language": "full"})
    loop = LoopSettings(6, 1e-4, accumulation=2, log_every=1)
    log = unlearn(llava, Counting(), FORGET, RETAIN, loop, SMALL, seed=0)
    assert [entry["seen"] for entry in log.curve] == [0, 1, 2, 3, 4, 5]


def test_a_composite_is_asked_like_its_objective(llava: VisionLanguageModel) -> None:
    made = Composite(GradientDifference(retain_weight=2.0))
    assert made.needs == GradientDifference.needs
    assert made.label == "GradDiff"
    assert isinstance(made.objective, Objective)


def test_without_retain_records_nothing_of_theirs_is_asked(llava: VisionLanguageModel) -> None:
    step = Feeder(pairs(llava, Needs.NONE), SMALL, 1)(0)
    assert (step.retain, step.refusals, step.normals, step.anchors) == ([], [], [], [])
    with pytest.raises(KeyError):
        References(ReferenceCache(llava)).theta0.logprob([Question(None, "never asked", "x")])
    assert isinstance(step, StepQuestions)


def test_questions_of_one_image_can_be_drawn_together() -> None:
    """Fewer images a step, so that there is something to pack; all questions still come once an epoch."""
    questions = [Question(f"image-{number % 10}", f"question {number}", "yes") for number in range(40)]
    pairs = Pairs(forget=[questions[:8]], retain=[questions])

    def images(per_image: int) -> list[int]:
        feeder = Feeder(pairs, UnlearnSettings(forget_batch=4, retain_batch=8, per_image=per_image), seed=0)
        steps = [feeder(number) for number in range(5)]
        assert sorted(q.question for step in steps for q in step.retain) == sorted(q.question for q in questions)
        return [len({question.image for question in step.retain}) for step in steps]

    assert images(4) == [2] * 5
    assert min(images(1)) > 4
