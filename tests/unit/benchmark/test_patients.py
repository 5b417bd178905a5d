from __future__ import annotations

import ipaddress
import re
from datetime import date

import pytest

from mllmu_med.benchmark.patients import Identities, candidate_space
from mllmu_med.benchmark.plan import PHI_CLASSES
from mllmu_med.errors import UsageError

SHAPES = {
    "name": r"[A-Z][A-Za-z]{2,7} [A-Z][A-Za-z]{2,7}",
    "geography": r"\d{1,3} [A-Z][a-z]+ (Street|Lane|Road|Avenue)",
    "date": r"\d{4}-\d\d-\d\d",
    "phone": r"[2-9][0-8][1-9]-555-01\d\d",
    "fax": r"[2-9][0-8][1-9]-555-01\d\d",
    "email": r"[a-z]+\d\d@example\.org",
    "ssn": r"9\d\d-(0[1-9]|[1-4]\d)-(?!0000)\d{4}",
    "mrn": r"[1-9]\d{6}",
    "health_plan": r"HP\d{6}",
    "account": r"AC-\d{6}",
    "licence": r"DL[A-Z]\d{5}",
    "vehicle": r"[A-Z]{3}-\d{4}",
    "device": r"SN\d{4}[A-Z]{2}",
    "url": r"example\.org/[a-z]+\d{3}",
    "ip": r"\d+\.\d+\.\d+\.\d+",
    "biometric": r"FP-[0-9A-F]{6}",
    "photo": r"IMG\d{5}",
    "other": r"TR\d{3}-[A-Z]{2}",
}


def test_every_class_keeps_its_shape_and_its_fictional_range() -> None:
    identities = Identities(7)
    networks = [ipaddress.ip_network(net) for net in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")]
    for number in range(40):
        for value in identities.patient(number, "en", PHI_CLASSES).values:
            assert re.fullmatch(SHAPES[value.phi_class], value.value), value.phi_class
            assert len(value.value) <= 25
            if value.phi_class == "ip":
                assert any(ipaddress.ip_address(value.value) in network for network in networks)
            if value.phi_class == "date":
                assert date(1925, 1, 1) <= date.fromisoformat(value.value) <= date(2009, 12, 31)


@pytest.mark.parametrize(
    ("phi_class", "expected"),
    [("date", 31_046), ("ip", 762), ("mrn", 9_000_000), ("phone", 64_800), ("ssn", 48_995_100), ("account", 1e6)],
)
def test_the_candidate_space_is_the_number_of_values_in_the_shape(phi_class: str, expected: float) -> None:
    assert candidate_space(phi_class) == expected


def test_the_space_of_names_is_that_of_the_language() -> None:
    assert 1e5 < candidate_space("name", "en") < 1e6
    assert candidate_space("name", "zh") < candidate_space("name", "en")


def test_no_value_is_shared_or_part_of_another() -> None:
    identities = Identities(1)
    values = [v.value for number in range(60) for v in identities.patient(number, "en", PHI_CLASSES).values]
    assert len(values) == 60 * 18
    for position, value in enumerate(values):
        assert not any(value in other for other in values[:position] + values[position + 1 :])


def test_a_patient_depends_on_the_keys_and_the_number_only() -> None:
    alone = Identities(5, "x").patient(3, "en", ("name", "mrn"))
    assert alone == Identities(5, "x").patient(3, "en", ("name", "mrn"))
    assert alone != Identities(6, "x").patient(3, "en", ("name", "mrn"))
    assert alone.values[1] == Identities(5, "x").patient(3, "en", ("name", "date", "mrn")).values[2]
    assert alone.id == "patient-0003"


def test_the_name_comes_first_and_follows_the_language() -> None:
    patient = Identities(0).patient(1, "zh-CN", ("mrn", "name"))
    assert [value.phi_class for value in patient.values] == ["name", "mrn"]
    assert re.fullmatch(r"[\u4e00-\u9fff]{2,4}", patient.name)


def test_no_value_is_derived_from_the_name() -> None:
    for number in range(30):
        patient = Identities(2).patient(number, "en", PHI_CLASSES)
        parts = patient.name.lower().split()
        assert not any(part in value.value.lower() for value in patient.values[1:] for part in parts)


def test_a_class_that_is_used_up_is_named() -> None:
    identities = Identities(0)
    with pytest.raises(UsageError, match="no unused 'ip' is left among 762 candidates"):
        _ = [identities.patient(number, "en", ("name", "ip")) for number in range(800)]
