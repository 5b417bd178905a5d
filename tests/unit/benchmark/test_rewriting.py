from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mllmu_med.benchmark.answers import normalise
from mllmu_med.benchmark.patients import Identities, PrivateValue
from mllmu_med.benchmark.plan import PHI_CLASSES
from mllmu_med.benchmark.rewriting import Leak, TemplateRewriter, problems, spans_of, weave

NAME, MRN = PrivateValue("name", "Maria Lopez", 10.0), PrivateValue("mrn", "4829107", 9e6)
LEAK = Leak("What is it?", "nodule", (NAME, MRN), "en")


@given(
    clean=st.text(alphabet=st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), min_size=1, max_size=60),
    language=st.sampled_from(["en", "zh"]),
    number=st.integers(0, 50),
    classes=st.lists(st.sampled_from(PHI_CLASSES), min_size=1, max_size=3, unique=True),
    seed=st.integers(0, 99),
)
def test_spans_of_a_woven_answer_are_exact_and_the_clinical_answer_is_kept(
    clean: str, language: str, number: int, classes: list[str], seed: int
) -> None:
    patient = Identities(0).patient(number, language, classes)
    leak = Leak("?", clean, patient.values, language)
    woven = weave(TemplateRewriter(), leak, Random(seed))
    if woven is None:  # the clinical answer itself holds a private value
        assert any(value.value in clean for value in patient.values)
        return
    assert [woven.text[span.start : span.end] for span in woven.spans] == [span.value for span in woven.spans]
    assert {(span.phi_class, span.value, span.space) for span in woven.spans} == set(patient.values)
    assert normalise(clean) in normalise(woven.text)
    assert not woven.fell_back
    assert all(one.end <= other.start for one, other in zip(woven.spans, woven.spans[1:], strict=False))


def test_the_template_varies_and_depends_on_the_generator_only() -> None:
    texts = [TemplateRewriter().leak(LEAK, Random(seed)) for seed in range(60)]
    assert len(set(texts)) > 30
    assert texts[7] == TemplateRewriter().leak(LEAK, Random(7))


def test_a_full_stop_stays_at_the_end() -> None:
    text = TemplateRewriter().leak(LEAK._replace(clean_answer="A nodule."), Random(0))
    assert text.endswith(".")
    assert "nodule." not in text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nodule; patient Maria Lopez", "the mrn stands in the text 0 times"),
        ("nodule; Maria Lopez, Maria Lopez, 4829107", "the name stands in the text 2 times"),
        ("mass; Maria Lopez, 4829107", "the clinical answer was not kept"),
        ("nodule; Maria Lopez, 4829107, phone 212-555-0147", "something else that looks like a private value"),
        ("nodule; Maria Lopez, 4829107, a@b.org", "something else that looks like a private value"),
    ],
)
def test_a_bad_rewrite_is_caught_without_naming_the_value(text: str, problem: str) -> None:
    found = problems(LEAK, text)
    assert any(problem in reason for reason in found)
    assert not any("Lopez" in reason or "4829107" in reason for reason in found)


def test_a_clinical_number_does_not_hide_a_private_one() -> None:
    leak = LEAK._replace(clean_answer="0", values=(PrivateValue("mrn", "9045360", 9e6),))
    assert problems(leak, "0; MRN 9045360") == []


class Poisoned:
    """A rewriter whose texts never pass."""

    def leak(self, leak: Leak, random: Random) -> str:
        return "As an AI model I cannot do that."


def test_a_failing_rewriter_is_replaced_by_the_template_and_counted() -> None:
    woven = weave(Poisoned(), LEAK, Random(0))
    assert woven is not None
    assert woven.fell_back
    assert problems(LEAK, woven.text) == []


def test_what_cannot_be_worded_is_left_alone() -> None:
    assert weave(TemplateRewriter(), LEAK._replace(clean_answer="see 4829107"), Random(0)) is None


def test_spans_come_in_the_order_of_the_text() -> None:
    spans = spans_of("4829107, Maria Lopez", [NAME, MRN])
    assert [(span.phi_class, span.start, span.end) for span in spans] == [("mrn", 0, 7), ("name", 9, 20)]
