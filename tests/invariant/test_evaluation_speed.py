"""How evaluation saves work, counted in passes; and that what it saves changes nothing, for every family."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mllmu_med.benchmark.sample import Probe, Sample, Stratum, Subset
from mllmu_med.engines.answer_store import AnswerStore
from mllmu_med.engines.in_process import InProcess
from mllmu_med.engines.interface import Engine
from mllmu_med.engines.likelihoods import likelihoods
from mllmu_med.engines.stored import Stored
from mllmu_med.evaluation.measure import measure
from mllmu_med.evaluation.outputs import Output
from mllmu_med.models.generation import Answer, Known, Prompt, generate
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.training.learn import LearnSettings, learn
from mllmu_med.training.settings import LoopSettings
from tests.conftest import FAMILY_NAMES
from tests.invariant.cases import ASKED
from tests.invariant.jobs import sample

LIMIT = 9
NATS = 1e-4
"""What another batch may change of a log-probability by rounding: float32, answers down to −30 nats."""

ANSWERS = ("chest X-ray", "yes", "two", "no", "abdominal CT", "MRN 482913", "1961-04-17")
PROBES = (Probe("paraphrase-1", "What can be seen?"), Probe("prefix-1", "Sure. What is shown in the image?"))


def _samples() -> list[Sample]:
    """Three images with several questions each, probes, text alone, wrong facts with their corrections, repetitions."""
    made = []
    for number, (image, question, _) in enumerate([*ASKED, *ASKED[:5]]):
        subset = (Subset.FORGET_INCORRECTNESS, Subset.RETAIN, Subset.TEST)[number % 3]
        stratum = Stratum.WRONG_IMAGE if number % 3 == 0 else Stratum.GENERAL
        one = sample(number, subset, stratum, question, ANSWERS[number % 7])
        facts = {"wrong_answer": one.answer, "correct_answer": "not at all"} if number % 3 == 0 else {}
        made.append(replace(one, image_id=image, probes=PROBES if number % 2 else PROBES[:1], **facts))
    return made


SAMPLES = _samples()


@pytest.fixture(scope="module", params=FAMILY_NAMES)
def taught(request: pytest.FixtureRequest, load_tiny: Callable[[str], VisionLanguageModel]) -> VisionLanguageModel:
    """A model that answers some questions as the samples say, others not, at different lengths."""
    vlm = load_tiny(request.param)
    loop = LoopSettings(steps=60, learning_rate=3e-3, warmup=5)
    learn(vlm, [Question(*asked) for asked in ASKED], loop, LearnSettings(batch=9), seed=1)
    vlm.attach_images(vlm.images.loader)
    return vlm


def asked(engine: Engine, samples: list[Sample] = SAMPLES) -> dict[tuple[str, str], Output]:
    outputs = measure(engine, samples, max_new_tokens=LIMIT, seed=0)
    return {(one.sample_id, one.probe): one for one in outputs}


def same(found: dict[tuple[str, str], Output], expected: dict[tuple[str, str], Output]) -> None:
    assert found.keys() == expected.keys()
    for key, one in found.items():
        other = expected[key]
        assert (one.generated, one.truncated, one.greedy) == (other.generated, other.truncated, other.greedy)
        assert one.confidence == pytest.approx(other.confidence, abs=NATS)
        for name in ("logprobs", "correct_logprobs", "wrong_logprobs", "expected", "deviation"):
            values, others = getattr(one, name), getattr(other, name)
            assert values == (None if others is None else pytest.approx(others, abs=NATS)), (key, name)


@pytest.fixture(scope="module")
def alone(taught: VisionLanguageModel) -> dict[tuple[str, str], Output]:
    """Every question in a batch of its own, nothing known before, its answers in rows of their own."""
    taught.packed = False
    plain = _Plain(taught)
    found = asked(plain)
    taught.packed = True
    texts = {one.generated for one in found.values()}
    assert len(texts) >= 5
    assert {one.truncated for one in found.values()} == {True, False}
    assert {all(one.greedy or ()) for one in found.values()} == {True, False}
    return found


class _Plain(InProcess):
    """One prompt at a time, every token generated."""

    def __init__(self, vlm: VisionLanguageModel) -> None:
        super().__init__(vlm, 1)

    def answers(self, prompts, *, max_new_tokens, progress=None):  # type: ignore[no-untyped-def]
        bare = [prompt._replace(known=None) for prompt in prompts]
        return [super(_Plain, self).answers([one], max_new_tokens=max_new_tokens)[0] for one in bare]


@pytest.mark.parametrize("batch", [1, 7, 128])
@pytest.mark.parametrize("order", [None, 0, 1])
def test_no_batch_and_no_order_changes_an_answer(
    taught: VisionLanguageModel, alone: dict[tuple[str, str], Output], batch: int, order: int | None
) -> None:
    samples = list(SAMPLES)
    if order is not None:
        random.Random(order).shuffle(samples)
    same(asked(InProcess(taught, batch), samples), alone)


@pytest.mark.parametrize("batch", [1, 7, 128])
def test_the_store_changes_no_bit(
    taught: VisionLanguageModel, alone: dict[tuple[str, str], Output], batch: int, tmp_path: Path
) -> None:
    plain = asked(InProcess(taught, batch))
    same(plain, alone)
    for _ in range(2):  # the first fills it, the second takes from it
        with AnswerStore(tmp_path / "answers", "p") as store:
            engine = Stored(InProcess(taught, batch), store)
            assert asked(engine) == plain
    assert engine.asked == 0
    assert engine.held > 0


def test_what_is_known_is_not_generated_and_changes_nothing(
    taught: VisionLanguageModel, fed: list[tuple[int, int]]
) -> None:
    """Every possible beginning of an answer, the whole one included, gives the same answer."""
    prompt = Prompt("a", "Is there a nodule on the left side?")
    [answer] = generate(taught, [prompt], max_new_tokens=40, batch=1)
    [told] = likelihoods(taught, [Question(prompt.image, prompt.question, answer.text)], batch=1)
    assert all(told.greedy), "the model's own answer, teacher-forced, is greedy"
    for count in range(1, len(told.logprobs) + 1):
        fed.clear()
        known = prompt._replace(known=Known(answer.text, told.logprobs[:count]))
        [found] = generate(taught, [known], max_new_tokens=40, batch=1)
        assert (found.text, found.truncated) == (answer.text, answer.truncated)
        assert found.confidence == pytest.approx(answer.confidence, abs=1e-5)
        remaining = len(told.logprobs) - count
        assert len(fed) == (1 + remaining if remaining else 0), "prefix, then one pass for each token that is left"


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_known_answer_is_cut_at_the_limit(taught: VisionLanguageModel, limit: int) -> None:
    prompt = Prompt(None, "Phone of Maria Lopez?")
    [answer] = generate(taught, [prompt], max_new_tokens=limit, batch=1)
    whole = likelihoods(taught, [Question(None, prompt.question, "555-0123")], batch=1)[0]
    assert all(whole.greedy)
    known = prompt._replace(known=Known("555-0123", whole.logprobs))
    [found] = generate(taught, [known], max_new_tokens=limit, batch=1)
    assert found[:2] == answer[:2]
    assert found.truncated
    assert found.confidence == pytest.approx(answer.confidence, abs=1e-5)


# --- counted


def test_each_answer_is_teacher_forced_once_and_each_image_encoded_once(
    taught: VisionLanguageModel, fed: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole evaluation's likelihoods: branches = different (image, question, answer), prefixes = different images."""
    from mllmu_med.models import shared_prefix

    branches: list[int] = []
    prefixes: list[str | None] = []
    feed, fill = shared_prefix.feed, shared_prefix._fill_prefix

    def counted(vlm, images, *rest):  # type: ignore[no-untyped-def]
        branches.append(len(images))
        return feed(vlm, images, *rest)

    def filled(vlm, needed, *rest):  # type: ignore[no-untyped-def]
        prefixes.extend(image for image, _ in needed)
        fill(vlm, needed, *rest)

    monkeypatch.setattr("mllmu_med.models.shared_prefix.feed", counted)
    monkeypatch.setattr(shared_prefix, "_fill_prefix", filled)

    class Likely(InProcess):
        def answers(self, prompts, *, max_new_tokens, progress=None):  # type: ignore[no-untyped-def]
            seen.update(passes=len(fed), prefixes=list(prefixes))
            return super().answers(prompts, max_new_tokens=max_new_tokens, progress=progress)

        def likelihoods(self, questions, *, detailed=(), progress=None):  # type: ignore[no-untyped-def]
            seen["questions"] = questions
            return super().likelihoods(questions, detailed=detailed, progress=progress)

    seen: dict = {}
    outputs = measure(Likely(taught, 7), SAMPLES, max_new_tokens=LIMIT, seed=0)
    scored = sum(
        getattr(one, name) is not None
        for one in outputs
        for name in ("logprobs", "correct_logprobs", "wrong_logprobs", "blind_logprobs")
    )
    distinct = set(seen["questions"])
    images = {question.image for question in distinct}
    assert len(distinct) == len(seen["questions"]) < scored, "what several probes share is asked once"
    assert sum(branches) == len(distinct)
    assert len(branches) == -(-len(distinct) // 7), "no batch but the last is smaller than it may be"
    assert sorted(map(str, seen["prefixes"])) == sorted(map(str, images)), "once, though an image is in several batches"
    assert len(prefixes) - len(seen["prefixes"]) <= len(images), "and once for what is generated"


def test_equal_questions_are_generated_once_and_known_tokens_never(
    taught: VisionLanguageModel, fed: list[tuple[int, int]]
) -> None:
    class Noting(InProcess):
        def answers(self, prompts, *, max_new_tokens, progress=None):  # type: ignore[no-untyped-def]
            fed.clear()
            found = super().answers(prompts, max_new_tokens=max_new_tokens, progress=progress)
            said.update(zip(prompts, found, strict=True))
            return found

    said: dict[Prompt, Answer] = {}
    outputs = asked(Noting(taught, 128))
    assert len(said) < len(outputs), "prompts that several samples and probes share"
    left = []
    for prompt, answer in said.items():
        count = LIMIT if answer.truncated else len(taught.prompts.answer_tokens(answer.text))
        left.append(count - len(prompt.known.logprobs if prompt.known else ()))
    assert min(left) <= 0 < max(left), "some answers are known before, others are not"
    assert [rows for rows, tokens in fed if tokens > 1][-1] == sum(count > 0 for count in left)
    assert sum(rows for rows, tokens in fed if tokens == 1) == sum(max(0, count - 1) for count in left)


def test_options_are_scored_in_one_pass_as_each_alone(taught: VisionLanguageModel, fed: list[tuple[int, int]]) -> None:
    """The options of a multiple-choice question: one pass for the image, one for all of them."""
    options = ("left lung", "right lung", "liver", "no", "chest X-ray of Maria Lopez")
    asked_options = [Question("a", "Which organ is it?", option) for option in options]
    together = likelihoods(taught, asked_options, batch=16)
    assert [rows for rows, _ in fed] == [1, len(options)], "the image's prefix, and the options behind it"
    single = [likelihoods(taught, [one], batch=1)[0] for one in asked_options]
    assert len({sum(one.logprobs) for one in single}) == len(options)
    for one, other in zip(together, single, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=NATS)
        assert one.greedy == other.greedy


def test_an_answer_that_has_ended_costs_no_more_steps(taught: VisionLanguageModel, fed: list[tuple[int, int]]) -> None:
    """Rows of each step = answers that have not ended; when half of the places are free, the next prompts begin."""
    prompts = [Prompt(image, question) for image, question, _ in ASKED]
    lengths = [
        len(taught.prompts.answer_tokens(answer.text))
        for answer in generate(taught, prompts, max_new_tokens=60, batch=1)
    ]
    assert len(set(lengths)) > 3
    fed.clear()
    generate(taught, prompts, max_new_tokens=60, batch=len(prompts))
    steps = [rows for rows, tokens in fed if tokens == 1]
    assert steps == [sum(length > step for length in lengths) for step in range(1, max(lengths))]
    fed.clear()
    generate(taught, prompts, max_new_tokens=60, batch=4)
    steps = [rows for rows, tokens in fed if tokens == 1]
    assert sum(steps) == sum(lengths) - len(lengths), "each answer's tokens but the first, and nothing else"
    assert max(steps) <= 4
    begun = [place for place, (_, tokens) in enumerate(fed) if tokens > 1]
    assert all(rows > 2 for rows, tokens in fed[: begun[-1]] if tokens == 1), "no step with half of the places free"
