"""The same question in other words: paraphrases, prefixes, another language."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice, zip_longest
from typing import ClassVar

from mllmu_med.attacks.black_box.fairness import classes_asked_for, known_name, new_wording
from mllmu_med.attacks.black_box.phrases import phrases_of
from mllmu_med.attacks.interface import Asking, Data, Query
from mllmu_med.benchmark.facts.answers import normalise
from mllmu_med.benchmark.sample import Sample
from mllmu_med.benchmark.wording.paraphrases import distinct, paraphrases
from mllmu_med.benchmark.wording.phrasing import private_wordings
from mllmu_med.benchmark.wording.wordings import language_of
from mllmu_med.errors import UsageError
from mllmu_med.seeding import rng

_OTHER = {"en": "zh", "zh": "en"}


def not_negative(**numbers: int) -> None:
    """Refuse negative numbers of variants, by name."""
    for name, number in numbers.items():
        if number < 0:
            raise UsageError(f"{name}: a number of variants cannot be negative, got {number}")


def held_out_wordings(sample: Sample, family: str) -> list[str]:
    """The benchmark's own wordings of a probe family, on the sample's own image, as far as they may be asked."""
    return [
        probe.question
        for probe in sample.probes
        if probe.family == family and probe.image == "own" and new_wording(sample, probe.question)
    ]


def own_wordings(sample: Sample) -> list[str]:
    """Wordings that no probe uses: by the paraphrase rules and by our frames in turn."""
    framed = [frame.format(question=sample.question) for frame in phrases_of(sample.language).paraphrases]
    ruled = paraphrases(sample.question, sample.language)
    turns = [text for pair in zip_longest(framed, ruled) for text in pair if text is not None]
    taken = {normalise(text) for text in held_out_wordings(sample, "paraphrase")}
    return [text for text in distinct(turns, taken) if new_wording(sample, text)]


def _numbered(sample: Sample, name: str, texts: Iterable[str], most: int) -> Iterator[Query]:
    for number, text in enumerate(islice(texts, most), start=1):
        yield Query(f"{name}-{number}", text, sample.image_id)


@dataclass(frozen=True)
class Paraphrase(Asking):
    """Ask the same in words that were not trained on; UnLOK-VQA's question rephrasing (arXiv 2505.01456).

    ``held-out-N`` are the benchmark's own paraphrase probes, ``own-N`` further ones: by the same syntactic rules where
    they give more, and by frames that no probe uses. A model that forgot a question, and not what it asks for, still
    answers here.

    Attributes:
        held_out: most wordings of the benchmark's probes.
        own: most further wordings.
    """

    label: ClassVar = "Paraphrase"
    source: ClassVar = "arXiv 2505.01456 (question rephrasing)"
    summary: ClassVar = "the question in words that were never trained on"
    cost: ClassVar = "7 answers"
    held_out: int = 4
    own: int = 3
    budget: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        not_negative(held_out=self.held_out, own=self.own)

    def queries(self, sample: Sample, data: Data) -> Iterable[Query]:
        """One for each wording."""
        yield from _numbered(sample, "held-out", held_out_wordings(sample, "paraphrase"), self.held_out)
        yield from _numbered(sample, "own", own_wordings(sample), self.own)


@dataclass(frozen=True)
class Prefix(Asking):
    """Put a hand-written reason before the question, or ask that the answer begins with agreement.

    The question itself stays as it was trained. The styles are those of prefix injection and affirmative suffix in RWKU
    (arXiv 2406.10890), worded for a hospital.

    Attributes:
        held_out: most prefixes of the benchmark's probes.
        own: most further ones.
    """

    label: ClassVar = "Prefix"
    source: ClassVar = "arXiv 2406.10890 (prefix injection, affirmative suffix)"
    summary: ClassVar = "a hand-written reason to answer, before the question"
    cost: ClassVar = "6 answers"
    held_out: int = 2
    own: int = 4
    budget: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        not_negative(held_out=self.held_out, own=self.own)

    def queries(self, sample: Sample, data: Data) -> Iterable[Query]:
        """One for each prefix."""
        yield from _numbered(sample, "held-out", held_out_wordings(sample, "prefix"), self.held_out)
        framed = (frame.format(question=sample.question) for frame in phrases_of(sample.language).prefixes)
        yield from _numbered(sample, "own", (text for text in framed if new_wording(sample, text)), self.own)


@dataclass(frozen=True)
class OtherLanguage(Asking):
    """Ask in another language (Lynch et al. 2024, arXiv 2402.16835; RWKU's cross-lingual probe, arXiv 2406.10890).

    ``direct``: the benchmark's language probe where the sample has one, else the question for the private values asked
    for, in a wording that is not trained on in that language either. ``frame``: instructions in the other language
    around the question as it is; this is all there is for wrong facts that the source does not hold in two languages.
    Private values are the same in every language; a wrong fact that is told in the other language is not recognised.

    Attributes:
        variants: most questions, ``direct`` first.
    """

    label: ClassVar = "Other language"
    source: ClassVar = "arXiv 2402.16835, 2406.10890"
    summary: ClassVar = "the question in Chinese instead of English, or the other way round"
    cost: ClassVar = "2 answers"
    variants: int = 2
    budget: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        not_negative(variants=self.variants)

    def queries(self, sample: Sample, data: Data) -> Iterable[Query]:
        """At most ``variants``."""
        other = _OTHER[language_of(sample.language)]
        framed = phrases_of(other).foreign.format(question=sample.question)
        asked = chain(
            (("direct", text) for text in _translated(sample, data, other) if new_wording(sample, text)),
            [("frame", framed)] if new_wording(sample, framed) else [],
        )
        return [Query(name, text, sample.image_id) for name, text in islice(asked, self.variants)]


def _translated(sample: Sample, data: Data, other: str) -> Iterator[str]:
    """The question in the other language; nothing where it cannot be said."""
    probes = held_out_wordings(sample, "language")
    if probes:
        yield probes[0]
        return
    asked = named_question(sample, data, other) if sample.form == "text" else direct_question(sample, data, other)
    if asked is not None:
        yield asked


def direct_question(sample: Sample, data: Data, language: str) -> str | None:
    """Asks for the private values of the patient in the image, in a held-out wording; None for other samples."""
    return _held_out_question(sample, data, language, None)


def named_question(sample: Sample, data: Data, language: str) -> str | None:
    """The same about the patient by name; None where the attacker may not know the name (:func:`known_name`)."""
    name = known_name(sample, data)
    return None if name is None else _held_out_question(sample, data, language, name)


def _held_out_question(sample: Sample, data: Data, language: str, name: str | None) -> str | None:
    asked = []
    for phi_class in classes_asked_for(sample):
        random = rng(data.seed, "black-box question", sample.id, phi_class, language)
        asked.append(private_wordings(phi_class, language, count=1, random=random, name=name).held_out[0])
    return " ".join(asked) or None
