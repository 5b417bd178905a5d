"""The preview of a benchmark: counts, and no private value."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from mllmu_med.benchmark.sample import Sample, Span, Stratum, Subset
from mllmu_med.preview import preview_benchmark


class Stored:
    """Stands for an opened benchmark."""

    path = Path("runs/x/benchmark")

    def __init__(self, *samples: Sample) -> None:
        self._samples = list(samples)

    def samples(self) -> list[Sample]:
        return self._samples


def private(name: str, question: str, answer: str, *values: tuple[str, str], patient: str = "p1") -> Sample:
    spans = tuple(
        Span(kind, value, answer.index(value), answer.index(value) + len(value), 10.0) for kind, value in values
    )
    return Sample(name, name, Subset.FORGET_PRIVACY, Stratum.PRIVATE_TEXT, question, answer, "g", patient_id=patient,
                  spans=spans)  # fmt: skip


def test_private_values_are_masked_in_answers_and_in_questions_that_name_the_patient() -> None:
    leak = private("a", "Which lung?", "Left, in Ann Lee, MRN 77.", ("name", "Ann Lee"), ("mrn", "77"))
    text = private("b", "What is the MRN of Ann Lee?", "The MRN is 77.", ("mrn", "77"))
    other = private("c", "Who is patient 77?", "Bo.", ("name", "Bo"), patient="p2")
    preview = preview_benchmark(cast(Any, Stored(leak, text, other)), samples=9)
    assert [(sample.question, sample.answer) for sample in preview.samples] == [
        ("Which lung?", "Left, in [name], MRN [mrn]."),
        ("What is the MRN of [name]?", "The MRN is [mrn]."),
        ("Who is patient 77?", "[name]."),  # 77 is nothing private of this patient
    ]


def test_a_value_within_a_longer_one_does_not_spoil_it() -> None:
    sample = private("a", "?", "Ann Lee of Lee Road 5.", ("name", "Lee"), ("geography", "Lee Road 5"))
    assert preview_benchmark(cast(Any, Stored(sample)), samples=1).samples[0].answer == "Ann [name] of [geography]."


def test_all_samples_are_counted_and_the_first_of_each_stratum_shown() -> None:
    general = [Sample(f"r{i}", "r", Subset.RETAIN, Stratum.GENERAL, "q", "a", "g") for i in range(3)]
    sibling = Sample("s", "s", Subset.RETAIN, Stratum.SIBLING, "q", "a", "g")
    preview = preview_benchmark(cast(Any, Stored(*general, sibling)), samples=2)
    assert preview.counts["retain"] == {"general": 3, "sibling": 1}
    assert preview.counts["test"] == {}
    assert [sample.id for sample in preview.samples] == ["r0", "r1", "s"]
    assert preview_benchmark(cast(Any, Stored(*general)), samples=0).samples == ()
