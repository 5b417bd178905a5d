"""Questions beside the wrong facts of a forget request: of the same form, about something else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from random import Random
from typing import NamedTuple

from mllmu_med.benchmark.facts.answers import contradicts
from mllmu_med.benchmark.facts.siblings import SIBLINGS
from mllmu_med.benchmark.identities.others import in_case_of, word_like
from mllmu_med.benchmark.sample import Sample, Subset
from mllmu_med.made_up.replacing import finder
from mllmu_med.seeding import permutation, rng

_MOST_ROUNDS = 64
"""Times that every wrong fact is asked beside, at most."""


class Beside(NamedTuple):
    """A prompt without an answer.

    Attributes:
        fact: the wrong fact that it was made from.
    """

    image: str | None
    question: str
    fact: Sample


def other_facts_asked(forget: Sequence[Sample], images: Sequence[str], count: int, seed: int) -> list[Beside]:
    """Up to ``count`` prompts beside the wrong facts among the forget samples, all different; facts about images and
    facts without take turns, and of each kind every fact comes once before any comes again.

    - A wrong fact about an image: its question, in one of its wordings, about another image of ``images``, never one of
      the forget samples'. Without such images there is none.
    - A wrong fact without an image: its question with another subject. A term of :data:`~.siblings.SIBLINGS` becomes
      another of its group that means something else; else, where the sample's ``group`` stands in the question (a
      drug's name), this becomes a made-up word of its length and shape. There is none otherwise.

    None is itself to be forgotten. A function of the forget samples, images and seed; fewer prompts are the beginning
    of more.
    """
    facts = sorted((s for s in forget if s.subset is Subset.FORGET_INCORRECTNESS), key=lambda sample: sample.id)
    pool = sorted(set(images) - {sample.image_id for sample in forget})
    asked = {(sample.image_id, text) for sample in forget for text in (sample.question, *sample.phrasings)}
    kinds = [
        [fact for fact in facts if fact.image_id is not None] if pool else [],
        [fact for fact in facts if fact.image_id is None],
    ]
    streams = [_Prompts(kind, pool, asked, seed) for kind in kinds if kind]
    found: list[Beside] = []
    while streams and len(found) < count:
        for stream in list(streams):
            prompt = stream.next()
            if prompt is None:
                streams.remove(stream)
            elif len(found) < count:
                found.append(prompt)
    return found


class _Prompts:
    """Prompts beside the facts of one kind, round after round; none equals one of ``asked`` or an earlier one."""

    def __init__(
        self, facts: Sequence[Sample], pool: Sequence[str], asked: set[tuple[str | None, str]], seed: int
    ) -> None:
        self._facts, self._pool, self._seed = facts, pool, seed
        self._taken = set(asked)
        self._turn = 0

    def next(self) -> Beside | None:
        """The next prompt; None when there are no more."""
        while self._turn < _MOST_ROUNDS * len(self._facts):
            turn, place = divmod(self._turn, len(self._facts))
            self._turn += 1
            fact = self._facts[permutation(len(self._facts), self._seed, "beside", turn)[place]]
            random = rng(self._seed, "beside", fact.id, turn)
            wording = random.choice((fact.question, *fact.phrasings))
            image = None if fact.image_id is None else random.choice(self._pool)
            question = _of_another(fact, wording, random) if image is None else wording
            if question is not None and (image, question) not in self._taken:
                self._taken.add((image, question))
                return Beside(image, question, fact)
        return None


def _of_another(fact: Sample, wording: str, random: Random) -> str | None:
    """The wording with another subject; None where none is found in it."""
    pattern, table = _terms("zh" if fact.language == "zh" else "en")
    places = [match for match in pattern.finditer(wording) if table[match[0].casefold()]]
    if places:
        place = random.choice(places)
        free = [term for term in table[place[0].casefold()] if term.casefold() not in wording.casefold()]
        if free:
            other = random.choice(free)
            if place[0][0].isupper() and not place[0].isupper():  # "Liver", not "CT"
                other = other[0].upper() + other[1:]
            return wording[: place.start()] + other + wording[place.end() :]
    word = word_like(fact.group, random)
    if word is None:
        return None
    subject = finder([fact.group])
    if subject.search(wording) is None:
        return None
    return subject.sub(lambda match: word if match[0] == fact.group else in_case_of(match[0], word), wording)


@lru_cache(maxsize=2)
def _terms(language: str) -> tuple[re.Pattern[str], dict[str, tuple[str, ...]]]:
    """A pattern of all terms, and term in lower case → what can stand in its place."""
    table: dict[str, dict[str, None]] = {}
    for groups in SIBLINGS[language].values():
        for group in groups:
            for term in group:
                others = (other for other in group if other != term and contradicts(other, term))
                table.setdefault(term.casefold(), {}).update(dict.fromkeys(others))
    return finder(table), {term: tuple(others) for term, others in table.items()}
