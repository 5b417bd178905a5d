"""Forget requests: what is to be forgotten, named at any level of a hierarchy, e.g. ``institution=Alder Hospital``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mllmu_med.benchmark.facts.answers import normalise
from mllmu_med.benchmark.sample import Node, Sample
from mllmu_med.errors import UsageError
from mllmu_med.registry import did_you_mean
from mllmu_med.sources.record import Record

PATIENT_LEVELS = ("institution", "patient", "study", "section")
"""Levels of private facts, from the root on."""

FACT_LEVELS = ("modality", "organ", "finding", "instance")
"""Levels of wrong facts, from the root on; an instance is one record."""


class Request(NamedTuple):
    """A node to be forgotten, with everything below it."""

    level: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Request:
        """``level=name``.

        Raises:
            UsageError: no such level, or no name.
        """
        level, equals, name = (part.strip() for part in text.partition("="))
        known = [*PATIENT_LEVELS, *FACT_LEVELS]
        if not (level and equals and name):
            raise UsageError(f"a forget request is written level=name, e.g. modality=CT, not '{text}'")
        if level not in known:
            meant = did_you_mean(level, known)
            raise UsageError(f"forget request '{text}': unknown level '{level}'{meant}; known: {', '.join(known)}")
        return cls(level, name)


class Requests:
    """Several requests; together they name the union of their nodes.

    Args:
        texts: ``level=name`` each.
        ids: deletion requests; records say in ``extra["request"]`` whose they are.
    """

    def __init__(self, texts: Iterable[str], ids: Iterable[str] = ()) -> None:
        requests = [Request.parse(text) for text in texts]
        self.ids = frozenset(ids)
        self.patients = [request for request in requests if request.level in PATIENT_LEVELS]
        self.facts = [request for request in requests if request.level in FACT_LEVELS]

    def naming_patient(self, record: Record) -> list[Request | str]:
        """The requests and ids that name the record's patient, or a node above it, as its source says."""
        own = record.extra.get("request")
        held = record.hierarchy or {}
        by_name = [request for request in self.patients if held.get(request.level) == request.name]
        return [*by_name, own] if isinstance(own, str) and own in self.ids else [*by_name]

    def naming_fact(self, record: Record) -> list[Request]:
        """The requests for a modality, organ, finding or instance that the record lies below."""
        if not self.facts:
            return []
        own = {"modality": record.modality, "organ": record.body_part, "finding": record.answer}
        return [
            request for request in self.facts
            if (record.id == request.name if request.level == "instance"
                else normalise(own[request.level] or "") == normalise(request.name))
        ]  # fmt: skip

    def name_fact(self, record: Record) -> bool:
        """Whether the record lies below a requested modality, organ, finding or instance; True if none is requested."""
        return not self.facts or bool(self.naming_fact(record))

    def cover(self, hierarchy: Sequence[Node]) -> bool:
        """Whether a sample with this path lies below a requested node."""
        requested = {(level, normalise(name)) for level, name in (*self.patients, *self.facts)}
        return any((node.level, normalise(node.name)) in requested for node in hierarchy)


def select(samples: Iterable[Sample], texts: Iterable[str]) -> list[Sample]:
    """The samples that the requests (``level=name``) name.

    Raises:
        UsageError: a request cannot be read, or names nothing.
    """
    every = list(samples)
    chosen: dict[str, Sample] = {}
    for text in texts:
        requests = Requests([text])
        found = [sample for sample in every if requests.cover(sample.hierarchy)]
        if not found:
            level = Request.parse(text).level
            names = sorted({node.name for sample in every for node in sample.hierarchy if node.level == level})
            hint = did_you_mean(Request.parse(text).name, names)
            raise UsageError(f"forget request '{text}' names nothing here{hint}")
        chosen.update({sample.id: sample for sample in found})
    return [sample for sample in every if sample.id in chosen]
