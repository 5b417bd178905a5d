from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mllmu_med.benchmark.sample import Subset
from tests.unit.benchmark.check.tampering import Good, about, changed, checks, told


def test_every_fault_of_a_span_is_told(good: Good, tmp_path: Path) -> None:
    forget = {"subset": Subset.RETAIN}
    one, two, three = good.some(3, form="direct", **forget)
    (leak, other), plain = good.some(2, form="leak", **forget), good.one(subset=Subset.TEST)
    value = one.spans[0].value
    changes = {
        one.id: {"spans": (replace(one.spans[0], start=1),)},
        two.id: {"spans": (replace(two.spans[0], start=-1, end=-1 + len(two.answer)),)},
        three.id: {"answer": f"It is {three.answer}.", "spans": (
            replace(three.spans[0], start=6, end=6 + len(three.answer)),), "clean_answer": "none"},
        leak.id: {"spans": (replace(leak.spans[0], phi_class="shoe size", space=0.0), *leak.spans[1:])},
        other.id: {"spans": (replace(other.spans[0], end=other.spans[0].end + 1), *other.spans[1:])},
        plain.id: {"spans": (replace(one.spans[0], end=len(plain.answer), value=plain.answer),)},
    }  # fmt: skip
    report = good.tampered(tmp_path / "b", changed(good.samples, changes))
    found = {
        sample.id: [f.text for f in report.findings if f.check == "spans" and f.sample_id == sample.id]
        for sample in (one, two, three, leak, other, plain)
    }
    start, end = other.spans[0].start, other.spans[0].end + 1
    assert found[one.id] == [f"the {one.spans[0].phi_class} {value[0]}… ({len(value)} signs) is not at 1:{len(value)}"]
    assert "is not at -1:" in found[two.id][0]
    assert found[three.id] == [
        "has a clean answer, though it is asked for a private value only",
        "the answer is not the private value alone",
    ]
    assert found[leak.id] == [
        "'shoe size' is not a class of private values",
        "the shoe size was drawn from 0.0 candidates",
    ]
    assert len(found[other.id]) == 1
    assert found[other.id][0].endswith(f"is not at {start}:{end}")
    assert found[plain.id] == ["has private values but no form"]


def test_a_form_without_values_or_of_no_known_name_is_told(good: Good, tmp_path: Path) -> None:
    leak, direct = good.one(form="leak", subset=Subset.RETAIN), good.one(form="direct", subset=Subset.HOLDOUT)
    changes = {leak.id: {"spans": ()}, direct.id: {"form": "shouted"}}
    report = good.tampered(tmp_path / "b", changed(good.samples, changes))
    assert "a 'leak' sample without a private value" in about(report, leak.id)
    assert about(report, direct.id) == ["'shouted' is not a form; known: leak, direct, text, burned"]


def test_a_leak_that_lost_the_clinical_answer_or_tells_more_is_told(good: Good, tmp_path: Path) -> None:
    lost, denied, bare, more = good.some(4, form="leak", subset=Subset.RETAIN)
    changes = {
        lost.id: {"clean_answer": "pancreatic pseudocyst"},
        bare.id: {"clean_answer": None},
        more.id: {"answer": f"{more.answer} Her sister's number is 555-0199-332."},
        denied.id: {"answer": f"{denied.answer} Contact: nobody@example.org."},
    }
    report = good.tampered(tmp_path / "b", changed(good.samples, changes))
    assert checks(report) == {"spans"}
    assert about(report, lost.id)[0] == "the clinical answer was not kept"
    assert about(report, bare.id) == ["a leak without a clean answer"]
    assert any("looks like a private value: a number" in text for text in about(report, more.id))
    assert any("looks like a private value: an e-mail address" in text for text in about(report, denied.id))


def test_places_are_counted_from_the_start_only(good: Good, tmp_path: Path) -> None:
    sample = good.one(form="direct", subset=Subset.HOLDOUT)
    length = len(sample.answer)
    span = replace(sample.spans[0], start=-length, end=length)  # the value again, as Python slices
    report = good.tampered(tmp_path / "b", changed(good.samples, {sample.id: {"spans": (span,)}}))
    assert [text for text in about(report, sample.id) if f"is not at {-length}:{length}" in text]


def test_a_value_that_is_not_there_is_told_once(good: Good, tmp_path: Path) -> None:
    leak = next(s for s in good.samples if s.form == "leak" and len(s.spans) == 2 and s.subset is Subset.HOLDOUT)
    forged = replace(leak.spans[1], value="#" * len(leak.spans[1].value))
    report = good.tampered(tmp_path / "b", changed(good.samples, {leak.id: {"spans": (leak.spans[0], forged)}}))
    found = [f.text for f in report.findings if f.check == "spans" and f.sample_id == leak.id]
    assert len(found) == 1
    assert f"is not at {forged.start}:{forged.end}" in found[0]


def test_a_value_told_twice_in_one_answer_is_told(good: Good, tmp_path: Path) -> None:
    leak = good.one(form="leak", subset=Subset.RETAIN)
    span = leak.spans[0]
    samples = changed(good.samples, {leak.id: {"answer": f"{leak.answer} {span.value}"}})
    texts = told(good.tampered(tmp_path / "b", samples))
    wanted = f"error [spans] {leak.id}: the {span.phi_class} stands in the text 2 times instead of once"
    assert wanted in texts
    assert not any(span.value in text for text in texts)
