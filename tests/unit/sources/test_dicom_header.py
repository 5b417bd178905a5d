"""What a header says, in words of fixed tables: what is in none of them is not said."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydicom import Dataset

from mllmu_med.sources.dicom_header import ASKED, Facts, facts
from mllmu_med.sources.dicom_words import AGENTS, BODY_PARTS, MODALITIES, NOUNS, SYNONYMS, VIEWS, code_word, contrast
from tests.unit.sources.made_dicom import item, sequence

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value", "ignore:The value length")


def said(frame: int = 0, **elements: Any) -> dict[str, str]:
    """What the header says, without what it does not."""
    found = facts(item(**elements), frame)
    return {name: value for name, value in found._asdict().items() if value is not None}


def test_an_empty_header_says_nothing() -> None:
    assert facts(Dataset()) == Facts()
    empty = {keyword: "" for keyword in ASKED if not keyword.endswith("Sequence")}
    assert said(**empty) == {}


@pytest.mark.parametrize(
    ("code", "word"),
    [("CT", "CT"), ("MR", "MRI"), ("CR", "X-ray"), ("DX", "X-ray"), ("MG", "mammography"), ("US", "ultrasound"),
     ("NM", "nuclear medicine"), ("PT", "PET"), ("XA", "angiography"), ("ct ", "CT"), ("OT", None), ("Canary", None)],
)  # fmt: skip
def test_modality(code: str, word: str | None) -> None:
    assert said(Modality=code) == ({} if word is None else {"modality": word})


@pytest.mark.parametrize(
    ("value", "word"),
    [("CHEST", "chest"), ("CSPINE", "cervical spine"), ("C-SPINE", "cervical spine"), ("Head", "head"),
     ("ABDOMEN_PELVIS", "abdomen and pelvis"), ("WHOLE BODY", "whole body"), ("Canary^Jane", None), ("", None)],
)  # fmt: skip
def test_body_part(value: str, word: str | None) -> None:
    assert said(BodyPartExamined=value).get("body_part") == word


def test_a_code_stands_in_for_the_body_part() -> None:
    code = sequence(CodeValue="51185008", CodeMeaning="Chest")
    assert said(AnatomicRegionSequence=code) == {"body_part": "chest"}
    assert said(AnatomicRegionSequence=code, BodyPartExamined="HAND") == {"body_part": "hand"}
    assert said(AnatomicRegionSequence=code, BodyPartExamined="Canary") == {"body_part": "chest"}
    assert said(AnatomicRegionSequence=sequence(CodeMeaning="Canary")) == {}


@pytest.mark.parametrize(
    ("value", "word"),
    [("PA", "posteroanterior"), ("AP", "anteroposterior"), ("LL", "left lateral"), ("MLO", "mediolateral oblique"),
     ("XYZ", None)],
)  # fmt: skip
def test_view(value: str, word: str | None) -> None:
    assert said(ViewPosition=value).get("view") == word
    assert said(ViewCodeSequence=sequence(CodeMeaning="cranio-caudal"))["view"] == "craniocaudal"


AXIAL, CORONAL, SAGITTAL = [1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1]


@pytest.mark.parametrize(
    ("cosines", "plane", "edge"),
    [
        (AXIAL, "axial", "left"),
        ([-1, 0, 0, 0, 1, 0], "axial", "right"),
        ([0, -1, 0, 1, 0, 0], "axial", "anterior"),
        (CORONAL, "coronal", "left"),
        ([0, 0, 1, 1, 0, 0], "coronal", "head"),
        (SAGITTAL, "sagittal", "posterior"),
        ([0, 0, -1, 0, 1, 0], "sagittal", "feet"),
    ],
)
def test_plane_and_edge_follow_from_the_orientation(cosines: list[float], plane: str, edge: str) -> None:
    # The patient's x runs to the left, y to the back, z to the head (PS3.3 C.7.6.2.1.1).
    assert said(Modality="CT", ImageOrientationPatient=cosines) == {
        "modality": "CT",
        "plane": plane,
        "right_edge": edge,
    }


@pytest.mark.parametrize(("degrees", "known"), [(0, True), (10, True), (17, True), (20, False), (45, False)])
def test_an_oblique_slice_is_in_no_plane(degrees: float, known: bool) -> None:
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    found = said(Modality="MR", ImageOrientationPatient=[1, 0, 0, 0, round(cosine, 6), round(sine, 6)])
    assert found.get("plane") == ("axial" if known else None)
    assert found["right_edge"] == "left"


@pytest.mark.parametrize(
    "cosines",
    [[0, 0, 0, 0, 0, 0], [1, 0, 0, 1, 0, 0], [9, 0, 0, 0, 9, 0], [1, 0, 0], [1, 0, 0, 0, 1, "nan"], ["x"] * 6],
)
def test_an_orientation_that_is_none_gives_no_plane(cosines: list[Any]) -> None:
    made = item(Modality="CT")
    made.add_new(0x00200037, "LO", [str(one) for one in cosines])
    assert facts(made).plane is None


def test_a_projection_has_no_plane() -> None:
    assert said(Modality="CR", ImageOrientationPatient=AXIAL) == {"modality": "X-ray", "right_edge": "left"}
    assert "plane" not in said(ImageOrientationPatient=AXIAL)


@pytest.mark.parametrize(
    ("value", "edge"),
    [(["L", "F"], "left"), (["R", "F"], "right"), (["A", "F"], "anterior"), (["P", "H"], "posterior"),
     (["AL", "F"], None), (["", ""], None), (["Canary", "F"], None)],
)  # fmt: skip
def test_the_right_edge_as_written(value: list[str], edge: str | None) -> None:
    assert said(PatientOrientation=value).get("right_edge") == edge


def test_what_is_written_goes_before_what_follows() -> None:
    assert said(PatientOrientation=["R", "F"], ImageOrientationPatient=AXIAL)["right_edge"] == "right"


def test_side() -> None:
    assert said(Laterality="L") == {"side": "left"}
    assert said(ImageLaterality="R") == {"side": "right"}
    assert said(ImageLaterality="B", Laterality="L") == {"side": "both"}
    assert said(ImageLaterality="U", Laterality="R") == {"side": "right"}
    assert said(Laterality="U") == said(Laterality="") == {}


def test_position() -> None:
    assert said(PatientPosition="HFS") == {"position": "head first, supine"}
    assert said(PatientPosition="FFP") == {"position": "feet first, prone"}
    assert said(PatientPosition="Canary") == {}


def test_frames_are_told_where_there_are_several() -> None:
    assert said(NumberOfFrames=30) == {"frames": "30"}
    assert said(NumberOfFrames=1) == said(NumberOfFrames=0) == {}


def test_functional_groups_speak_of_a_frame() -> None:
    def plane(cosines: list[float]) -> Any:
        return sequence(ImageOrientationPatient=cosines)

    elements = {
        "Modality": "MR",
        "SharedFunctionalGroupsSequence": sequence(
            PlaneOrientationSequence=plane(AXIAL),
            FrameAnatomySequence=sequence(FrameLaterality="L", AnatomicRegionSequence=sequence(CodeMeaning="Knee")),
        ),
        "PerFrameFunctionalGroupsSequence": [item(), item(PlaneOrientationSequence=plane(SAGITTAL))],
    }
    shared = {"modality": "MRI", "side": "left", "body_part": "knee"}
    assert said(0, **elements) == {**shared, "plane": "axial", "right_edge": "left"}
    assert said(1, **elements) == {**shared, "plane": "sagittal", "right_edge": "posterior"}
    assert said(7, **elements)["plane"] == "axial"
    whole = {"ImageLaterality": "R", "BodyPartExamined": "HAND", "ImageOrientationPatient": CORONAL}
    assert said(0, **elements, **whole) == said(0, **elements)  # what is said of the frame goes before


@pytest.mark.parametrize(
    ("described", "given", "agent"),
    [
        ("ISOVUE300/100", "yes", "iopamidol"),
        ("Omnipaque 350 mg I/ml", "yes", "iohexol"),
        ("10 ml GADOVIST", "yes", "gadobutrol"),
        ("NON-IONIC Ultravist", "yes", "iopromide"),
        ("CE", "yes", None),
        ("APPLIED IV", "yes", None),
        ("Omnipaque and Barium", "yes", None),
        ("NONE", "no", None),
        ("No contrast", "no", None),
        ("W/O CONTRAST", "no", None),
        ("without", "no", None),
        ("No oral contrast, Omnipaque IV", None, None),
        ("not known", None, None),
        ("?", None, None),
        ("", None, None),
        ("Canary^Jane", None, None),
    ],
)
def test_contrast(described: str, given: str | None, agent: str | None) -> None:
    assert contrast(described) == (given, agent)
    found = said(ContrastBolusAgent=described)
    assert (found.get("contrast"), found.get("agent")) == (given, agent)


def test_the_tables_hold_together() -> None:
    words = {*MODALITIES.values()}
    assert set(NOUNS) <= words
    assert all(code_word(code) == code for table in (BODY_PARTS, VIEWS) for code in table)
    assert all(AGENTS[name] == name for name in AGENTS.values() if " " not in name)
    for answer, others in SYNONYMS.items():
        assert answer not in others
    assert all(word == word.strip() and word for table in (MODALITIES, BODY_PARTS, VIEWS) for word in table.values())
