from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mllmu_med.benchmark.ledger import ledger_rows
from mllmu_med.benchmark.sample import Node, Sample, Stratum, Subset
from tests.unit.benchmark.check.tampering import Good, about, changed, checks, ordinary


def nodes(**levels: str) -> tuple[Node, ...]:
    return tuple(Node(level, name) for level, name in levels.items())


def test_levels_out_of_order_unknown_or_mixed_are_told(good: Good, tmp_path: Path) -> None:
    samples = ordinary(good.samples, Subset.TEST)
    faults = [
        nodes(patient="P1", institution="Alder"),
        nodes(modality="CT", patient="P1"),
        nodes(ward="7"),
        (Node("modality", "CT"), Node("modality", "MRI")),
        nodes(organ="lung", instance=""),
    ]
    right = [nodes(institution="Alder", study="S1"), nodes(modality="CT", finding="cyst"), ()]
    plants = {s.id: {"hierarchy": path} for s, path in zip(samples, [*faults, *right], strict=False)}
    report = good.tampered(tmp_path / "b", changed(good.samples, plants))
    found = [about(report, sample.id) for sample in samples[: len(faults)]]
    neither = "which is neither institution → patient → study → section nor modality → organ → finding → instance"
    assert found == [
        [f"its levels are patient → institution, {neither}"],
        [f"its levels are modality → patient, {neither}"],
        [f"its levels are ward, {neither}"],
        [f"its levels are modality → modality, {neither}"],
        ["its instance has no name"],
    ]
    assert sum(report.counts.values()) == len(faults)


def _path(sample: Sample, **names: str) -> dict[str, Any]:
    return {"hierarchy": tuple(replace(node, name=names.get(node.level, node.name)) for node in sample.hierarchy)}


def test_a_patient_has_one_institution_and_a_study_one_patient(good: Good, tmp_path: Path) -> None:
    own = [s for s in good.samples if s.subset is Subset.RETAIN and s.patient_id]
    moved = own[-1]
    fact = [s for s in own if s.fact_id == moved.fact_id]
    others = [s for s in own if s.patient_id != moved.patient_id]
    strange = others[-1]
    same_fact = [s for s in own if s.fact_id == strange.fact_id]
    study = next(node.name for node in own[0].hierarchy if node.level == "study")
    assert own[0].patient_id not in (moved.patient_id, strange.patient_id)
    changes = {s.id: _path(s, institution="Nowhere Hospital") for s in fact}
    changes.update({s.id: _path(s, study=study) for s in same_fact})
    report = good.tampered(tmp_path / "b", changed(good.samples, changes))
    assert checks(report) == {"hierarchy"}
    for sample in fact:
        assert about(report, sample.id)[0].startswith("its patient is in another institution than by ")
    for sample in same_fact:
        assert about(report, sample.id)[0].startswith("its study is in another patient than by ")


def test_a_patients_path_is_whole_and_of_the_right_section(good: Good, tmp_path: Path) -> None:
    short, other = good.some(2, subset=Subset.HOLDOUT, form="burned")
    more = next(
        s for s in good.samples if s.patient_id != short.patient_id and s.form == "burned" and s not in (other,)
    )
    assert len({short.fact_id, other.fact_id, more.fact_id}) == 3
    own = next(node.name for node in more.hierarchy if node.level == "section")
    changes = {
        **{s.id: {"hierarchy": s.hierarchy[1:3]} for s in good.samples if s.fact_id == short.fact_id},
        **{s.id: _path(s, section="insurance+nonsense") for s in good.samples if s.fact_id == other.fact_id},
        **{s.id: _path(s, section=f"{own}+nonsense") for s in good.samples if s.fact_id == more.fact_id},
    }
    report = good.tampered(tmp_path / "b", changed(good.samples, changes))
    assert checks(report) == {"hierarchy"}
    assert about(report, short.id) == ["its path lacks institution, section"]
    assert about(report, other.id)[0].startswith("its section is insurance+nonsense, but it tells of ")
    assert about(report, more.id) == [f"its section is {own}+nonsense, but it tells of {own}"]


def test_a_wrong_fact_ends_at_its_record(good: Good, tmp_path: Path) -> None:
    (one, two), unseen = good.some(2, stratum=Stratum.WRONG_IMAGE), good.one(stratum=Stratum.WRONG_UNSEEN)
    changes = {one.id: _path(one, instance="another"), two.id: {"hierarchy": ()}, unseen.id: {"hierarchy": ()}}
    report = good.tampered(tmp_path / "b", changed(good.samples, changes))
    assert about(report, one.id) == ["its instance is not its record"]
    assert about(report, two.id) == about(report, unseen.id) == ["its path lacks the instance"]


def test_one_fact_has_one_path_which_is_its_ledger_rows(good: Good, tmp_path: Path) -> None:
    facts: dict[str, list[Sample]] = {}
    for sample in good.samples:
        if sample.fact_id is not None and sample.subset is Subset.RETAIN:
            facts.setdefault(sample.fact_id, []).append(sample)
    first, second = next(found for found in facts.values() if len(found) > 1)[:2]
    moved = changed(good.samples, {second.id: _path(second, study="elsewhere")})
    report = good.tampered(tmp_path / "a", moved)
    assert f"its path differs from that of {first.id}, which tells the same fact" in about(report, second.id)
    rows = [
        {**row, "hierarchy": row["hierarchy"][:-1]} if row["fact_id"] == first.fact_id else row
        for row in ledger_rows(good.samples)
    ]
    report = good.tampered(tmp_path / "b", ledger=rows)
    assert [str(finding) for finding in report.findings] == [
        f"error [ledger] {first.fact_id}: the row's hierarchy is not what its samples say"
    ]


@pytest.mark.parametrize("stratum", [Stratum.GENERAL, Stratum.TRUE_TEXT])
def test_other_samples_need_no_path(stratum: Stratum, good: Good) -> None:
    assert good.one(stratum=stratum).hierarchy == ()  # and nothing is found
