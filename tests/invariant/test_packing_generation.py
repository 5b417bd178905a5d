"""Every family of models answers, in batches that share image prefixes, as its own ``generate`` does one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from mllmu_med.models.generation import Prompt, generate
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.training.learn import LearnSettings, learn
from mllmu_med.training.settings import LoopSettings
from tests.conftest import EVERY_FAMILY
from tests.invariant.cases import ABOUT_PAIRS, ASKED, own_inputs

LIMIT = 6
QUESTIONS = [Question(*asked) for asked in (*ASKED[:3], *ASKED[5:7], *ABOUT_PAIRS[:2], ABOUT_PAIRS[3])]
"""About one image, a wide one, two together in either order, and none; of different lengths."""


class OwnAnswer(NamedTuple):
    """Greedy text by the model's own ``generate``, whether the limit cut it off, mean log-probability of its tokens."""

    text: str
    truncated: bool
    confidence: float


def own_answer(vlm: VisionLanguageModel, question: Question) -> OwnAnswer:
    own = own_inputs(vlm, question)
    end = vlm.prompts.tokenizer.eos_token_id
    found = vlm.model.generate(
        **own.arguments(vlm.model, answered=False), max_new_tokens=LIMIT, do_sample=False, eos_token_id=end,
        pad_token_id=0, output_logits=True, return_dict_in_generate=True,
    )  # fmt: skip
    made = found.sequences[0, len(own.prompt) :].tolist()
    logprobs = [float(step[0].log_softmax(-1)[token]) for step, token in zip(found.logits, made, strict=True)]
    text = vlm.prompts.tokenizer.decode(made, skip_special_tokens=True).strip()
    return OwnAnswer(text, end not in made, sum(logprobs) / len(logprobs))


@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_answers_in_batches_are_those_of_one_by_one(
    family: str, load_tiny: Callable[[str], VisionLanguageModel]
) -> None:
    vlm = load_tiny(family)
    learn(vlm, QUESTIONS, LoopSettings(8, 5e-3, warmup=2), LearnSettings(batch=8), seed=1)
    vlm.attach_images(vlm.images.loader)  # type: ignore[arg-type]  # features of the untrained tower are forgotten
    vlm.model.eval()
    expected = [own_answer(vlm, question) for question in QUESTIONS]
    assert len({answer.confidence for answer in expected}) == len(QUESTIONS), "every image and every word counts"
    prompts = [Prompt(question.image, question.question) for question in QUESTIONS]
    for batch in (8, 3):
        found = generate(vlm, prompts, max_new_tokens=LIMIT, batch=batch)
        assert [answer[:2] for answer in found] == [answer[:2] for answer in expected]
        for ours, own in zip(found, expected, strict=True):
            assert ours.confidence == pytest.approx(own.confidence, rel=1e-4, abs=1e-5)
