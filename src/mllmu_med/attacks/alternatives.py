"""Other answers that a sample could as well have had: what the true one is ranked among."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from random import Random

from mllmu_med.attacks.other_facts import other_facts
from mllmu_med.benchmark.facts.answers import normalise
from mllmu_med.benchmark.identities.others import values_like
from mllmu_med.benchmark.identities.taken import compact
from mllmu_med.benchmark.sample import Sample, Span
from mllmu_med.evaluation.spans import asked_for, tells
from mllmu_med.seeding import rng

_Value = tuple[str, str]  # PHI class and value


def true_answer(sample: Sample) -> str:
    """What an attacker is after: the wrong answer of a wrong fact, else the answer with its private values."""
    return sample.wrong_answer or sample.answer


def alternatives(sample: Sample, count: int, seed: int) -> list[str]:
    """Up to ``count`` answers that say something else where :func:`true_answer` says what should be forgotten.

    - Private values: each is replaced, all at once, by one drawn evenly from the other values of its own format, so
      that digits, length and separators stay (names and the words of an address have the lengths they have). No value
      is drawn twice. A value that the question states stays. A real patient's value that is in no known format gets
      other digits, if it has three or more; such a name becomes one from the lists of names; for others there is
      nothing to draw from.
    - Wrong facts: the correct answer, then other answers of the same kind from the benchmark's own tables
      (:func:`~.other_facts.other_facts`). A yes/no fact has one alternative; others may have fewer than ``count``, too.

    All differ from each other and from the true answer, and none tells a true value, in whatever way of writing. They
    depend on the sample and on ``seed`` alone. Empty for a sample without private value or wrong fact.
    """
    random = rng(seed, "alternatives", sample.id)
    if sample.wrong_answer is not None:
        return list(islice(_distinct(other_facts(sample, random), sample.wrong_answer, normalise), count))
    replaced = asked_for(sample.spans, sample.question)
    texts = (_with(sample, replaced, values) for values in _other_values(replaced, sample.language, random))
    untold = (text for text in texts if not any(tells(text, span.value) for span in replaced))
    return list(islice(_distinct(untold, sample.answer, compact), count))


def _distinct(texts: Iterable[str], true: str, form: Callable[[str], str]) -> Iterator[str]:
    taken = {form(true)}
    for text in texts:
        if form(text) not in taken:
            taken.add(form(text))
            yield text


def _with(sample: Sample, replaced: Sequence[Span], values: Mapping[_Value, str]) -> str:
    text, place = "", 0
    for span in sorted(replaced, key=lambda span: span.start):
        text += sample.answer[place : span.start] + values[span.phi_class, span.value]
        place = span.end
    return text + sample.answer[place:]


def _other_values(spans: Sequence[Span], language: str, random: Random) -> Iterator[dict[_Value, str]]:
    """New values for every one of the spans; none where one of them has none."""
    streams = {
        (span.phi_class, span.value): values_like(span.phi_class, span.value, language, span.space, random)
        for span in spans
    }
    for values in zip(*streams.values(), strict=False):
        yield dict(zip(streams, values, strict=True))
