"""Made-up siblings: patients of the format of a forget request, and questions beside its wrong facts.

What a model says of them is to stay as it is, so that those who stay are not forgotten with those who go. They are made
from the forget samples alone, and hold no value of theirs.
"""

from __future__ import annotations

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

from mllmu_med.benchmark.identities.others import strangers_values
from mllmu_med.benchmark.identities.taken import compact
from mllmu_med.benchmark.images.blends import blend_of
from mllmu_med.benchmark.sample import Sample, Subset
from mllmu_med.evaluation.spans import tells
from mllmu_med.made_up.replacing import PEOPLE, Cut, New, Slot, cut, fill, finder, name_parts, with_parts
from mllmu_med.seeding import permutation, rng

log = logging.getLogger("mllmu_med")

_NOTHING = "xqqxqxxqqxqx"  # stands for any value: no word, no number, and too long to be looked past
_BETWEEN = f" . {_NOTHING} . "
_MOST_DRAWS = 1000  # of one value, before it is given up
_MOST_PATIENTS = 8  # times that all values of a patient are drawn, before single texts are given up
_OF_PEOPLE_AND_PLACES = (*PEOPLE, "geography", "facility")  # words that two patients share tell of both
_RUN = re.compile(r"[^\W\d_]{2,}")

_NO_FORMAT = "a value of no known format with fewer than three digits"
_NO_VALUE = "a question by name in which no known value stands"
_STILL_TOLD = "a value told in a way that cannot be replaced"


class RealValue(NamedTuple):
    """A private value, the language of the sample, and the number of its candidates."""

    phi_class: str
    value: str
    language: str
    space: float


class RealValues:
    """The private values of samples to be forgotten: what no made-up text may tell."""

    def __init__(self, forget: Sequence[Sample]) -> None:
        values: dict[str, RealValue] = {}
        owners: dict[tuple[str, str], set[str]] = defaultdict(set)
        for sample in forget:
            for span in sample.spans:
                values.setdefault(span.value, RealValue(span.phi_class, span.value, sample.language, span.space))
                for run in _RUN.findall(span.value):
                    owners[span.phi_class, run.lower()].add(sample.cluster)
        self._values = tuple(values.values())
        self._compact = {compact(value) for value in values}
        self._of_format: dict[str, set[str]] = defaultdict(set)
        for (phi_class, run), patients in owners.items():
            if len(patients) > 1 and phi_class not in _OF_PEOPLE_AND_PLACES:
                self._of_format[phi_class].add(run)

    def told_in(self, texts: Sequence[str]) -> list[RealValue]:
        """The values that one of the texts tells, in whatever way of writing."""
        joined = _BETWEEN.join(texts)  # nothing is read across it, so that most values need one look only
        suspects = [value for value in self._values if tells(joined, value.value)]
        return [value for value in suspects if any(tells(text, value.value) for text in texts)]

    def others_like(self, value: RealValue, seed: int, *keys: int | str) -> Iterator[str]:
        """Values of the same format that tell none of the real ones, each once; a name shares no word with the old
        one. Letters that the codes of several patients have in common belong to the format and stay."""
        others = strangers_values(*value, rng(seed, *keys), self._of_format[value.phi_class])
        own = {part.casefold() for part in name_parts(value.value)} if value.phi_class in PEOPLE else set()
        for other in islice(others, _MOST_DRAWS):
            if own & {part.casefold() for part in name_parts(other)} or compact(other) in self._compact:
                continue
            if not self.told_in([other]):
                yield other


class _Pattern(NamedTuple):
    """A forget sample in pieces: its wordings, and its answer with the marked values."""

    sample: Sample
    wordings: tuple[Cut, ...]
    answer: Cut


class _Template:
    """A forgotten patient as a pattern for made-up ones.

    Attributes:
        values: the values that are replaced.
        patterns: of the samples that are left when nothing of them can stay.
        left_out: reason → samples.
    """

    def __init__(self, samples: Sequence[Sample], real: RealValues) -> None:
        own = {
            span.value: RealValue(span.phi_class, span.value, s.language, span.space)
            for s in samples
            for span in s.spans
        }
        texts = [text for s in samples for text in (s.question, *s.phrasings, s.answer)]
        own |= {value.value: value for value in real.told_in(texts)}
        self.values = tuple(own[name] for name in sorted(own) if next(real.others_like(own[name], 0, "any"), None))
        known = with_parts((value.phi_class, value.value, value.value) for value in self.values)
        self._found = finder(new.old for new in known.values())
        lost = [value.value for value in own.values() if value not in self.values]
        names = [part for name in lost if own[name].phi_class in PEOPLE for part in name_parts(name)]
        self._lost = finder([*lost, *names])
        self._known = frozenset(known)
        self._told = real.told_in([_emptied(cut(text, self._found)) for text in texts])
        self.left_out = Counter[str]()
        self.patterns = [pattern for pattern in map(self._pattern, samples) if pattern is not None]
        self.images = tuple(dict.fromkeys(p.sample.image_id for p in self.patterns if p.sample.image_id is not None))

    def _pattern(self, sample: Sample) -> _Pattern | None:
        answer = cut(sample.answer, self._found, sample.spans)
        wordings = [cut(wording, self._found) for wording in (sample.question, *sample.phrasings)]
        if sample.image_id is None:
            wordings = [wording for wording in wordings if any(isinstance(piece, Slot) for piece in wording)]
        clean = tuple(wording for wording in wordings if self._is_clean(wording))
        if not all(piece.key in self._known for piece in answer if isinstance(piece, Slot)):
            self.left_out[_NO_FORMAT] += 1
        elif not wordings:
            self.left_out[_NO_VALUE] += 1
        elif not clean or not self._is_clean(answer):
            self.left_out[_STILL_TOLD] += 1
        else:
            return _Pattern(sample, clean, answer)
        return None

    def _is_clean(self, pieces: Cut) -> bool:
        """Whether nothing real is left when every slot is emptied."""
        bare = _emptied(pieces)
        return self._lost.search(bare) is None and not any(tells(bare, value.value) for value in self._told)


def _emptied(pieces: Cut) -> str:
    return "".join(piece if isinstance(piece, str) else _NOTHING for piece in pieces)


def made_up_patients(
    forget: Sequence[Sample],
    images: Sequence[str],
    count: int,
    seed: int,
    *,
    first: int = 0,
    at_least: int = 1,
    earlier: Sequence[Sample] = (),
) -> list[Sample]:
    """The samples of made-up patients number ``first`` to ``first + count - 1``.

    Each is made after one of the forgotten patients, in turn: a copy of all their forget samples, about other images,
    with each private value replaced by one of the same format
    (:func:`~mllmu_med.benchmark.identities.others.strangers_values`), everywhere alike: in answers, where the spans
    move with it, and in questions and their phrasings, where a name may also stand in part. What a name's part is
    counts whatever its letter case: a patient called Will makes odd questions rather than one with a name left in it.

    No text tells a value of any forget sample, or of ``earlier`` (:func:`~mllmu_med.evaluation.spans.tells`), and
    nothing else of the real patients is left: neither ids, hierarchy, regions and probes, nor what was true of the old
    image. A sample in which something cannot be replaced is left out; one line in the log says how many and why.

    Args:
        forget: all samples to be forgotten; those of patients are the templates.
        images: what may be shown, each in turn before any comes again; images of the forget samples are passed over.
        seed: patient n is a function of the forget samples, the images, ``at_least``, the seed and n alone.
        at_least: ≥ 1. With fewer images than this, blends (:func:`~mllmu_med.benchmark.images.blends.blend`) take the
            turns that are missing: of a forget image with one of another patient or one of ``images``; where there is
            neither, with another one of the same patient, or with itself.
        earlier: samples whose values must not be told either: those that earlier requests have forgotten.
    """
    real = RealValues([*forget, *earlier])
    patients: dict[str, list[Sample]] = {}
    for sample in forget:
        if sample.subset is Subset.FORGET_PRIVACY:
            patients.setdefault(sample.cluster, []).append(sample)
    templates = [_Template(patients[name], real) for name in sorted(patients)]
    left_out = sum((template.left_out for template in templates), Counter[str]())
    if left_out:
        reasons = "; ".join(f"{number} with {reason}" for reason, number in sorted(left_out.items()))
        total = sum(map(len, patients.values()))
        log.info("made-up patients: %d of %d forget samples have no like: %s", left_out.total(), total, reasons)
    templates = [template for template in templates if template.patterns]
    if not templates:
        return []
    order = permutation(len(templates), seed, "made-up templates")
    shown = _Shown(forget, images, max(len(template.images) for template in templates), at_least, seed)
    return [
        sample
        for number in range(first, first + count)
        for sample in _patient(templates[order[number % len(order)]], shown, real, number, seed)
    ]


def _patient(template: _Template, shown: _Shown, real: RealValues, number: int, seed: int) -> list[Sample]:
    """All samples of one made-up patient."""
    streams = [
        real.others_like(value, seed, "made-up value", number, place) for place, value in enumerate(template.values)
    ]
    images = {image: shown(number, place) for place, image in enumerate(template.images)}
    made: list[Sample] = []
    told = False
    for _ in range(_MOST_PATIENTS):
        drawn = [next(stream, None) for stream in streams]
        values = [
            (value.phi_class, value.value, other)
            for value, other in zip(template.values, drawn, strict=True)
            if other is not None
        ]
        made = _samples(template, with_parts(values), images, f"made-up-{number:04d}")
        told = bool(real.told_in([text for sample in made for text in _texts(sample)]))
        if not told:
            break
    return [sample for sample in made if not told or not real.told_in(_texts(sample))]


def _texts(sample: Sample) -> list[str]:
    return [sample.question, *sample.phrasings, sample.answer]


def _samples(template: _Template, new: Mapping[str, New], images: Mapping[str, str], name: str) -> list[Sample]:
    """The template's samples with these values and images, under a name of their own."""
    made = []
    for place, (sample, wordings, pieces) in enumerate(template.patterns):
        answer = fill(pieces, new)
        asked = [filled.text for wording in wordings if (filled := fill(wording, new)) is not None]
        if answer is None or not asked:
            continue
        told = "+".join(dict.fromkeys(span.phi_class for span in answer.spans))
        own = f"{name}/{place:02d}"
        made.append(replace(
            sample, id=own, record_id=own, group=name, patient_id=name, fact_id=f"{name}/{told}", subset=Subset.RETAIN,
            question=asked[0], phrasings=tuple(asked[1:]), repetitions=len(asked), answer=answer.text,
            spans=answer.spans, image_id=None if sample.image_id is None else images[sample.image_id],
            clean_answer=None, modality=None, body_part=None, rule_id=None, accepted=(), probes=(), hierarchy=(),
            regions=(),
        ))  # fmt: skip
    return made


class _Shown:
    """Which image the made-up patients' studies show: each in turn, every round in another order, and with fewer than
    ``at_least`` a new blend for each that is missing.

    Args:
        most: studies of the patient with most of them.
    """

    def __init__(self, forget: Sequence[Sample], images: Sequence[str], most: int, at_least: int, seed: int) -> None:
        self._owners: dict[str, set[str]] = defaultdict(set)
        for sample in forget:
            if sample.image_id is not None:
                self._owners[sample.image_id].add(sample.cluster)
        self._own, self._pool = sorted(self._owners), sorted(set(images) - self._owners.keys())
        self._turns = max(len(self._pool), at_least)
        self._most, self._seed = most, seed

    def __call__(self, number: int, place: int) -> str:
        """The image of patient ``number``'s study ``place``."""
        turn, at = divmod(number * self._most + place, self._turns)
        slot = permutation(self._turns, self._seed, "made-up images", turn)[at]
        if slot < len(self._pool):
            return self._pool[slot]
        earlier = turn * (self._turns - len(self._pool))
        turn, at = divmod(earlier + slot - len(self._pool), len(self._own))
        one = self._own[permutation(len(self._own), self._seed, "made-up images", turn)[at]]
        others = [image for image in self._own if not self._owners[image] & self._owners[one]] + self._pool
        others = others or [image for image in self._own if image != one] or [one]
        return blend_of(one, rng(self._seed, "made-up blends", number, place).choice(others))
