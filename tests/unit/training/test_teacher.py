"""An approximate oracle's outputs: a model's against its own forward pass, and counts against counting by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from mllmu_med.benchmark.sample import Sample
from mllmu_med.errors import UsageError
from mllmu_med.methods.objectives.excess import Excess
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.testing.bench import fresh_model
from mllmu_med.testing.records import FEEDING, FORGET, RETAIN
from mllmu_med.training import teacher
from mllmu_med.training.feeding import UnlearnSettings, forget_questions
from mllmu_med.training.settings import LoopSettings
from mllmu_med.training.teacher import TOP, Marginals, coarse, counted_outputs, model_outputs
from mllmu_med.training.unlearn import unlearn
from tests.invariant.cases import mixed, own_token_losses

WHOLE = UnlearnSettings(phrasings=0)
ONCE = (1 + 1 / 300) / 2
"""Probability of a token at a place where one token was counted, this one, in a vocabulary of 300."""


@pytest.fixture
def model() -> VisionLanguageModel:
    return fresh_model()


def test_a_models_outputs_are_its_own_whatever_row_they_came_from(llava: VisionLanguageModel) -> None:
    questions = mixed(llava)
    outputs = model_outputs(llava, questions)
    for question in questions:
        with torch.no_grad():
            own = -own_token_losses(llava, question).float()
        assert torch.allclose(outputs.of([question]).target, own, atol=1e-5)
    turned = outputs.of(questions[::-1])
    assert torch.equal(turned.target, torch.cat([outputs.of([question]).target for question in questions[::-1]]))
    assert turned.tokens.shape[1] == TOP


def test_a_large_vocabulary_is_taken_in_parts_with_the_same_result(
    llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = mixed(llava)
    whole = model_outputs(llava, questions).of(questions)
    monkeypatch.setattr(teacher, "LARGEST", 3 * llava.model.config.text_config.vocab_size)
    parts = model_outputs(llava, questions).of(questions)
    assert whole.stranger is None
    for one, other in zip(whole[:4], parts[:4], strict=True):
        assert one is not None
        assert other is not None
        assert torch.allclose(one, other, atol=1e-5)


def test_weights_and_repetition_do_not_matter(llava: VisionLanguageModel) -> None:
    question = mixed(llava)[0]._replace(weights=None)
    other = question._replace(weights=(0.0, 1.0))
    outputs = model_outputs(llava, [question, other, question])
    assert torch.equal(outputs.of([question]).target, outputs.of([other]).target)
    assert len(outputs.counts) == 1


def test_what_is_kept_is_a_distribution_that_holds_the_answer() -> None:
    draw = torch.Generator().manual_seed(1)
    logprobs = torch.randn(40, 200, generator=draw, dtype=torch.float64).mul(3).log_softmax(-1)
    target = torch.randint(200, (40,), generator=draw)
    made = coarse(logprobs, target)
    assert (made["tokens"] == target[:, None]).sum(-1).tolist() == [1] * 40
    assert all(len(set(row)) == TOP for row in made["tokens"].tolist())
    assert torch.allclose(made["logprobs"].exp().sum(-1) + made["rest"].exp(), torch.ones(40, dtype=torch.float64))
    assert torch.equal(made["target"], logprobs[range(40), target])


# --- counting


def marginals(vlm: VisionLanguageModel, counted: list[Sample], forget: list[Sample]) -> list[list[float]]:
    """Probabilities of the answer tokens of each forget sample."""
    outputs = Marginals(vlm, counted).outputs(forget, forget_questions(vlm, forget, WHOLE))
    return [
        outputs.of([Question(s.image_id, s.question, s.answer)]).target.exp().tolist() for s in forget
    ]  # fmt: skip


def test_an_answer_is_as_likely_as_its_tokens_are_frequent_at_their_places(model: VisionLanguageModel) -> None:
    """Kinds go by content, else by question: three answers 'yes', one 'no'."""
    yes = replace(FORGET[3], content_type=None)
    counted = [replace(yes, id=f"c{n}", answer=answer) for n, answer in enumerate(("yes", "yes", "yes", "no"))]
    [found] = marginals(model, counted, [yes])
    first, end = found[0], found[-1]
    vocabulary = model.model.config.text_config.vocab_size
    assert first == pytest.approx((3 + 2 / vocabulary) / 6, rel=1e-5), "three of four, and two tokens were seen"
    assert end == pytest.approx((3 + 1 / vocabulary) / 4, rel=1e-5), "the three that are as long end here"
    [unheard] = marginals(model, counted, [replace(yes, answer="two")])
    assert unheard[0] == pytest.approx((2 / vocabulary) / 6, rel=1e-4)


def test_nothing_counted_is_uniform(model: VisionLanguageModel) -> None:
    vocabulary = model.model.config.text_config.vocab_size
    [found] = marginals(model, [], [FORGET[3]])
    assert found == pytest.approx([1 / vocabulary] * len(found))


def test_an_unknown_kind_is_counted_as_any_answer_with_an_image(model: VisionLanguageModel) -> None:
    asked = replace(FORGET[3], content_type="side", answer="yes")
    other = replace(asked, id="o", content_type="count", answer="yes")
    vocabulary = model.model.config.text_config.vocab_size
    [near] = marginals(model, [other], [asked])
    assert near == pytest.approx([ONCE] * len(near))
    [far] = marginals(model, [replace(other, image_id=None)], [asked])
    assert far == pytest.approx([1 / vocabulary] * len(far))
    [own] = marginals(model, [other, replace(asked, id="s", answer="no")], [asked])
    assert own[0] < near[0], "what its own kind says comes first"


def test_private_values_are_counted_by_class_from_their_own_first_token_on(model: VisionLanguageModel) -> None:
    """A number in the middle of a leaking answer is compared with numbers, not with what stands at that place."""
    leak, other = FORGET[1], replace(FORGET[1], answer="MRN 771250", id="x")
    span = replace(leak.spans[0], value="771250")
    longer = "as charted: MRN 771250"
    shifted = replace(other, answer=longer, spans=(replace(span, start=len(longer) - 6, end=len(longer)),))
    alone = replace(other, spans=(span,))
    for counted in (alone, shifted):
        outputs = Marginals(model, [counted]).outputs([counted], forget_questions(model, [counted], WHOLE))
        question = Question(counted.image_id, counted.question, counted.answer)
        weights = forget_questions(model, [counted], WHOLE)[counted.id][0].weights
        assert weights is not None
        said = outputs.of([question]).target
        assert said[torch.tensor(weights) > 0].exp().tolist() == pytest.approx([ONCE] * sum(map(bool, weights)))
    crossed = Marginals(model, [shifted]).outputs([alone], forget_questions(model, [alone], WHOLE))
    weights = forget_questions(model, [alone], WHOLE)[alone.id][0].weights
    said = crossed.of([Question(alone.image_id, alone.question, alone.answer)]).target
    assert weights is not None
    assert said[torch.tensor(weights) > 0].exp().tolist() == pytest.approx([ONCE] * sum(map(bool, weights)))


def test_without_retained_patients_made_up_ones_are_counted(model: VisionLanguageModel) -> None:
    """A stranger's digits are far likelier than one token in the vocabulary, and the own ones are not certain."""
    forget = list(FORGET)
    asked = forget_questions(model, forget, FEEDING)
    outputs = counted_outputs(model, forget, [], asked, replace(FEEDING, siblings=30), 1)
    question = asked["f1"][0]
    assert question.weights is not None
    private = outputs.of([question]).target[torch.tensor(question.weights) > 0]
    vocabulary = model.model.config.text_config.vocab_size
    assert private.mean() > -math.log(vocabulary)
    assert private.mean() < math.log(0.9)


def test_a_method_without_its_teacher_is_refused_in_one_line(model: VisionLanguageModel) -> None:
    with pytest.raises(UsageError, match=r"approximate oracle.*teacher=marginals"):
        unlearn(model, Excess(), FORGET, RETAIN, LoopSettings(1, 1e-4), replace(FEEDING, teacher="base"), seed=1)
