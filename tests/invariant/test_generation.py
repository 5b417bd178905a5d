"""Generation with shared image prefixes gives the answers of the model's own ``generate``, one prompt at a time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mllmu_med.models.generation import Answer, Prompt, generate
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.training.learn import LearnSettings, learn
from mllmu_med.training.settings import LoopSettings
from tests.conftest import FAMILY_NAMES
from tests.invariant.cases import ASKED, own_inputs

LIMIT = 9
PROMPTS = [Prompt(image, question) for image, question, _ in ASKED] + [
    Prompt("b", "What is shown in the image?"),
    Prompt("c", "What is shown in the image?"),
    Prompt("c", "Who is it?"),
    Prompt("wide", "Is there a nodule on the left side?"),
]


@pytest.fixture(scope="module", params=FAMILY_NAMES)
def taught(request: pytest.FixtureRequest, load_tiny: Callable[[str], VisionLanguageModel]) -> VisionLanguageModel:
    """A model that has learnt answers of different lengths, so that rows end at different steps."""
    vlm = load_tiny(request.param)
    loop = LoopSettings(steps=60, learning_rate=3e-3, warmup=5)
    learn(vlm, [Question(*asked) for asked in ASKED], loop, LearnSettings(batch=9), seed=1)
    vlm.attach_images(vlm.images.loader)  # features of the untrained tower are forgotten
    return vlm


def own_answer(vlm: VisionLanguageModel, prompt: Prompt, limit: int) -> Answer:
    """The answer by the model's own ``generate``, batch size 1, its confidence from the scores it returns."""
    own = own_inputs(vlm, Question(prompt.image, prompt.question, ""))
    arguments = own.arguments(vlm.model, answered=False)
    end = vlm.prompts.tokenizer.eos_token_id
    found = vlm.model.generate(
        **arguments, max_new_tokens=limit, do_sample=False, eos_token_id=end, pad_token_id=0,
        output_logits=True, return_dict_in_generate=True,
    )  # fmt: skip
    made = found.sequences[0, len(own.prompt) :].tolist()
    logprobs = [
        logits[0].float().log_softmax(-1)[token].item() for logits, token in zip(found.logits, made, strict=True)
    ]
    text = vlm.prompts.tokenizer.decode(made, skip_special_tokens=True).strip()
    return Answer(text, end not in made, sum(logprobs) / len(logprobs))


def same_answers(found: list[Answer], expected: list[Answer]) -> bool:
    texts = [answer[:2] for answer in found] == [answer[:2] for answer in expected]
    return texts and [answer.confidence for answer in found] == pytest.approx(
        [answer.confidence for answer in expected], rel=1e-3, abs=1e-5
    )


@pytest.fixture(scope="module")
def expected(taught: VisionLanguageModel) -> list[Answer]:
    answers = [own_answer(taught, prompt, LIMIT) for prompt in PROMPTS]
    assert {answer.truncated for answer in answers} == {True, False}, "some rows end early, some meet the limit"
    assert len({answer.text for answer in answers}) >= 5
    return answers


@pytest.mark.parametrize("batch", [1, 3, 11])
def test_answers_are_those_of_the_models_own_generate(
    taught: VisionLanguageModel, expected: list[Answer], batch: int
) -> None:
    assert same_answers(generate(taught, PROMPTS, max_new_tokens=LIMIT, batch=batch), expected)


def test_answers_come_in_the_order_of_the_prompts(taught: VisionLanguageModel, expected: list[Answer]) -> None:
    turned = generate(taught, PROMPTS[::-1], max_new_tokens=LIMIT, batch=4)
    assert same_answers(turned[::-1], expected)


def test_answers_are_the_same_with_cached_features(taught: VisionLanguageModel, expected: list[Answer]) -> None:
    taught.cache_features(True)
    assert same_answers(generate(taught, PROMPTS, max_new_tokens=LIMIT, batch=11), expected)
    taught.cache_features(False)


def test_the_limit_is_exact(taught: VisionLanguageModel) -> None:
    end = taught.prompts.end_token_id
    for limit in (1, 2, 5):
        for prompt in PROMPTS[:4]:
            found = generate(taught, [prompt], max_new_tokens=limit, batch=1)
            assert same_answers(found, [own_answer(taught, prompt, limit)])
    assert end == taught.prompts.tokenizer.eos_token_id


def test_the_loop_ends_with_the_longest_answer(taught: VisionLanguageModel, fed: list[tuple[int, int]]) -> None:
    """One row of two ends first; that it has ended must not be forgotten when the other ends."""
    prompts = [Prompt(None, "Phone of Maria Lopez?"), Prompt(None, "Born?")]
    answers = generate(taught, prompts, max_new_tokens=40, batch=6)
    lengths = [len(taught.prompts.answer_tokens(answer.text)) for answer in answers]
    assert lengths == [9, 11]
    assert len(fed) == 1 + max(lengths), "one pass for the prefix, one for each token"


def test_rows_that_have_ended_are_dropped(taught: VisionLanguageModel, fed: list[tuple[int, int]]) -> None:
    prompts = [Prompt(None, "Phone of Maria Lopez?"), Prompt(None, "Born?")]
    generate(taught, prompts, max_new_tokens=40, batch=6)
    assert [rows for rows, _ in fed[1:]] == [2] * 9 + [1] * 2


def test_an_image_is_encoded_once_for_all_questions_about_it(
    taught: VisionLanguageModel, fed: list[tuple[int, int]]
) -> None:
    prompts = [Prompt("a", question) for image, question, _ in ASKED if image == "a"]
    generate(taught, prompts, max_new_tokens=1, batch=8)
    prefix = len(taught.prefix("a"))
    assert fed[0] == (1, prefix)
    assert fed[1][0] == len(prompts)
    assert fed[1][1] < prefix + 40, "the questions' pass carries no image tokens"


def test_nothing_is_left_changed(taught: VisionLanguageModel) -> None:
    taught.model.train()
    before = {name: value.clone() for name, value in taught.model.state_dict().items()}
    generate(taught, PROMPTS[:3], max_new_tokens=2, batch=2)
    assert taught.model.training
    assert all(torch.equal(before[name], value) for name, value in taught.model.state_dict().items())
    taught.model.eval()


def test_no_prompts_no_answers(taught: VisionLanguageModel) -> None:
    assert generate(taught, [], max_new_tokens=3, batch=2) == []
