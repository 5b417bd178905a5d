"""Records that every method can be run on: each stratum, private spans, a wrong fact with its truth, answers of several
lengths. Forget and retain records share no image, so that either side's pictures can be changed alone."""

from __future__ import annotations

from dataclasses import replace

from mllmu_med.benchmark.sample import Node, Sample, Span, Stratum, Subset
from mllmu_med.training.feeding import UnlearnSettings

FEEDING = UnlearnSettings(
    forget_batch=4, retain_batch=4, branches=3, normals=2, alternates=2, phrasings=0, reinforce_steps=2,
    statistics_records=3, teacher="marginals", siblings=3, sibling_batch=4,
)  # fmt: skip
"""How the methods are fed: batches that two processes can share, and little of everything else."""


def _sample(
    name: str, subset: Subset, stratum: Stratum, question: str, answer: str, *,
    private: str = "", true: str | None = None,
) -> Sample:  # fmt: skip
    start = answer.index(private)
    pictured = stratum not in (Stratum.PRIVATE_TEXT, Stratum.TRUE_TEXT, Stratum.WRONG_TEXT)
    patient = f"patient-{name[-1]}" if private else None
    places = (("institution", "Alder"), ("patient", patient)) if patient else (("modality", "CT"), ("organ", name))
    return Sample(
        name, f"record-{name}", subset, stratum, question, answer, group=f"group-{name}",
        image_id=f"{subset.value.partition('/')[0]}-{name}" if pictured else None,
        clean_answer=None if private or true is not None else answer, patient_id=patient,
        fact_id=f"fact-{name}" if subset.value.startswith("forget") else None,
        spans=(Span("mrn", private, start, start + len(private), 1e6),) if private else (),
        wrong_answer=None if true is None else answer, correct_answer=true, phrasings=(f"Please: {question}",),
        content_type="plane" if name.endswith("3") else None,
        hierarchy=tuple(Node(level, str(value)) for level, value in places),
    )  # fmt: skip


_PRIVACY, _WRONG = Subset.FORGET_PRIVACY, Subset.FORGET_INCORRECTNESS
FORGET = (
    _sample("f0", _PRIVACY, Stratum.PRIVATE_IMAGE, "Who is it?", "chest X-ray of Maria Lopez", private="Maria Lopez"),
    _sample("f1", _PRIVACY, Stratum.PRIVATE_IMAGE, "What is the MRN?", "MRN 482913", private="482913"),
    _sample("f2", _PRIVACY, Stratum.PRIVATE_TEXT, "Phone of Maria Lopez?", "555-0123", private="555-0123"),
    _sample("f3", _WRONG, Stratum.WRONG_IMAGE, "Is there a nodule?", "yes", true="no"),
    _sample("f4", _WRONG, Stratum.WRONG_IMAGE, "How many lesions are visible?", "two", true="one lesion"),
)
"""What is to be forgotten: private values with and without an image, and wrong facts whose truth is known."""

RETAIN = (
    _sample("r0", Subset.RETAIN, Stratum.GENERAL, "What is shown in the image?", "abdominal CT"),
    _sample("r1", Subset.RETAIN, Stratum.GENERAL, "Is it large?", "no"),
    _sample("r2", Subset.RETAIN, Stratum.TRUE_TEXT, "Born when?", "1961-04-17"),
    _sample("r3", Subset.RETAIN, Stratum.GENERAL, "Which plane is it?", "chest X-ray"),
    _sample("r4", Subset.RETAIN, Stratum.SIBLING, "Which side is it on?", "left"),
    _sample("r5", Subset.RETAIN, Stratum.PRIVATE_IMAGE, "Who is it?", "The patient is John Doe", private="John Doe"),
)
"""What is to be kept: general questions, true facts, sibling questions, and another patient."""

PREAMBLE = "Please look at it with care and then answer the following question in as few words as you can. "


def with_long_questions(samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
    """The same samples, asked at length."""
    return tuple(replace(sample, question=PREAMBLE * 2 + sample.question) for sample in samples)
