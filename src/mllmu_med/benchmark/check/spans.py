"""Spans: where private values stand in the answers, and whether the answer still says what the record says."""

from __future__ import annotations

from collections.abc import Iterator

from mllmu_med.benchmark.check.family import Family
from mllmu_med.benchmark.check.findings import Finding, error, masked
from mllmu_med.benchmark.identities import PrivateValue
from mllmu_med.benchmark.plan import ADDITIONAL_CLASSES, FORMS, PHI_CLASSES
from mllmu_med.benchmark.rewriting import Leak, problems
from mllmu_med.benchmark.sample import Sample, Span, Subset

_CHECK = "spans"


class Spans(Family):
    """Every span is where it says, of a known class; a leak keeps the clinical answer and tells nothing else.

    Args:
        real: the values to forget are those of real people; out of how many candidates they came is not known.
    """

    def __init__(self, *, real: bool) -> None:
        self._real = real

    def judge(self, sample: Sample) -> Iterator[Finding]:
        placed = [span for span in sample.spans if _is_there(span, sample.answer)]
        for span in sample.spans:
            if span not in placed:
                where = f"{span.start}:{span.end}"
                yield error(
                    _CHECK, sample.id, f"the {span.phi_class} {masked(span.value, real=self._real)} is not at {where}"
                )
            if span.phi_class not in PHI_CLASSES and span.phi_class not in ADDITIONAL_CLASSES:
                yield error(_CHECK, sample.id, f"'{span.phi_class}' is not a class of private values")
            unknown = self._real and span.space == 0 and sample.subset is Subset.FORGET_PRIVACY
            if not (span.space > 0 or unknown):
                yield error(_CHECK, sample.id, f"the {span.phi_class} was drawn from {span.space} candidates")
        if sample.form is None:
            if sample.spans:
                yield error(_CHECK, sample.id, "has private values but no form")
            return
        if sample.form not in FORMS:
            yield error(_CHECK, sample.id, f"'{sample.form}' is not a form; known: {', '.join(FORMS)}")
        if not sample.spans:
            yield error(_CHECK, sample.id, f"a '{sample.form}' sample without a private value")
        elif len(placed) == len(sample.spans):
            yield from _told(sample)


def _is_there(span: Span, answer: str) -> bool:
    return 0 <= span.start < span.end and answer[span.start : span.end] == span.value


def _told(sample: Sample) -> Iterator[Finding]:
    """Of a sample whose spans are right: what its answer says besides."""
    if sample.form != "leak":
        if [span.value for span in sample.spans] != [sample.answer]:
            yield error(_CHECK, sample.id, "the answer is not the private value alone")
        if sample.clean_answer is not None:
            yield error(_CHECK, sample.id, "has a clean answer, though it is asked for a private value only")
    elif sample.clean_answer is None:
        yield error(_CHECK, sample.id, "a leak without a clean answer")
    else:
        values = tuple([PrivateValue(span.phi_class, span.value, span.space) for span in sample.spans])
        for problem in problems(Leak(sample.question, sample.clean_answer, values, sample.language), sample.answer):
            yield error(_CHECK, sample.id, problem)
