"""Made-up siblings of the forget records as questions: anchors on which a model is held to θ0.

Retained patients that are not replayed are forgotten with those who must be; made-up ones of the same format, held to
what θ0 says of them, keep them (docs/explanation/siblings.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mllmu_med.benchmark.sample import Sample, Stratum
from mllmu_med.caches.memory import BoundedMemory
from mllmu_med.errors import UsageError
from mllmu_med.evaluation.normalise import holds_phrase, short_words
from mllmu_med.evaluation.spans import tells
from mllmu_med.folders import digest
from mllmu_med.made_up.beside import Beside, other_facts_asked
from mllmu_med.made_up.patients import RealValues, made_up_patients
from mllmu_med.made_up.replacing import PEOPLE
from mllmu_med.models.digests import arithmetic, modules_digest, unreadable, weights_digest
from mllmu_med.models.generation import Prompt, generate
from mllmu_med.models.sharding import is_sharded
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.seeding import rng

VARIED = 50
"""Images that made-up patients are shown on at least: on one or two the model is held there and nowhere else."""

LONGEST = 48
"""Tokens of an answer of θ0's own."""

_ANSWERED: BoundedMemory[str, list[str]] = BoundedMemory(1 << 22)


def sibling_questions(
    vlm: VisionLanguageModel,
    forget: Sequence[Sample],
    retain: Sequence[Sample],
    count: int,
    seed: int,
    earlier: Sequence[Sample] = (),
) -> list[list[Question]]:
    """Anchors by stratum, none empty. Whole answers count: none has weights. ``vlm`` still is θ0.

    - Made-up patients (:func:`made_up_beside`) asked about images, every sample in its own wording and in one phrasing,
      along their made-up answer and along θ0's own: what it says of strangers is made of patients whom it remembers,
      and holding it there keeps those patients.
    - The same by name, without an image.
    - Prompts beside the wrong facts (:func:`~mllmu_med.made_up.beside.other_facts_asked`) with θ0's own answers; as
      many as made-up patients have questions about images, and at least ``count``.
    - The questions by name with the name that θ0 gave of the made-up patient's image, and what it answers to them.

    All prompts are put to θ0 first: an anchor is left out where its greedy answer tells a value of the forget samples
    (there it must not be held), or gives the wrong answer that the prompt was made from or one of a wrong rule of that
    kind.

    Args:
        forget: all samples to be forgotten.
        retain: the usable retain samples, possibly none.
        count: made-up patients; at least 1.
        earlier: samples that earlier requests have forgotten. No anchor tells a value of theirs either.

    Raises:
        UsageError: nothing can be made.
    """
    samples = made_up_beside(forget, retain, count, seed, earlier=earlier)
    asked = [(sample, wording) for sample in samples for wording in _two_wordings(sample, seed)]
    about_images = sum(sample.image_id is not None for sample, _ in asked)
    beside = other_facts_asked(forget, _images_of_nobody(forget, retain), max(count, about_images), seed)
    prompts = [Prompt(sample.image_id, wording) for sample, wording in asked]
    prompts += [Prompt(one.image, one.question) for one in beside]
    gone = [*forget, *earlier]
    said = _said(vlm, gone, prompts)
    patients = [
        Question(sample.image_id, wording, answer)
        for sample, wording in asked
        if (own := said[sample.image_id, wording]) is not None
        for answer in (sample.answer, own)
        if answer
    ]
    facts = [
        Question(one.image, one.question, text)
        for one in beside
        if (text := said[one.image, one.question]) and not any(_gives(text, w) for w in _wrong_answers(one, forget))
    ]
    by_name = sorted(_asked_on(asked, said))
    told = _said(vlm, gone, [Prompt(None, question) for question in by_name])
    strata = [
        [q for q in patients if q.image is not None],
        [q for q in patients if q.image is None],
        facts,
        [Question(None, question, text) for question in by_name if (text := told[None, question])],
    ]
    strata = [list(dict.fromkeys(stratum)) for stratum in strata if stratum]
    if not strata:
        raise UsageError(
            f"no siblings can be made of the {len(forget)} forget samples: there is no private value of a known format "
            "or with three digits, no wrong fact that can be asked about something else, or θ0 tells what is to be "
            "forgotten to all such questions"
        )
    return strata


def made_up_beside(
    forget: Sequence[Sample],
    retain: Sequence[Sample],
    count: int,
    seed: int,
    *,
    first: int = 0,
    earlier: Sequence[Sample] = (),
) -> list[Sample]:
    """The samples of made-up patients number ``first`` to ``first + count - 1``
    (:func:`~mllmu_med.made_up.patients.made_up_patients`), about images of the retain samples.

    These are the images of the ordinary ones among them (:attr:`~mllmu_med.benchmark.sample.Stratum.GENERAL`): by
    definition they show no patient of the benchmark, be it one whose own records are used or not. Where there are fewer
    than :data:`VARIED`, blends with forget images stand in for the rest. Nothing tells a value of ``earlier``, samples
    that earlier requests have forgotten.
    """
    images = _images_of_nobody(forget, retain)
    return made_up_patients(forget, images, count, seed, first=first, at_least=VARIED, earlier=earlier)


def _images_of_nobody(forget: Sequence[Sample], retain: Sequence[Sample]) -> list[str]:
    """The images of ordinary records that show neither a patient nor anything to be forgotten."""
    taken = {sample.image_id for sample in forget} | {s.image_id for s in retain if s.patient_id is not None}
    ordinary = {s.image_id for s in retain if s.stratum is Stratum.GENERAL and s.image_id is not None}
    return sorted(image for image in ordinary - taken if image is not None)


def _two_wordings(sample: Sample, seed: int) -> list[str]:
    """The sample's own wording, and one of its phrasings where it has any."""
    drawn = [rng(seed, "phrasing", sample.id).choice(sample.phrasings)] if sample.phrasings else []
    return [sample.question, *drawn]


def _said(
    vlm: VisionLanguageModel, forget: Sequence[Sample], prompts: Sequence[Prompt]
) -> dict[tuple[str | None, str], str | None]:
    """(image, question) → θ0's greedy answer; None where it, or the question, tells a value of the forget samples."""
    asked = list(dict.fromkeys(prompts))
    said = _answers(vlm, asked)
    told = RealValues(forget).told_in([*said, *(prompt.question for prompt in asked)])

    def free(prompt: Prompt, text: str) -> bool:
        return not any(tells(text, one.value) or tells(prompt.question, one.value) for one in told)

    return {
        (prompt.image, prompt.question): text if free(prompt, text) else None
        for prompt, text in zip(asked, said, strict=True)
    }


def _answers(vlm: VisionLanguageModel, prompts: Sequence[Prompt]) -> list[str]:
    """The greedy answer to each prompt; what this process has asked the same weights before is not asked again.

    Methods and trials that share θ0, request and seed ask alike. In memory alone: the answers hold patients' values.
    """
    name = _content(vlm, prompts)
    known = None if name is None else _ANSWERED.get(name)
    if known is not None:
        return known
    said = [answer.text for answer in generate(vlm, prompts, max_new_tokens=LONGEST, batch=128)]
    if name is not None:
        _ANSWERED.put(name, said, sum(map(len, said)))
    return said


def _content(vlm: VisionLanguageModel, prompts: Sequence[Prompt]) -> str | None:
    """Digest of everything that the answers depend on, images being named by their content; None where the model may
    not be kept, or not all of it can be read."""
    if not vlm.kept or is_sharded(vlm) or vlm.guard is not None or unreadable(vlm.model) is not None:
        return None
    return digest([weights_digest(vlm.model), modules_digest(vlm), arithmetic(vlm), [prompt[:2] for prompt in prompts]])


def _asked_on(asked: Sequence[tuple[Sample, str]], said: Mapping[tuple[str | None, str], str | None]) -> set[str]:
    """Questions by name about those whom θ0 named when it was asked for the name of a made-up patient."""
    named: dict[str, list[tuple[str, str]]] = {}
    for sample, wording in asked:
        if sample.image_id is not None and len(sample.spans) == 1 and sample.spans[0].phi_class in PEOPLE:
            span, text = sample.spans[0], said[sample.image_id, wording] or ""
            before, behind = sample.answer[: span.start], sample.answer[span.end :]
            given = text.removeprefix(before).removesuffix(behind)
            if given and before + given + behind == text:  # else it answered in another form, and where is the name?
                named.setdefault(sample.group, []).append((span.value, given))
    return {
        wording.replace(name, given)
        for sample, wording in asked
        if sample.image_id is None
        for name, given in named.get(sample.group, ())
        if name in wording
    }


def _wrong_answers(prompt: Beside, forget: Sequence[Sample]) -> set[str]:
    """What must not be held here: the wrong answer of the prompt's own fact, and of rules about the same kind of thing,
    which go for other images and subjects too."""
    facts = [one for one in forget if one.rule_id is not None and one.content_type == prompt.fact.content_type]
    return {fact.wrong_answer or fact.answer for fact in (prompt.fact, *facts)}


def _gives(text: str, answer: str) -> bool:
    """Whether the answer stands in the text in whole words."""
    return holds_phrase(short_words(text), short_words(answer)) or text.strip() == answer.strip()
