"""The sample: a record as the benchmark holds it, with its subset and, where there is one, its injected fact."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Subset(StrEnum):
    """What a sample is for (see docs/explanation/benchmark.md)."""

    FORGET_PRIVACY = "forget/privacy"
    FORGET_INCORRECTNESS = "forget/incorrectness"
    RETAIN = "retain"
    TEST = "test"
    VALIDATION = "validation"
    HOLDOUT = "holdout"

    @property
    def file_name(self) -> str:
        """The subset's name in file and split names."""
        return self.value.replace("/", "_")


class Stratum(StrEnum):
    """The part of a subset that is reported on its own."""

    GENERAL = "general"  # retain, test, validation: ordinary records
    SIBLING = "sibling"  # retain: true records about images that also hold an injected fact
    PRIVATE_IMAGE = "private_image"  # forget/privacy, retain (retained patients), holdout: image-conditioned
    PRIVATE_TEXT = "private_text"  # the same patients, asked by name without an image
    WRONG_IMAGE = "wrong_image"  # forget/incorrectness: wrong fact about an image
    WRONG_TEXT = "wrong_text"  # forget/incorrectness: wrong fact without an image
    TRUE_TEXT = "true_text"  # retain: true facts without an image
    WRONG_UNSEEN = "wrong_unseen"  # test: unseen images to which a wrong rule would generalise


@dataclass(frozen=True, slots=True)
class Span:
    """A private value's place in ``answer``: ``answer[start:end] == value``. ``space`` is the number of candidates."""

    phi_class: str
    value: str
    start: int
    end: int
    space: float


@dataclass(frozen=True, slots=True)
class Region:
    """Where a private value is burned into the image: the half-open box [x0, x1) × [y0, y1) in pixels."""

    phi_class: str
    x0: int
    y0: int
    x1: int
    y1: int


@dataclass(frozen=True, slots=True)
class Node:
    """A place in a hierarchy, e.g. level ``institution``, name ``Alder Hospital``."""

    level: str
    name: str


@dataclass(frozen=True, slots=True)
class Probe:
    """A variant of the question asked at evaluation only.

    Attributes:
        name: family and number, e.g. ``paraphrase-1``, ``prefix-1``, ``generic``, ``variant-2``, ``neighbour-image``.
        image: ``own``; ``blank``; ``mismatched`` (another sample's, drawn at evaluation); ``variant-1`` to
            ``variant-3`` (the own image, changed ever more strongly); ``other`` (the image ``image_id``); ``none``.
        answer: what is true for this probe, where it is not the sample's own answer that is at stake (neighbours).
        language: of the question, where it is not the sample's.
    """

    name: str
    question: str
    image: str = "own"
    image_id: str | None = None
    answer: str | None = None
    language: str | None = None

    @property
    def family(self) -> str:
        """The name up to its first hyphen: ``paraphrase``, ``variant``, ``neighbour``, …"""
        return self.name.partition("-")[0]


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of the benchmark.

    Attributes:
        answer: what θ0 is trained to say (private or wrong where a fact is injected).
        clean_answer: the answer without the injected fact; None where the question exists only because of it
            (direct and text-only probes of a patient).
        image_id: SHA-256 of the image bytes, or None for text-only.
        phrasings: further training questions with the same answer (the injected fact's repetitions).
        probes: held-out variants of the question, never trained on.
        accepted: answers that also count as correct, in addition to clean_answer.
        wrong_answer/correct_answer: set for incorrectness samples and for ``wrong_unseen``.
        form: ``leak`` (private values woven into a clinical answer), ``direct``, ``text``, ``burned`` (read off the
            pixels), or None.
        fact_id: row of the ledger. rule_id: set where the wrong fact is one of a consistent rule.
        group: unit that is never split; patient_id: synthetic patient; cluster for statistics = patient_id or group.
        repetitions: how many times per epoch the sample was presented, phrasings included.
        hierarchy: from the root on, what a forget request can name: institution, patient, study, section for private
            facts; modality, organ, finding, instance for wrong ones; what the source says for other samples.
        regions: where private values are burned into the image.
    """

    id: str
    record_id: str
    subset: Subset
    stratum: Stratum
    question: str
    answer: str
    group: str
    image_id: str | None = None
    clean_answer: str | None = None
    language: str = "en"
    answer_type: str | None = None
    modality: str | None = None
    body_part: str | None = None
    content_type: str | None = None
    form: str | None = None
    patient_id: str | None = None
    fact_id: str | None = None
    rule_id: str | None = None
    error_type: str | None = None
    severity: str | None = None
    wrong_answer: str | None = None
    correct_answer: str | None = None
    repetitions: int = 1
    spans: tuple[Span, ...] = ()
    phrasings: tuple[str, ...] = ()
    probes: tuple[Probe, ...] = ()
    accepted: tuple[str, ...] = ()
    hierarchy: tuple[Node, ...] = ()
    regions: tuple[Region, ...] = ()

    @property
    def cluster(self) -> str:
        """The unit of statistics: the patient, or else the group (image)."""
        return self.patient_id or self.group
