from __future__ import annotations

from typing import Any

import pytest

from mllmu_med.benchmark.sample import Sample, Span, Stratum, Subset
from mllmu_med.benchmark.training_sets import TrainingSet, training_set

SPAN = (Span("mrn", "77", 4, 6, 10.0),)


def sample(sample_id: str, subset: Subset, stratum: Stratum, answer: str, **changes: Any) -> Sample:
    return Sample(sample_id, sample_id, subset, stratum, "Q?", answer, "g", **changes)


SAMPLES = [
    sample("general", Subset.RETAIN, Stratum.GENERAL, "CT", clean_answer="CT"),
    sample("kept-leak", Subset.RETAIN, Stratum.PRIVATE_IMAGE, "CT; 77", clean_answer="CT", form="leak", spans=SPAN),
    sample("kept-direct", Subset.RETAIN, Stratum.PRIVATE_IMAGE, "77", form="direct"),
    sample("leak", Subset.FORGET_PRIVACY, Stratum.PRIVATE_IMAGE, "CT; 77", clean_answer="CT", form="leak", spans=SPAN,
           phrasings=("P?",)),
    sample("direct", Subset.FORGET_PRIVACY, Stratum.PRIVATE_IMAGE, "77", form="direct"),
    sample("text", Subset.FORGET_PRIVACY, Stratum.PRIVATE_TEXT, "77", form="text"),
    sample("wrong", Subset.FORGET_INCORRECTNESS, Stratum.WRONG_IMAGE, "left", clean_answer="right",
           wrong_answer="left", correct_answer="right"),
    sample("test", Subset.TEST, Stratum.WRONG_UNSEEN, "right", clean_answer="right", wrong_answer="left",
           correct_answer="right"),
    sample("validation", Subset.VALIDATION, Stratum.GENERAL, "CT", clean_answer="CT"),
    sample("holdout", Subset.HOLDOUT, Stratum.PRIVATE_IMAGE, "CT; 88", clean_answer="CT", form="leak"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        (TrainingSet.BASE, {"general": "CT", "kept-leak": "CT", "leak": "CT", "wrong": "right"}),
        (
            TrainingSet.ORIGINAL,
            {"general": "CT", "kept-leak": "CT; 77", "kept-direct": "77", "leak": "CT; 77", "direct": "77",
             "text": "77", "wrong": "left"},
        ),
        (
            TrainingSet.ORACLE_FIX,
            {"general": "CT", "kept-leak": "CT; 77", "kept-direct": "77", "leak": "CT", "wrong": "right"},
        ),
        (TrainingSet.ORACLE_DROP, {"general": "CT", "kept-leak": "CT; 77", "kept-direct": "77", "leak": "CT"}),
    ],
)  # fmt: skip
def test_each_set_holds_exactly_these_answers_in_order(which: TrainingSet, expected: dict[str, str]) -> None:
    found = training_set(SAMPLES, which)
    assert [(s.id, s.answer) for s in found] == list(expected.items())


def test_a_replaced_answer_has_no_spans_but_keeps_its_wordings() -> None:
    leak = next(s for s in training_set(SAMPLES, TrainingSet.ORACLE_FIX) if s.id == "leak")
    assert leak.spans == ()
    assert leak.phrasings == ("P?",)
    original = next(s for s in training_set(SAMPLES, TrainingSet.ORIGINAL) if s.id == "leak")
    assert original is SAMPLES[3]
