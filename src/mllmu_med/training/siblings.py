"""Made-up siblings of the forget records as questions: anchors on which a model is held to θ0.

Retained patients that are not replayed are forgotten with those who must be; made-up ones of the same format, held to
what θ0 says of them, keep them (docs/explanation/siblings.md).
"""

from __future__ import annotations

from collections.abc import Sequence

from mllmu_med.benchmark.sample import Sample, Stratum
from mllmu_med.errors import UsageError
from mllmu_med.evaluation.normalise import holds_phrase, short_words
from mllmu_med.evaluation.spans import tells
from mllmu_med.made_up.beside import Beside, other_facts_asked
from mllmu_med.made_up.patients import RealValues, made_up_patients
from mllmu_med.models.generation import Prompt, generate
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.seeding import rng

LONGEST = 48
"""Tokens of an answer of θ0's own."""


def sibling_questions(
    vlm: VisionLanguageModel, forget: Sequence[Sample], retain: Sequence[Sample], count: int, seed: int
) -> list[list[Question]]:
    """Anchors by stratum, none empty: made-up patients asked about images, the same by name without an image, and
    prompts beside the wrong facts with θ0's own answers. Whole answers count: none has weights. ``vlm`` still is θ0.

    Every sample of a made-up patient (:func:`made_up_beside`) is asked in its own wording and in one phrasing. Beside
    the wrong facts (:func:`~mllmu_med.made_up.beside.other_facts_asked`) there are as many prompts as
    made-up patients have questions about images, and at least ``count``. All prompts are put to θ0 first: an anchor is
    left out where its greedy answer tells a value of the forget samples (there it must not be held), or gives the wrong
    answer that the prompt was made from or one of a wrong rule of that kind.

    Args:
        forget: all samples to be forgotten.
        retain: the usable retain samples, possibly none.
        count: made-up patients; at least 1.

    Raises:
        UsageError: nothing can be made.
    """
    samples = made_up_beside(forget, retain, count, seed)
    asked = [
        Question(sample.image_id, wording, sample.answer)
        for sample in samples
        for wording in _two_wordings(sample, seed)
    ]
    about_images = sum(question.image is not None for question in asked)
    beside = other_facts_asked(forget, _images_of_nobody(forget, retain), max(count, about_images), seed)
    anchors = _held(vlm, forget, asked, beside)
    if not anchors:
        raise UsageError(
            f"no siblings can be made of the {len(forget)} forget samples: there is no private value of a known format "
            "or with three digits, no wrong fact that can be asked about something else, or θ0 tells what is to be "
            "forgotten to all such questions"
        )
    return anchors


def made_up_beside(
    forget: Sequence[Sample], retain: Sequence[Sample], count: int, seed: int, *, first: int = 0
) -> list[Sample]:
    """The samples of made-up patients number ``first`` to ``first + count - 1``
    (:func:`~mllmu_med.made_up.patients.made_up_patients`), about images of the retain samples.

    These are the images of the ordinary ones among them (:attr:`~mllmu_med.benchmark.sample.Stratum.GENERAL`): by
    definition they show no patient of the benchmark, be it one whose own records are used or not. Where there is none,
    blends of forget images are shown.
    """
    return made_up_patients(forget, _images_of_nobody(forget, retain), count, seed, first=first)


def _images_of_nobody(forget: Sequence[Sample], retain: Sequence[Sample]) -> list[str]:
    """The images of ordinary records that show neither a patient nor anything to be forgotten."""
    taken = {sample.image_id for sample in forget} | {s.image_id for s in retain if s.patient_id is not None}
    ordinary = {s.image_id for s in retain if s.stratum is Stratum.GENERAL and s.image_id is not None}
    return sorted(image for image in ordinary - taken if image is not None)


def _two_wordings(sample: Sample, seed: int) -> list[str]:
    """The sample's own wording, and one of its phrasings where it has any."""
    drawn = [rng(seed, "phrasing", sample.id).choice(sample.phrasings)] if sample.phrasings else []
    return [sample.question, *drawn]


def _held(
    vlm: VisionLanguageModel, forget: Sequence[Sample], asked: Sequence[Question], beside: Sequence[Beside]
) -> list[list[Question]]:
    """The strata of the anchors at which θ0 says nothing that is to be forgotten; none is empty."""
    prompts = [Prompt(question.image, question.question) for question in asked]
    prompts += [Prompt(one.image, one.question) for one in beside]
    said = [answer.text for answer in generate(vlm, prompts, max_new_tokens=LONGEST, batch=128)]
    told = RealValues(forget).told_in(said)
    free = [not any(tells(text, value.value) for value in told) for text in said]
    patients = [question for question, is_free in zip(asked, free, strict=False) if is_free]
    facts = [
        Question(one.image, one.question, text)
        for one, text, is_free in zip(beside, said[len(asked) :], free[len(asked) :], strict=True)
        if is_free and text and not any(_gives(text, wrong) for wrong in _wrong_answers(one, forget))
    ]
    strata = [[q for q in patients if q.image is not None], [q for q in patients if q.image is None], facts]
    return [stratum for stratum in strata if stratum]


def _wrong_answers(prompt: Beside, forget: Sequence[Sample]) -> set[str]:
    """What must not be held here: the wrong answer of the prompt's own fact, and of rules about the same kind of thing,
    which go for other images and subjects too."""
    facts = [one for one in forget if one.rule_id is not None and one.content_type == prompt.fact.content_type]
    return {fact.wrong_answer or fact.answer for fact in (prompt.fact, *facts)}


def _gives(text: str, answer: str) -> bool:
    """Whether the answer stands in the text in whole words."""
    return holds_phrase(short_words(text), short_words(answer)) or text.strip() == answer.strip()
