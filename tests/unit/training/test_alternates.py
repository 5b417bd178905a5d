"""Alternates and anchors: what θ0 would say instead, and what it says beside the forget records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from mllmu_med.benchmark.sample import Sample, Span, Stratum, Subset
from mllmu_med.errors import UsageError
from mllmu_med.methods.interface import Needs
from mllmu_med.models.generation import Prompt, Start, generate, sample_answers
from mllmu_med.models.groups import set_trainable
from mllmu_med.models.references import ReferenceCache
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.training import alternates
from mllmu_med.training.alternates import anchor_questions, sample_alternates
from mllmu_med.training.answers import References, answer_batch
from mllmu_med.training.examples import span_weights
from mllmu_med.training.feeding import Feeder, UnlearnSettings, pair_questions
from mllmu_med.training.learn import LearnSettings, learn
from mllmu_med.training.settings import LoopSettings
from tests.invariant.jobs import FORGET, RETAIN, sample

Load = Callable[[str], VisionLanguageModel]
COUNT = 3
FEEDING = UnlearnSettings(forget_batch=3, retain_batch=4, branches=3, alternates=COUNT)


@pytest.fixture(scope="module")
def theta0(load_tiny: Load) -> VisionLanguageModel:
    """A tiny model that has learnt both sets by heart: greedily it says nothing but the truth. Read only."""
    torch.set_num_threads(1)
    vlm = load_tiny("llava")
    set_trainable(vlm, {"language": "full", "projector": "full"})
    known = [Question(s.image_id, s.question, s.answer) for s in (*FORGET, *RETAIN)]
    learn(vlm, known, LoopSettings(100, 3e-3, warmup=5), LearnSettings(batch=10, branches=2), seed=0)
    said = generate(vlm, [Prompt(q.image, q.question) for q in known], max_new_tokens=40, batch=16)
    assert [answer.text for answer in said] == [q.answer for q in known]
    return vlm


def plain(text: str) -> str:
    """Letters and digits alone."""
    return "".join(c for c in text.lower() if c.isalnum())


# --- alternates


@pytest.mark.parametrize("seed", range(3))
def test_alt_po_alternates_differ_from_the_truth_and_hold_none_of_its_private_values(
    theta0: VisionLanguageModel, seed: int
) -> None:
    found = sample_alternates(theta0, FORGET, COUNT, seed)
    assert set(found) == {s.id for s in FORGET}
    for s in FORGET:
        assert len(found[s.id]) == COUNT
        for text in found[s.id]:
            assert text.strip()
            assert plain(text) != plain(s.answer)
            for span in s.spans:
                value, least = plain(span.value), len(plain(span.value)) // 2
                assert not any(value[i : i + least] in plain(text) for i in range(len(value) - least + 1)), "nor half"
            assert not any(plain(span.value) in plain(text) for other in FORGET for span in other.spans)


def test_alt_po_alternates_keep_the_form_of_the_answer_up_to_its_private_value(theta0: VisionLanguageModel) -> None:
    found = sample_alternates(theta0, FORGET, COUNT, seed=1)
    for text in found["s0"]:
        assert text.startswith("chest X-ray of"), "the clinical part is the true answer's"
        assert len(text) > len("chest X-ray of"), "and something stands in place of the name"
    assert all(text.startswith("MRN") and len(text) > len("MRN") for text in found["s1"])


def test_alt_po_alternates_of_a_model_that_knows_no_other_answer_differ_all_the_same(
    theta0: VisionLanguageModel,
) -> None:
    """The first private token is banned, so no draw can give the memorised answer: even greedily it does not come."""
    for s in FORGET:
        tokens = theta0.prompts.answer_tokens(s.answer)
        weights = span_weights(theta0.prompts, s)
        split = weights.index(1.0) if weights else 0
        start = Start(s.image_id, s.question, tokens[:split], tokens[split], (0.5,) * 12)
        [text] = sample_answers(theta0, [start], temperature=1e-3, batch=1)
        assert text != s.answer
        free = replace_ban(start, banned=0)
        assert sample_answers(theta0, [free], temperature=1e-3, batch=1) == [s.answer]


def replace_ban(start: Start, banned: int) -> Start:
    return start._replace(banned=banned)


def test_alt_po_alternates_are_a_function_of_seed_and_sample(theta0: VisionLanguageModel) -> None:
    """Not of the other samples, their order, or how many are asked at once."""
    whole = sample_alternates(theta0, FORGET, COUNT, seed=5)
    assert sample_alternates(theta0, FORGET, COUNT, seed=5) == whole
    assert sample_alternates(theta0, FORGET[::-1], COUNT, seed=5) == whole
    values = {plain(span.value) for s in FORGET for span in s.spans}
    for s in FORGET:
        [alone] = sample_alternates(theta0, [s], COUNT, seed=5).values()
        if not any(value in plain(text) for text in alone for value in values):
            assert alone == whole[s.id]
    other = sample_alternates(theta0, FORGET, COUNT, seed=6)
    assert all(other[s.id] != whole[s.id] for s in FORGET)
    renamed = sample_alternates(theta0, [replace(FORGET[0], id="other")], COUNT, seed=5)
    assert renamed["other"] != whole["s0"], "two samples with the same question draw their own"


def test_alt_po_alternates_are_all_different_where_there_are_so_many(theta0: VisionLanguageModel) -> None:
    found = sample_alternates(theta0, FORGET, 5, seed=2)
    for texts in found.values():
        assert len({plain(text) for text in texts}) == 5


def test_alt_po_model_is_left_as_it_was(llava: VisionLanguageModel) -> None:
    """Training mode (dropout) is off while it is sampled from, and on again afterwards."""
    before = {name: p.clone() for name, p in llava.model.named_parameters()}
    llava.model.train()
    modes: list[bool] = []
    llava.model.base_model.register_forward_pre_hook(lambda module, _: modes.append(module.training))
    sample_alternates(llava, FORGET[:1], 1, seed=0)
    assert modes
    assert not any(modes)
    assert llava.model.training
    assert all(torch.equal(before[name], p) for name, p in llava.model.named_parameters())


def saying(texts: list[str], monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A model that says these things, one after the other, and for ever the last; returns the temperatures asked."""
    left, asked = list(texts), list[float]()

    def said(_vlm: object, starts: list[Start], *, temperature: float, batch: int) -> list[str]:
        asked.append(temperature)
        return [left.pop(0) if len(left) > 1 else left[0] for _ in starts]

    monkeypatch.setattr(alternates, "sample_answers", said)
    return asked


@pytest.mark.parametrize("text", [
    "chest X-ray of Maria Lopez", "CHEST x-ray of maria  lopez.", "Maria Lopez", "X-ray of MARIA-LOPEZ, left",
    "chest X-ray of", " ", "",
])  # fmt: skip
def test_alt_po_alternates_that_tell_the_truth_or_nothing_are_drawn_again(
    text: str, llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer and its private value, however written, and the answer cut short before its private value."""
    asked = saying([text, text, "chest X-ray of Ana Ruiz", "chest X-ray of Jo Li"], monkeypatch)
    found = sample_alternates(llava, FORGET[:1], 2, seed=0)
    assert found == {"s0": ["chest X-ray of Ana Ruiz", "chest X-ray of Jo Li"]}
    assert asked == [1.0, 1.5], "hotter every time"


def test_alt_po_alternates_of_a_number_are_recognised_in_other_writing(
    llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    saying(["(555) 0123", "5550123", "555-0124"], monkeypatch)
    assert sample_alternates(llava, FORGET[2:3], 1, seed=0) == {"s2": ["555-0124"]}


@pytest.mark.parametrize(("place", "poor", "good"), [
    (0, "chest X-ray of Jo Lopez", "chest X-ray of Jo Perez"),
    (0, "chest X-ray of Maria Ruiz", "chest X-ray of Mark Ruiz"),
    (1, "MRN 982913", "MRN 489912"),
    (2, "444-0123", "555-4444"),
    (2, "MRN 482913", "MRN 482914"),
    (3, "Maria Lopez", "no"),
])  # fmt: skip
def test_alt_po_alternates_with_half_of_a_private_value_or_anothers_are_the_last_resort(
    place: int, poor: str, good: str, llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The surname or the last digits: what a model that knows the value by heart likes to go on with."""

    def found(texts: list[str]) -> list[str]:
        def said(_vlm: object, starts: list[Start], *, temperature: float, batch: int) -> list[str]:
            own = FORGET[place]
            return [texts[int(2 * temperature - 2) % len(texts)] if s.question == own.question else "-" for s in starts]

        monkeypatch.setattr(alternates, "sample_answers", said)
        return sample_alternates(llava, FORGET, 2, seed=0)[FORGET[place].id]

    assert found([poor, good]) == [good, good]
    assert found([poor]) == [poor, poor]


def test_alt_po_alternates_are_repeated_where_a_question_has_few_answers(
    llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = saying(["no", "No."], monkeypatch)
    assert sample_alternates(llava, FORGET[3:], 3, seed=0) == {"s3": ["no", "no", "no"]}
    assert asked == [1.0, 1.5, 2.0, 2.5]


def test_alt_po_alternates_that_never_come_are_told_with_the_sample(
    llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    saying(["yes"], monkeypatch)
    with pytest.raises(UsageError, match="no alternate to the answer of sample s3"):
        sample_alternates(llava, FORGET[3:], 2, seed=0)


def test_alt_po_alternates_with_the_whole_private_value_are_not_even_a_last_resort(
    llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    saying(["CT of Maria Lopez, left side"], monkeypatch)
    with pytest.raises(UsageError, match="no alternate to the answer of sample s0"):
        sample_alternates(llava, FORGET[:1], 2, seed=0)


def test_alt_po_every_draw_is_a_new_one(llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """For each sample, place and round; with enough numbers for an answer longer than the true one."""
    drawn: list[tuple[float, ...]] = []

    def said(_vlm: object, starts: list[Start], *, temperature: float, batch: int) -> list[str]:
        drawn.extend(start.draws for start in starts)
        return ["-"] * len(starts)

    monkeypatch.setattr(alternates, "sample_answers", said)
    sample_alternates(llava, FORGET[:2], 3, seed=0)
    assert len(drawn) == 2 * (3 + 2 + 2 + 2)
    numbers = [number for draws in drawn for number in draws]
    assert len(set(numbers)) == len(numbers)
    assert all(0 <= number < 1 for number in numbers)
    tokens = llava.prompts.answer_tokens(FORGET[0].answer)
    weights = span_weights(llava.prompts, FORGET[0])
    assert weights is not None
    assert len(drawn[0]) > len(tokens) - weights.index(1.0)


def test_alt_po_labels_say_the_alternates_and_not_the_true_answer(theta0: VisionLanguageModel) -> None:
    """Wrong port 1: the item is built with the alternate, then the true answer is returned."""
    needs = Needs.ALTERNATES | Needs.OTHERS_LOGPROB | Needs.REFERENCE_LOGPROB
    pairs = pair_questions(theta0, FORGET, RETAIN, needs, FEEDING, 1)
    drawn = sample_alternates(theta0, FORGET, COUNT, 1)
    cache = ReferenceCache(theta0)
    cache.fill(pairs.every_forget, hidden=False)
    cache.fill([q for found in pairs.alternates.values() for q in found], hidden=False)
    by_answer = {s.answer: s.id for s in FORGET}
    feeder = Feeder(pairs, FEEDING, seed=1)
    for number in range(4):
        step = feeder(number)
        with torch.no_grad():
            batch = answer_batch(theta0, step, needs, References(cache), 3, pairs=pairs)
        assert batch.alternates is not None
        assert batch.alternates.records == COUNT * len(step.forget)
        assert batch.alternates.of is not None
        said = []
        for record in range(batch.alternates.records):
            ids = batch.alternates.target[batch.alternates.owner == record].tolist()
            assert ids[-1] == theta0.prompts.end_token_id
            said.append(theta0.prompts.decode(ids))
        of = batch.alternates.of.tolist()
        for place, question in enumerate(step.forget):
            own = [text for text, whose in zip(said, of, strict=True) if whose == place]
            assert own == drawn[by_answer[question.answer]]
            assert question.answer not in own
        assert batch.alternates.reference_logprob is not None
        torch.testing.assert_close(
            batch.alternates.reference_logprob, batch.alternates.token_logprob, rtol=1e-4, atol=1e-4
        )
        assert batch.alternates.weight.tolist() == [1.0] * len(batch.alternates.target), "they count whole"


# --- anchors


def test_prompt_decouple_anchors_share_one_half_with_their_forget_record(llava: VisionLanguageModel) -> None:
    found = anchor_questions(llava, FORGET, RETAIN, seed=3)
    ordinary = [s for s in RETAIN if s.stratum is Stratum.GENERAL]
    assert found
    assert "s2" not in found, "it has no image"
    kinds = set()
    for s in FORGET:
        for anchor in found.get(s.id, []):
            own_image, own_question = anchor.image == s.image_id, anchor.question == s.question
            assert own_image != own_question
            if own_image:
                assert anchor.question in {o.question for o in ordinary}
            else:
                assert anchor.image in {o.image_id for o in ordinary}
            kinds.add(own_image)
    assert kinds == {True, False}


@pytest.mark.parametrize("seed", range(4))
def test_prompt_decouple_anchors_are_theta0s_own_answers_and_hold_no_forget_value(
    theta0: VisionLanguageModel, seed: int
) -> None:
    """θ0 names the patient whatever it is asked about her image: those answers are left out."""
    told = [Prompt(FORGET[0].image_id, s.question) for s in RETAIN]
    assert any("Maria" in answer.text for answer in generate(theta0, told, max_new_tokens=48, batch=8))
    found = anchor_questions(theta0, FORGET, RETAIN, seed)
    assert found
    values = {plain(span.value) for s in FORGET for span in s.spans}
    for anchors in found.values():
        for anchor in anchors:
            [own] = generate(theta0, [Prompt(anchor.image, anchor.question)], max_new_tokens=48, batch=1)
            assert anchor.answer == own.text
            assert not any(value in plain(anchor.answer) for value in values)
            assert anchor.weights is None


def answering(text: Callable[[Prompt], str], monkeypatch: pytest.MonkeyPatch) -> list[Prompt]:
    """A model that answers so; returns the prompts it is asked."""
    asked: list[Prompt] = []

    def said(_vlm: object, prompts: list[Prompt], *, max_new_tokens: int, batch: int) -> list[object]:
        asked.extend(prompts)
        return [type("Said", (), {"text": text(prompt), "truncated": False}) for prompt in prompts]

    monkeypatch.setattr(alternates, "generate", said)
    return asked


@pytest.mark.parametrize(
    "text", ["It is Maria Lopez.", "MARIA-LOPEZ", "MRN482913", "MRN 482 913", "call (555) 0123", ""]
)
def test_prompt_decouple_anchors_with_any_private_value_are_left_out(
    text: str, llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of any forget sample, not of the anchor's own alone, and however it is written."""
    answering(lambda _: text, monkeypatch)
    assert anchor_questions(llava, FORGET, RETAIN, seed=0) == {}
    answering(lambda _: "MRN 482914", monkeypatch)
    assert set(anchor_questions(llava, FORGET, RETAIN, seed=0)) == {"s0", "s1", "s3"}


def test_prompt_decouple_anchors_repeat_a_wrong_fact_nowhere_near_it(
    llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``yes`` is wrong of this image and to this question; of others it may be true, and ``yesterday`` always is."""
    answering(lambda _: "Yes, it is.", monkeypatch)
    found = anchor_questions(llava, FORGET, RETAIN, seed=0)
    assert set(found) == {"s0", "s1"}
    assert all(len(anchors) == 2 for anchors in found.values())
    answering(lambda _: "yesterday", monkeypatch)
    assert len(anchor_questions(llava, FORGET, RETAIN, seed=0)["s3"]) == 2


def test_prompt_decouple_anchors_in_chinese_go_by_characters(
    llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = replace(FORGET[3], answer="左", language="zh")
    answering(lambda _: "在左侧", monkeypatch)
    assert "s3" not in anchor_questions(llava, [wrong], RETAIN, seed=0)
    answering(lambda _: "在右侧", monkeypatch)
    assert "s3" in anchor_questions(llava, [wrong], RETAIN, seed=0)


def test_prompt_decouple_anchors_are_never_what_is_to_be_forgotten(
    llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ordinary records may be about a forget image, or ask what a forget record asks: such prompts are not anchors."""
    close = [
        replace(RETAIN[1], id="r0", image_id=FORGET[0].image_id, question=FORGET[0].question),
        replace(RETAIN[1], id="r1", image_id=FORGET[0].image_id, question=FORGET[0].phrasings[0]),
        replace(RETAIN[1], id="r2", image_id=FORGET[3].image_id, question=FORGET[3].question),
        RETAIN[1],
    ]
    forbidden = {(s.image_id, wording) for s in FORGET for wording in (s.question, *s.phrasings)}
    for seed in range(12):
        asked = answering(lambda _: "left", monkeypatch)
        found = anchor_questions(llava, FORGET, close, seed)
        assert len(asked) == 6
        assert not forbidden & {(prompt.image, prompt.question) for prompt in asked}
        for s in FORGET:
            others = {a.image for a in found.get(s.id, []) if a.question == s.question}
            assert others <= {RETAIN[1].image_id}, "the other image has nothing to be forgotten"


def test_prompt_decouple_anchors_are_a_function_of_seed_and_sample(
    llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not of the order of the samples; other seeds pair them otherwise."""
    answering(lambda _: "left", monkeypatch)
    drawn = [anchor_questions(llava, FORGET, RETAIN, seed) for seed in range(8)]
    assert [anchor_questions(llava, FORGET[::-1], RETAIN, seed) for seed in range(8)] == drawn
    assert all(other != drawn[0] for other in drawn[1:4])


def test_prompt_decouple_without_images_there_are_no_anchors(llava: VisionLanguageModel) -> None:
    assert anchor_questions(llava, FORGET[2:3], RETAIN, seed=0) == {}
    private = sample(20, Subset.RETAIN, Stratum.PRIVATE_IMAGE, "Who?", "Ana Ruiz", "Ana Ruiz")
    assert anchor_questions(llava, FORGET, [private], seed=0) == {}, "retained patients are not ordinary records"


def test_spans_of_the_samples_used_here_are_marked() -> None:
    """What the tests above take as private."""
    spans: list[tuple[Sample, Span]] = [(s, span) for s in FORGET for span in s.spans]
    assert [s.answer[span.start : span.end] for s, span in spans] == ["Maria Lopez", "482913", "555-0123"]
