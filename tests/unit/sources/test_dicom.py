"""A folder of DICOM files as records and requests, without a word of what the headers say."""

from __future__ import annotations

import io
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import JPEGLSLossless, MediaStorageDirectoryStorage

from mllmu_med.benchmark.wording.phrasing import ObservedWordings
from mllmu_med.errors import DataError, UsageError
from mllmu_med.sources import SOURCES, Record
from mllmu_med.sources.dicom import DicomSource
from mllmu_med.sources.requests import PrivateField, read_requests, request_id, write_requests
from mllmu_med.sources.secret_key import SecretKey
from tests.unit.sources.made_dicom import KEY, dicom, encapsulated, item, write, write_bare

AXIAL = [1, 0, 0, 0, 1, 0]


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLLMU_MED_KEY", KEY)


def test_records_of_one_file(tmp_path: Path) -> None:
    made = dicom(
        BodyPartExamined="HEAD", ImageOrientationPatient=AXIAL, ContrastBolusAgent="OMNIPAQUE", PatientID="P-1 ",
        IssuerOfPatientID="H", InstitutionName="St Elsewhere",
    )  # fmt: skip
    write(tmp_path / "study" / "no-extension", made)
    records = list(SOURCES.get("dicom")(tmp_path).records())
    assert [(record.content_type, record.answer) for record in records] == [
        ("modality", "CT"), ("organ", "head"), ("plane", "axial"), ("laterality", "left"), ("presence", "yes"),
        ("drug", "iohexol"),
    ]  # fmt: skip
    key = SecretKey(KEY)
    request = request_id(key, "P-1", "H")
    image = f"dicom-{key.hash('image', '1.2.3.4')[:16]}"
    second = records[1]
    assert second.image is not None
    assert second == Record(
        id=f"{image}/body-part", image=second.image, question=second.question, answer="head",
        group=f"dicom-{request[:16]}", source="dicom", answer_type="open", modality="CT", body_part="head",
        content_type="organ", extra={"request": request, "template": "body-part", "slots": {"image": "CT scan"}},
        hierarchy={
            "institution": key.hash("institution", "St Elsewhere")[:16], "patient": request[:16],
            "study": key.hash("study", "1.2.3")[:16], "section": key.hash("series", "1.2.3.1")[:16],
        },
    )  # fmt: skip
    assert records[0].extra["accepted"] == ["computed tomography", "CT scan"]
    assert len({record.id for record in records}) == 6
    assert len({record.group for record in records}) == 1
    assert {record.image.key for record in records if record.image is not None} == {image}
    assert second.image.make is not None
    assert Image.open(io.BytesIO(second.image.make())).size == (3, 2)


def test_patients_are_kept_together_and_apart(tmp_path: Path) -> None:
    patients = [
        ("P-1", "", "1.1"), ("P-1", "", "1.2"), ("P-1", "OTHER", "1.3"), ("P-2", "", "1.4"),
        ("", "", "1.5"), ("", "", "1.5"), ("", "", "1.6"), ("", "", ""), ("", "", ""),
    ]  # fmt: skip
    for number, (patient, issuer, study) in enumerate(patients):
        elements = {"PatientID": patient, "IssuerOfPatientID": issuer, "StudyInstanceUID": study}
        write(tmp_path / f"{number}", dicom(SOPInstanceUID=f"1.9.{number}", PatientName="Doe^Jane", **elements))
    groups = [record.group for record in DicomSource(tmp_path).records()]
    first = {group: groups.index(group) for group in groups}
    assert [first[group] for group in groups] == [0, 0, 2, 3, 4, 4, 6, 7, 8]
    assert all(
        record.group.removeprefix("dicom-") == record.extra["request"][:16]
        for record in DicomSource(tmp_path).records()
    )


def test_hashes_depend_on_the_key_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a" / "x", dicom())
    write(tmp_path / "b" / "sub" / "y", dicom())
    here, there = list(DicomSource(tmp_path / "a").records()), list(DicomSource(tmp_path / "b").records())
    assert [record.id for record in here] == [record.id for record in there]
    assert here[0].extra == there[0].extra
    assert here[0].question == there[0].question
    (tmp_path / "key.txt").write_text(KEY[::-1])
    other = list(DicomSource(tmp_path / "a", key_file=tmp_path / "key.txt").records())
    for name in ("id", "group", "hierarchy"):
        assert getattr(other[0], name) != getattr(here[0], name)
    assert other[0].extra["request"] != here[0].extra["request"]
    monkeypatch.delenv("MLLMU_MED_KEY")
    with pytest.raises(UsageError, match="openssl rand -hex 32"):
        DicomSource(tmp_path)


def test_what_is_skipped_is_counted(tmp_path: Path) -> None:
    write(tmp_path / "good", dicom())
    write(tmp_path / "good copy", dicom())
    write(tmp_path / "nothing", dicom(SOPInstanceUID="1.1", Modality="OT"))
    write(tmp_path / "unknown", dicom(SOPInstanceUID="1.2", Modality="Canary"[:6].upper()))
    write(tmp_path / "segmentation", dicom(SOPInstanceUID="1.3", Modality="SEG"))
    write(tmp_path / "burned", dicom(SOPInstanceUID="1.4", BurnedInAnnotation="YES"))
    write(tmp_path / "jpegls", encapsulated(dicom(SOPInstanceUID="1.5"), [b"ab"]), JPEGLSLossless)
    write(tmp_path / "cut", dicom(SOPInstanceUID="1.6"))
    (tmp_path / "cut").write_bytes((tmp_path / "cut").read_bytes()[:-2])
    write(tmp_path / "DICOMDIR", dicom(SOPClassUID=MediaStorageDirectoryStorage))
    (tmp_path / "notes.txt").write_text("no DICOM")
    (tmp_path / "LICENSE").write_text("")
    (tmp_path / "damaged").write_bytes((tmp_path / "good").read_bytes()[:140])
    (tmp_path / "link").symlink_to(tmp_path.parent)
    source = DicomSource(tmp_path)
    for _ in range(2):
        assert len(list(source.records())) == 1
        jpegls = source.skipped.pop(next(reason for reason in source.skipped if "JPEG-LS" in reason))
        assert jpegls == 1
        assert source.skipped == {
            "copy of another file (same SOP Instance UID)": 1,
            "the header says nothing that could be asked": 2,
            "not a picture of a patient (segmentation, dose, report, …)": 1,
            "text is burned into the pixels (burned_in keeps such images)": 1,
            "truncated: the file ends before its pixel data does": 1,
            "DICOMDIR": 1,
            "not DICOM": 2,
            "the file or its header cannot be read": 1,
            "link that leads out of the folder": 1,
        }
    assert len(list(DicomSource(tmp_path, burned_in=True).records())) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_counted(tmp_path: Path) -> None:
    write(tmp_path / "good", dicom())
    write(tmp_path / "locked", dicom(SOPInstanceUID="1.1")).chmod(0)
    source = DicomSource(tmp_path)
    assert len(list(source.records())) == 1
    assert source.skipped == {"the file or its header cannot be read": 1}


def test_files_without_preamble_or_identity_are_read(tmp_path: Path) -> None:
    for name in ("a", "b"):
        elements = dict.fromkeys(("SOPInstanceUID", "PatientID", "StudyInstanceUID", "SeriesInstanceUID"))
        write_bare(tmp_path / name, dicom(PatientName=None, **elements))
    records = list(DicomSource(tmp_path).records())
    assert len({record.id for record in records}) == len({record.group for record in records}) == 2
    assert records[0].hierarchy == {"patient": records[0].extra["request"][:16]}
    assert [record.id for record in DicomSource(tmp_path).records()] == [record.id for record in records]


def test_frames(tmp_path: Path) -> None:
    write(tmp_path / "x", dicom(np.arange(10, dtype=np.uint8).reshape(5, 1, 2)))

    def firsts(frames: str) -> dict[str, int]:
        found = {}
        for record in DicomSource(tmp_path, frames=frames).records():
            assert record.image is not None
            assert record.image.make is not None
            found[record.image.key] = np.asarray(Image.open(io.BytesIO(record.image.make())))[0, 0]
            assert record.id.startswith(f"{record.image.key}/")
        return found

    (middle,), (first,) = firsts("middle").items(), firsts("first").items()
    assert (middle[1], first[1], middle[0]) == (4, 0, first[0])
    assert firsts("all") == {f"{first[0]}-{number}": 2 * number for number in range(5)}
    records = list(DicomSource(tmp_path, frames="all").records())
    assert {record.answer for record in records if record.content_type == "count"} == {"5"}
    assert len({record.id for record in records}) == len(records) == 10
    with pytest.raises(UsageError, match=r"unknown choice of frames 'midle' \(did you mean 'middle'\?\)"):
        DicomSource(tmp_path, frames="midle")


def test_each_frame_is_asked_about_for_itself(tmp_path: Path) -> None:
    groups = [item(PlaneOrientationSequence=[item(ImageOrientationPatient=cosines)])
              for cosines in (AXIAL, [0, 1, 0, 0, 0, -1])]  # fmt: skip
    write(tmp_path / "x", dicom(np.zeros((2, 1, 2), np.uint8), PerFrameFunctionalGroupsSequence=groups))
    records = DicomSource(tmp_path, frames="all").records()
    assert [record.answer for record in records if record.content_type == "plane"] == ["axial", "sagittal"]


def test_pixels_wait_until_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        write(tmp_path / f"{number}", dicom(SOPInstanceUID=f"1.{number}"))
    monkeypatch.setattr("pydicom.pixels.utils.pixel_array", None)
    source = DicomSource(tmp_path)
    stream = source.records()
    first = next(stream)
    (tmp_path / "2").unlink()  # nobody has looked at it yet
    assert len({first.group, *(record.id for record in stream)}) == 1 + 1
    assert list(source.requests())


def test_a_folder_without_records_is_an_error_that_counts(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent: no such folder\. Check source\.path\."):
        list(DicomSource(tmp_path / "absent").records())
    with pytest.raises(DataError, match=r"no records\. What was skipped: nothing\."):
        list(DicomSource(tmp_path).records())
    (tmp_path / "a.txt").write_text("")
    write(tmp_path / "b", dicom(Modality="SEG"))
    with pytest.raises(DataError, match=r"What was skipped: not DICOM: 1; not a picture of a patient \(.*\): 1\."):
        list(DicomSource(tmp_path).records())
    (tmp_path / "b").unlink()
    with pytest.raises(DataError, match="no DICOM files"):
        list(DicomSource(tmp_path).requests())
    with pytest.raises(DataError, match="no such folder"):
        DicomSource(tmp_path / "absent").fingerprint()


def test_without_pydicom_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(UsageError, match=r"pip install mllmu-med\[dicom\]"):
        SOURCES.get("dicom")(tmp_path)


def test_the_fingerprint_follows_files_key_and_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "data" / "x", dicom())
    first = DicomSource(tmp_path / "data").fingerprint()
    assert DicomSource(str(tmp_path / "data")).fingerprint() == first
    seen = {first, DicomSource(tmp_path / "data", frames="all").fingerprint()}
    seen.add(DicomSource(tmp_path / "data", burned_in=True).fingerprint())
    (tmp_path / "key.txt").write_text(KEY[::-1])
    seen.add(DicomSource(tmp_path / "data", key_file=tmp_path / "key.txt").fingerprint())
    monkeypatch.setattr("mllmu_med.sources.dicom.decodable", dict)  # another decoder decodes other files
    seen.add(DicomSource(tmp_path / "data").fingerprint())
    path.write_bytes(path.read_bytes() + b"\0")
    seen.add(DicomSource(tmp_path / "data").fingerprint())
    write(tmp_path / "data" / "y", dicom())
    seen.add(DicomSource(tmp_path / "data").fingerprint())
    assert len(seen) == 7


def test_requests_hold_what_records_do_not(tmp_path: Path) -> None:
    for number, study in enumerate(("1.5.1", "1.5.2")):
        made = dicom(
            SOPInstanceUID=f"1.6.{number}", StudyInstanceUID=study, PatientName="Doe^Jane", PatientBirthDate="19700401",
            AccessionNumber="P-1", OtherPatientIDsSequence=[item(PatientID="Q-7")], StudyDate=f"2020010{number + 1}",
        )  # fmt: skip
        write(tmp_path / f"b{number}", made)
    write(tmp_path / "a", dicom(SOPInstanceUID="1.7.1", PatientID="P-0", PatientName="Moe^Max", Modality="OT"))
    write(tmp_path / "c copy", dicom(SOPInstanceUID="1.6.1", PatientName="Copy^Jane"))
    source = DicomSource(tmp_path)
    records = list(source.records())
    before = source.skipped.copy()
    none, one = source.requests()
    assert source.skipped == before
    assert (none.id, none.records) == (request_id(SecretKey(KEY), "P-0"), ())
    assert PrivateField("name", "Max Moe", "PatientName") in none.fields
    assert one.id == request_id(SecretKey(KEY), "P-1") == records[0].extra["request"]
    assert one.records == tuple(record.id for record in records)
    assert [field[:2] for field in one.fields] == [
        ("date", "1970-04-01"), ("date", "2020-01-01"), ("date", "2020-01-02"), ("mrn", "P-1"), ("mrn", "Q-7"),
        ("name", "Jane Doe"), ("name", "Jane Copy"), ("other", "1.6.0"), ("other", "1.5.1"), ("other", "1.2.3.1"),
        ("other", "1.6.1"), ("other", "1.5.2"), ("other", "1.2.3"),
    ]  # fmt: skip
    write_requests(tmp_path / "requests.json", source.requests())
    assert read_requests(tmp_path / "requests.json") == [none, one]
    assert len(list(DicomSource(tmp_path).records())) == len(records)  # the request file is no DICOM


def test_a_number_that_stands_in_two_elements_is_of_the_class_that_says_more(tmp_path: Path) -> None:
    write(tmp_path / "x", dicom(AccessionNumber="SAME-1", PatientID="SAME-1", StudyID="SAME-1", AdmissionID="SAME-1"))
    (request,) = DicomSource(tmp_path).requests()
    assert [field.phi_class for field in request.fields if field.value == "SAME-1"] == ["mrn"]


def test_a_file_is_found_again(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"{number}", dicom(np.zeros((2, 1, 2), np.uint8), SOPInstanceUID=f"1.{number}"))
    for frames in ("middle", "all"):
        source = DicomSource(tmp_path, frames=frames)
        for record in source.records():
            assert record.image is not None
            assert record.image.make is not None
            expected = record.image.make.path  # type: ignore[attr-defined]
            assert source.path_of(record.id) == source.path_of(record.image.key) == expected
    with pytest.raises(UsageError, match=r"no image 'dicom-0' in .* under this key"):
        source.path_of("dicom-0")


def test_the_wordings_of_a_folder_serve_as_paraphrases(tmp_path: Path) -> None:
    for number in range(30):
        write(tmp_path / f"{number}", dicom(SOPInstanceUID=f"1.{number}", BodyPartExamined="HEAD"))
    records = list(DicomSource(tmp_path).records())
    wordings = ObservedWordings()
    for record in records:
        wordings.observe(record)
    assert len(wordings.of(records[0])) >= 4
    assert len(wordings.of(records[1])) >= 4
    assert all("CT scan" in text for text in wordings.of(records[1]))


def test_a_source_can_be_sent_to_a_worker(tmp_path: Path) -> None:
    write(tmp_path / "x", dicom())
    source = pickle.loads(pickle.dumps(DicomSource(tmp_path)))  # noqa: S301
    assert [record.id for record in source.records()] == [record.id for record in DicomSource(tmp_path).records()]


def real() -> Path | None:
    """The folder of real DICOM files: in ``MLLMU_MED_DATA``, or else beside the repository."""
    place = os.environ.get("MLLMU_MED_DATA")
    folder = (Path(place) if place else Path(__file__).parents[3].parent / "shared" / "data") / "dicom"
    return folder if (folder / "CT_small.dcm").is_file() else None


@pytest.mark.realdata
@pytest.mark.skipif(real() is None, reason="no dicom folder; set MLLMU_MED_DATA to the folder that holds it")
class TestRealFiles:
    """pydicom's own test files: CT, MR, CR and a secondary capture, some without extension."""

    @staticmethod
    def source(**options: Any) -> DicomSource:
        folder = real()
        assert folder is not None
        return DicomSource(folder, **options)

    def test_records(self) -> None:
        source = self.source()
        records = list(source.records())
        images: dict[str, list[str]] = {}
        for record in records:
            assert record.image is not None
            images.setdefault(record.image.key, []).append(record.answer)
        assert list(images.values()) == [
            ["CT", "axial", "left", "feet first, supine", "yes", "iopamidol"],
            ["MRI", "axial", "left", "head first, supine"],
            ["X-ray", "cervical spine", "left lateral", "left"],
            ["CT", "head", "axial", "left", "head first, supine"],
            ["MRI", "sagittal", "posterior", "head first, supine"],
        ]  # fmt: skip
        # A licence text; and a secondary capture, which says neither what it is nor what it shows.
        assert source.skipped == {"not DICOM": 1, "the header says nothing that could be asked": 1}
        assert len({record.group for record in records}) == 4  # two of the five images are of one patient

    def test_images(self) -> None:
        seen: dict[str, tuple[tuple[int, int], float]] = {}
        for record in self.source().records():
            assert record.image is not None
            assert record.image.make is not None
            if record.image.key not in seen:
                image = Image.open(io.BytesIO(record.image.make()))
                seen[record.image.key] = (image.size, float(np.asarray(image).mean()))
        sizes = [size for size, _ in seen.values()]
        assert sizes == [(128, 128), (64, 64), (16, 16), (16, 16), (16, 16)]
        means = [round(mean) for _, mean in seen.values()]
        assert means == [115, 113, 98, 12, 234]  # looked at, and found right

    def test_requests(self) -> None:
        requests = list(self.source().requests())
        fields = [dict(reversed([field[:2] for field in request.fields])) for request in requests]
        assert [field["name"] for field in fields] == [
            "CT1 CompressedSamples", "MR1 CompressedSamples", "山田太郎", "Archibald Doe", "Peter Doe",
        ]  # fmt: skip
        assert [field["mrn"] for field in fields] == ["1CT1", "4MR1", "H31EXAMPLE", "77654033", "98890234"]
        nested = {field.value for field in requests[0].fields if field.phi_class == "mrn"}
        assert nested == {"1CT1", "ABCD1234", "1234ABCD"}
        assert {field.value for field in requests[2].fields if field.phi_class == "name"} == {
            "山田太郎", "Tarou Yamada", "やまだたろう",
        }  # fmt: skip
        assert [len(request.records) for request in requests] == [6, 4, 0, 9, 4]

    def test_nothing_of_the_headers_is_in_the_records(self, caplog: pytest.LogCaptureFixture) -> None:
        source = self.source()
        with caplog.at_level(0):
            shown = repr([source, list(source.records()), source.skipped, list(source.requests())]) + caplog.text
        values = [value for request in source.requests() for _, value, _ in request.fields]
        assert len(values) > 30
        assert [value for value in values if value in shown] == []
