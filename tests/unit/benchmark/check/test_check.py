from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mllmu_med.benchmark.builder import build_benchmark
from mllmu_med.benchmark.check import check_benchmark
from mllmu_med.benchmark.plan import BenchmarkPlan
from mllmu_med.benchmark.sample import Probe, Sample, Stratum, Subset
from mllmu_med.benchmark.store import Benchmark
from mllmu_med.errors import DataError
from mllmu_med.folders import contents
from mllmu_med.seeding import rng
from mllmu_med.sources.images import EncodedImage
from mllmu_med.sources.phantom import PhantomSource
from mllmu_med.sources.requests import PrivateField, Request, write_requests
from tests.unit.benchmark.check.tampering import Good, changed, checks, encoded, manifest_of, told
from tests.unit.benchmark.fake_source import FakeSource


def test_a_good_benchmark_has_no_finding(good: Good) -> None:
    report = check_benchmark(good.path)
    assert report.findings == ()
    assert report.counts == {}
    assert report.ok
    assert (report.samples, report.images) == (len(good.samples), len(good.images))


def test_so_has_one_of_another_source(built: Benchmark) -> None:
    report = check_benchmark(str(built.path))
    assert report.findings == ()
    assert report.samples == len(built.samples())


def test_so_has_a_copy_that_is_sealed_anew(good: Good, tmp_path: Path) -> None:
    # else the planted faults of the other tests would prove nothing
    assert told(good.tampered(tmp_path / "b")) == []


@pytest.mark.parametrize(("level", "studies"), [("study", 2), ("section", 1), ("institution", 1)])
def test_so_has_one_that_forgets_parts_of_patients(level: str, studies: int, tmp_path: Path) -> None:
    plan = BenchmarkPlan(
        patients_forgotten=2, patients_retained=2, patients_holdout=1, wrong_rules=0, wrong_image_facts=2,
        wrong_text_facts=0, studies_per_patient=studies, forget_level=level, wrong_style="sentence",
        repetitions=(1, 2), fields_per_patient=6,
    )  # fmt: skip
    built = build_benchmark(PhantomSource(40, size=32, text_facts=0), plan, tmp_path / "b", seed=1)
    torn = {s.patient_id for s in built.stream(Subset.FORGET_PRIVACY)} & {
        s.patient_id for s in built.stream(Subset.RETAIN) if s.patient_id is not None
    }
    assert bool(torn) == (level != "institution")
    assert told(check_benchmark(built.path)) == []


def test_real_values_are_checked_without_telling_a_sign_of_them(tmp_path: Path) -> None:
    requests = [
        Request(f"{number:064x}", (PrivateField("name", f"Zoë Quark{number}"), PrivateField("mrn", f"ZZ-90{number}17")))
        for number in range(2)
    ]
    write_requests(tmp_path / "requests.json", requests)
    source = FakeSource(requests={index: requests[index].id for index in range(2)})
    plan = BenchmarkPlan(
        patients_retained=2, patients_holdout=1, wrong_rules=0, wrong_image_facts=2, wrong_text_facts=0,
        private_values="request", request_file=str(tmp_path / "requests.json"),
    )  # fmt: skip
    built = build_benchmark(source, plan, tmp_path / "b", seed=1)
    assert told(check_benchmark(built.path)) == []
    samples = built.samples()
    private = next(s for s in samples if s.subset is Subset.FORGET_PRIVACY and s.form == "direct")
    assert private.spans[0].space == 0
    images = [(image_id, built.image(image_id).size) for image_id in built.image_ids()]
    encoded_images = tuple(EncodedImage(built.image_bytes(image_id), image_id, *size) for image_id, size in images)
    real = Good(built.path, manifest_of(built.path), tuple(samples), encoded_images)
    stranger = real.one(subset=Subset.TEST)
    changes: dict[str, dict[str, Any]] = {
        stranger.id: {"question": private.answer},
        private.id: {"spans": (replace(private.spans[0], end=3),)},
    }
    report = real.tampered(tmp_path / "c", changed(samples, changes))
    assert {"private values", "spans"} <= checks(report)
    assert not any("Z…" in text or "Z" in text.partition(":")[2] for text in told(report))
    # Of invented patients the candidates are known.
    retained = real.one(subset=Subset.RETAIN, form="direct")
    spans = (replace(retained.spans[0], space=0.0),)
    assert "spans" in checks(real.tampered(tmp_path / "d", changed(samples, {retained.id: {"spans": spans}})))


def test_checking_changes_nothing(good: Good) -> None:
    def state() -> list[tuple[str, str, int]]:
        return [(str(p), hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns) for p in contents(good.path)]

    before = state()
    check_benchmark(good.path)
    assert state() == before


def test_findings_are_sorted_capped_and_counted(good: Good, tmp_path: Path) -> None:
    samples = [replace(s, repetitions=s.repetitions + 1) for s in good.samples]
    report = good.tampered(tmp_path / "b", samples)
    warnings = [finding for finding in report.findings if finding.severity == "warning"]
    assert len(warnings) == 21
    ids = [finding.sample_id for finding in warnings[:20]]
    assert ids == sorted(s.id for s in samples)[:20]
    assert str(warnings[20]) == f"warning [repetitions] and {len(samples) - 20} more"
    assert report.counts == {("warning", "repetitions"): len(samples)}
    assert report.ok  # warnings only
    every = check_benchmark(tmp_path / "b", shown=None)
    assert len(every.findings) == len(samples)


def test_errors_come_before_warnings(good: Good, tmp_path: Path) -> None:
    first, second = good.samples[:2]
    samples = changed(good.samples, {first.id: {"repetitions": 9}, second.id: {"id": good.samples[2].id}})
    report = good.tampered(tmp_path / "b", samples)
    severities = [finding.severity for finding in report.findings]
    assert severities == sorted(severities)
    assert set(severities) == {"error", "warning"}
    assert not report.ok


def test_a_row_that_is_no_sample_is_one_line(good: Good, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    def damage(folder: Path) -> None:
        file = folder / "samples" / "test-00000.parquet"
        table = pq.read_table(file)
        rows = table.to_pylist()
        rows[0]["stratum"] = "imagined"
        pq.write_table(table.from_pylist(rows, schema=table.schema), file)

    with pytest.raises(DataError, match=r"test.*'imagined' is not a valid Stratum"):
        good.tampered(tmp_path / "b", files=damage)


def test_no_finding_tells_a_private_value(good: Good, tmp_path: Path) -> None:
    values = sorted({span.value for sample in good.samples for span in sample.spans})
    ordinary = [s for s in good.samples if s.subset is Subset.TEST][: len(values)]
    changes: dict[str, dict[str, Any]] = {
        sample.id: {"question": f"Is it {value}?"} for sample, value in zip(ordinary, values, strict=False)
    }
    for sample in good.samples:
        if sample.form is not None:
            changes[sample.id] = {
                "spans": tuple(replace(span, start=span.start + 1) for span in sample.spans),
                "probes": (*sample.probes, Probe("paraphrase-1", sample.question)),
            }
    report = good.tampered(tmp_path / "b", changed(good.samples, changes), shown=None)
    assert {"private values", "spans", "probes"} <= checks(report)
    text = "\n".join(told(report))
    assert [value for value in values if value in text] == []


def test_sixty_leaks_at_random_places_are_all_found(good: Good, tmp_path: Path) -> None:
    planted = {"record": 13, "group": 8, "image": 7, "similar image": 8, "text": 10, "patient": 4, "value": 10}
    assert sum(planted.values()) == 60
    random = rng("sixty leaks")
    victims = random.sample(good.some(60, subset=Subset.RETAIN, stratum=Stratum.GENERAL), k=60)
    unseen = [s for s in good.samples if s.subset in (Subset.TEST, Subset.VALIDATION)]
    images_of = {str(s.image_id): s for s in unseen}
    shared = dict(sorted(images_of.items())[: planted["image"]])  # an image leaks in one way
    similar = {image_id: s for image_id, s in images_of.items() if image_id not in shared}
    private = {span.value: s for s in good.samples for span in s.spans if len(span.value) > 5}
    changes: dict[str, dict[str, Any]] = {}
    images = list(good.images)
    expected: list[tuple[str, str]] = []
    for kind, number in planted.items():
        others: dict[str, Sample] = {
            "record": {s.record_id: s for s in unseen}, "group": {s.group: s for s in unseen}, "image": shared,
            "similar image": similar, "text": {s.id: s for s in unseen}, "value": private,
            "patient": {str(s.patient_id): s for s in good.samples if s.subset is not Subset.RETAIN and s.form},
        }[kind]  # fmt: skip
        for name in random.sample(sorted(others), k=number):
            victim, other = victims.pop(), others[name]
            expected.append(("private values" if kind == "value" else f"leak: {kind}", victim.id))
            if kind == "similar image":
                anew = encoded(good.picture(other.image_id).convert("RGB"), format="JPEG", quality=85)
                images.append(anew)
                changes[victim.id] = {"image_id": anew.id}
            elif kind == "text":
                changes.setdefault(other.id, {}).update(image_id=None)
                changes[victim.id] = {
                    "image_id": None, "question": f"Please, {other.question.upper()}", "answer": f"The {other.answer}",
                    "clean_answer": f"the {other.answer}",
                }  # fmt: skip
            elif kind == "value":
                place = random.choice(("question", "phrasings", "accepted", "probes"))
                text = f"Was it {name}, then?"
                wrapped = {"question": text, "probes": (Probe("generic", text),)}.get(place, (text,))
                changes[victim.id] = {place: wrapped}
            else:
                field = {"record": "record_id", "group": "group", "image": "image_id", "patient": "patient_id"}[kind]
                changes[victim.id] = {field: getattr(other, field)}
    report = good.tampered(tmp_path / "b", changed(good.samples, changes), images=images, shown=None)
    for check, victim_id in expected:
        hits = [f for f in report.findings if f.check == check and (victim_id == f.sample_id or victim_id in f.text)]
        assert len(hits) == 1, (check, victim_id)
    counts = Counter(check for check, _ in expected)
    assert {check: report.counts["error", check] for check in counts} == counts  # and nothing else of these kinds
