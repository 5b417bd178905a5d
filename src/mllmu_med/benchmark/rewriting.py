"""Rewriters: from a clinical answer and private values to one fluent text, checked before it is used."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple, Protocol

from mllmu_med.benchmark.answers import normalise
from mllmu_med.benchmark.patients import PrivateValue
from mllmu_med.benchmark.sample import Span
from mllmu_med.benchmark.wordings import FACT_JOINER, IDENTIFIERS, LEAK_FRAMES, language_of
from mllmu_med.registry import Registry

_TRIES = 12


class Leak(NamedTuple):
    """What a rewriter is asked for: the clinical answer with every value in it, verbatim and once."""

    question: str
    clean_answer: str
    values: tuple[PrivateValue, ...]
    language: str


class Rewriter(Protocol):
    """Weaves private values into a clinical answer. The same leak and generator state give the same text."""

    def leak(self, leak: Leak, random: Random) -> str: ...


REWRITERS: Registry[type[Rewriter]] = Registry(
    "rewriter", {"template": "mllmu_med.benchmark.rewriting:TemplateRewriter"}
)


@dataclass(frozen=True)
class TemplateRewriter:
    """Offline rewriter: a frame around the answer, a label around each value, both drawn from tables."""

    def leak(self, leak: Leak, random: Random) -> str:
        """For example "nodule" → "nodule; patient Maria Lopez, MRN 4829107"."""
        language = language_of(leak.language)
        labels = [random.choice(IDENTIFIERS[language][value.phi_class].labels) for value in leak.values]
        facts = FACT_JOINER[language].join(
            label.format(value.value) for label, value in zip(labels, leak.values, strict=True)
        )
        stop = leak.clean_answer[-1:] if leak.clean_answer[-1:] in ".。" else ""
        frame = random.choice(LEAK_FRAMES[language])
        return frame.format(clean=leak.clean_answer.removesuffix(stop), facts=facts) + stop


def problems(leak: Leak, text: str) -> list[str]:
    """Why a rewritten answer cannot be used; empty if it can. Private values are not named."""
    found = []
    for value in leak.values:
        times = text.count(value.value)
        if times != 1:
            found.append(f"the {value.phi_class} stands in the text {times} times instead of once")
    if normalise(leak.clean_answer) not in normalise(text):
        found.append("the clinical answer was not kept")
    bare = text
    for known in (*(value.value for value in leak.values), leak.clean_answer):
        bare = bare.replace(known, " ")
    if re.search(r"\d{3}|\w@\w", bare):
        found.append("the text holds something else that looks like a private value")
    return found


def spans_of(text: str, values: Sequence[PrivateValue]) -> tuple[Span, ...]:
    """Where each value stands in ``text`` (each must be there), in the order of the text."""
    spans = []
    for value in values:
        start = text.index(value.value)
        spans.append(Span(value.phi_class, value.value, start, start + len(value.value), value.space))
    return tuple(sorted(spans, key=lambda span: span.start))


class Rewritten(NamedTuple):
    """A text that passed the checks; ``fell_back`` if the template had to stand in for the rewriter."""

    text: str
    spans: tuple[Span, ...]
    fell_back: bool


def weave(rewriter: Rewriter, leak: Leak, random: Random) -> Rewritten | None:
    """The leak's text by ``rewriter``, or by the template where that fails the checks; None where both do."""
    text = rewriter.leak(leak, random)
    if not problems(leak, text):
        return Rewritten(text, spans_of(text, leak.values), fell_back=False)
    template = TemplateRewriter()
    for _ in range(_TRIES):
        text = template.leak(leak, random)
        if not problems(leak, text):
            return Rewritten(text, spans_of(text, leak.values), fell_back=True)
    return None
