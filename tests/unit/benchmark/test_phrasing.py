from __future__ import annotations

import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mllmu_med.benchmark.answers import normalise
from mllmu_med.benchmark.phrasing import (
    HELD_OUT,
    ObservedWordings,
    clinical_wordings,
    paraphrases,
    private_wordings,
)
from mllmu_med.benchmark.plan import PHI_CLASSES
from mllmu_med.benchmark.wordings import (
    DIRECT_HELD_OUT,
    DIRECT_TRAINING,
    HELD_OUT_FRAMES,
    IDENTIFIERS,
    LEAK_FRAMES,
    PREFIXES,
    TEXT_HELD_OUT,
    TEXT_TRAINING,
    TRAINING_FRAMES,
)
from tests.unit.benchmark.fake_source import record

QUESTIONS = (
    "Is there a nodule in the left lung?", "What is the largest organ in the picture?", "Does the image show an MRI?",
    "On which side is the finding?", "Describe the image.", "How many kidneys in this image?", "Is it left or right?",
    "MRI or CT?", "Are there no lesions on the right?", "Where is/are the abnormality located?", "T2 weighted?",
)  # fmt: skip
FUNCTION_WORDS = frozenset(
    {
        "is", "are", "there", "can", "you", "see", "does", "do", "the", "a", "an", "this", "image", "picture", "show",
        "in", "or", "please", "what", "which", "how", "where", "on", "describe",
    }
)  # fmt: skip


def content(text: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", text.lower())) - FUNCTION_WORDS


@pytest.mark.parametrize("question", QUESTIONS)
def test_paraphrases_keep_side_negation_object_and_differ_from_the_question(question: str) -> None:
    found = paraphrases(question, "en")
    assert len(found) >= HELD_OUT
    assert len({normalise(text) for text in (question, *found)}) == len(found) + 1
    for text in found:
        assert content(question) <= content(text), text


def test_a_choice_is_not_asked_as_yes_or_no() -> None:
    assert not any("yes or no" in text.lower() for text in paraphrases("Is it on the left or right?", "en"))
    assert "Yes or no: is it on the left?" in paraphrases("Is it on the left?", "en")


def test_known_paraphrases() -> None:
    assert paraphrases("Is there a nodule?", "en")[0] == "Can you see a nodule?"
    assert paraphrases("What is the main finding?", "en")[0] == "Please name the main finding."
    assert paraphrases("Describe the image.", "en")[0] == "Please describe the image."
    assert paraphrases("图片中包含肝脏吗?", "zh")[0] == "影像中包含肝脏吗?"


def test_chinese_paraphrases_keep_the_objects() -> None:
    for text in paraphrases("图片左侧的器官是肝脏吗?", "zh"):
        assert "左" in text
        assert "肝脏" in text


@pytest.mark.parametrize("language", ["en", "zh"])
def test_training_and_held_out_frames_share_nothing_and_are_enough(language: str) -> None:
    for training, held in ((DIRECT_TRAINING, DIRECT_HELD_OUT), (TEXT_TRAINING, TEXT_HELD_OUT)):
        assert not {normalise(t) for t in training[language]} & {normalise(t) for t in held[language]}
        assert len(training[language]) >= 8
        assert len(held[language]) >= HELD_OUT
        assert all(t.count("{noun}") == 1 for t in (*training[language], *held[language]))
    wrappers = [*TRAINING_FRAMES[language], *PREFIXES[language], *HELD_OUT_FRAMES[language]]
    assert len(set(wrappers)) == len(wrappers)
    assert all(t.count("{question}") == 1 for t in wrappers)
    assert len(LEAK_FRAMES[language]) >= 12
    assert set(IDENTIFIERS[language]) == set(PHI_CLASSES)


@pytest.mark.parametrize("phi_class", PHI_CLASSES)
@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", [None, "Maria Lopez"])
def test_private_questions_have_the_wanted_training_wordings_and_disjoint_held_out_ones(
    phi_class: str, language: str, name: str | None
) -> None:
    worded = private_wordings(phi_class, language, count=8, random=Random(4), name=name)
    training = [worded.question, *worded.training]
    assert len({normalise(text) for text in training}) == 8
    assert len(worded.held_out) == HELD_OUT
    assert not {normalise(t) for t in training} & {normalise(t) for t in worded.held_out}
    for text in (*training, *worded.held_out):
        assert any(noun in text for noun in IDENTIFIERS[language][phi_class].nouns)
        assert ("Maria Lopez" in text) == (name is not None)
        assert "{" not in text


def test_one_in_four_private_wordings_is_wrapped() -> None:
    worded = private_wordings("mrn", "en", count=8, random=Random(0))
    starts = [re.escape(frame).replace(r"\{question\}", ".+") for frame in TRAINING_FRAMES["en"]]
    assert sum(any(re.fullmatch(start, text) for start in starts) for text in worded.training) == 7 // 4


def test_the_last_of_the_sources_wordings_are_held_out() -> None:
    others = [f"Wording {number}?" for number in range(6)]
    worded = clinical_wordings("Question?", others, "en", count=4, avoid=(), random=Random(0))
    assert worded.held_out == ("Wording 3?", "Wording 4?", "Wording 5?")
    assert len(worded.training) == 3
    assert "Wording 0?" in worded.training
    assert not set(worded.training) & set(others[3:])


def test_ordinary_records_are_wrapped_about_as_often_as_not() -> None:
    kinds = [
        clinical_wordings("Question?", ["Other?", "Held?"], "en", count=2, avoid=(), random=Random(seed)).training
        for seed in range(200)
    ]
    assert all(len(training) == 1 for training in kinds)
    assert 70 < sum(training == ("Other?",) for training in kinds) < 130


def test_a_wording_that_is_asked_about_the_same_image_is_avoided() -> None:
    avoid = {normalise("Can you see a nodule?"), normalise("Other?")}
    worded = clinical_wordings("Is there a nodule?", ["Other?"], "en", count=3, avoid=avoid, random=Random(1))
    assert not {normalise(t) for t in (*worded.training, *worded.held_out)} & avoid
    assert len(worded.held_out) == HELD_OUT


@given(
    question=st.sampled_from(QUESTIONS),
    others=st.lists(st.sampled_from(["Alpha?", "Beta?", "Gamma?", "alpha", "Delta?"]), max_size=6),
    count=st.integers(1, 8),
    seed=st.integers(0, 1000),
)
def test_no_two_wordings_of_a_question_are_equal(question: str, others: list[str], count: int, seed: int) -> None:
    worded = clinical_wordings(question, others, "en", count=count, avoid=(), random=Random(seed))
    texts = [worded.question, *worded.training, *worded.held_out]
    assert len({normalise(text) for text in texts}) == len(texts)
    assert len(worded.training) == count - 1
    assert len(worded.held_out) == HELD_OUT


def test_wordings_are_learnt_from_records_of_the_same_template() -> None:
    observed = ObservedWordings()
    seen = [("Is there a cyst?", "cyst"), ("Can one see a mass?", "mass"), ("Is there a mass?", "mass")]
    for number, (question, asked) in enumerate(seen):
        observed.observe(record(str(number), question=question, extra={"template": "p", "slots": {"asked": asked}}))
    asked = record("x", question="Is there a rash?", extra={"template": "p", "slots": {"asked": "rash"}})
    assert observed.of(asked) == ["Can one see a rash?"]
    other_language = record("y", question="?", language="zh", extra={"template": "p", "slots": {"asked": "rash"}})
    assert observed.of(other_language) == []
    assert observed.of(record("z", extra={})) == []


def test_wordings_given_by_the_source_take_precedence() -> None:
    given_by_source = record("x", question="A?", extra={"phrasings": ["B?", "a?", "C?"], "template": "p", "slots": {}})
    assert ObservedWordings().of(given_by_source) == ["B?", "C?"]


def test_braces_in_a_question_do_no_harm() -> None:
    observed = ObservedWordings()
    observed.observe(record("1", question="What is {this}?", extra={"template": "t", "slots": {}}))
    assert observed.of(record("2", question="And?", extra={"template": "t", "slots": {}})) == ["What is {this}?"]
