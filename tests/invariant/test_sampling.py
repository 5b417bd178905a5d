"""A sampled answer is a function of seed, prompt and its number: not of batch, order, company or how many are drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
import torch

from mllmu_med.engines import in_process
from mllmu_med.engines.in_process import InProcess
from mllmu_med.methods.guards.interface import Acts, Guard, Memory
from mllmu_med.models import shared_prefix
from mllmu_med.models.generation import Prompt, Start, sample_answers
from mllmu_med.models.guarded import ActiveGuard
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.progress import Bar
from tests.invariant.cases import ASKED

PROMPTS = [Prompt(image, question) for image, question, _ in ASKED]
DRAWS = 5
LIMIT = 4


def samples(vlm: VisionLanguageModel, prompts: Sequence[Prompt] = PROMPTS, **changes: Any) -> list[list[str]]:
    numbers: dict[str, Any] = {"draws": DRAWS, "temperature": 1.0, "max_new_tokens": LIMIT, "seed": 0, **changes}
    return InProcess(vlm, numbers.pop("batch", 8)).samples(prompts, **numbers)


def test_draws_depend_on_neither_batch_nor_order_nor_company_nor_count(vlm: VisionLanguageModel) -> None:
    expected = samples(vlm)
    assert [len(texts) for texts in expected] == [DRAWS] * len(PROMPTS)
    assert len({text for texts in expected for text in texts}) > 3 * len(PROMPTS), "they differ"
    for batch in (1, 3, 1000):
        assert samples(vlm, batch=batch) == expected
    assert samples(vlm, PROMPTS[::-1])[::-1] == expected
    assert samples(vlm, PROMPTS[3:4]) == expected[3:4]
    assert samples(vlm, draws=2) == [texts[:2] for texts in expected]
    assert samples(vlm, draws=DRAWS + 2, batch=3)[0][:DRAWS] == expected[0]
    assert samples(vlm, [PROMPTS[0], *PROMPTS]) == [expected[0], *expected], "one prompt, one set of draws"


def test_seed_image_question_and_number_each_give_draws_of_their_own(
    llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Independent draws are what a bound on the rate of leaks rests on."""
    used: list[tuple[float, ...]] = []

    def noted(vlm: Any, starts: Sequence[Start], **settings: Any) -> list[str]:
        used.extend(start.draws for start in starts)
        return [""] * len(starts)

    monkeypatch.setattr(in_process, "sample_answers", noted)
    prompts = [Prompt("a", "Who?"), Prompt("b", "Who?"), Prompt(None, "Who?"), Prompt("a", "Who is it?")]
    for seed in (0, 1):
        samples(llava, prompts, seed=seed)
    numbers = [number for draws in used for number in draws]
    assert len(used) == 2 * len(prompts) * DRAWS
    assert len(set(numbers)) == len(used) * LIMIT
    assert all(0 <= number < 1 for number in numbers)


def test_a_length_is_a_limit_and_nothing_else(llava: VisionLanguageModel) -> None:
    """Fewer tokens are the beginning of more."""
    for short, long in zip(samples(llava, max_new_tokens=2), samples(llava, max_new_tokens=LIMIT), strict=True):
        # A token may end within a character, which shows as � until the next one.
        assert all(whole.startswith(begun.rstrip("\ufffd")) for begun, whole in zip(short, long, strict=True))


def test_first_tokens_have_the_probabilities_of_the_model(llava: VisionLanguageModel) -> None:
    """2,000 draws of one token against the model's own forward pass: the chi-square statistic is ordinary."""
    prompt, draws, temperature = PROMPTS[0], 2000, 0.25
    rows, _ = llava.rows([Question(prompt.image, prompt.question, "x")], 1)
    with torch.no_grad():
        hidden, _ = llava.hidden(rows)
        share = (llava.logits(hidden)[0].double() / temperature).softmax(-1)
    engine_texts = samples(llava, [prompt], draws=draws, temperature=temperature, max_new_tokens=1, batch=500)[0]
    counted = Counter(engine_texts)
    expected: Counter[str] = Counter()
    for token, probability in enumerate(share.tolist()):
        special = token == llava.prompts.end_token_id
        expected["" if special else llava.prompts.decode([token])] += draws * probability  # type: ignore[assignment]
    large = [text for text, count in expected.items() if count >= 10]
    assert len(large) > 5
    assert set(counted) <= {text for text, count in expected.items() if count > 0}
    statistic = sum((counted[text] - expected[text]) ** 2 / expected[text] for text in large)
    assert statistic < len(large) + 4 * (2 * len(large)) ** 0.5


def test_no_more_than_a_batch_of_draws_is_held_and_a_prefix_serves_all_its_draws(
    llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []
    prefixes: list[list[str | None]] = []

    def counted(vlm: Any, starts: Sequence[Start], **settings: Any) -> list[str]:
        held.append(len(starts))
        return sample_answers(vlm, starts, **settings)

    def noted(vlm: Any, found: list[tuple[str | None, bool]], cache: Any, decoding: Any) -> None:
        prefixes.append([image for image, _ in found])
        fill(vlm, found, cache, decoding)

    fill = shared_prefix._fill_prefix
    monkeypatch.setattr(in_process, "sample_answers", counted)
    monkeypatch.setattr(shared_prefix, "_fill_prefix", noted)
    prompts = [Prompt("a", "Who?"), Prompt("b", "Who?"), Prompt("a", "Who is it?")]
    samples(llava, prompts, draws=4, batch=8)
    assert held == [8, 4]
    assert prefixes == [["a"], ["b"]], "eight draws about one image, one prefix"
    held.clear()
    prefixes.clear()
    samples(llava, prompts, draws=20, batch=8)
    assert held == [20, 20, 20], "one prompt at a time"
    assert prefixes == [["a"]] * 6 + [["b"]] * 3, "each in batches of 8, 8 and 4"


def test_progress_ends_at_the_number_of_prompts(llava: VisionLanguageModel) -> None:
    steps: list[float] = []
    bar = Bar(lambda step, note: steps.append(step))
    samples(llava, batch=10, progress=bar)
    assert len(steps) > 3
    assert sum(steps) == len(PROMPTS)


class Marks(Guard):
    """Says of every answer about one image whose it is; acts on the text alone."""

    acts: ClassVar[Acts] = Acts.TEXT

    def text(self, memory: Memory, image: str | None, question: str, answer: str) -> str:
        return f"{question} {answer}" if image == "a" else answer


def test_sampled_answers_pass_the_guard_as_greedy_ones_do(llava: VisionLanguageModel) -> None:
    plain = samples(llava)
    llava.guard = ActiveGuard(Marks(), Memory({}), seed=0)
    for prompt, texts, before in zip(PROMPTS, samples(llava), plain, strict=True):
        assert texts == ([f"{prompt.question} {text}" for text in before] if prompt.image == "a" else before)
