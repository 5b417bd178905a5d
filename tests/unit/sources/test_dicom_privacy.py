"""No value of a header gets out: every element of the standard is planted, nested and private ones too."""

from __future__ import annotations

import io
import logging
import traceback
import warnings
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import count
from pathlib import Path

import pytest
from pydicom import Dataset, config
from pydicom.datadict import DicomDictionary

from mllmu_med.errors import MedError
from mllmu_med.sources.dicom import DicomSource
from mllmu_med.sources.requests import read_requests, write_requests
from tests.unit.sources.made_dicom import KEY, dicom, encapsulated, item, write, write_bare

_KEPT = {0x00080005, 0x00080016, 0x00080060, 0x00280004}  # needed to make records at all
_TEXTS = {"AE": 16, "CS": 16, "LO": 64, "LT": 99, "PN": 64, "SH": 16, "ST": 99, "UC": 99, "UT": 99, "UR": 99}
_USUAL = (0x0008, 0x0010, 0x0018, 0x0020, 0x0038, 0x0040)
_PLACES = ("AnatomicRegionSequence", "OtherPatientIDsSequence", "ViewCodeSequence", "RequestAttributesSequence")


class Planter:
    """Fills data sets with values that occur once, and remembers every form in which they could come out."""

    def __init__(self) -> None:
        self.planted: list[str] = []
        self._numbers = count(1)

    def text(self) -> str:
        """A word that is nowhere else."""
        self.planted.append(f"CNRY{next(self._numbers):05d}")
        return self.planted[-1]

    def value(self, vr: str) -> str | None:
        """A value of this type; None for types that identify nobody by themselves (numbers, times)."""
        if vr in _TEXTS:
            return f"{self.text()}^{self.text()}" if vr == "PN" else self.text()
        if vr == "UI":
            self.planted.append(f"1.2.777.{next(self._numbers)}.777")
            return self.planted[-1]
        if vr in ("DA", "DT"):
            day = date(1801, 1, 1) + timedelta(days=next(self._numbers))
            self.planted += [day.strftime("%Y%m%d"), day.isoformat()]
            return day.strftime("%Y%m%d") + ("123456" if vr == "DT" else "")
        return None

    def fill(self, made: Dataset, everything: bool = False) -> Dataset:
        """Every element of the usual groups, or of all, that is not there yet and has a type that may identify."""
        for tag, (vr, *_) in DicomDictionary.items():
            if tag in made or tag in _KEPT or tag < 0x00080000 or not (everything or tag >> 16 in _USUAL):
                continue
            value = self.value(vr)
            if value is not None:
                made.add_new(tag, vr, value)
        block = made.private_block(0x0011, self.text(), create=True)
        for element, vr in enumerate(("PN", "LO", "UI", "DA", "UN")):
            block.add_new(element, vr, self.text().encode() if vr == "UN" else self.value(vr))
        return made


@pytest.fixture
def heard() -> Iterator[io.StringIO]:
    """Everything that is logged, at the most talkative setting of all libraries, or warned of."""
    stream = io.StringIO()
    handler, root = logging.StreamHandler(stream), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.NOTSET)
    config.debug(True, default_handler=False)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        yield stream
        logging.captureWarnings(False)
    config.debug(False, default_handler=False)
    root.removeHandler(handler)
    root.setLevel(level)


@pytest.mark.filterwarnings("ignore")
def test_nothing_of_a_header_gets_out(
    tmp_path: Path, heard: io.StringIO, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLLMU_MED_KEY", KEY)
    planter, folder = Planter(), tmp_path / "data"
    files = {
        "good": dicom(ImageOrientationPatient=[1, 0, 0, 0, 1, 0], NumberOfFrames=1),
        "bare": dicom(),
        "cut": dicom(),
        "jpeg": encapsulated(dicom(), [b"\xff\xd8 no JPEG at all"]),
        "unknown": encapsulated(dicom(), [b"ab"]),
        "strange": dicom(),
        "dropped": dicom(),
    }
    for name, made in files.items():
        for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientID", "PatientName"):
            delattr(made, keyword)
        planter.fill(made, everything=name == "good")
        for keyword in _PLACES if name == "good" else _PLACES[:1]:
            setattr(made, keyword, [planter.fill(item(ReferencedImageSequence=[planter.fill(item())]))])
        if name == "strange":
            made.PhotometricInterpretation = planter.text()
            made.Modality = planter.text()
        path = folder / planter.text() / planter.text()  # real folders are named after patients
        if name == "jpeg":
            write(path, made, "1.2.840.10008.1.2.4.50")
        elif name == "unknown":
            write(path, made, "1.2.840.10008.1.2.4.80")
        elif name == "bare":
            path.parent.mkdir(parents=True)
            write_bare(path, made)
        else:
            write(path, made)
        if name in ("cut", "dropped"):
            data = path.read_bytes()
            path.write_bytes(data[:-2] if name == "cut" else data[: len(data) // 2])
    assert len(planter.planted) > 10_000
    heard.truncate(0)  # what the making of the files has said
    capfd.readouterr()

    source = DicomSource(folder, frames="all")
    records = list(source.records())
    requests = list(source.requests())
    shown = [repr(source), source.fingerprint(), repr(vars(source)), repr(source.skipped)]
    for record in records:
        shown += [repr(record), str(dict(record.extra)), str(record.hierarchy)]
    shown += [repr(request) for request in requests] + [str(field) for request in requests for field in request.fields]
    errors: list[MedError] = []
    for image in {record.image.key: record.image for record in records if record.image is not None}.values():
        assert image.make is not None
        try:
            shown.append(image.make().decode("latin-1"))
        except MedError as error:
            errors.append(error)
            shown.append("".join(traceback.format_exception(error)) + repr(error) + repr(vars(error)))
    for call in (lambda: source.path_of("absent"), lambda: list(DicomSource(folder / "no").records())):
        with pytest.raises(MedError) as caught:
            call()
        shown.append(str(caught.value))
    captured = capfd.readouterr()
    text = "\n".join([*shown, heard.getvalue(), captured.out, captured.err])

    assert len(requests) == 7
    assert ([error.__context__ for error in errors], source.skipped.total()) == ([None], 4)
    assert "CNRY" not in text
    assert ".777." not in text
    assert [value for value in planter.planted if value[:2] == "18" and value in text] == []

    # All the same the values are where they belong.
    write_requests(tmp_path / "requests.json", requests)
    stored = {field.value for request in read_requests(tmp_path / "requests.json") for field in request.fields}
    assert len(stored) > 3_000
    with_name = {request.id for request in requests for field in request.fields if field.phi_class == "name"}
    assert {record.extra["request"] for record in records} <= with_name
