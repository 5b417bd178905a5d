"""Which header values identify, and as what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.datadict import dictionary_VR, tag_for_keyword

from mllmu_med.sources.dicom_files import opened, quiet
from mllmu_med.sources.dicom_identity import CLASSES, TELECOM, identifying, written_names
from mllmu_med.sources.requests import PrivateField
from tests.unit.sources.made_dicom import dicom, item, sequence, write

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value", "ignore:The value length", "ignore:The number of PN")


def fields(made: Dataset) -> list[tuple[str, str]]:
    """Class and value of everything that identifies."""
    return [(field.phi_class, field.value) for field in identifying(made)]


@pytest.mark.parametrize(
    ("keyword", "value", "expected"),
    [
        ("PatientName", "Doe^Jane^M^Dr^Jr", ("name", "Dr Jane M Doe Jr")),
        ("PatientBirthName", "Roe^Jane", ("name", "Jane Roe")),
        ("PatientMotherBirthName", "Moe^Ann", ("name", "Ann Moe")),
        ("ResponsiblePerson", "Doe^John", ("name", "John Doe")),
        ("PersonName", "Poe^Edgar", ("name", "Edgar Poe")),
        ("ReferringPhysicianName", "House^Gregory", ("physician", "Gregory House")),
        ("OperatorsName", "Op^A", ("physician", "A Op")),
        ("PatientID", "MRN-1", ("mrn", "MRN-1")),
        ("OtherPatientIDs", "MRN-2", ("mrn", "MRN-2")),
        ("MedicalRecordLocator", "LOC-1", ("mrn", "LOC-1")),
        ("PatientBirthDate", "19700401", ("date", "1970-04-01")),
        ("StudyDate", "2024.02.29", ("date", "2024-02-29")),
        ("AcquisitionDateTime", "20240131235959.123456+0100", ("date", "2024-01-31")),
        ("PatientAge", "093Y", ("date", "93 years")),
        ("PatientAddress", "1  Main\r\nStreet", ("geography", "1 Main Street")),
        ("PatientTelephoneNumbers", "+1 555 0100", ("phone", "+1 555 0100")),
        ("PatientTelecomInformation", "a@example.org", ("email", "a@example.org")),
        ("PatientTelecomInformation", "https://example.org/a", ("url", "https://example.org/a")),
        ("PatientTelecomInformation", "555 0100", ("phone", "555 0100")),
        ("InsurancePlanIdentification", "PLAN-1", ("health_plan", "PLAN-1")),
        ("AdmissionID", "ADM-1", ("account", "ADM-1")),
        ("AccessionNumber", "ACC-1", ("other", "ACC-1")),
        ("DeviceSerialNumber", "SN-1", ("device", "SN-1")),
        ("DeviceUID", "1.2.3.99", ("device", "1.2.3.99")),
        ("StudyInstanceUID", "1.2.3.4", ("other", "1.2.3.4")),
        ("InstitutionName", "St Elsewhere", ("facility", "St Elsewhere")),
        ("InstitutionAddress", "2 Side Road", ("geography", "2 Side Road")),
        ("RetrieveURL", "https://example.org/wado", ("url", "https://example.org/wado")),
    ],
)
def test_what_identifies(keyword: str, value: str, expected: tuple[str, str]) -> None:
    made = item(**{keyword: value})
    assert fields(made) == [expected]
    assert fields(item(RequestAttributesSequence=sequence(ReferencedStudySequence=sequence(**{keyword: value})))) == [
        expected
    ]


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientSex", "F"), ("PatientWeight", "80"), ("PatientAge", "089Y"), ("PatientAge", "100M"),
        ("PatientAge", "old"), ("StudyTime", "112233"), ("StudyDescription", "Head of Jane Doe"),
        ("PatientComments", "lives with Jane"), ("SOPClassUID", "1.2.840.10008.5.1.4.1.1.2"),
        ("SOPClassUID", "1.2.3.4.5"),
        ("FrameOfReferenceUID", "1.2.840.10008.1.4.1.1"), ("ReferencedSOPClassUID", "1.3.12.2.1107.5.9.1"),
        ("Modality", "CT"),
        ("ManufacturerModelName", "Model X"), ("DateOfLastCalibration", "20200101"), ("DateOfManufacture", "20200101"),
        ("PatientBirthDate", "00000000"), ("PatientBirthDate", "19700231"), ("PatientBirthDate", "unknown"),
        ("StudyID", "2"), ("StudyID", "12"), ("PatientID", "-----"), ("PatientID", "00000000"), ("PatientID", "^^^^^"),
        ("PatientName", "^^^^"), ("PatientName", "==="), ("PatientAddress", "xy" * 513), ("PatientID", "a\ufffdbc"),
        ("PatientID", "a\x07bc"), ("CodingSchemeURL", "https://example.org"),
    ],
)  # fmt: skip
def test_what_does_not(keyword: str, value: str) -> None:
    assert fields(item(**{keyword: value})) == []


def test_several_values_are_several_fields() -> None:
    made = item(
        OtherPatientIDs=["ID-1", "ID-2"], OtherPatientNames=["A^Bea", "C^Dea"], ImageComments="x",
        OtherPatientIDsSequence=[item(PatientID="ID-3"), item(PatientID="ID-4")],
    )  # fmt: skip
    assert fields(made) == [
        ("mrn", "ID-1"), ("mrn", "ID-2"), ("name", "Bea A"), ("name", "Dea C"), ("mrn", "ID-3"), ("mrn", "ID-4"),
    ]  # fmt: skip


def test_the_three_writings_of_a_japanese_name() -> None:
    name = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    assert written_names(name) == ["Tarou Yamada", "山田太郎", "やまだたろう"]
    assert written_names(name, ideographic=True) == ["山田太郎", "Tarou Yamada", "やまだたろう"]
    assert written_names("Hong^Gildong=洪^吉洞=홍^길동") == ["Gildong Hong", "洪吉洞", "홍길동"]
    assert written_names("=山田^太郎", ideographic=True) == ["山田太郎"]
    assert written_names("ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎") == ["ﾔﾏﾀﾞﾀﾛｳ", "山田太郎"]


@pytest.mark.parametrize(
    ("name", "writings"),
    [
        ("Doe^Jane", ["Jane Doe"]), ("Jane Doe", ["Jane Doe"]), ("Doe", ["Doe"]), ("^Jane", ["Jane"]),
        ("Διονυσιος", ["Διονυσιος"]), ("Люкceмбypг^Роза", ["Роза Люкceмбypг"]), ("", []), ("^^^^", []), ("==", []),
        ("A^B^C^D^E^F=G=H=I", ["D B C A E", "G", "H"]),
    ],
)  # fmt: skip
def test_names(name: str, writings: list[str]) -> None:
    assert written_names(name) == writings


@pytest.mark.parametrize(
    ("charset", "first"),
    [(["", "ISO 2022 IR 87"], "山田太郎"), ("ISO_IR 192", "Tarou Yamada"), ("GB18030", "山田太郎")],
)
def test_the_character_set_says_which_writing_comes_first(tmp_path: Path, charset: Any, first: str) -> None:
    name = "Yamada^Tarou=山田^太郎" + ("" if charset == "GB18030" else "=やまだ^たろう")
    made = dicom(SpecificCharacterSet=charset, PatientName=name)
    with quiet(), opened(write(tmp_path / "x", made)) as found:
        names = [field.value for field in identifying(found.dataset) if field.phi_class == "name"]
    assert names[0] == first
    assert {"山田太郎", "Tarou Yamada"} <= set(names)


def test_values_in_japanese_are_decoded_in_sequences_too(tmp_path: Path) -> None:
    inner = item(PatientName="Suzuki^Hanako=鈴木^花子=すずき^はなこ")
    made = dicom(SpecificCharacterSet=["", "ISO 2022 IR 87"], OtherPatientIDsSequence=[inner])
    with quiet(), opened(write(tmp_path / "x", made)) as found:
        assert PrivateField("name", "鈴木花子", "PatientName") in list(identifying(found.dataset))


@pytest.mark.parametrize("charset", ["ISO_IR 999", "Canary", ["ISO 2022 IR 6", "Canary"]])
def test_an_unknown_character_set_is_no_obstacle(tmp_path: Path, charset: Any) -> None:
    made = dicom(PatientName="Doe^Jane")
    path = write(tmp_path / "x", made)
    made.SpecificCharacterSet = charset
    data = path.read_bytes()
    text = "\\".join(charset if isinstance(charset, list) else [charset]).encode()
    text += b" " * (len(text) % 2)
    at = data.index(b"\x08\x00\x16\x00UI")
    path.write_bytes(data[:at] + b"\x08\0\x05\0CS" + len(text).to_bytes(2, "little") + text + data[at:])
    with quiet(), opened(path) as found:
        assert ("name", "Jane Doe") in fields(found.dataset)


def test_the_patients_own_elements_come_first_and_each_says_where_it_stood() -> None:
    own = {"PatientBirthDate": "19300110", "PatientAddress": "1 Main Street"}
    made = item(**own, StudyDate="20040826", InstitutionAddress="2 Side Road")
    assert list(identifying(made)) == [
        PrivateField("date", "1930-01-10", "PatientBirthDate"),
        PrivateField("geography", "1 Main Street", "PatientAddress"),
        PrivateField("date", "2004-08-26", "StudyDate"),
        PrivateField("geography", "2 Side Road", "InstitutionAddress"),
    ]


def test_private_elements_are_left_alone() -> None:
    made = item(PatientID="ID-1")
    block = made.private_block(0x0011, "CANARY CREATOR", create=True)
    block.add_new(1, "PN", "Canary^Jane")
    block.add_new(2, "DA", "20200101")
    assert fields(made) == [("mrn", "ID-1")]


def test_values_of_odd_types_are_read(tmp_path: Path) -> None:
    made = dicom(PatientID=None, PatientName=None)
    made.add_new(0x00100020, "UN", b"ID-UN ")
    made.add_new(0x00100030, "LO", "19700401")
    made.add_new(0x00100010, "UT", "Doe^Jane")
    made.add_new(0x00101040, "DS", "")
    with quiet(), opened(write(tmp_path / "x", made)) as found:
        got = fields(found.dataset)
    assert ("mrn", "ID-UN") in got


def test_sequences_nested_too_deep_end() -> None:
    made = item(PatientID="deepest")
    for _ in range(30):
        made = item(ReferencedStudySequence=[made], PatientID="outer")
    assert ("mrn", "outer") in fields(made)
    assert ("mrn", "deepest") not in fields(made)


def test_every_keyword_is_one_of_the_standard() -> None:
    for keyword in (*TELECOM, *(keyword for keywords in CLASSES.values() for keyword in keywords)):
        tag = tag_for_keyword(keyword)
        assert tag is not None, keyword
        assert dictionary_VR(tag) in {"LO", "SH", "ST", "LT", "UT", "UI", "AE", "UC"}, keyword
    counted = [keyword for keywords in CLASSES.values() for keyword in keywords]
    assert len(counted) == len(set(counted))
