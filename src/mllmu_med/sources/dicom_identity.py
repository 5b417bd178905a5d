"""Which values of a DICOM header identify the patient, and as which class of the Safe Harbor list.

What identifies follows the basic profile of DICOM PS3.15 Annex E (Table E.1-1); the classes are those of 45 CFR
164.514(b)(2), plus ``facility`` and ``physician``. Not taken over: free text (descriptions, comments), in which nobody
can say what identifies; times of day; sex, weight and the like, which describe rather than identify; private elements.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import date
from typing import TYPE_CHECKING

from mllmu_med.sources.dicom_files import items, texts
from mllmu_med.sources.requests import PrivateField

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.tag import BaseTag

CLASSES: dict[str, tuple[str, ...]] = {
    "geography": (
        "PatientAddress", "RegionOfResidence", "InstitutionAddress", "ReferringPhysicianAddress", "PersonAddress",
    ),
    "phone": (
        "PatientTelephoneNumbers", "ReferringPhysicianTelephoneNumbers", "PersonTelephoneNumbers",
        "OrderCallbackPhoneNumber", "TelephoneNumberTrial",
    ),
    "mrn": ("PatientID", "OtherPatientIDs", "MedicalRecordLocator"),
    "health_plan": ("InsurancePlanIdentification",),
    "account": ("AdmissionID", "ServiceEpisodeID"),
    "device": (
        "DeviceSerialNumber", "DeviceUID", "UniqueDeviceIdentifier", "GantryID", "GeneratorID", "PlateID",
        "CassetteID", "DetectorID", "XRayDetectorID", "XRaySourceID", "LensSerialNumber", "SourceSerialNumber",
        "StationName", "PerformedStationName", "ScheduledStationName", "StationAETitle", "PerformedStationAETitle",
        "ScheduledStationAETitle", "RetrieveAETitle",
    ),
    "other": (
        "AccessionNumber", "StudyID", "RequestedProcedureID", "ScheduledProcedureStepID", "PerformedProcedureStepID",
        "FillerOrderNumberImagingServiceRequest", "PlacerOrderNumberImagingServiceRequest", "ClinicalTrialSubjectID",
        "ClinicalTrialSubjectReadingID", "ClinicalTrialSiteID", "ContainerIdentifier", "SpecimenIdentifier",
        "SpecimenAccessionNumber", "SlideIdentifier", "BarcodeValue", "BreedRegistrationNumber",
    ),
    "facility": (
        "InstitutionName", "InstitutionalDepartmentName", "IssuerOfPatientID", "ResponsibleOrganization",
        "HumanPerformerOrganization", "VerifyingOrganization", "ClinicalTrialSiteName",
        "ClinicalTrialCoordinatingCenterName", "CurrentPatientLocation", "PatientInstitutionResidence",
        "ScheduledPatientInstitutionResidence", "PerformedLocation", "ScheduledStudyLocation",
        "ScheduledProcedureStepLocation", "RequestedProcedureLocation",
    ),
}  # fmt: skip
"""Class → elements of text (by keyword) that hold one. Names, dates, UIDs and links are told by their type."""

TELECOM = ("PatientTelecomInformation", "PersonTelecomInformation", "OrderCallbackTelecomInformation")
"""Elements that hold a telephone number, an e-mail address or a link."""

SHORTEST, LONGEST = 3, 1024
"""Characters. Shorter values ("2", "CT") identify nobody; longer ones are no identifiers."""

_CLASS_OF = {keyword: phi_class for phi_class, keywords in CLASSES.items() for keyword in keywords}
_OF_DEVICES = re.compile(r"Calibration|Manufacture|Installation|Expiration")  # dates in the life of a device
_PATIENT_GROUP = 0x0010
_DEEPEST = 16  # levels of nested sequences
_OLDEST_NAMED = 89  # years; only a higher age is an identifier
_STANDARD = "1.2.840.10008."
_IDEOGRAPHIC = ("ISO 2022 IR 87", "ISO 2022 IR 159", "ISO 2022 IR 149", "ISO 2022 IR 58", "GB18030", "GBK")
_EAST_ASIAN = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\uff66-\uff9f]")  # kana, ideographs, Hangul
_DATE = re.compile(r"(\d{4})[.-]?(\d\d)[.-]?(\d\d)")
_AGE = re.compile(r"(\d{3})Y")


def identifying(dataset: Dataset) -> Iterator[PrivateField]:
    """The identifying values of a header, nested sequences included, as one would write them: names with the given
    name first, dates as 1970-04-01, everything else as it stands. The same one may come more than once.

    Use it inside ``quiet``.
    """
    ideographic = any(charset in _IDEOGRAPHIC for charset in texts(dataset, "SpecificCharacterSet"))
    for phi_class, value, element in _walk(dataset, ideographic, 0):
        value = " ".join(value.split())
        readable = value.isprintable() and "\ufffd" not in value
        if readable and SHORTEST <= len(value) <= LONGEST and len(set(value) - set("-_.^ ")) > 1:
            yield PrivateField(phi_class, value, element)


def written_names(name: str, ideographic: bool = False) -> list[str]:
    """A person's name in each of its writings: ``Yamada^Tarou=山田^太郎=やまだ^たろう`` gives three.

    The groups are the alphabetic, the ideographic and the phonetic writing (PS3.5 6.2.1), the components of each
    family, given and middle name, prefix and suffix. With ``ideographic`` that writing comes first, if there is one.
    """
    alphabetic, own, phonetic = [_in_order(group) for group in [*name.split("="), "", ""][:3]]
    return [
        writing for writing in ((own, alphabetic, phonetic) if ideographic else (alphabetic, own, phonetic)) if writing
    ]


def _in_order(group: str) -> str:
    """One writing of a name; East Asian ones are written together, with the family name first."""
    family, given, middle, prefix, suffix = [*(part.strip() for part in group.split("^")), "", "", "", ""][:5]
    if _EAST_ASIAN.search(group):
        return f"{family}{given}{middle}"
    return " ".join(part for part in (prefix, given, middle, family, suffix) if part)


def _walk(dataset: Dataset, ideographic: bool, depth: int) -> Iterator[tuple[str, str, str]]:
    """Class, value and keyword of every identifying element, before the values are looked at.

    The patient's own elements come first: of a value that stands in several, the first one counts.
    """
    from pydicom.datadict import keyword_for_tag

    for tag in sorted(dataset.keys(), key=lambda tag: (tag.group != _PATIENT_GROUP, tag)):
        if tag.is_private:
            continue
        keyword, vr = keyword_for_tag(tag), _type(dataset, tag)
        if vr == "SQ" and depth < _DEEPEST:
            for item in items(dataset, tag):
                yield from _walk(item, ideographic, depth + 1)
        else:
            found = _of_element(texts(dataset, tag), keyword, vr, tag.group == _PATIENT_GROUP, ideographic)
            yield from ((phi_class, value, keyword) for phi_class, value in found)


def _of_element(
    values: Iterable[str], keyword: str, vr: str, patients: bool, ideographic: bool
) -> Iterator[tuple[str, str]]:
    """Class and value of what identifies in one element; nothing where it does not."""
    if vr == "PN":
        phi_class = "name" if patients or keyword == "PersonName" else "physician"
        yield from ((phi_class, one) for name in values for one in written_names(name, ideographic))
    elif vr in ("DA", "DT"):
        yield from (("date", day) for value in values if (day := _day(value, keyword)))
    elif vr == "AS":
        yield from (("date", age) for value in values if (age := _high_age(value)))
    elif vr == "UI" and keyword not in CLASSES["device"]:
        ours = (uid for uid in values if not uid.startswith(_STANDARD))
        yield from (("other", uid) for uid in ours if not keyword.endswith("ClassUID"))
    elif vr == "UR" and not keyword.startswith(("CodingScheme", "URN")):
        yield from (("url", link) for link in values)
    elif keyword in TELECOM:
        yield from ((_telecom(value), value) for value in values)
    elif keyword in _CLASS_OF:
        yield from ((_CLASS_OF[keyword], value) for value in values)


def _type(dataset: Dataset, tag: BaseTag) -> str:
    """Value representation of an element, by the dictionary where the file does not write it; empty if unknown."""
    from pydicom.datadict import dictionary_VR

    vr = getattr(dataset.get_item(tag), "VR", None)
    try:
        return dictionary_VR(tag) if vr in (None, "UN") else str(vr)
    except KeyError:
        return ""


def _day(value: str, keyword: str) -> str | None:
    """A date as 1970-04-01; None for what is no date, and for dates in the life of a device."""
    match = _DATE.match(value)
    if match is None or _OF_DEVICES.search(keyword):
        return None
    try:
        return date(*map(int, match.groups())).isoformat()
    except ValueError:
        return None


def _high_age(value: str) -> str | None:
    """An age above 89 years, as Safe Harbor counts it among the dates; lower ages identify nobody."""
    match = _AGE.fullmatch(value)
    return f"{int(match[1])} years" if match and int(match[1]) > _OLDEST_NAMED else None


def _telecom(value: str) -> str:
    return "url" if "://" in value else "email" if "@" in value else "phone"
