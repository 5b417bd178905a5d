"""Other answers of the same kind as a wrong one, from the tables that wrong facts are made with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain, product
from random import Random

from mllmu_med.benchmark.facts.answers import (
    contradicts,
    fits_choice,
    like,
    number,
    polarity,
    written_number,
)
from mllmu_med.benchmark.facts.clinical_terms_zh import SPELLINGS
from mllmu_med.benchmark.facts.contrasts import ANTONYMS, AXES, OPPOSITES
from mllmu_med.benchmark.facts.error_kinds import is_long
from mllmu_med.benchmark.facts.frames import same_frame
from mllmu_med.benchmark.facts.free_text import altered
from mllmu_med.benchmark.facts.grades import grade, other_grade
from mllmu_med.benchmark.facts.measures import is_dose, measures, other_measure
from mllmu_med.benchmark.facts.siblings import SIBLINGS
from mllmu_med.benchmark.facts.vocabulary import has_han, kind_of, meanings, normalise, terms
from mllmu_med.benchmark.sample import Sample

_DRAWS = 24  # of tables that give one edit at a time
_HIGHEST_COUNT = 20
_SIDED = ("laterality", "location")
_AXES_ZH = (("左", "右"), ("上", "下"), ("前", "后"))
_ACRONYM = 5  # letters: a modality's name up to this length is written in capitals


def other_facts(sample: Sample, random: Random) -> Iterator[str]:
    """The correct answer first, then what else the wrong answer could have been, the nearest kin first.

    By the kind of error: numbers, measures, grades and contraries of size, places with an end of an axis exchanged,
    terms of the vocabulary of the same sort (those of the same region before all others), texts with one detail
    changed. All contradict the wrong answer and, where the question offers a choice, are in it. Some may be repeated.
    """
    wrong, right = sample.wrong_answer, sample.correct_answer or sample.clean_answer
    if wrong is None:
        return
    if right is not None:
        yield right
    if polarity(wrong) is not None or sample.error_type == "presence":
        return  # yes or no: there is no third answer
    text = is_long(wrong) and sample.error_type == "free_text"
    for other in _changed_texts(sample, wrong, random) if text else _of_its_kind(sample, wrong, random):
        if normalise(other) == normalise(wrong) or not fits_choice(sample.question, wrong, other):
            continue
        if text or contradicts(other, wrong):
            yield other


def _of_its_kind(sample: Sample, wrong: str, random: Random) -> Iterator[str]:
    kind, language = sample.error_type or "", "zh" if has_han(wrong) else "en"
    if number(wrong) is not None:
        return _counts(wrong)
    found = [_sizes(wrong, language, random)]
    if kind in _SIDED or not meanings(wrong):
        found.append(_turned(wrong, language))
    if kind != "laterality":
        found.append(_terms(wrong, kind, language, random))
    return chain(*found)


def _counts(wrong: str) -> Iterator[str]:
    said = number(wrong) or 0
    for value in sorted(range(_HIGHEST_COUNT + 1), key=lambda value: (abs(value - said), value)):
        text = written_number(value, wrong)
        if text is not None:
            yield text


def _sizes(wrong: str, language: str, random: Random) -> Iterator[str]:
    """Other measures and grades, and other words of size."""
    for found in measures(wrong):
        for _ in range(_DRAWS):
            yield other_measure(wrong, found, random, dose=is_dose(wrong)) or wrong
    graded = wrong
    for _ in range(_DRAWS if grade(wrong) is not None else 0):
        graded = other_grade(graded, random) or wrong  # from step to step, so that near ones are reached as well
        yield graded
    words = OPPOSITES[language]
    if normalise(wrong) in words:
        yield from (like(wrong, word) for word in dict.fromkeys([words[normalise(wrong)], *words]))


def _turned(wrong: str, language: str) -> Iterator[str]:
    """The answer with one or more ends of an axis exchanged: "upper left" → lower left, upper right, lower right."""
    axes = _AXES_ZH if language == "zh" else (*AXES, *ANTONYMS["en"]["location"])
    other: dict[str, str] = {}
    for one, two in axes:
        other.setdefault(one, two)
        other.setdefault(two, one)
    words = "|".join(re.escape(word) for word in sorted(other, key=lambda word: (-len(word), word)))
    pattern = f"({words})" if language == "zh" else rf"(?<![A-Za-z])({words})(?![A-Za-z])"
    parts = re.split(pattern, wrong, flags=re.IGNORECASE)
    ways = [(part, like(part, other[part.lower()])) if place % 2 else (part,) for place, part in enumerate(parts)]
    yield from map("".join, product(*ways))


def _terms(wrong: str, error_type: str, language: str, random: Random) -> Iterator[str]:
    """Terms of the semantic type of the answer's words, or else of the kind of error."""
    sorts = {kind_of(name) for name in meanings(wrong)} - {None, "other"}
    kind = sorts.pop() if len(sorts) == 1 else error_type
    if kind not in ("modality", "organ", "finding", "drug"):
        return
    groups = [group for group in SIBLINGS[language].get(kind, ()) if normalise(wrong) in map(normalise, group)]
    near = [other for group in groups for other in group]
    names = [term.name for term in terms(kind)]
    random.shuffle(names)
    known = (_spelt(name, kind, language) for name in names)
    for other in chain(near, known):
        if other is not None and same_frame(other, wrong, error_type):
            yield _cased(wrong, other)


def _spelt(name: str, kind: str, language: str) -> str | None:
    """A term's name in the language; None where it has none there."""
    if language == "zh":
        return next((word.strip() for word in SPELLINGS.get(name, "").split(",") if has_han(word)), None)
    return name.upper() if kind == "modality" and len(name) <= _ACRONYM and name.isalnum() else name


def _cased(wrong: str, other: str) -> str:
    """In the letter case of the wrong answer, but for acronyms: "CT" does not make "ULTRASOUND"."""
    if other.isupper():
        return other
    return other[:1].upper() + other[1:] if wrong[:1].isupper() else other


def _changed_texts(sample: Sample, wrong: str, random: Random) -> Iterator[str]:
    """The wrong text with one of its details made otherwise; another detail than the wrong one may be meant."""
    for _ in range(_DRAWS):
        change = altered(wrong, sample.question, sample.language, random)
        if change is None:
            return
        yield change.text
