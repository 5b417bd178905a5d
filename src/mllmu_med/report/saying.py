"""How a run's page says a text: invented private values are marked, real ones are hidden."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from mllmu_med.benchmark.describing import holds_real_values
from mllmu_med.benchmark.sample import Sample, Span
from mllmu_med.report.benchmark_texts import Texts
from mllmu_med.report.marking import LIMIT, Segments, marked


class Says(Protocol):
    """A text for the page: plain, or cut into pieces of which every second is a private value (or its class)."""

    def __call__(self, text: str, sample: Sample, spans: Iterable[Span] = ()) -> Segments: ...


def saying(manifest: Mapping[str, Any], samples: Sequence[Sample]) -> Says:
    """How to say texts about these samples; ``manifest`` is the benchmark's.

    Real values (``benchmark.private_values: request``) are hidden wherever they stand and whoever they belong to.
    """
    return _Hiding(samples) if holds_real_values(manifest) else _mark


def _mark(text: str, sample: Sample, spans: Iterable[Span] = ()) -> Segments:
    return marked(text, spans)


class _Hiding:
    def __init__(self, samples: Sequence[Sample]) -> None:
        values: dict[str, dict[str, str]] = {}
        for sample in samples:
            for span in sample.spans:
                values.setdefault(sample.patient_id or "", {})[span.value] = span.phi_class
        every = {value: phi_class for held in values.values() for value, phi_class in held.items()}
        self._texts = Texts(values, hide=True, everywhere=every)

    def __call__(self, text: str, sample: Sample, spans: Iterable[Span] = ()) -> Segments:
        pieces = self._texts.pieces(text, sample, LIMIT)
        return pieces if isinstance(pieces, str) else [p if isinstance(p, str) else p[0] for p in pieces]
