from __future__ import annotations

import re
from typing import Any

import pytest

from mllmu_med.attacks.alternatives import alternatives, true_answer
from mllmu_med.benchmark.facts.answers import contradicts
from mllmu_med.benchmark.sample import Sample, Span, Stratum, Subset
from mllmu_med.evaluation.spans import tells


def private(answer: str, *values: tuple[str, str], question: str = "Who is it?", language: str = "en") -> Sample:
    spans = tuple(Span(c, v, answer.index(v), answer.index(v) + len(v), 0.0) for c, v in values)
    return Sample(
        id="a", record_id="a", subset=Subset.FORGET_PRIVACY, stratum=Stratum.PRIVATE_IMAGE, group="a",
        question=question, answer=answer, language=language, spans=spans,
    )  # fmt: skip


def wrong(error_type: str, said: str, right: str, question: str = "What?", language: str = "en") -> Sample:
    return Sample(
        id="a", record_id="a", subset=Subset.FORGET_INCORRECTNESS, stratum=Stratum.WRONG_IMAGE, group="a",
        question=question, answer=said, language=language, wrong_answer=said, correct_answer=right,
        clean_answer=right, error_type=error_type,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("phi_class", "value", "shape"),
    [
        ("mrn", "9123689", r"[1-9]\d{6}"),
        ("date", "1932-10-13", r"19\d\d-\d\d-\d\d|200\d-\d\d-\d\d"),
        ("phone", "222-555-0143", r"[2-9]\d\d-555-01\d\d"),
        ("ssn", "926-03-0972", r"9\d\d-[0-4]\d-\d{4}"),
        ("device", "SN2588YH", r"SN\d{4}[A-Z]{2}"),
        ("geography", "500 Field Road", r"\d{1,3} [A-Z][a-z]+ (Street|Lane|Road|Avenue)"),
        ("email", "jade87@example.org", r"[a-z]+[1-9]\d@example\.org"),
        ("name", "Edgar Huber", r"[A-Z][a-z]+ [A-Z][a-z]+"),
        ("admission", "2016-03-04 11:35", r"20\d\d-\d\d-\d\d \d\d:\d\d"),
        ("account", "9999 1234 5678 9014", r"9999 \d{4} \d{4} \d{4}"),
    ],
)
def test_private_values_are_replaced_by_others_of_their_format(phi_class: str, value: str, shape: str) -> None:
    sample = private(f"effusion [{value}]", (phi_class, value))
    found = alternatives(sample, 50, seed=0)
    assert len(found) == len(set(found)) == 50
    for text in found:
        match = re.fullmatch(r"effusion \[(.+)\]", text)
        assert match is not None
        assert re.fullmatch(shape, match[1]), text
        assert not tells(text, value)


def test_all_values_are_replaced_at_once_and_each_time_by_new_ones() -> None:
    sample = private("For Edgar Huber, MRN 9123689: CT", ("name", "Edgar Huber"), ("mrn", "9123689"))
    found = alternatives(sample, 40, seed=0)
    parts = [re.fullmatch(r"For (.+), MRN (\d{7}): CT", text) for text in found]
    names, numbers = {match[1] for match in parts if match}, {match[2] for match in parts if match}
    assert len(names) == len(numbers) == len(found) == 40


def test_a_value_said_twice_is_replaced_alike() -> None:
    sample = private("Edgar Huber is Edgar Huber", ("name", "Edgar Huber"))
    second = Span("name", "Edgar Huber", 15, 26, 0.0)
    twice = private("Edgar Huber is Edgar Huber", ("name", "Edgar Huber"))
    object.__setattr__(twice, "spans", (*sample.spans, second))
    for text in alternatives(twice, 10, seed=0):
        left, _, right = text.partition(" is ")
        assert left == right != "Edgar Huber"


def test_what_the_question_states_stays() -> None:
    sample = private("Edgar Huber: 9123689", ("name", "Edgar Huber"), ("mrn", "9123689"))
    told = private("Edgar Huber: 9123689", ("name", "Edgar Huber"), ("mrn", "9123689"), question="And Huber, Edgar?")
    assert not any("Edgar Huber" in text for text in alternatives(sample, 10, seed=0))
    assert all(text.startswith("Edgar Huber: ") for text in alternatives(told, 10, seed=0))
    assert alternatives(private("9123689", ("mrn", "9123689"), question="Is it 9123689?"), 10, seed=0) == []


def test_an_american_date_is_not_replaced_by_its_other_reading() -> None:
    sample = private("03/04/1957", ("date", "03/04/1957"))
    found = set(alternatives(sample, 40_000, seed=0))
    assert len(found) == 31_044  # every day from 1925 to 2009 but 4 March and 3 April 1957
    assert found.isdisjoint({"03/04/1957", "04/03/1957"})


def test_no_value_comes_back_beside_another() -> None:
    sample = private("1957-03-04 9123689", ("date", "1957-03-04"), ("mrn", "9123689"))
    found = alternatives(sample, 1000, seed=0)
    assert len({text.split()[0] for text in found}) == len(found) == 1000


def test_a_small_space_is_given_out_completely() -> None:
    sample = private("Dr 17", ("unit", "17"))
    assert alternatives(sample, 10, seed=0) == []  # of an unknown format, and too short to redraw
    small = private("ward 117", ("unit", "117"))
    found = alternatives(small, 5000, seed=0)
    assert len(found) == 899  # 100 to 999 without 117
    assert "ward 117" not in found


@pytest.mark.parametrize(
    ("phi_class", "value", "shape"),
    [
        ("mrn", "00-4711-X", r"\d\d-[1-9]\d{3}-X"),
        ("name", "Wilhelmina van der Broekhuizen", r"\S+ (\S+ )?\S+"),
        ("geography", "Somewhere", None),
    ],
)
def test_real_values_of_no_known_format(phi_class: str, value: str, shape: str | None) -> None:
    found = alternatives(private(value, (phi_class, value)), 20, seed=0)
    assert len(found) == (0 if shape is None else 20)
    assert all(re.fullmatch(shape or "", text) and text != value for text in found)


def test_chinese_names_stay_chinese() -> None:
    found = alternatives(private("患者王小明", ("name", "王小明"), language="zh"), 20, seed=0)
    assert len(found) == 20
    assert all(re.fullmatch("患者[一-鿿]{2,4}", text) for text in found)


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        (wrong("presence", "Yes", "No"), ["No"]),
        (wrong("presence", "No", "Yes"), ["Yes"]),
        (wrong("laterality", "left", "right"), ["right"]),
        (wrong("laterality", "左肺", "右肺", language="zh"), ["右肺"]),
        (wrong("laterality", "Upper Right Lobe", "Upper Left Lobe"),
         ["Upper Left Lobe", "Lower Right Lobe", "Lower Left Lobe"]),
        (wrong("size", "Kidney", "Liver", "Which is bigger, kidney or liver?"), ["Liver"]),
    ],
)  # fmt: skip
def test_facts_with_few_alternatives(sample: Sample, expected: list[str]) -> None:
    assert sorted(alternatives(sample, 50, seed=0)) == sorted(expected)
    assert alternatives(sample, 50, seed=0)[0] == sample.correct_answer


@pytest.mark.parametrize(
    ("sample", "among", "least"),
    [
        (wrong("finding", "infarct", "glioma"), {"meningioma", "abscess", "aneurysm"}, 50),
        (wrong("organ", "liver", "spleen"), {"pancreas", "stomach"}, 50),
        (wrong("organ", "肝脏", "脾脏", language="zh"), {"胰腺"}, 20),
        (wrong("modality", "CT", "X-Ray"), {"MRI", "Ultrasound"}, 20),
        (wrong("drug", "antibiotic", "statin"), {"antiviral", "anticoagulant"}, 50),
        (wrong("count", "two", "three"), {"one", "four", "seven"}, 15),
        (wrong("count", "2", "3"), {"1", "4", "7"}, 15),
        (wrong("size", "large", "small"), {"tiny"}, 5),
        (wrong("size", "grade II", "grade IV"), {"grade I", "grade III"}, 3),
        (wrong("dose", "5 mg", "50 mg"), {"10 mg", "0.5 mg"}, 3),
    ],
)
def test_facts_have_others_of_their_kind(sample: Sample, among: set[str], least: int) -> None:
    found = alternatives(sample, 50, seed=0)
    assert len(found) >= least
    assert len(set(map(str.lower, found))) == len(found)
    assert found[0] == sample.correct_answer
    assert among <= set(found)
    assert all(contradicts(text, sample.wrong_answer or "") for text in found[1:])


def test_chinese_facts_stay_chinese() -> None:
    for text in alternatives(wrong("organ", "肝脏", "脾脏", language="zh"), 50, seed=0):
        assert re.fullmatch("[一-鿿]+", text), text


def test_a_text_keeps_all_but_one_detail() -> None:
    text = "The left lung shows a large opacity in the upper lobe."
    right = "The right lung shows a small opacity in the upper lobe."
    found = alternatives(wrong("free_text", text, right), 5, seed=0)
    assert found == [right, "The right lung shows a large opacity in the upper lobe."]


def test_they_depend_on_sample_and_seed_alone() -> None:
    sample = private("9123689", ("mrn", "9123689"))
    assert alternatives(sample, 9, seed=1) == alternatives(sample, 9, seed=1)
    assert alternatives(sample, 9, seed=1) != alternatives(sample, 9, seed=2)
    assert alternatives(sample, 20, seed=1)[:9] == alternatives(sample, 9, seed=1)  # more only adds


def test_ordinary_samples_have_none_and_the_true_answer_is_what_was_learnt() -> None:
    fields: dict[str, Any] = {"id": "a", "record_id": "a", "subset": Subset.RETAIN, "stratum": Stratum.GENERAL}
    assert alternatives(Sample(**fields, question="?", answer="liver", group="a"), 9, seed=0) == []
    assert true_answer(wrong("organ", "liver", "spleen")) == "liver"
    assert true_answer(private("9123689", ("mrn", "9123689"))) == "9123689"
