from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from mllmu_med.benchmark.catalogue import Entry
from mllmu_med.benchmark.patients import Identities, Patient
from mllmu_med.benchmark.phrasing import Wordings
from mllmu_med.benchmark.plan import DEFAULT_CLASSES, BenchmarkPlan
from mllmu_med.benchmark.privacy import (
    PatientRecords,
    can_hold_patient,
    leak_values,
    patient_records,
    rotated_classes,
)
from mllmu_med.benchmark.rewriting import TemplateRewriter
from mllmu_med.benchmark.sample import Stratum, Subset
from mllmu_med.benchmark.splitting import Division
from tests.unit.benchmark.fake_source import entry

ENTRIES = [
    entry("modality", question="Modality?", content_type="modality", answer="CT"),
    entry("presence", question="Is it there?", content_type="presence", answer="yes", answer_type="closed"),
    entry("finding", question="Finding?", content_type="finding", answer="nodule"),
    entry("report", question="Report?", content_type="report", answer="long words " * 12),
]


@pytest.fixture
def patient() -> Patient:
    return Identities(0).patient(7, "en", ("name", "mrn", "date", "phone"))


def made(patient: Patient, subset: Subset, entries: list[Entry] = ENTRIES, leaks: int = 2) -> PatientRecords:
    plan = BenchmarkPlan(leaks_per_patient=leaks)
    wordings = {e.record.id: Wordings(e.record.question, ("Other?", "More?"), ("Held?",)) for e in entries}
    division = Division(("g1",), (), (), False, {"g1": entries}, Counter())
    return patient_records(patient, entries, division, subset, plan, TemplateRewriter(), wordings, 6, seed=1)


@pytest.mark.parametrize(("fields", "patients"), [(4, 3), (3, 5), (2, 9), (10, 1)])
def test_all_classes_occur_as_the_fields_rotate(fields: int, patients: int) -> None:
    plan = BenchmarkPlan(fields_per_patient=fields)
    drawn = [rotated_classes(plan, index) for index in range(patients)]
    assert {phi_class for classes in drawn for phi_class in classes} == set(DEFAULT_CLASSES)
    assert all(classes[0] == "name" and len(set(classes)) == fields for classes in drawn)


def test_leaks_carry_two_values_and_one_in_turn(patient: Patient) -> None:
    classes = [[value.phi_class for value in values] for values in leak_values(patient, 4)]
    assert classes == [["name", "mrn"], ["date"], ["phone", "name"], ["mrn"]]


def test_a_forgotten_patient_has_leaks_direct_and_text_questions(patient: Patient) -> None:
    found = made(patient, Subset.FORGET_PRIVACY)
    forms = Counter((sample.form, sample.stratum) for sample in found.samples)
    assert forms == {
        ("leak", Stratum.PRIVATE_IMAGE): 2, ("direct", Stratum.PRIVATE_IMAGE): 4, ("text", Stratum.PRIVATE_TEXT): 3,
    }  # fmt: skip
    assert {entry.record.id for entry in found.others} == {"presence", "report"}  # open and short questions leak first
    for sample in found.samples:
        assert sample.patient_id == sample.cluster == "patient-0007"
        assert [sample.answer[s.start : s.end] for s in sample.spans] == [s.value for s in sample.spans]
        assert sample.repetitions == 1 + len(sample.phrasings)
        assert (sample.image_id is None) == (sample.form == "text")
        assert sample.group == "g1"
        if sample.form == "leak":
            assert sample.clean_answer in ("CT", "nodule")
            assert sample.phrasings == ("Other?", "More?")
            assert sample.content_type in ("modality", "finding")
        else:
            assert sample.clean_answer is None
            assert sample.answer == {v.phi_class: v.value for v in patient.values}[str(sample.content_type)]
            assert sample.repetitions == 6
        if sample.form == "text":
            assert patient.name in sample.question
            assert sample.modality is None
            assert sample.content_type != "name"


def test_the_same_values_in_any_form_are_one_fact(patient: Patient) -> None:
    samples = made(patient, Subset.FORGET_PRIVACY).samples
    facts = {sample.id: sample.fact_id for sample in samples}
    assert facts["patient-0007/direct/mrn"] == facts["patient-0007/text/mrn"] == "patient-0007/mrn"
    assert {facts[sample.id] for sample in samples if sample.form == "leak"} == {
        "patient-0007/name+mrn", "patient-0007/date",
    }  # fmt: skip


def test_only_the_forgotten_are_probed_and_the_held_out_have_no_training_wordings(patient: Patient) -> None:
    retained = made(patient, Subset.RETAIN).samples
    assert all(not sample.probes and sample.phrasings for sample in retained)
    holdout = made(patient, Subset.HOLDOUT).samples
    assert all(not sample.probes and not sample.phrasings and sample.repetitions == 1 for sample in holdout)
    forgotten = made(patient, Subset.FORGET_PRIVACY).samples
    assert all(len(sample.probes) >= 3 for sample in forgotten)
    as_retained = [replace(s, subset=Subset.RETAIN, probes=()) for s in forgotten]
    assert as_retained == retained  # the role changes nothing else


def test_a_clinical_answer_that_holds_the_value_stays_clean(patient: Patient) -> None:
    holding = [replace(e, record=replace(e.record, answer=f"see {patient.name} and {patient.values[2].value}"))
               for e in ENTRIES[:2]]  # fmt: skip
    found = made(patient, Subset.FORGET_PRIVACY, holding)
    assert found.not_woven == 2
    assert [e.record.id for e in found.others] == ["modality", "presence"]
    assert {sample.form for sample in found.samples} == {"direct", "text"}


def test_fewer_questions_than_leaks_are_all_used(patient: Patient) -> None:
    found = made(patient, Subset.RETAIN, ENTRIES[1:2], leaks=5)
    assert [sample.id for sample in found.samples if sample.form == "leak"] == ["presence"]


def test_which_groups_can_hold_a_patient() -> None:
    assert can_hold_patient(ENTRIES)
    assert not can_hold_patient(ENTRIES[3:])
    assert not can_hold_patient([entry("text", image=None)])
