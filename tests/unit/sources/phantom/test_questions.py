"""Questions, their wordings, and answers that agree with the truth."""

from __future__ import annotations

from string import Formatter

import pytest

from mllmu_med.errors import UsageError
from mllmu_med.seeding import rng
from mllmu_med.sources.phantom import MANAGEMENT, MODALITIES, PHRASINGS, TRAINING_WORDINGS, Truth
from mllmu_med.sources.phantom.questions import DRUG_CLASSES, describe, drug_facts, image_questions

EFFUSION = Truth("chest X-ray", "effusion", "left", "small", 2)


@pytest.mark.parametrize("template", PHRASINGS)
def test_enough_different_wordings_with_the_same_slots(template: str) -> None:
    wordings = PHRASINGS[template]
    assert len(set(wordings)) == len(wordings) >= TRAINING_WORDINGS + 3
    slots = {frozenset(name for _, name, _, _ in Formatter().parse(wording) if name) for wording in wordings}
    expected = {"presence": {"finding"}, "drug": {"drug"}}.get(template, set())
    assert slots == {frozenset(expected)}


def test_every_finding_has_its_own_recommendation() -> None:
    findings = [finding for modality in MODALITIES.values() for finding in modality.findings]
    assert set(MANAGEMENT) == {None, *findings}
    assert len(set(MANAGEMENT.values())) == 11


def test_answers_agree_with_the_truth() -> None:
    seen: dict[str, set[str]] = {}
    for seed in range(60):
        for question in image_questions(EFFUSION, rng(seed)):
            answer = (
                question.answer
                if question.template != "presence"
                else f"{question.slots['finding']}: {question.answer}"
            )
            seen.setdefault(question.template, set()).add(answer)
    assert seen == {
        "modality": {"chest X-ray"}, "organ": {"lungs"}, "finding": {"effusion"}, "laterality": {"left"},
        "size": {"small"}, "count": {"two"}, "presence": {"effusion: yes", "nodule: no"},
        "description": {"a chest X-ray with two small effusions on the left side"},
        "management": {"ultrasound-guided drainage"},
    }  # fmt: skip


def test_a_normal_picture_is_called_normal() -> None:
    answers = {q.template: q.answer for q in image_questions(Truth("abdominal CT"), rng(0))}
    assert answers == {
        "modality": "abdominal CT", "organ": "liver", "presence": "no", "finding": "none",
        "description": "a normal abdominal CT without abnormality", "management": "no follow-up is needed",
    }  # fmt: skip


def test_six_to_eight_questions_each_of_another_type() -> None:
    counts = set()
    for seed in range(40):
        templates = [question.template for question in image_questions(EFFUSION, rng(seed))]
        assert len(set(templates)) == len(templates)
        assert sum(template in ("laterality", "size", "count") for template in templates) == 2
        counts.add(len(templates))
    assert counts == {7, 8}
    assert len(image_questions(Truth("brain MRI"), rng(1))) == 6


def test_a_question_can_be_worded_anew_from_template_and_slots() -> None:
    used = set()
    for seed in range(30):
        for question in image_questions(EFFUSION, rng(seed)):
            wordings = [wording.format(**question.slots) for wording in PHRASINGS[question.template]]
            assert question.question in wordings[:TRAINING_WORDINGS]
            if question.template == "organ":
                used.add(wordings.index(question.question))
    assert used == set(range(TRAINING_WORDINGS))


def test_closed_questions_name_their_answers() -> None:
    types = {q.template: q.answer_type for seed in range(9) for q in image_questions(EFFUSION, rng(seed))}
    assert {template for template, kind in types.items() if kind == "closed"} == {"presence", "laterality", "size"}
    assert set(types.values()) == {"open", "closed"}


@pytest.mark.parametrize(
    ("truth", "sentence"),
    [
        (Truth("chest X-ray", "nodule", "left", "large", 1), "a chest X-ray with one large nodule on the left side"),
        (
            Truth("abdominal CT", "metastasis", "right", "small", 3),
            "an abdominal CT with three small metastases on the right side",
        ),
        (
            Truth("histology slide", "necrosis", "right", "small", 2),
            "a histology slide with two small necroses on the right side",
        ),
        (Truth("abdominal CT"), "a normal abdominal CT without abnormality"),
    ],
)
def test_descriptions_are_grammatical(truth: Truth, sentence: str) -> None:
    assert describe(truth) == sentence


@pytest.mark.parametrize("count", [0, 1, 60, 3_000])
def test_invented_drugs_are_different_and_have_a_known_class(count: int) -> None:
    facts = list(drug_facts(count, rng(count)))
    names = {fact.slots["drug"] for fact in facts}
    assert len(names) == len(facts) == count
    assert all(fact.answer in DRUG_CLASSES and fact.slots["drug"] in fact.question for fact in facts)
    if count == 60:
        assert len({fact.answer for fact in facts}) >= 8


def test_more_drugs_than_names_are_refused() -> None:
    with pytest.raises(UsageError, match="text_facts is 20001; at most 20000"):
        next(drug_facts(20_001, rng(0)))
