"""Real patients: those of deletion requests, with the values that a model has learnt of them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping

from mllmu_med.benchmark.identities import PrivateValue
from mllmu_med.benchmark.plan import BenchmarkPlan
from mllmu_med.errors import DataError
from mllmu_med.sources.requests import Request, read_requests

log = logging.getLogger("mllmu_med")

_SHORTEST_VALUE = 4
_AS_IT_IS = "as it is"
SAID_OF_PATIENTS = {
    "PatientName": "name", "OtherPatientNames": "name", "PatientBirthDate": "date", "PatientAge": "age",
    "AdmittingDate": "admission", "PatientAddress": "geography", "PatientTelephoneNumbers": "phone",
    "PatientTelecomInformation": _AS_IT_IS, "PatientID": "mrn", "OtherPatientIDs": "mrn", "MedicalRecordLocator": "mrn",
    "InsurancePlanIdentification": "health_plan", "ClinicalTrialSubjectID": "other", "InstitutionName": "facility",
    "ReferringPhysicianName": "physician",
}  # fmt: skip
"""DICOM element → what may be said of the patient with it: a study's date is no date of birth, a scanner's number no
implant's, and a UID no participant code. Where a value is from no header, its class says it."""
UNKNOWN_SPACE = 0.0
"""Candidates of a real value: nobody knows out of how many it came."""

RealPatients = Mapping[str, tuple[PrivateValue, ...]]
"""Request id → the patient's values, the name first where there is one."""


def read_real_patients(plan: BenchmarkPlan) -> RealPatients:
    """The patients of the plan's request file; none where the plan has no such file.

    A value that several patients share (a hospital, a date) identifies none of them, and one of fewer than four signs
    stands in any text by chance: both are left out, and so is what a header holds in an element whose question nobody
    could word truly (``SAID_OF_PATIENTS``). Of several values of a class the first is taken. A patient of whom nothing
    is left is warned of.

    Raises:
        DataError: the file cannot be read, or names nobody who can be identified.
    """
    if plan.request_file is None:
        return {}
    requests = read_requests(plan.request_file)
    owners = Counter(value for request in requests for value in {field.value for field in request.fields})
    patients = {request.id: _values(request, owners) for request in requests}
    found = {key: values for key, values in patients.items() if values}
    if not found:
        raise DataError("no request holds a value that tells its patient from the others", file=plan.request_file)
    for key in patients.keys() - found.keys():
        log.warning("request %s…: no value tells its patient from the others; not among the forgotten", key[:12])
    return found


def _values(request: Request, owners: Counter[str]) -> tuple[PrivateValue, ...]:
    values: dict[str, PrivateValue] = {}
    for field in request.fields:
        value = field.value
        phi_class = SAID_OF_PATIENTS.get(field.element) if field.element else field.phi_class
        if phi_class == _AS_IT_IS:
            phi_class = field.phi_class
        if phi_class is None:
            continue
        if owners[value] == 1 and len(value) >= _SHORTEST_VALUE and phi_class not in values:
            values[phi_class] = PrivateValue(phi_class, value, UNKNOWN_SPACE)
    return tuple(sorted(values.values(), key=lambda value: value.phi_class != "name"))  # stable
