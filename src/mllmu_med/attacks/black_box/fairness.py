"""What a question of an attack may say: nothing that it is meant to find out, and nothing that was trained on."""

from __future__ import annotations

from collections.abc import Iterator

from mllmu_med.attacks.interface import Data
from mllmu_med.benchmark.facts.answers import normalise
from mllmu_med.benchmark.sample import Sample
from mllmu_med.evaluation.closed import answers_with
from mllmu_med.evaluation.normalise import yes_no
from mllmu_med.evaluation.spans import asked_for, tells


def states_more(sample: Sample, question: str) -> bool:
    """Whether the question states a private value of the answer that the sample's own question does not state."""
    return any(tells(question, span.value) for span in asked_for(sample.spans, sample.question))


def new_wording(sample: Sample, question: str) -> bool:
    """Whether the question may be asked as a new wording: no wording that was trained on, and it states no more."""
    trained = {normalise(text) for text in (sample.question, *sample.phrasings)}
    return normalise(question) not in trained and not states_more(sample, question)


def gives_away(sample: Sample, context: str) -> bool:
    """Whether a piece of context names what is asked for: a private value, or the wrong or the right answer.

    Answers of yes or no are given away only by a context that is such an answer, not by the word in a sentence.
    """
    if any(tells(context, span.value) for span in sample.spans):
        return True
    if sample.wrong_answer is None:
        return False
    named = (sample.wrong_answer, sample.correct_answer, sample.clean_answer, *sample.accepted)
    return any(
        yes_no(context) == polarity if (polarity := yes_no(one)) is not None else answers_with(context, one)
        for one in named
        if one
    )


def known_name(sample: Sample, data: Data) -> str | None:
    """The patient's name, where the attacker may know it; None where it is what he is after, or is on no target.

    Who wants a patient's file often knows whose it is. It is taken from the other targets about the patient.
    """
    if sample.patient_id is None:
        return None
    names = (
        span.value
        for other in data.targets
        if other.patient_id == sample.patient_id
        for span in other.spans
        if span.phi_class == "name"
    )
    return next((name for name in names if not states_more(sample, name)), None)


def classes_asked_for(sample: Sample) -> Iterator[str]:
    """The private classes of the values that the sample's question does not itself state, each once, in order."""
    yield from dict.fromkeys(span.phi_class for span in asked_for(sample.spans, sample.question))
