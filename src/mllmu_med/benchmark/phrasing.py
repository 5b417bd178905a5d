"""Wordings of a question: those to train on, and those held out for probes."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from random import Random
from typing import NamedTuple

from mllmu_med.benchmark.answers import normalise
from mllmu_med.benchmark.wordings import (
    DIRECT_HELD_OUT,
    DIRECT_TRAINING,
    HELD_OUT_FRAMES,
    IDENTIFIERS,
    TEXT_HELD_OUT,
    TEXT_TRAINING,
    TRAINING_FRAMES,
    language_of,
)
from mllmu_med.sources.record import Record

HELD_OUT = 3
"""Held-out paraphrases per question."""


class Wordings(NamedTuple):
    """A question, its further training wordings, and its held-out ones. No two are equal when normalised."""

    question: str
    training: tuple[str, ...]
    held_out: tuple[str, ...]


Rule = tuple[re.Pattern[str], Callable[[re.Match[str]], str]]


def _lower_first(text: str) -> str:
    # "MRI …" and "T2 …" keep their capitals.
    return text[:1].lower() + text[1:] if len(text) > 1 and not text[1].isupper() and not text[1].isdigit() else text


def _rule(pattern: str, build: Callable[[re.Match[str]], str]) -> Rule:
    return re.compile(pattern, re.IGNORECASE), build


# Each rule moves or adds function words only: negation, side, organ and finding stay as they are.
_RULES: dict[str, tuple[Rule, ...]] = {
    "en": (
        _rule(r"^(?:Is|Are) there (?!not?\b)(.+)\?$", lambda m: f"Can you see {m[1]}?"),
        _rule(
            r"^(?:Does|Do) (the|this) (image|picture|scan) (?:contain|show) (.+)\?$",
            lambda m: f"Can one see {m[3]} in {m[1]} {m[2]}?",
        ),
        _rule(
            r"^(?:Is|Are|Does|Do|Can|Has|Have|Was|Were) (?!.*\bor\b).+\?$",
            lambda m: f"Yes or no: {_lower_first(m[0])}",
        ),
        _rule(r"^What (?:is|are) ((?:the|this|its) .+)\?$", lambda m: f"Please name {m[1]}."),
        _rule(
            r"^(?:Which|How|Where|What|Who|When|Why|On|In|At|By|To|For) .+\?$|^(?:Is|Are|Does|Do) .*\bor\b.+\?$",
            lambda m: f"Can you tell: {_lower_first(m[0])}",
        ),
        _rule(r"^([A-Z].+[^?.])\.$", lambda m: f"Please {_lower_first(m[1])}."),
        _rule(r"^(.*\b)image(\b.*)$", lambda m: f"{m[1]}picture{m[2]}"),
        _rule(r"^(.*\b)picture(\b.*)$", lambda m: f"{m[1]}image{m[2]}"),
    ),
    "zh": (
        _rule(r"^(.*)图片(.*)$", lambda m: f"{m[1]}影像{m[2]}"),
        _rule(r"^(.*)图像(.*)$", lambda m: f"{m[1]}影像{m[2]}"),
        _rule(r"^(.*)图中(.*)$", lambda m: f"{m[1]}影像中{m[2]}"),
        _rule(r"^(.+)[?？]$", lambda m: f"能否说明，{m[1]}？"),
    ),
}


def paraphrases(question: str, language: str) -> list[str]:
    """Rule-based paraphrases of any question, the closest to its meaning first; at least HELD_OUT of them."""
    language, question = language_of(language), question.strip()
    found = [build(match) for pattern, build in _RULES[language] if (match := pattern.match(question))]
    found += [frame.format(question=question) for frame in HELD_OUT_FRAMES[language]]
    return distinct(found, {normalise(question)})


def distinct(texts: Sequence[str], seen: Collection[str]) -> list[str]:
    """``texts`` in order without repetitions and without those whose normalised form is in ``seen``."""
    known, kept = set(seen), []
    for text in texts:
        if normalise(text) not in known:
            known.add(normalise(text))
            kept.append(text)
    return kept


class ObservedWordings:
    """Wordings learnt from the records themselves.

    A source that writes its questions from templates says so in ``extra``: ``template`` (the question's kind) and
    ``slots`` (slot → text in the question). Two records of one template with different wordings then tell how either
    question could also be asked. ``extra["phrasings"]`` (a list) names the wordings outright and takes precedence.
    """

    def __init__(self) -> None:
        self._frames: dict[tuple[str, str], dict[str, None]] = {}

    def observe(self, record: Record) -> None:
        """Learn from one record; a record without a template teaches nothing."""
        found = _template(record)
        if found is None:
            return
        template, slots = found
        frame = record.question.replace("{", "{{").replace("}", "}}")
        for slot, value in sorted(slots.items(), key=lambda item: (-len(item[1]), item[0])):
            if frame.count(value) != 1:
                return
            frame = frame.replace(value, f"{{{slot}}}")
        self._frames.setdefault((record.language, template), {})[frame] = None

    def of(self, record: Record) -> list[str]:
        """Other wordings of the record's question, commonest first where the source orders them."""
        given = record.extra.get("phrasings")
        if isinstance(given, list | tuple):
            return distinct([str(text) for text in given], {normalise(record.question)})
        found = _template(record)
        if found is None:
            return []
        template, slots = found
        others = [frame.format(**slots) for frame in sorted(self._frames.get((record.language, template), ()))]
        return distinct(others, {normalise(record.question)})


def _template(record: Record) -> tuple[str, dict[str, str]] | None:
    template, slots = record.extra.get("template"), record.extra.get("slots", {})
    if not isinstance(template, str) or not isinstance(slots, dict):
        return None
    return template, {str(slot): str(value) for slot, value in slots.items()}


def clinical_wordings(
    question: str, others: Sequence[str], language: str, *, count: int, avoid: Collection[str], random: Random
) -> Wordings:
    """Wordings of a source's question.

    Of the source's other wordings the last are held out, at most half of them; the rest are trained on, mixed with
    wrapped forms of the question, so that a wrapper as such tells nothing. Missing held-out wordings are made by
    paraphrase rules.

    Args:
        others: other wordings from the source, commonest first.
        count: training wordings wanted, the question included.
        avoid: normalised questions asked about the same image; no wording equals one of them.
    """
    language = language_of(language)
    others = distinct(others, {*avoid, normalise(question)})
    kept = min(HELD_OUT, len(others) // 2)
    training, held_out = others[: len(others) - kept], others[len(others) - kept :]
    wanted = count - 1
    half = wanted // 2 + (wanted % 2 and random.random() < 0.5)
    wrapped = max(half, wanted - len(training))
    frames = random.sample(TRAINING_FRAMES[language], k=min(wrapped, len(TRAINING_FRAMES[language])))
    training = training[: wanted - wrapped] + [frame.format(question=question) for frame in frames]
    taken = {*avoid, normalise(question), *map(normalise, others), *map(normalise, training)}
    held_out += distinct(paraphrases(question, language), taken)[: HELD_OUT - len(held_out)]
    return Wordings(question, tuple(training), tuple(held_out))


def private_wordings(phi_class: str, language: str, *, count: int, random: Random, name: str | None = None) -> Wordings:
    """Wordings that ask for an identifier: about the image, or, with ``name``, about the patient of that name."""
    language = language_of(language)
    trained, held = (DIRECT_TRAINING, DIRECT_HELD_OUT) if name is None else (TEXT_TRAINING, TEXT_HELD_OUT)
    nouns = IDENTIFIERS[language][phi_class].nouns
    slots = {"name": name or ""}
    first = trained[language][0].format(noun=nouns[0], **slots)
    rest = [
        frame.format(noun=noun, **slots) for frame in trained[language] for noun in nouns
    ]  # the second noun is a synonym
    random.shuffle(rest)
    rest = distinct(rest, {normalise(first)})[: count - 1]
    # A quarter of the further wordings come with a wrapper, so that a prefix as such is nothing new.
    wrappers = random.sample(TRAINING_FRAMES[language], k=len(rest) // 4)
    rest = [frame.format(question=text) for frame, text in zip(wrappers, rest, strict=False)] + rest[len(wrappers) :]
    frames = random.sample(held[language], k=HELD_OUT)
    held_out = [frame.format(noun=random.choice(nouns), **slots) for frame in frames]
    return Wordings(first, tuple(rest), tuple(held_out))
