"""Siblings as questions: what θ0 is asked first, what is left out, and which images are shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from mllmu_med.benchmark.sample import Sample, Stratum, Subset
from mllmu_med.caches.memory import BoundedMemory
from mllmu_med.errors import UsageError
from mllmu_med.evaluation.spans import tells
from mllmu_med.models.generation import Prompt, generate
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.training import siblings
from mllmu_med.training.siblings import made_up_beside, sibling_questions
from tests.invariant.jobs import FORGET as JOBS
from tests.invariant.jobs import RETAIN, sample

COUNT = 6
CLASSES = ("name", "mrn", "phone")
FORGET = [
    *(replace(s, spans=(replace(s.spans[0], phi_class=c),)) for s, c in zip(JOBS, CLASSES, strict=False)),
    JOBS[3],
]
VALUES = [span.value for s in FORGET for span in s.spans]
WRONG = FORGET[3]
RULE = replace(WRONG, id="s4", rule_id="rule-1", answer="left", image_id="image-9", content_type="organ")
ORDINARY = {s.image_id for s in RETAIN if s.stratum is Stratum.GENERAL}


def answering(text: Callable[[Prompt], str], monkeypatch: pytest.MonkeyPatch) -> list[Prompt]:
    """A model that answers so; returns the prompts it is asked."""
    asked: list[Prompt] = []

    def said(_vlm: object, prompts: list[Prompt], *, max_new_tokens: int, batch: int) -> list[object]:
        asked.extend(prompts)
        return [type("Said", (), {"text": text(prompt), "truncated": False}) for prompt in prompts]

    monkeypatch.setattr(siblings, "generate", said)
    return asked


def test_strata_are_image_questions_questions_by_name_and_what_theta0_says_beside_wrong_facts(
    llava: VisionLanguageModel,
) -> None:
    found = sibling_questions(llava, FORGET, RETAIN, COUNT, seed=1)
    images, names, facts = found
    assert {q.image for q in facts} <= ORDINARY
    assert {q.image for q in images if "#" not in str(q.image)} <= ORDINARY
    assert {q.image for q in names} == {None}
    assert all(q.weights is None for stratum in found for q in stratum)
    assert {q.question for q in facts} <= {WRONG.question, *WRONG.phrasings}
    for q in facts:
        [own] = generate(llava, [Prompt(q.image, q.question)], max_new_tokens=48, batch=1)
        assert q.answer == own.text
    for stratum in found:
        assert not [q for q in stratum for value in VALUES if tells(f"{q.question} . {q.answer}", value)]


def test_every_sample_is_asked_in_two_wordings_and_further_patients_are_others(
    llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(lambda _: "none", monkeypatch)
    found = sibling_questions(llava, FORGET, RETAIN, COUNT, seed=1)
    made = made_up_beside(FORGET, RETAIN, COUNT, seed=1)
    asked = {(q.image, q.question, q.answer) for stratum in found[:2] for q in stratum}
    assert asked == {
        (s.image_id, text, answer) for s in made for text in (s.question, *s.phrasings) for answer in (s.answer, "none")
    }, "along the made-up answer and along θ0's own"
    further = [s for s in made_up_beside(FORGET, RETAIN, COUNT, seed=1, first=COUNT) if s.image_id is not None]
    assert further
    assert not {s.answer for s in further} & {q.answer for stratum in found for q in stratum}
    many = [replace(s, phrasings=("a " + s.question, "b " + s.question)) for s in FORGET]
    drawn = sibling_questions(llava, many, RETAIN, 40, seed=1)[0]
    assert {q.question[:2] for q in drawn} >= {"a ", "b "}
    prompts = {(q.image, q.question) for q in drawn}
    made_up = [q for q in drawn if q.answer != "none"]
    assert len(drawn) == len(made_up) + len(prompts), "images come again, and with them the prompts"
    assert len(made_up) == 2 * sum(s.image_id is not None for s in made_up_beside(many, RETAIN, 40, seed=1))


def test_whom_theta0_names_is_asked_about_by_name(llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the form of the forget sample's answer, for where else would the name stand? Nobody who is to be forgotten."""

    patient = [*(replace(s, group="p", patient_id="p") for s in FORGET[:3]), FORGET[3]]

    def by_name(said: str, name: str) -> tuple[set[str], list[Question]]:
        asked = answering(lambda p: said if p.image is not None and "Who" in p.question else "none", monkeypatch)
        found = sibling_questions(llava, patient, RETAIN, COUNT, seed=1)
        return {p.question for p in asked if p.image is None and name in p.question}, found[-1]

    asked, anchors = by_name("chest X-ray of Olga Petrova", "Olga Petrova")
    assert asked == {"Phone of Olga Petrova?", "Please: Phone of Olga Petrova?"}
    assert [(q.image, q.question, q.answer) for q in anchors] == [(None, text, "none") for text in sorted(asked)]
    for said, name in (
        ("Olga Petrova", "Olga"),
        ("chest X-ray of ", "Phone of ?"),
        ("chest X-ray of LOPEZ, MARIA", "LOPEZ"),
    ):
        asked, anchors = by_name(said, name)
        assert not [q for q in anchors if name in q.question], said
        assert not asked or name == "LOPEZ"


def test_where_theta0_tells_what_is_to_be_forgotten_it_is_not_held(
    llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """About images, by name and beside wrong facts, however the value is written."""
    asked = answering(lambda _: "none", monkeypatch)
    whole = sibling_questions(llava, FORGET, RETAIN, COUNT, seed=0)
    every = {(prompt.image, prompt.question) for prompt in asked}
    assert every == {(q.image, q.question) for stratum in whole for q in stratum}
    for secret in ("it is LOPEZ, MARIA", "48 29 13", "555 0123"):
        telling = {prompt for place, prompt in enumerate(sorted(every, key=str)) if place % 2}
        answering(lambda p, s=secret, t=telling: s if (p.image, p.question) in t else "none", monkeypatch)  # type: ignore[misc]
        found = sibling_questions(llava, FORGET, RETAIN, COUNT, seed=0)
        assert {(q.image, q.question) for stratum in found for q in stratum} == every - telling
    answering(lambda _: "Maria Lopez", monkeypatch)
    with pytest.raises(UsageError, match="no siblings can be made of the 4 forget samples"):
        sibling_questions(llava, FORGET, RETAIN, COUNT, seed=0)


def test_what_earlier_requests_have_forgotten_is_not_held_either(
    llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = replace(FORGET[0], id="gone", answer="Aaltonen", spans=(replace(FORGET[0].spans[0], value="Aaltonen"),))
    answering(lambda prompt: "Aaltonen" if prompt.image else "none", monkeypatch)
    kept = sibling_questions(llava, FORGET, RETAIN, COUNT, seed=0)
    left = sibling_questions(llava, FORGET, RETAIN, COUNT, 0, [gone])
    assert any(q.answer == "Aaltonen" for stratum in kept for q in stratum)
    assert not any(q.answer == "Aaltonen" or q.image is not None for stratum in left for q in stratum)


def test_a_made_up_value_is_none_that_an_earlier_request_has_forgotten(llava: VisionLanguageModel) -> None:
    """Drawn by chance it would be taught again: as an anchor, to the approximate oracle, or as a stranger's."""
    plain = made_up_beside(FORGET, RETAIN, COUNT, seed=1)
    span = next(span for sample in plain for span in sample.spans)
    gone = replace(FORGET[0], id="gone", group="gone", question="?", phrasings=(), answer=span.value,
                   spans=(replace(span, start=0, end=len(span.value)),))  # fmt: skip
    assert any(tells(sample.answer, span.value) for sample in plain)
    left = made_up_beside(FORGET, RETAIN, COUNT, seed=1, earlier=[gone])
    assert len(left) == len(plain)
    texts = [text for sample in left for text in (sample.question, *sample.phrasings, sample.answer)]
    assert not any(tells(text, span.value) for text in texts)
    anchors = sibling_questions(llava, FORGET, RETAIN, COUNT, 1, [gone])
    assert not any(tells(q.answer, span.value) for stratum in anchors for q in stratum)


def test_the_same_weights_are_asked_once(llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """And other weights again; a model that may not be kept always."""
    monkeypatch.setattr(siblings, "_ANSWERED", BoundedMemory(1 << 20))

    answered = answering(lambda _: "none", monkeypatch)
    first = sibling_questions(llava, FORGET, RETAIN, COUNT, seed=1)
    once = len(answered)
    sibling_questions(llava, FORGET, RETAIN, COUNT, seed=1)
    assert len(answered) == 2 * once, "not kept"
    monkeypatch.setattr(llava, "kept", True)
    answered.clear()
    assert [sibling_questions(llava, FORGET, RETAIN, COUNT, seed=1) for _ in range(3)] == [first] * 3
    assert len(answered) == once
    with torch.no_grad():
        next(llava.model.parameters()).view(-1)[0] += 1
    try:
        sibling_questions(llava, FORGET, RETAIN, COUNT, seed=1)
    finally:
        with torch.no_grad():
            next(llava.model.parameters()).view(-1)[0] -= 1
    assert len(answered) == 2 * once


def test_wrong_answers_are_not_held_beside_their_facts(
    llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``yes`` is what should be forgotten; ``yesterday`` is not. Made-up patients have nothing to do with it."""
    for text, strata in (("Yes, it is.", 2), ("yes", 2), ("", 2), ("yesterday", 3)):
        answering(lambda _, text=text: text, monkeypatch)  # type: ignore[misc]
        assert len(sibling_questions(llava, FORGET, RETAIN, COUNT, seed=0)) == strata, text


def test_the_answers_of_wrong_rules_are_not_held_at_any_question_of_their_kind(
    llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(lambda _: "on the left", monkeypatch)

    def facts(*forget: Sample) -> int:
        found = sibling_questions(llava, [*FORGET[:3], *forget], RETAIN, COUNT, seed=0)
        return len(found[2]) if len(found) == 3 else 0

    other = replace(WRONG, content_type="organ")
    assert facts(other, RULE) == 0
    assert facts(WRONG, RULE) > 0, "another kind of question"
    assert facts(other, replace(RULE, rule_id=None)) > 0, "a single fact is wrong in one place only"


def test_no_anchor_names_whom_to_forget_in_its_question(
    llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong fact may be asked with a patient's name; asked so of another image, it is not held."""
    answering(lambda _: "none", monkeypatch)
    named = replace(WRONG, question="Has MARIA LOPEZ a nodule?", phrasings=("Is there a nodule?",))
    found = sibling_questions(llava, [*FORGET[:3], named], RETAIN, COUNT, seed=0)
    assert {q.question for q in found[2]} == {"Is there a nodule?"}


def test_images_with_a_patient_or_an_injected_fact_are_not_shown() -> None:
    """Neither are those of a retained patient whose own records may not be used: they hold sibling records."""
    patient = replace(sample(20, Subset.RETAIN, Stratum.PRIVATE_IMAGE, "Who?", "Ana Ruiz", "Ana Ruiz"), patient_id="p")
    retain = [
        *RETAIN, patient,
        replace(RETAIN[1], id="beside", stratum=Stratum.SIBLING, image_id="of-an-unused-patient"),
        replace(RETAIN[1], id="same", image_id=patient.image_id),
        replace(RETAIN[1], id="forgotten", image_id=WRONG.image_id),
    ]  # fmt: skip
    shown = {s.image_id for s in made_up_beside(FORGET, retain, 20 * siblings.VARIED, seed=0)}
    assert {image for image in shown if "#" not in str(image)} == {*ORDINARY, None}
    blended = {part for image in shown for part in str(image).split("#blend-") if "#" in str(image)}
    assert blended == {*ORDINARY, *(s.image_id for s in FORGET if s.image_id)}


def test_where_ordinary_images_are_many_no_blend_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(siblings, "VARIED", len(ORDINARY))
    assert {s.image_id for s in made_up_beside(FORGET, RETAIN, 40, seed=0)} == {*ORDINARY, None}


def test_without_retain_images_blends_are_shown(llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(lambda _: "none", monkeypatch)
    found = sibling_questions(llava, FORGET, RETAIN[2:3], COUNT, seed=0)
    assert RETAIN[2].stratum is Stratum.TRUE_TEXT
    images = {prompt.image for prompt in asked} - {None}
    assert images
    assert images <= {"image-0#blend-image-1", "image-1#blend-image-0"}
    assert len(found) == 2, "no other image to ask the wrong fact of"


def test_only_wrong_facts(llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(lambda _: "none", monkeypatch)
    found = sibling_questions(llava, [WRONG], RETAIN, 3, seed=0)
    assert [len(stratum) for stratum in found] == [3]
    with pytest.raises(UsageError, match="of the 1 forget samples"):
        sibling_questions(llava, [WRONG], [], 3, seed=0)
