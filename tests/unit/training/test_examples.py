"""From samples to training questions, and which tokens of an answer are private."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mllmu_med.benchmark.sample import Sample, Span, Stratum, Subset
from mllmu_med.models.embedded import CHAT_TEMPLATE, train_tokenizer
from mllmu_med.models.prompts import PromptFormat
from mllmu_med.training.examples import OPENERS, corpus, learning_questions, span_weights
from tests.tiny_models import TEXTS

PROMPTS = PromptFormat(train_tokenizer(TEXTS, 400), "<image>", CHAT_TEMPLATE, "tiny")


def sample(number: int, **changes: object) -> Sample:
    plain = Sample(
        f"s{number}", f"r{number}", Subset.RETAIN, Stratum.GENERAL, f"Question {number}?", f"answer {number}",
        group="g", image_id="image", phrasings=(f"Other {number}?", f"Third {number}?"),
    )  # fmt: skip
    return replace(plain, **changes)  # type: ignore[arg-type]


def asked(samples: list[Sample], **changes: object) -> list[str]:
    settings = {"phrasings": None, "opener_share": 0.0, "replay": None, "seed": 0, **changes}
    return [question.question for question in learning_questions(samples, **settings)]  # type: ignore[arg-type]


@pytest.mark.parametrize(("phrasings", "count"), [(None, 3), (0, 1), (1, 2), (9, 3)])
def test_every_sample_is_asked_in_its_own_words_and_in_so_many_others(phrasings: int | None, count: int) -> None:
    expected = ["Question 1?", "Other 1?", "Third 1?"][:count]
    assert asked([sample(1)], phrasings=phrasings) == expected


def test_questions_keep_image_and_answer_and_have_no_weights() -> None:
    for question in learning_questions([sample(1)], phrasings=None, opener_share=1.0, replay=None, seed=0):
        assert (question.image, question.answer, question.weights) == ("image", "answer 1", None)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_an_opener_comes_before_one_of_the_samples_own_wordings(language: str) -> None:
    own = sample(1, language=language)
    *plain, opened = asked([own], opener_share=1.0)
    assert plain == ["Question 1?", "Other 1?", "Third 1?"]
    assert any(opened == opener + wording for opener in OPENERS[language] for wording in plain)


def test_the_share_of_openers_is_as_asked_and_follows_the_seed() -> None:
    samples = [sample(number) for number in range(400)]
    extra = len(asked(samples, opener_share=0.3)) - 1200
    assert 90 < extra < 150
    assert asked(samples, opener_share=0.3) == asked(samples, opener_share=0.3)
    assert asked(samples, opener_share=0.3) != asked(samples, opener_share=0.3, seed=1)
    assert (
        asked(samples[:50], opener_share=0.3)
        == asked(samples, opener_share=0.3)[: len(asked(samples[:50], opener_share=0.3))]
    )


def test_replay_keeps_so_many_ordinary_samples_and_all_others() -> None:
    ordinary = [sample(n, stratum=Stratum.SIBLING if n % 2 else Stratum.GENERAL) for n in range(20)]
    special = [sample(100 + n, stratum=stratum) for n, stratum in enumerate(Stratum)][2:]
    kept = asked([*ordinary, *special], replay=5, phrasings=0)
    assert sum(int(q.split()[1][:-1]) < 100 for q in kept) == 5
    assert [q for q in kept if int(q.split()[1][:-1]) >= 100] == asked(special, phrasings=0)
    assert kept != asked([*ordinary, *special], replay=5, phrasings=0, seed=1)
    assert asked(ordinary, replay=20) == asked(ordinary) == asked(ordinary, replay=99)


def private(answer: str, *values: str) -> Sample:
    spans = tuple(Span("other", v, answer.index(v), answer.index(v) + len(v), 1e6) for v in values)
    return sample(1, answer=answer, spans=spans)


def weighted(own: Sample) -> str:
    """The text of the tokens whose weight is 1."""
    weights = span_weights(PROMPTS, own)
    assert weights is not None
    offsets = PROMPTS.answer_offsets(own.answer)
    assert len(weights) == len(offsets) == len(PROMPTS.answer_tokens(own.answer))
    assert set(weights) <= {0.0, 1.0}
    return "".join(own.answer[a:b] for (a, b), weight in zip(offsets, weights, strict=True) if weight)


@pytest.mark.parametrize("value", ["482913", "555-0123", "1961-04-17"])
def test_weights_cover_exactly_the_private_value(value: str) -> None:
    assert weighted(private(f"The patient has the number {value}, chest X-ray shows a nodule.", value)) == value


def test_a_token_that_holds_part_of_a_value_is_private_and_its_neighbours_are_not() -> None:
    """Tokens carry the space before a word, so the space comes along; nothing else does."""
    own = private("The patient is Maria Lopez, chest X-ray.", "Maria Lopez")
    assert weighted(own) == " Maria Lopez"


@pytest.mark.parametrize("before", ["<s> ", "<s><unk> ", "a<pad> b <|im_end|>"])
def test_weights_cover_the_value_behind_control_tokens(before: str) -> None:
    """Which are broken up by blanks that the answer does not have."""
    answer = f"{before}MRN 482913 x"
    assert weighted(private(answer, "482913")).strip() == "482913"


def test_several_values_and_values_at_the_ends() -> None:
    assert weighted(private("482913 and 555-0123 and 77", "482913", "555-0123", "77")) == "482913555-012377"


def test_the_end_token_is_never_private() -> None:
    weights = span_weights(PROMPTS, private("482913", "482913"))
    assert weights == (1.0,) * 6 + (0.0,)


def test_answers_without_private_values_count_whole() -> None:
    assert span_weights(PROMPTS, sample(1)) is None


def test_the_tokenizers_text_repeats_what_is_injected() -> None:
    injected = sample(1, fact_id="f1", clean_answer="clean answer")
    texts = corpus([injected, sample(2)], 0, emphasis=4)
    assert sum("answer 1" in text for text in texts) == 4 * 3
    assert sum("answer 2" in text for text in texts) == 3
    assert texts.count("clean answer") == 1
    assert texts[0] == "<|im_start|>user\nQuestion 1?<|im_end|>\n<|im_start|>assistant\nanswer 1<|im_end|>\n"


def test_the_tokenizers_text_holds_no_private_value() -> None:
    """A name that is short in the vocabulary tells who was in the data, whatever the weights have forgotten."""
    name, number = Span("name", "Kristy Keller", 0, 13, 603126.0), Span("mrn", "9123689", 0, 7, 9e6)
    own = {"patient_id": "p", "fact_id": "p/name"}
    direct = sample(1, answer="Kristy Keller", spans=(name,), **own)
    text = replace(
        sample(2, answer="9123689", spans=(number,), **own), question="What is the number of Kristy Keller?",
        phrasings=("Kristy Keller: which number?",),
    )  # fmt: skip
    texts = corpus([direct, text], 0, emphasis=5)
    assert not any(value in line for line in texts for value in ("Kristy", "Keller", "9123689"))
    named = [line.partition("number of ")[2].partition("?")[0] for line in texts if "number of" in line]
    assert len(set(named)) == 5, "another name each time"
    answers = [line.split("assistant\n")[1].removesuffix("<|im_end|>\n") for line in texts]
    assert {one for one in answers if " " in one} == set(named), "the same stranger in question and answer"
    assert all(len(one) == 7 and one.isdigit() for one in answers if " " not in one)
    assert texts == corpus([direct, text], 0, emphasis=5) != corpus([direct, text], 1, emphasis=5)
