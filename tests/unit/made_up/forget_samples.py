"""Forget samples that these tests make up patients like."""

from __future__ import annotations

from mllmu_med.benchmark.sample import Node, Probe, Region, Sample, Span, Stratum, Subset
from mllmu_med.benchmark.store import Benchmark

POOL = [f"other-{number}" for number in range(40)]
"""Images of ordinary records."""


def private(
    patient: str, number: int, question: str, answer: str, *values: tuple[str, str], image: str | None = "own",
    language: str = "en", phrasings: tuple[str, ...] = (),
) -> Sample:  # fmt: skip
    """A forget sample of a patient about an image of theirs, with everything that a benchmark may know of it."""
    spans = tuple(Span(c, v, answer.index(v), answer.index(v) + len(v), 0.0) for c, v in values)
    return Sample(
        id=f"{patient}/{number}", record_id=f"record-of-{patient}", subset=Subset.FORGET_PRIVACY,
        stratum=Stratum.PRIVATE_TEXT if image is None else Stratum.PRIVATE_IMAGE, group=f"group-of-{patient}",
        patient_id=f"patient-{patient}", image_id=image and f"{image}-of-{patient}", question=question, answer=answer,
        language=language, spans=spans, phrasings=phrasings, form="direct", content_type=values[0][0],
        fact_id=f"{patient}/fact", modality="CT", body_part="liver", clean_answer="cyst", accepted=("a cyst",),
        hierarchy=(Node("patient", f"node-{patient}"),), regions=(Region("name", 0, 0, 9, 9),),
        probes=(Probe("p-1", "Who?"),),
    )  # fmt: skip


def forgotten(built: Benchmark) -> list[Sample]:
    """Those of a benchmark."""
    return [s for s in built.samples() if s.subset in (Subset.FORGET_PRIVACY, Subset.FORGET_INCORRECTNESS)]
