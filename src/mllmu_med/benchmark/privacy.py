"""Private facts: what one synthetic patient adds to the records of one group.

Three forms. *Leak*: an ordinary clinical question whose answer volunteers private values. *Direct*: a question about
the image that asks for an identifier. *Text*: a question that names the patient and has no image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from mllmu_med.benchmark.catalogue import Entry
from mllmu_med.benchmark.incorrectness import asked_once
from mllmu_med.benchmark.patients import Patient, PrivateValue
from mllmu_med.benchmark.phrasing import Wordings, private_wordings
from mllmu_med.benchmark.plan import BenchmarkPlan
from mllmu_med.benchmark.probes import probes
from mllmu_med.benchmark.rewriting import Leak, Rewriter, spans_of, weave
from mllmu_med.benchmark.sample import Sample, Stratum, Subset
from mllmu_med.benchmark.splitting import Division
from mllmu_med.seeding import rng

_LONGEST_CLEAN_ANSWER = 120
_LONGEST_QUICK_ANSWER = 40


class PatientRecords(NamedTuple):
    """The samples of a patient, the entries that stay as they are, and two counts of what went otherwise."""

    samples: list[Sample]
    others: list[Entry]
    fell_back: int
    not_woven: int


def rotated_classes(plan: BenchmarkPlan, index: int) -> tuple[str, ...]:
    """The identifiers of the patient number ``index`` of its role: the name, then the others in turn."""
    others = [phi_class for phi_class in plan.phi_classes if phi_class != "name"]
    each = plan.fields_per_patient - 1
    return "name", *(others[(index * each + offset) % len(others)] for offset in range(each))


def fact_id(patient: Patient, values: Sequence[PrivateValue]) -> str:
    """One fact is one set of values of one patient, in whatever form it is told."""
    return f"{patient.id}/{'+'.join(value.phi_class for value in values)}"


def leak_values(patient: Patient, leaks: int) -> list[tuple[PrivateValue, ...]]:
    """The values of each leak: two and one in turn, going round the patient's identifiers from the name on."""
    found, start = [], 0
    for leak in range(leaks):
        size = min(2 - leak % 2, len(patient.values))
        found.append(tuple(patient.values[(start + offset) % len(patient.values)] for offset in range(size)))
        start += size
    return found


def _leak_entries(entries: Sequence[Entry], division: Division, count: int, seed: int) -> list[Entry]:
    """The entries that will leak: about an image, with a short answer, open before closed, of different kinds."""
    fitting = [e for e in entries if e.image_id and len(e.record.answer) <= _LONGEST_CLEAN_ANSWER]
    rng(seed, "leaks", entries[0].group).shuffle(fitting)
    seen: set[str | None] = set()
    ranked = []
    for entry in fitting:
        record = entry.record
        repeated = record.content_type in seen
        seen.add(record.content_type)
        long = len(record.answer) > _LONGEST_QUICK_ANSWER
        ranked.append(((not asked_once(entry, division), repeated, long, record.answer_type == "closed"), entry))
    ranked.sort(key=lambda pair: pair[0])
    chosen = {entry.record.id for _, entry in ranked[:count]}
    return [entry for entry in entries if entry.record.id in chosen]


def can_hold_patient(entries: Sequence[Entry]) -> bool:
    """Whether a group has a clinical question about an image that could leak."""
    return any(entry.image_id and len(entry.record.answer) <= _LONGEST_CLEAN_ANSWER for entry in entries)


def patient_records(
    patient: Patient,
    entries: Sequence[Entry],
    division: Division,
    subset: Subset,
    plan: BenchmarkPlan,
    rewriter: Rewriter,
    wordings: dict[str, Wordings],
    repetitions: int,
    seed: int,
) -> PatientRecords:
    """Turn a group's entries into the samples of a patient.

    Args:
        subset: where the samples go; probes are made for ``forget/privacy`` only, training wordings for all but
            ``holdout``.
        wordings: record id → wordings of that record's question.
        repetitions: training wordings per question, the question included.
    """
    leaking = _leak_entries(entries, division, plan.leaks_per_patient, seed)
    samples: list[Sample] = []
    kept: list[Entry] = []
    fell_back = not_woven = 0
    values_of = dict(zip((e.record.id for e in leaking), leak_values(patient, len(leaking)), strict=True))
    for entry in entries:
        record = entry.record
        if record.id not in values_of:
            kept.append(entry)
            continue
        leak = Leak(record.question, record.answer, values_of[record.id], record.language)
        woven = weave(rewriter, leak, rng(seed, "leak", record.id))
        if woven is None:
            not_woven += 1
            kept.append(entry)
            continue
        fell_back += woven.fell_back
        sample = entry.sample(
            subset, Stratum.PRIVATE_IMAGE, answer=woven.text, spans=woven.spans, form="leak",
            patient_id=patient.id, fact_id=fact_id(patient, leak.values),
        )  # fmt: skip
        samples.append(_worded(sample, wordings[record.id]))
    samples += _asked(patient, leaking[0], subset, repetitions, seed)
    return PatientRecords(samples, kept, fell_back, not_woven)


def _asked(patient: Patient, entry: Entry, subset: Subset, repetitions: int, seed: int) -> list[Sample]:
    """The direct questions about the patient's image, then the ones that name the patient."""
    found = []
    for form in ("direct", "text"):
        for value in patient.values:
            if form == "text" and value.phi_class == "name":
                continue
            random = rng(seed, form, patient.id, value.phi_class)
            name = patient.name if form == "text" else None
            worded = private_wordings(value.phi_class, patient.language, count=repetitions, random=random, name=name)
            sample = entry.sample(
                subset,
                Stratum.PRIVATE_TEXT if form == "text" else Stratum.PRIVATE_IMAGE,
                id=f"{patient.id}/{form}/{value.phi_class}", question=worded.question, answer=value.value,
                clean_answer=None, answer_type="open", content_type=value.phi_class, language=patient.language,
                form=form, patient_id=patient.id, fact_id=fact_id(patient, [value]),
                spans=spans_of(value.value, [value]),
            )  # fmt: skip
            if form == "text":
                sample = replace(sample, image_id=None, modality=None, body_part=None)
            found.append(_worded(sample, worded))
    return found


def _worded(sample: Sample, wordings: Wordings) -> Sample:
    """The sample with training wordings (if it is trained on) and probes (if it is to be forgotten)."""
    if sample.subset is Subset.HOLDOUT:
        return sample
    sample = replace(sample, phrasings=wordings.training, repetitions=1 + len(wordings.training))
    if sample.subset is not Subset.FORGET_PRIVACY:
        return sample
    return replace(sample, probes=probes(wordings, sample.language, has_image=sample.image_id is not None))
