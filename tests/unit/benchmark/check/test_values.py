from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mllmu_med.benchmark.check.findings import Finding
from mllmu_med.benchmark.check.values import PrivateValues
from mllmu_med.benchmark.sample import Probe, Sample, Span, Stratum, Subset
from tests.unit.benchmark.check.tampering import Good, about, changed, checks, ordinary


def judged(*samples: Sample) -> list[Finding]:
    """What the family finds in these samples."""
    family = PrivateValues()
    for sample in samples:
        family.note(sample)
    return [*(finding for sample in samples for finding in family.judge(sample)), *family.conclude()]


def private(patient: str, value: str, subset: Subset = Subset.RETAIN, **fields: Any) -> Sample:
    """A direct question about one value."""
    spans = (Span("mrn", value, 0, len(value), 10.0),)
    made = {
        "id": f"{patient}/{value}", "answer": value, "spans": spans, "question": "Which record?", "form": "direct",
        "image_id": f"image of {patient}", "record_id": "r", "subset": subset,
    }  # fmt: skip
    return Sample(stratum=Stratum.PRIVATE_IMAGE, group=patient, patient_id=patient, **{**made, **fields})


def plain(**fields: Any) -> Sample:
    """A record of nobody's."""
    made = {"question": "What is it?", "answer": "cyst", "subset": Subset.TEST}
    return Sample(id="p", record_id="p", stratum=Stratum.GENERAL, group="p", **{**made, **fields})


def test_a_value_of_two_patients_is_told(good: Good, tmp_path: Path) -> None:
    mine = good.one(form="direct", subset=Subset.FORGET_PRIVACY)
    theirs = next(s for s in good.samples if s.form == "direct" and s.subset is Subset.HOLDOUT)
    value = mine.spans[0].value
    spans = (replace(theirs.spans[0], value=value, end=len(value)),)
    report = good.tampered(tmp_path / "b", changed(good.samples, {theirs.id: {"answer": value, "spans": spans}}))
    assert checks(report) == {"private values"}
    place = f"which belongs to {mine.patient_id}"
    assert [text.rpartition(", ")[2] for text in about(report, theirs.id)] == [
        place, f"the {theirs.spans[0].phi_class} {value[0]}… ({len(value)} signs) is also that of {mine.patient_id}"
    ]  # fmt: skip
    assert [f for f in report.findings if " is told in " in f.text] == []


@pytest.mark.parametrize(
    ("where", "field", "value"),
    [
        ("question", "question", "Is it {}?"),
        ("answer", "answer", "cyst, {}"),
        ("phrasing", "phrasings", ("See {}.",)),
        ("clean answer", "clean_answer", "({})"),
        ("clean answer", "accepted", ("cyst", "the {}")),
        ("probe", "probes", (Probe("generic", "Was {} here?"),)),
        ("probe", "probes", (Probe("neighbour-image", "Who?", "other", "image of p1", "{}"),)),
    ],
)
def test_a_value_in_any_text_of_somebody_else_is_told(where: str, field: str, value: Any) -> None:
    def fill(part: Any) -> Any:
        if isinstance(part, str):
            return part.replace("{}", "MRN-4711")
        if isinstance(part, Probe):
            return replace(part, question=fill(part.question), answer=part.answer and fill(part.answer))
        return tuple(map(fill, part))

    owner, other = private("p0", "MRN-4711"), private("p1", "MRN-0815")
    for stranger in (plain(**{field: fill(value)}), replace(other, **{field: fill(value)})):
        found = [f for f in judged(owner, other, stranger) if f.sample_id == stranger.id]
        assert [f.text for f in found] == [f"its {where} holds M… (8 signs), which belongs to p0"]


def test_own_values_may_stand_in_own_texts_but_not_in_the_clean_answer() -> None:
    name = private("p0", "Maria Lopez")
    asked = private("p0", "MRN-4711", question="Which record has Maria Lopez?", phrasings=("Maria Lopez: record?",))
    assert judged(name, asked) == []
    told = judged(name, replace(asked, form="leak", clean_answer="cyst of Maria Lopez"))
    assert [f.text for f in told] == ["its clean answer holds M… (11 signs), which belongs to its own patient"]


def test_a_probe_about_another_patient_may_hold_that_patients_value_only() -> None:
    mine, sibling, third = (private(f"p{number}", f"MRN-471{number}") for number in range(3))

    def ask(answer: str, image: str) -> list[str]:
        probe = Probe("neighbour-patient", "Which record?", "other", f"image of {image}", answer)
        return [f.text for f in judged(replace(mine, probes=(probe,)), sibling, third)]

    assert ask("MRN-4711", "p1") == []
    assert ask("MRN-4712", "p1") == ["its probe holds M… (8 signs), which belongs to p2"]


def test_a_question_that_tells_its_answer_is_told() -> None:
    given = private("p0", "MRN-4711", phrasings=("Is the record MRN-4711?",))
    assert [f.text for f in judged(given)] == ["a question of it tells the mrn M… (8 signs) that its answer is to tell"]
    probed = private("p0", "MRN-4711", probes=(Probe("generic", "MRN-4711?"),))
    assert len(judged(probed)) == 1


def test_a_value_to_be_forgotten_and_to_be_kept_is_told() -> None:
    forget = private("p0", "MRN-4711", Subset.FORGET_PRIVACY)
    retain = private("p0", "MRN-4711", Subset.RETAIN, id="again")
    assert [(f.sample_id, f.text) for f in judged(forget, retain)] == [
        ("again", f"the mrn M… (8 signs) is told in retain and in forget/privacy ({forget.id})")
    ]
    # Another value of the same patient may be kept; whether a patient may is another check's concern.
    assert judged(forget, private("p0", "MRN-4712", Subset.RETAIN)) == []


def test_a_value_without_a_patient_is_told() -> None:
    stray = replace(private("p0", "MRN-4711"), patient_id=None)
    assert "has the mrn M… (8 signs) but no patient" in [f.text for f in judged(stray)]


def test_pieces_of_longer_words_and_numbers_are_not_values() -> None:
    owner, name = private("p0", "471100"), private("p1", "Anna Berg")
    for text in ("Is it 4711003?", "Is it 14711002?", "Is Anna Berger here?", "Hanna Berg?", "471 100"):
        assert judged(owner, name, plain(question=text)) == []
    for text in ("Is it MRN471100?", "(471100)", "471100.", "Anna Berg's film", "anna Anna Berg"):
        assert len(judged(owner, name, plain(question=text))) == 1, text


def test_what_may_stand_somewhere_by_chance_is_not_looked_for() -> None:
    short, chinese, long = private("p0", "Li Bo"), private("p1", "李明"), private("p2", "李小明")
    assert judged(short, chinese, plain(question="Li Bo 李明")) == []
    assert len(judged(long, plain(question="患者李小明的检查"))) == 1


def test_each_place_and_value_is_told_once() -> None:
    text = "MRN-4711 MRN-4711"
    found = judged(private("p0", "MRN-4711"), plain(question=text, phrasings=(text, text)))
    assert len(found) == 2


def test_strangers_texts_in_a_whole_benchmark(good: Good, tmp_path: Path) -> None:
    value = good.one(form="direct", subset=Subset.FORGET_PRIVACY).spans[0].value
    sibling = good.one(stratum=Stratum.SIBLING)
    tested = ordinary(good.samples, Subset.TEST)[0]
    changes = {sibling.id: {"question": f"Is {value} here?"}, tested.id: {"accepted": (value,)}}
    report = good.tampered(tmp_path / "b", changed(good.samples, changes))
    assert {f.sample_id for f in report.findings} == {sibling.id, tested.id}
    assert checks(report) == {"private values"}
