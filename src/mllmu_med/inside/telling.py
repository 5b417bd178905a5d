"""Which answers are looked for inside a model, and which of their tokens tell the fact.

Beside every trained answer stands another one to the same question: for a wrong fact the correct answer, for private
values those of another patient of the same subset, who was met by the same models. How much likelier the trained
answer is than the other (the contrast) depends neither on how sure of itself a model is nor on whether it has met the
tokens: one that does not know whose the value is is as likely to say either.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from mllmu_med.benchmark.sample import Sample, Subset
from mllmu_med.models.prompts import PromptFormat
from mllmu_med.models.vlm import Question
from mllmu_med.seeding import rng
from mllmu_med.training.examples import span_weights

FORGET = (Subset.FORGET_PRIVACY, Subset.FORGET_INCORRECTNESS)
READ = (*FORGET, Subset.HOLDOUT)
"""Subsets whose trained answers are looked for inside the model."""

TRAINED, OTHER = "trained", "other"


class Told(NamedTuple):
    """A question whose answer's tokens are looked at; ``question.weights`` is 1 where a token tells the fact, else 0.

    Attributes:
        which: which answer it is, :data:`TRAINED` or :data:`OTHER`.
        forgotten: whether the sample is to be forgotten; holdout patients were never learnt.
    """

    sample_id: str
    which: str
    question: Question
    forgotten: bool


def differing(tokens: Sequence[int], other: Sequence[int]) -> range:
    """The places of ``tokens`` between what both begin with and what both end with.

    Both end with the end token. At least one place: where one answer is the beginning of the other, the place at which
    it ends and the other goes on. Equal answers: all places but the end token.
    """
    begin = 0
    shorter = min(len(tokens), len(other))
    while begin < shorter and tokens[begin] == other[begin]:
        begin += 1
    if begin == len(tokens):
        return range(max(1, len(tokens) - 1))
    end = 0
    while end < shorter - begin and tokens[-1 - end] == other[-1 - end]:
        end += 1
    return range(begin, max(begin + 1, len(tokens) - end))


def telling(prompts: PromptFormat, sample: Sample, beside: str | None = None) -> tuple[float, ...]:
    """1 for each token of the sample's answer that tells its fact, else 0.

    Private values: the tokens that overlap one. Otherwise the tokens that differ from the answer ``beside`` it
    (:func:`differing`); without either all but the end token.
    """
    private = span_weights(prompts, sample)
    if private is not None:
        return private
    tokens = prompts.answer_tokens(sample.answer)
    places = differing(tokens, tokens if beside is None else prompts.answer_tokens(beside))
    return tuple(float(place in places) for place in range(len(tokens)))


def told(prompts: PromptFormat, samples: Sequence[Sample], *, seed: int) -> list[Told]:
    """The trained and the other answers of forget and holdout samples, to their own questions.

    Args:
        samples: those that are asked; without a patient whose value fits (same subset, class and language) there is
            no other answer.
        seed: of whose values are taken.
    """
    values = _values(samples)
    found = []
    for sample in samples:
        if sample.subset not in READ:
            continue
        forgotten = sample.subset in FORGET
        other = _other(sample, values, seed)
        beside = None if other is None else other.answer
        weights = telling(prompts, sample, beside)
        found.append(Told(sample.id, TRAINED, _question(sample, weights), forgotten))
        if other is not None:
            weights = telling(prompts, other, sample.answer)
            found.append(Told(sample.id, OTHER, _question(other, weights), forgotten))
    return found


def _question(sample: Sample, weights: tuple[float, ...]) -> Question:
    return Question(sample.image_id, sample.question, sample.answer, weights)


_Kind = tuple[Subset, str, str]
_Values = Mapping[_Kind, Sequence[tuple[str, str]]]


def _values(samples: Iterable[Sample]) -> _Values:
    """(subset, PHI class, language) → (patient, value), sorted."""
    found: dict[_Kind, set[tuple[str, str]]] = {}
    for sample in samples:
        for span in sample.spans:
            kind = sample.subset, span.phi_class, sample.language
            found.setdefault(kind, set()).add((sample.cluster, span.value))
    return {kind: sorted(values) for kind, values in found.items()}


def _other(sample: Sample, values: _Values, seed: int) -> Sample | None:
    """The sample with the other answer in place of its own; None where there is none."""
    if not sample.spans:
        if sample.correct_answer in (None, sample.answer):
            return None
        return replace(sample, answer=sample.correct_answer or "")
    draw = rng(seed, "other answer", sample.id)
    answer, spans, position = "", [], 0
    for span in sorted(sample.spans, key=lambda one: one.start):
        known = values.get((sample.subset, span.phi_class, sample.language), ())
        fitting = [value for patient, value in known if patient != sample.cluster and value != span.value]
        if not fitting:
            return None
        answer += sample.answer[position : span.start]
        value = draw.choice(fitting)
        spans.append(replace(span, value=value, start=len(answer), end=len(answer) + len(value)))
        answer, position = answer + value, span.end
    return replace(sample, answer=answer + sample.answer[position:], spans=tuple(spans))
