"""An engine with a store: what is unchanged is not asked again, what has changed in any way is."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mllmu_med.engines import in_process, likelihoods
from mllmu_med.engines.answer_store import JOURNAL, AnswerStore
from mllmu_med.engines.in_process import InProcess
from mllmu_med.engines.interface import Detail, Likelihood
from mllmu_med.engines.stored import _ANSWER, _LIKELIHOOD, Stored
from mllmu_med.errors import Interrupted
from mllmu_med.folders import canonical_json, parse_json
from mllmu_med.models import generation
from mllmu_med.models.generation import Answer, Known, Prompt
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.testing.pictures import picture
from mllmu_med.training.learn import answer_loss

PROMPTS = [
    Prompt(image, question)
    for image in ("a", "b", None, "wide")
    for question in ("What is shown in the image?", "Is it normal?", "Who is it?")
]
QUESTIONS = [Question(p.image, p.question, answer) for p in PROMPTS for answer in ("a nodule", "Maria Lopez")]
DETAILED = QUESTIONS[3::4]


class Counted:
    """How many passes each kind of work made through a model, counted at the functions that make them."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.answers = self.likelihoods = self.samples = 0
        for name, kind in (("generate", "answers"), ("likelihoods", "likelihoods"), ("sample_answers", "samples")):
            patch.setattr(in_process, name, self._counting(kind, getattr(in_process, name)))

    def _counting(self, kind: str, function: object) -> object:
        def counting(*args: object, **named: object) -> object:
            setattr(self, kind, getattr(self, kind) + 1)
            return function(*args, **named)  # type: ignore[operator]

        return counting


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch is a piece of work, so that few questions make several."""
    for module in (generation, in_process, likelihoods):
        monkeypatch.setattr(module, "PIECE", 1)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AnswerStore]:
    with AnswerStore(tmp_path / "answers", "p") as store:
        yield store


def evaluate(vlm: VisionLanguageModel, store: AnswerStore, batch: int = 3) -> tuple[list[Answer], list[Likelihood]]:
    engine = Stored(InProcess(vlm, batch), store)
    return engine.answers(PROMPTS, max_new_tokens=5), engine.likelihoods(QUESTIONS, detailed=DETAILED)


def step(vlm: VisionLanguageModel) -> None:
    """One step of an optimiser, in place, as unlearning does it."""
    vlm.model.train()
    parameters = [p for n, p in vlm.model.named_parameters() if "vision" not in n]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, fused=True)
    answer_loss(vlm, QUESTIONS[:2], 2).backward()
    optimizer.step()
    vlm.model.eval()


def test_what_is_stored_and_what_is_not_are_equal_bit_for_bit(
    vlm: VisionLanguageModel, store: AnswerStore, counted: Counted
) -> None:
    plain = InProcess(vlm, 3)
    expected = plain.answers(PROMPTS, max_new_tokens=5), plain.likelihoods(QUESTIONS, detailed=DETAILED)
    first = evaluate(vlm, store)
    made = counted.answers, counted.likelihoods
    assert evaluate(vlm, store) == first == expected
    assert (counted.answers, counted.likelihoods) == made, "the second time the model is not called"
    assert [one.detail is not None for one in first[1]] == [question in DETAILED for question in QUESTIONS]


def test_unlearning_in_place_never_serves_yesterdays_answers(
    llava: VisionLanguageModel, store: AnswerStore, counted: Counted
) -> None:
    yesterday = evaluate(llava, store)
    step(llava)
    calls = counted.answers, counted.likelihoods
    today = evaluate(llava, store)
    assert counted.answers - calls[0] == calls[0] >= 4, "every batch is asked again"
    assert counted.likelihoods - calls[1] == calls[1] >= 4
    assert today[0] != yesterday[0]
    assert all(new.logprobs != old.logprobs for new, old in zip(today[1], yesterday[1], strict=True))
    plain = InProcess(llava, 3)
    assert today == (plain.answers(PROMPTS, max_new_tokens=5), plain.likelihoods(QUESTIONS, detailed=DETAILED))
    calls = counted.answers, counted.likelihoods
    assert evaluate(llava, store) == today
    assert (counted.answers, counted.likelihoods) == calls, "unchanged: the model is not called"


def test_a_change_between_answers_and_likelihoods_is_seen(
    llava: VisionLanguageModel, store: AnswerStore, counted: Counted
) -> None:
    evaluate(llava, store)
    engine, calls = Stored(InProcess(llava, 3), store), (counted.answers, counted.likelihoods)
    engine.answers(PROMPTS, max_new_tokens=5)
    step(llava)
    engine.likelihoods(QUESTIONS, detailed=DETAILED)
    assert counted.answers == calls[0]
    assert counted.likelihoods == 2 * calls[1]


def test_a_weight_written_through_data_is_seen(
    llava: VisionLanguageModel, store: AnswerStore, counted: Counted
) -> None:
    evaluate(llava, store)
    calls = counted.answers
    llava.model.get_output_embeddings().weight.data[7] += 0.5
    evaluate(llava, store)
    assert counted.answers == 2 * calls


@pytest.mark.parametrize("change", ["limit", "batch", "question", "pixels", "weights back"])
def test_what_makes_another_question_of_it(
    change: str, llava: VisionLanguageModel, store: AnswerStore, counted: Counted
) -> None:
    engine = Stored(InProcess(llava, 3), store)
    engine.answers(PROMPTS, max_new_tokens=5)
    calls, prompts, limit = counted.answers, list(PROMPTS), 5
    if change == "limit":
        limit = 6
    elif change == "batch":
        engine = Stored(InProcess(llava, 4), store)
    elif change == "question":
        prompts[0] = Prompt("a", "What was shown in the image?")
    elif change == "pixels":
        llava.attach_images(lambda name: picture("c" if name == "a" else name))
    elif change == "weights back":
        weight = llava.model.get_output_embeddings().weight.data
        before = weight.clone()
        weight.mul_(2)
        engine.answers(PROMPTS, max_new_tokens=5)
        calls = counted.answers
        weight.copy_(before)
    held = engine.held
    engine.answers(prompts, max_new_tokens=limit)
    if change == "weights back":
        assert counted.answers == calls, "the old weights have the old answers"
    elif change == "limit":
        assert counted.answers == 2 * calls, "every batch"
    elif change == "batch":
        assert engine.held == 0, "all are in other company"
    else:
        assert counted.answers > calls, "what is touched is asked"
        assert engine.held > held, "and the batches it is not in are not"


def test_what_is_known_of_an_answer_makes_another_question_of_it(
    llava: VisionLanguageModel, store: AnswerStore, counted: Counted
) -> None:
    """It decides who is generated in whose company, and the first log-probabilities of the confidence."""
    engine, prompt = Stored(InProcess(llava, 3), store), PROMPTS[0]
    [told] = engine.likelihoods([Question(prompt.image, prompt.question, "chest X-ray")])
    said = {
        logprobs: engine.answers([prompt._replace(known=Known("chest X-ray", logprobs))], max_new_tokens=4)[0]
        for logprobs in (told.logprobs[:1], told.logprobs[:2], (told.logprobs[0] - 1.0,))
    }
    assert counted.answers == 3
    assert len(set(said.values())) == 3
    for logprobs, answer in said.items():
        again = [prompt._replace(known=Known("chest X-ray", logprobs))]
        assert engine.answers(again, max_new_tokens=4) == [answer]
    assert counted.answers == 3


def test_answers_come_in_the_order_of_the_prompts(llava: VisionLanguageModel, store: AnswerStore) -> None:
    engine = Stored(InProcess(llava, 3), store)
    turned = engine.answers(PROMPTS[::-1], max_new_tokens=5)
    assert turned[::-1] == engine.answers(PROMPTS, max_new_tokens=5) == evaluate(llava, store)[0]


def test_equal_questions_have_one_likelihood(llava: VisionLanguageModel, store: AnswerStore) -> None:
    twice = [*QUESTIONS[:5], *QUESTIONS[:3]]
    expected = InProcess(llava, 3).likelihoods(twice, detailed=DETAILED)
    assert Stored(InProcess(llava, 3), store).likelihoods(twice, detailed=DETAILED) == expected
    assert Stored(InProcess(llava, 3), store).likelihoods(twice, detailed=DETAILED) == expected
    assert Stored(InProcess(llava, 3), store).likelihoods([]) == []


def test_what_was_told_without_details_is_not_served_to_who_wants_them(
    llava: VisionLanguageModel, store: AnswerStore
) -> None:
    engine = Stored(InProcess(llava, 50), store)
    assert {one.detail for one in engine.likelihoods(QUESTIONS)} == {None}
    found = engine.likelihoods(QUESTIONS, detailed=DETAILED)
    assert [one.detail is not None for one in found] == [question in DETAILED for question in QUESTIONS]


def test_a_hook_on_the_model_switches_the_store_off(
    llava: VisionLanguageModel, store: AnswerStore, counted: Counted
) -> None:
    evaluate(llava, store)
    records, calls = len(store), counted.answers
    handle = llava.model.get_output_embeddings().register_forward_hook(lambda module, inputs, output: output * -1)
    changed = evaluate(llava, store)
    assert counted.answers == 2 * calls
    assert len(store) == records, "nothing of it is kept"
    handle.remove()
    assert changed != evaluate(llava, store)
    assert counted.answers == 2 * calls


def test_samples_are_kept_with_their_seed_and_number(
    llava: VisionLanguageModel, store: AnswerStore, counted: Counted
) -> None:
    def sampled(seed: int = 1, draws: int = 4, temperature: float = 1.5) -> list[list[str]]:
        engine = Stored(InProcess(llava, 8), store)
        return engine.samples(PROMPTS[:5], draws=draws, temperature=temperature, max_new_tokens=4, seed=seed)

    first = sampled()
    assert [len(texts) for texts in first] == [4] * 5
    calls = counted.samples
    assert sampled() == first
    assert counted.samples == calls
    assert sampled(seed=2) != first
    assert sampled(temperature=0.1) != first
    assert [texts[:4] for texts in sampled(draws=5)] == first, "a draw depends on its own number alone"


def test_a_stop_keeps_every_finished_batch(llava: VisionLanguageModel, store: AnswerStore, counted: Counted) -> None:
    stops = iter([False, False, True])
    engine = Stored(InProcess(llava, 3), store, stopping=lambda: next(stops))
    with pytest.raises(Interrupted, match="stopped after 3 of 4 batches; resume with the same command"):
        engine.answers(PROMPTS, max_new_tokens=5)
    assert (len(store), engine.asked) == (3, 3)
    again = Stored(InProcess(llava, 3), store)
    found = again.answers(PROMPTS, max_new_tokens=5)
    assert (again.held, again.asked) == (3, 1)
    assert found == InProcess(llava, 3).answers(PROMPTS, max_new_tokens=5)


def test_a_stop_is_not_lost_when_everything_is_stored(llava: VisionLanguageModel, store: AnswerStore) -> None:
    evaluate(llava, store)
    with pytest.raises(Interrupted):
        Stored(InProcess(llava, 3), store, stopping=lambda: True).answers(PROMPTS, max_new_tokens=5)


def test_no_value_of_a_result_loses_a_bit() -> None:
    odd = (math.inf, -math.inf, math.nan, -math.nan, -0.0, 5e-324, 0.1, -1 / 3)
    detail = Detail(odd, odd[::-1], -math.inf, (odd, odd[1:], ()))
    for likelihood in (Likelihood(odd, (True, False) * 4, detail), Likelihood((), (), None)):
        held = parse_json(canonical_json(_LIKELIHOOD.encode(likelihood)))
        assert bits(_LIKELIHOOD.decode(held)) == bits(likelihood)
    for answer in (Answer("", False), Answer("\u0000 \u2028 né", True, -math.nan), Answer("x", False, -0.0)):
        assert bits(_ANSWER.decode(parse_json(canonical_json(_ANSWER.encode(answer))))) == bits(answer)


def bits(value: object) -> object:
    """Floats as their bytes, so that NaN equals itself, its sign counts, and so does that of zero."""
    if isinstance(value, float):
        return struct.pack("<d", value)
    return [type(value).__name__, *map(bits, value)] if isinstance(value, tuple) else value


def test_private_values_lie_in_the_journal_alone(llava: VisionLanguageModel, tmp_path: Path) -> None:
    with AnswerStore(tmp_path / "answers", "p") as store:
        evaluate(llava, store)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [JOURNAL]
