from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mllmu_med.benchmark.sample import Stratum, Subset
from tests.unit.benchmark.check.tampering import Good, changed, checks, ordinary, told


def test_a_record_group_or_image_in_two_parts_is_told(good: Good, tmp_path: Path) -> None:
    trained, tested = ordinary(good.samples, Subset.RETAIN), ordinary(good.samples, Subset.TEST)
    held, validated = good.one(subset=Subset.HOLDOUT, form="direct"), ordinary(good.samples, Subset.VALIDATION)
    changes = {
        trained[0].id: {"record_id": tested[0].record_id},
        trained[1].id: {"group": tested[1].group},
        trained[2].id: {"image_id": tested[2].image_id},
        tested[3].id: {"record_id": validated[0].record_id},
        tested[4].id: {"group": held.group},
    }
    samples = changed(good.samples, changes)
    first = next(s for s in good.samples if s.group == held.group)
    report = good.tampered(tmp_path / "b", samples)
    own = "it stands in {} itself"
    assert told(report) == sorted([
        f"error [leak: record] {tested[0].id}: its record is also that of {trained[0].id} in training; "
        + own.format("test"),
        f"error [leak: record] {tested[3].id}: its record is also that of {validated[0].id} in validation; "
        + own.format("test"),
        f"error [leak: group] {first.id}: its group is also that of {tested[4].id} in test; " + own.format("holdout"),
        f"error [leak: group] {tested[1].id}: its group is also that of {trained[1].id} in training; "
        + own.format("test"),
        f"error [leak: image] {tested[2].id}: its image is also that of {trained[2].id} in training; "
        + own.format("test"),
    ])  # fmt: skip


def test_forgetting_and_retaining_share_groups_and_images(good: Good) -> None:
    forgotten = {s.group for s in good.samples if s.subset is Subset.FORGET_PRIVACY}
    assert forgotten & {s.group for s in good.samples if s.subset is Subset.RETAIN}  # and yet nothing is found


def test_a_patient_in_two_subsets_is_told_unless_parts_of_patients_are_forgotten(good: Good, tmp_path: Path) -> None:
    patient = good.one(subset=Subset.FORGET_PRIVACY, form="direct")
    own = [s for s in good.samples if s.patient_id == patient.patient_id]
    section = next(s.content_type for s in own if s.form == "direct" and s.content_type != "name")
    moved = [
        replace(s, subset=Subset.RETAIN, probes=())
        if s.patient_id == patient.patient_id and s.content_type == section
        else s
        for s in good.samples
    ]
    report = good.tampered(tmp_path / "whole", moved)
    assert "leak: patient" in checks(report)
    text = next(str(f) for f in report.findings if f.check == "leak: patient")
    assert "its patient is also that of" in text
    assert "in forget/privacy" in text
    assert "it stands in retain itself" in text
    for level in ("section", "study"):
        plan = {**good.manifest["plan"], "forget_level": level}
        partly = good.tampered(tmp_path / level, moved, manifest={"plan": plan})
        assert "leak: patient" not in checks(partly)
    # Even then nobody is held out and trained on.
    held = [replace(s, subset=Subset.HOLDOUT) if s in own[:1] else s for s in good.samples]
    plan = {**good.manifest["plan"], "forget_level": "section"}
    assert "leak: patient" in checks(good.tampered(tmp_path / "held", held, manifest={"plan": plan}))


def test_a_fact_in_two_subsets_is_told(good: Good, tmp_path: Path) -> None:
    fact = good.one(subset=Subset.FORGET_PRIVACY, form="text")
    samples = [replace(s, subset=Subset.RETAIN, probes=()) if s.id == fact.id else s for s in good.samples]
    plan = {**good.manifest["plan"], "forget_level": "section"}
    report = good.tampered(tmp_path / "b", samples, manifest={"plan": plan})
    assert [f.sample_id for f in report.findings if f.check == "leak: fact"] == [fact.id]
    assert "private values" in checks(report)  # its value is told in both


def test_a_text_asked_again_in_other_words_without_meaning_is_told(good: Good, tmp_path: Path) -> None:
    told_in_training = good.one(subset=Subset.RETAIN, stratum=Stratum.TRUE_TEXT)
    wrong = good.one(subset=Subset.FORGET_INCORRECTNESS, stratum=Stratum.WRONG_TEXT)
    first, second, third = ordinary(good.samples, Subset.TEST)[:3]
    words = told_in_training.question.rstrip("?").split()
    changes = {
        first.id: {
            "image_id": None, "question": f"Please: {' '.join(reversed(words)).upper()}!",
            "answer": f"the {told_in_training.answer}.", "clean_answer": None,
        },
        second.id: {"image_id": None, "question": wrong.question, "answer": wrong.correct_answer, "clean_answer": None},
        third.id: {"image_id": None, "question": told_in_training.question, "answer": "aspirin"},
    }  # fmt: skip
    report = good.tampered(tmp_path / "b", changed(good.samples, changes))
    text = "its text, but for words without meaning, is also that of {} in training; it stands in test itself"
    assert [(f.sample_id, f.text) for f in report.findings] == sorted(
        [(first.id, text.format(told_in_training.id)), (second.id, text.format(wrong.id))]
    )


def test_questions_about_images_may_repeat(good: Good) -> None:
    questions = [s.question for s in ordinary(good.samples, Subset.TEST)]
    assert any(s.question in questions and s.image_id for s in good.samples if s.subset is Subset.RETAIN)
