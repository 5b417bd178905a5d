"""The preview of a benchmark: counts, and no private value."""

from __future__ import annotations

from dataclasses import astuple

import pytest

from mllmu_med.benchmark.sample import Node, Sample, Span, Stratum, Subset
from mllmu_med.errors import UsageError
from mllmu_med.preview import preview_benchmark
from mllmu_med.report.benchmark_filters import Filters
from tests.unit.report.fake_benchmark import NAMES, NUMBERS, FakeBenchmark, make_benchmark


def private(name: str, question: str, answer: str, *values: tuple[str, str], patient: str = "p1") -> Sample:
    spans = tuple(
        Span(kind, value, answer.index(value), answer.index(value) + len(value), 10.0) for kind, value in values
    )
    return Sample(name, name, Subset.FORGET_PRIVACY, Stratum.PRIVATE_TEXT, question, answer, "g", patient_id=patient,
                  spans=spans)  # fmt: skip


def stored(*samples: Sample) -> FakeBenchmark:
    return FakeBenchmark(list(samples), {})


def test_private_values_are_masked_in_answers_and_in_questions_that_name_the_patient() -> None:
    leak = private("a", "Which lung?", "Left, in Ann Lee, MRN 77.", ("name", "Ann Lee"), ("mrn", "77"))
    text = private("b", "What is the MRN of Ann Lee?", "The MRN is 77.", ("mrn", "77"))
    other = private("c", "Who is patient 77?", "Bo.", ("name", "Bo"), patient="p2")
    preview = preview_benchmark(stored(leak, text, other), samples=9)
    assert [(sample.question, sample.answer) for sample in preview.samples] == [
        ("Which lung?", "Left, in [name], MRN [mrn]."),
        ("What is the MRN of [name]?", "The MRN is [mrn]."),
        ("Who is patient 77?", "[name]."),  # 77 is nothing private of this patient
    ]


def test_a_value_within_a_longer_one_does_not_spoil_it() -> None:
    sample = private("a", "?", "Ann Lee of Lee Road 5.", ("name", "Lee"), ("geography", "Lee Road 5"))
    assert preview_benchmark(stored(sample), samples=1).samples[0].answer == "Ann [name] of [geography]."


def test_a_value_is_masked_however_it_is_spelt() -> None:
    told = private("a", "Who is it?", "Ann Lee", ("name", "Ann Lee"))
    asked = private("b", "Is this LEE, Ann, of ann  lee's ward?", "yes")
    assert preview_benchmark(stored(told, asked), samples=2).samples[1].question == "Is this [name], of [name]'s ward?"


def test_all_samples_are_counted_and_a_few_of_each_stratum_shown() -> None:
    general = [Sample(f"r{i}", "r", Subset.RETAIN, Stratum.GENERAL, "q", "a", "g") for i in range(3)]
    sibling = Sample("s", "s", Subset.RETAIN, Stratum.SIBLING, "q", "a", "g")
    preview = preview_benchmark(stored(*general, sibling), samples=2)
    assert preview.counts["retain"] == {"general": 3, "sibling": 1}
    assert preview.counts["test"] == {}
    assert [sample.stratum for sample in preview.samples] == ["general", "general", "sibling"]
    assert preview_benchmark(stored(*general), samples=0).samples == ()


def test_filters_choose_what_is_shown_and_leave_the_counts_alone() -> None:
    preview = preview_benchmark(make_benchmark(), samples=9, filters=Filters("retain", phi_class="mrn"))
    assert [sample.id for sample in preview.samples] == ["p2/leak", "p2/burned", "p2/text"]
    assert preview.fitting == 3
    assert preview.counts["forget/privacy"] == {"private_image": 2, "private_text": 1}
    leak, burned = preview.samples[:2]
    assert (leak.form, leak.classes, leak.patient, leak.right) == ("leak", ("name", "mrn"), "p2", "A small nodule.")
    assert (burned.form, burned.right) == ("burned", None)
    with pytest.raises(UsageError, match="did you mean 'mrn'"):
        preview_benchmark(make_benchmark(), samples=1, filters=Filters(phi_class="mnr"))


def test_wrong_facts_come_with_the_right_answer() -> None:
    preview = preview_benchmark(make_benchmark(), samples=1, filters=Filters(error_type="laterality"))
    (sample,) = preview.samples
    assert (sample.answer, sample.right, sample.error_type) == ("right lung", "left lung", "laterality")


def test_no_private_value_and_no_control_character_is_left() -> None:
    benchmark = make_benchmark()
    evil = Sample("e\x1b[2J", "e", Subset.RETAIN, Stratum.GENERAL, "q\u202e", "a", "g", form="\x07",
                  hierarchy=(Node("patient", "p1"),))  # fmt: skip
    preview = preview_benchmark(FakeBenchmark([*benchmark.everything, evil], {}), samples=99)
    text = "\n".join(map(str, (field for sample in preview.samples for field in astuple(sample))))
    assert "e␛[2J" in text
    assert "⟨U+202E⟩" in text
    assert not [value for value in (*NAMES.values(), *NUMBERS.values(), "\x1b", "\x07") if value in text]
