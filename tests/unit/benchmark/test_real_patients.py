from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mllmu_med.benchmark.builder import build_benchmark
from mllmu_med.benchmark.check import check_benchmark
from mllmu_med.benchmark.patients.real_patients import UNKNOWN_SPACE, read_real_patients
from mllmu_med.benchmark.plan import BenchmarkPlan
from mllmu_med.benchmark.sample import Subset
from mllmu_med.errors import DataError, UsageError
from mllmu_med.sources.requests import PrivateField, Request, write_requests
from tests.unit.benchmark.fake_source import FakeSource

KEY = "ab" * 32


def request(name: str, *fields: tuple[str, ...]) -> Request:
    return Request(name, tuple(PrivateField(*field) for field in fields))


def plan_of(plan: BenchmarkPlan, path: Path, *requests: Request) -> BenchmarkPlan:
    write_requests(path, requests)
    return replace(plan, private_values="request", request_file=str(path))


def test_values_that_identify_nobody_are_left_out(plan: BenchmarkPlan, tmp_path: Path) -> None:
    found = read_real_patients(plan_of(
        plan, tmp_path / "r.json",
        request("a", ("facility", "Saint Elsewhere"), ("mrn", "A-4711"), ("mrn", "B-0815"), ("other", "M")),
        request("b", ("facility", "Saint Elsewhere"), ("date", "1901-02-03"), ("name", "Ada Example")),
        request("c", ("facility", "Saint Elsewhere")),
    ))  # fmt: skip
    assert {key: [(v.phi_class, v.value) for v in values] for key, values in found.items()} == {
        "a": [("mrn", "A-4711")], "b": [("name", "Ada Example"), ("date", "1901-02-03")],
    }  # fmt: skip
    assert {value.space for values in found.values() for value in values} == {UNKNOWN_SPACE}
    assert read_real_patients(plan) == {}


def test_only_what_a_header_says_of_the_patient_is_asked_for(plan: BenchmarkPlan, tmp_path: Path) -> None:
    """No study's date as a date of birth, no scanner's number as an implant's."""
    found = read_real_patients(plan_of(
        plan, tmp_path / "r.json",
        request("a", ("date", "2004-08-26", "StudyDate"), ("date", "1930-01-10", "PatientBirthDate"),
                ("date", "93 years", "PatientAge"), ("date", "2004-08-20", "AdmittingDate"),
                ("geography", "2 Side Road", "InstitutionAddress"), ("device", "SN-12345", "DeviceSerialNumber"),
                ("other", "1.2.3.4", "StudyInstanceUID"), ("email", "a@b.example", "PatientTelecomInformation"),
                ("name", "Ann Moe", "PatientMotherBirthName"), ("physician", "Op Erator", "OperatorsName")),
    ))["a"]  # fmt: skip
    assert [(v.phi_class, v.value) for v in found] == [
        ("date", "1930-01-10"), ("age", "93 years"), ("admission", "2004-08-20"), ("email", "a@b.example"),
    ]  # fmt: skip


def test_a_patient_of_whom_nothing_is_left_is_told(
    plan: BenchmarkPlan, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read_real_patients(plan_of(plan, tmp_path / "r.json", request("a" * 64, ("mrn", "A-4711")), request("b" * 64)))
    (said,) = caplog.messages
    assert said.startswith("request bbbbbbbbbbbb…: no value tells its patient from the others")


def test_a_file_in_which_nobody_can_be_told_apart_is_refused(plan: BenchmarkPlan, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"r\.json: no request holds a value"):
        read_real_patients(plan_of(plan, tmp_path / "r.json", request("a", ("other", "M"))))


def test_file_and_choice_belong_together(plan: BenchmarkPlan) -> None:
    with pytest.raises(UsageError, match="request_file belongs to"):
        replace(plan, private_values="request")
    with pytest.raises(UsageError, match="request_file belongs to"):
        replace(plan, request_file="r.json")
    with pytest.raises(UsageError, match="never drawn into images"):
        replace(plan, private_values="request", request_file="r.json", forms=("leak", "direct", "burned"))
    with pytest.raises(UsageError, match="forgets whole patients"):
        replace(plan, private_values="request", request_file="r.json", forget_level="section")


def test_the_patients_of_a_request_are_the_ones_to_be_forgotten(
    plan: BenchmarkPlan, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    real = {"name": "Ada Example", "mrn": "A-4711", "phone": "030 1234567"}
    own = plan_of(plan, tmp_path / "r.json", request(KEY, *real.items()), request("0" * 64, ("mrn", "unused-1")))
    source = FakeSource(requests={3: KEY})
    built = build_benchmark(source, own, tmp_path / "b", seed=0)
    forgotten = built.samples(Subset.FORGET_PRIVACY)
    assert {s.group for s in forgotten} == {"image-3"}
    assert {span.value for s in forgotten for span in s.spans} == set(real.values())
    assert built.manifest["patients"] == {"forgotten": 1, "retained": 5, "holdout": 3}
    assert built.manifest["skipped"]["request 000000000000…: no record"] == 1
    assert caplog.messages == ["request 000000000000…: no record; its patient is not among the forgotten"]
    others = [s for s in built.samples() if s.subset is not Subset.FORGET_PRIVACY]
    texts = [text for s in others for text in (s.question, s.answer, *s.phrasings)]
    assert not [text for text in texts if any(value in text for value in real.values())]
    assert built.path.stat().st_mode & 0o077 == 0
    assert check_benchmark(built.path).ok


def test_a_patient_without_a_name_is_not_asked_for_by_name(plan: BenchmarkPlan, tmp_path: Path) -> None:
    own = plan_of(plan, tmp_path / "r.json", request(KEY, ("mrn", "A-4711"), ("phone", "030 1234567")))
    built = build_benchmark(FakeSource(requests={3: KEY}), own, tmp_path / "b", seed=0)
    assert {s.form for s in built.samples(Subset.FORGET_PRIVACY)} == {"leak", "direct"}
    with pytest.raises(UsageError, match="name no training record"):
        build_benchmark(FakeSource(), own, tmp_path / "c", seed=0)
