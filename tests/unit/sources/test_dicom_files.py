"""Files found by content, and opened without a word of what they say."""

from __future__ import annotations

import logging
import os
import struct
import tracemalloc
import warnings
import zlib
from pathlib import Path

import pytest
from pydicom import config
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    MediaStorageDirectoryStorage,
)

from mllmu_med.sources import dicom_files
from mllmu_med.sources.dicom_files import (
    FAULTS,
    find,
    items,
    looks_like_dicom,
    number,
    numbers,
    opened,
    quiet,
    text,
    texts,
    unwanted,
)
from tests.unit.sources.made_dicom import dicom, encapsulated, item, sequence, write, write_bare


def found(folder: Path) -> list[tuple[str, str | None]]:
    """Relative paths and reasons, in the order of ``find``."""
    return [(path.relative_to(folder.resolve()).as_posix(), reason) for path, reason in find(folder)]


def test_files_are_found_sorted_in_every_folder(tmp_path: Path) -> None:
    for name in ("b/2", "b/10", "a", "c/x/y.dcm", "B", ".hidden"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    names = [name for name, reason in found(tmp_path) if reason is None]
    assert names == [".hidden", "B", "a", "b/10", "b/2", "c/x/y.dcm"]


def test_links_stay_inside_the_folder(tmp_path: Path) -> None:
    folder, outside = tmp_path / "data", tmp_path / "outside"
    (folder / "sub").mkdir(parents=True)
    outside.mkdir()
    for path in (folder / "sub" / "own", outside / "secret"):
        path.write_bytes(b"")
    (folder / "inner").symlink_to(folder / "sub" / "own")
    (folder / "file").symlink_to(outside / "secret")
    (folder / "folder").symlink_to(outside)
    (folder / "loop").symlink_to(folder)
    (folder / "broken").symlink_to(folder / "nowhere")
    (folder / "self").symlink_to(folder / "self")
    out = "link that leads out of the folder"
    assert found(folder) == [
        ("broken", "broken link"), ("file", out), ("folder", out), ("inner", None), ("self", "broken link"),
        ("sub/own", None),
    ]  # fmt: skip
    (tmp_path / "link").symlink_to(folder)
    assert len(list(find(tmp_path / "link"))) == 6  # the folder itself may be a link


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert found(tmp_path) == [("pipe", "not a regular file")]


def test_what_looks_like_dicom(tmp_path: Path) -> None:
    candidates = {
        "whole": write(tmp_path / "whole", dicom()),
        "bare": write_bare(tmp_path / "bare", dicom()),
        "big": write_bare(tmp_path / "big", dicom(), ExplicitVRBigEndian),
    }
    others = {"png": b"\x89PNG\r\n\x1a\n" + bytes(200), "json": b'{"a": 1}', "empty": b"", "late": bytes(129) + b"DICM"}
    for name, data in others.items():
        candidates[name] = tmp_path / name
        candidates[name].write_bytes(data)
    assert [name for name, path in candidates.items() if looks_like_dicom(path)] == ["whole", "bare", "big"]


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("bare", [False, True])
def test_the_transfer_syntax_is_found_out(tmp_path: Path, syntax: str, bare: bool) -> None:
    made = dicom()
    if syntax == ExplicitVRBigEndian:
        made[0x7FE00010].value = bytes(12)
    path = write_bare(tmp_path / "x", made, syntax) if bare else write(tmp_path / "x", made, syntax)
    with quiet(), opened(path, ("Rows",)) as file:
        assert file.syntax == syntax
        assert number(file.dataset, "Rows") == 2
        assert "PatientName" not in file.dataset
        assert unwanted(file.dataset) is None
        file.file.seek(file.pixels_at)
        assert file.file.read(4) == (b"\x7f\xe0\0\x10" if syntax == ExplicitVRBigEndian else b"\xe0\x7f\x10\0")
        assert file.size == path.stat().st_size


def test_all_elements_before_the_pixels_can_be_had(tmp_path: Path) -> None:
    path = write(tmp_path / "x", dicom(DataSetTrailingPadding=b"0000"))
    with quiet(), opened(path) as file:
        assert text(file.dataset, "PatientName") == "Doe^Jane"
        assert "PixelData" not in file.dataset
        assert "DataSetTrailingPadding" not in file.dataset


def test_a_compressed_syntax_is_named(tmp_path: Path) -> None:
    with quiet(), opened(write(tmp_path / "x", encapsulated(dicom(), [b"a"]), JPEGLSLossless)) as file:
        assert file.syntax == JPEGLSLossless


def test_a_deflated_file_is_inflated(tmp_path: Path) -> None:
    path = write(tmp_path / "x", dicom(), DeflatedExplicitVRLittleEndian)
    with quiet(), opened(path, ("Rows",)) as file:
        assert (file.syntax, number(file.dataset, "Rows")) == (ExplicitVRLittleEndian, 2)
        assert unwanted(file.dataset) is None
        assert file.pixels_at + 12 + 12 == file.size


@pytest.mark.filterwarnings("ignore:The value")
def test_a_deflated_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_files, "LARGEST_INFLATED", 1_000_000)
    for size, refused in ((900_000, False), (1_100_000, True)):
        path = write(tmp_path / str(size), dicom(ImageComments="x" * size), DeflatedExplicitVRLittleEndian)
        assert path.stat().st_size < 10_000
        if not refused:
            with quiet(), opened(path) as file:
                assert file.size > size
            continue
        with pytest.raises(FAULTS), quiet(), opened(path):
            pass


def test_a_deflated_bomb_takes_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_files, "LARGEST_INFLATED", 1_000_000)
    path = write(tmp_path / "x", dicom(), DeflatedExplicitVRLittleEndian)
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    start = 144 + int.from_bytes(path.read_bytes()[140:144], "little")
    path.write_bytes(path.read_bytes()[:start] + deflate.compress(bytes(50_000_000)) + deflate.flush())
    tracemalloc.start()
    with pytest.raises(FAULTS), quiet(), opened(path):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000


def test_a_deflated_file_without_group_length_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x", dicom(), DeflatedExplicitVRLittleEndian)
    data = path.read_bytes()
    path.write_bytes(data[:132] + data[144:])
    with pytest.raises(FAULTS), quiet(), opened(path):
        pass


def test_a_dicomdir_is_known_by_its_class(tmp_path: Path) -> None:
    made = dicom(SOPClassUID=MediaStorageDirectoryStorage)
    made.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    with quiet(), opened(write(tmp_path / "any.dcm", made)) as file:
        assert unwanted(file.dataset) == "DICOMDIR"
        del file.dataset.SOPClassUID
        assert unwanted(file.dataset) == "DICOMDIR"


def test_bytes_that_parse_by_chance_are_no_dicom(tmp_path: Path) -> None:
    chance = struct.pack("<HHL", 8, 0x60, 2) + b"CT"
    (tmp_path / "x").write_bytes(chance)
    assert looks_like_dicom(tmp_path / "x")
    with quiet(), opened(tmp_path / "x") as file:
        assert unwanted(file.dataset) == "not DICOM"
    write(tmp_path / "y", dicom(SOPClassUID="1.3.12.2.1107.5.9.1"))  # a maker's own class, in a whole file
    with quiet(), opened(tmp_path / "y") as file:
        assert unwanted(file.dataset) is None


def test_nothing_of_a_bad_value_is_logged_or_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = dicom()
    made.add_new(0x00100030, "LO", "Canary-Date")
    made.add_new(0x00280008, "LO", "Canary-Frames")
    made.add_new(0x00100010, "LO", "Canary\x1b$B")
    path = write_bare(tmp_path / "x", made)
    config.settings.reading_validation_mode = config.WARN
    config.debug(True, default_handler=False)
    try:
        with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            with quiet(), opened(path) as file:
                assert texts(file.dataset, "PatientBirthDate") == ["Canary-Date"]
                assert numbers(file.dataset, "NumberOfFrames") == []
                assert text(file.dataset, "PatientName").startswith("Canary")
        assert caplog.text == ""
        assert warned == []
        # What is silenced above is there indeed.
        with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as warned, opened(path) as file:
            warnings.simplefilter("always")
            assert texts(file.dataset, "PatientBirthDate") == ["Canary-Date"]
        assert "Canary" in caplog.text + str([str(one.message) for one in warned])
    finally:
        config.debug(False, default_handler=False)
    assert config.settings.reading_validation_mode == config.WARN
    assert logging.getLogger("pydicom").level == logging.WARNING


def test_quiet_ends_with_an_error() -> None:
    level = logging.getLogger("pydicom").level
    with pytest.raises(ZeroDivisionError), quiet():
        raise ZeroDivisionError
    assert logging.getLogger("pydicom").level == level


def test_sequences_nested_without_end_are_a_fault(tmp_path: Path) -> None:
    head = struct.pack("<HHL", 8, 0x16, 26) + b"1.2.840.10008.5.1.4.1.1.2\0"
    deep = struct.pack("<HHL", 8, 0x1140, 0xFFFFFFFF) + struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    (tmp_path / "x").write_bytes(head + deep * 20_000)
    with pytest.raises(FAULTS), quiet(), opened(tmp_path / "x"):
        pass


@pytest.mark.parametrize("keep", [133, 150, 200, 300])
def test_a_cut_header_is_a_fault_or_short(tmp_path: Path, keep: int) -> None:
    path = write(tmp_path / "x", dicom())
    path.write_bytes(path.read_bytes()[:keep])
    try:
        with quiet(), opened(path) as file:
            assert "Rows" not in file.dataset
    except FAULTS:
        pass


def test_values_are_read_whatever_they_are() -> None:
    made = item(
        ImageOrientationPatient=["1", "0", "0", "0", "1", "0"], PatientName="A^B=C", Rows=7,
        OtherPatientIDs=["x ", "y"], WindowCenter="", PatientID="  P 1 ",
        ReferencedImageSequence=[item(Rows=1), item(Rows=2)],
    )  # fmt: skip
    assert numbers(made, "ImageOrientationPatient") == [1, 0, 0, 0, 1, 0]
    assert (texts(made, "PatientName"), text(made, "PatientID"), texts(made, "OtherPatientIDs")) == (
        ["A^B=C"], "P 1", ["x", "y"],
    )  # fmt: skip
    assert (number(made, "Rows"), number(made, "Columns"), number(made, "WindowCenter")) == (7, None, None)
    assert (texts(made, "Columns"), texts(made, 0x00100020)) == ([], ["P 1"])
    assert [number(one, "Rows") for one in items(made, "ReferencedImageSequence")] == [1, 2]
    assert items(made, "PatientID") == items(made, "SourceImageSequence") == []
    assert items(item(SourceImageSequence=sequence(Rows=1)), 0x00082112)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1\\nan", "x"])
def test_what_is_no_finite_number_is_none(tmp_path: Path, value: str) -> None:
    made = dicom()
    made.add_new(0x00281050, "LO", value.split("\\"))
    with quiet(), opened(write_bare(tmp_path / "x", made)) as file:
        assert numbers(file.dataset, "WindowCenter") == []
