"""MedForget in the layout that its authors' code reads."""

from __future__ import annotations

import io
import json
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mllmu_med.errors import DataError, UsageError
from mllmu_med.sources import SOURCES, Record
from mllmu_med.sources.images import image_digest, read_image
from mllmu_med.sources.medforget import MedForgetSource

SCHEMA = pa.schema({
    "image": pa.struct({"bytes": pa.binary(), "path": pa.string()}), "image_path": pa.string(), "metadata": pa.string(),
    "hierarchy_metadata": pa.string(), "ID": pa.string(),
})  # fmt: skip

CHOICE = "Which is shown? A) effusion B) edema C) a B-line (of type X) D) none"


def png(shade: int) -> bytes:
    """A grey image."""
    buffer = io.BytesIO()
    Image.new("L", (6, 4), shade).save(buffer, format="PNG")
    return buffer.getvalue()


def row(
    identity: str = "i1", *questions: tuple[str, Any], patient: str = "p1", shade: int = 1, **changes: Any
) -> dict[str, Any]:
    """A row with these questions and answers; ``changes`` replace cells."""
    asked = questions or (("What do the FINDINGS say?", "Clear lungs."),)
    place = {
        "institution_id": "h1", "patient_id": patient, "study_id": "s1", "section_name": "FINDINGS",
        "hierarchy_level": "section",
    }  # fmt: skip
    return {
        "image": {"bytes": png(shade), "path": None}, "image_path": f"h1/{patient}/s1/{identity}.jpg", "ID": identity,
        "metadata": json.dumps([{"Question": question, "Answer": answer} for question, answer in asked]),
        "hierarchy_metadata": json.dumps(place), **changes,
    }  # fmt: skip


def write(file: Path, *rows: dict[str, Any], schema: pa.Schema = SCHEMA) -> Path:
    """A parquet file of these rows."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), file, row_group_size=2)
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The sets of the level of patients: one patient is to be forgotten, one retained."""
    write(tmp_path / "patient_level" / "forget_set_all.parquet", row())
    write(tmp_path / "patient_level" / "retain_set_all.parquet", row("i2", patient="p2", shade=2))
    return tmp_path


def one(tmp_path: Path, *rows: dict[str, Any]) -> list[Record]:
    """The records of one file."""
    return list(MedForgetSource(write(tmp_path / "x.parquet", *rows)).records())


def test_the_two_sets_of_a_level(folder: Path) -> None:
    forget, retain = MedForgetSource(folder).records()
    assert forget.image is not None
    assert forget == Record(
        id="forget/i1/1", image=forget.image, question="What do the FINDINGS say?", answer="Clear lungs.",
        group="h1/p1", source="medforget", answer_type="open", modality="X-ray", body_part="chest",
        hierarchy={"institution": "h1", "patient": "p1", "study": "s1", "section": "FINDINGS"},
        extra={
            "image_path": "h1/p1/s1/i1.jpg", "hierarchy_metadata": row()["hierarchy_metadata"], "task": "generation",
            "peer_split": "forget",
        },
    )  # fmt: skip
    assert (retain.id, retain.group, retain.extra["peer_split"]) == ("retain/i2/1", "h1/p2", "retain")
    assert [read_image(record.image, "x").data for record in (retain, forget) if record.image] == [png(2), png(1)]
    assert forget.image.key == image_digest(png(1))


def test_another_level_and_subset(folder: Path) -> None:
    write(folder / "study_level" / "forget_set_rephrased.parquet", row("i3"))
    write(folder / "study_level" / "retain_set_rephrased.parquet", row("i4"))
    found = MedForgetSource(folder, level="study", subset="rephrased").records()
    assert [record.id for record in found] == ["forget/i3/1", "retain/i4/1"]


def test_one_file_belongs_to_neither_set(tmp_path: Path) -> None:
    (record,) = one(tmp_path, row())
    assert record.id == "row/i1/1"
    assert "peer_split" not in record.extra


@pytest.mark.parametrize(
    ("question", "task", "options"),
    [
        ("The lungs are [blank].", "cloze", None),
        ("[blank]? A) x B) y C) z", "cloze", None),
        (CHOICE, "classification", ("effusion", "edema", "a B-line (of type X)", "none")),
        (CHOICE.replace("X", "A"), "classification", None),
        ("Which?\nA) left lung\nB) right lung\nC) both", "classification", ("left lung", "right lung", "both")),
        ("Which? A)x B)y C)z", "classification", ("x", "y", "z")),
        ("Which? B) y A) x C) z", "classification", None),
        ("Which? A) B) C) z", "classification", None),
        ("Which? A) x B) y C)", "classification", None),
        ("Which? (A) x (B) y (C) z", "classification", None),
        ("Is it A) or B)?", "generation", None),
        ("Describe.", "generation", None),
    ],
)
def test_the_task_is_told_from_the_form(
    tmp_path: Path, question: str, task: str, options: tuple[str, ...] | None
) -> None:
    (record,) = one(tmp_path, row("i1", (question, "left lung")))
    assert (record.extra["task"], record.options) == (task, options)
    assert record.answer_type == ("closed" if task == "classification" else "open")
    assert record.question == " ".join(question.split())


@pytest.mark.parametrize(
    ("stated", "path", "hierarchy", "group"),
    [
        ({}, "h/p/s/i.jpg", {"institution": "h", "patient": "p", "study": "s"}, "h/p"),
        (None, "h/p/i.jpg", {"institution": "h", "patient": "p"}, "h/p"),
        (None, "h/p/s/view/i.jpg", {"institution": "h", "patient": "p", "study": "s"}, "h/p"),
        (None, "i.jpg", None, None),
        (None, "h/i.jpg", {"institution": "h"}, None),
        ({"institution_id": "h", "patient_id": None, "study_id": 3}, "i.jpg", {"institution": "h", "study": "3"}, None),
        (None, None, None, None),
        ({"patient_id": 12}, None, {"patient": "12"}, "12"),
        ({"patient_id": "x", "section_name": " "}, "h/p/i.jpg", {"institution": "h", "patient": "x"}, "h/x"),
    ],
)
def test_the_hierarchy_is_what_the_row_states(
    tmp_path: Path, stated: object, path: str | None, hierarchy: dict[str, str] | None, group: str | None
) -> None:
    cells = {"hierarchy_metadata": None if stated is None else json.dumps(stated), "image_path": path}
    (record,) = one(tmp_path, row(**cells))
    assert record.hierarchy == hierarchy
    assert record.group == (group or image_digest(png(1)))


@pytest.mark.parametrize(
    ("answer", "text"), [("a ", "a"), (["a", None, "b"], "a b"), (3, "3"), (0, "0"), (2.5, "2.5"), (["x", 1], "x 1")]
)
def test_answers_become_text(tmp_path: Path, answer: object, text: str) -> None:
    (record,) = one(tmp_path, row("i1", ("Q?", answer)))
    assert record.answer == text


def test_images_are_read_again_in_any_order(tmp_path: Path) -> None:
    found = one(tmp_path, *(row(f"i{shade}", shade=shade) for shade in range(5)))
    for shade in (4, 0, 3):
        image = found[shade].image
        assert image is not None
        assert read_image(image, "x").data == png(shade)


def test_further_columns_are_kept_as_json_can_hold_them(tmp_path: Path) -> None:
    schema = pa.schema([*SCHEMA, ("taken", pa.date32()), ("raw", pa.binary())])
    file = write(tmp_path / "x.parquet", {**row(), "taken": date(2020, 1, 2), "raw": b"x"}, schema=schema)
    (record,) = MedForgetSource(file).records()
    assert (record.extra["taken"], record.extra["raw"]) == ("2020-01-02", None)


def test_questions_of_an_id_are_numbered_through(tmp_path: Path) -> None:
    rows = [row("i1", ("A?", "a"), ("B?", "b")), row("i2", ("A?", "a")), row("i1", ("C?", "c"))]
    assert [record.id for record in one(tmp_path, *rows)] == ["row/i1/1", "row/i1/2", "row/i2/1", "row/i1/3"]


def test_empty_and_repeated_questions_are_counted(tmp_path: Path) -> None:
    asked = [("A?", "a"), (" ", "b"), ("C?", []), ("D?", None), ("A?", "a"), ("A?", "other")]
    source = MedForgetSource(write(tmp_path / "x.parquet", row("i1", *asked), row("i1", ("A?", "a"))))
    for _ in range(2):
        assert [record.id for record in source.records()] == ["row/i1/1", "row/i1/6"]
        assert source.skipped == {"empty question": 1, "empty answer": 2, "repeated question": 2}


def test_a_question_in_both_sets_is_refused(folder: Path) -> None:
    write(folder / "patient_level" / "retain_set_all.parquet", row("i2"), row())
    reason = r"retain_set_all\.parquet, record row 1 \(ID i1\), metadata 0: the question is to be forgotten and to be"
    with pytest.raises(DataError, match=reason):
        list(MedForgetSource(folder).records())
    other = {**json.loads(row()["hierarchy_metadata"]), "section_name": "IMPRESSION"}
    write(folder / "patient_level" / "retain_set_all.parquet", row(hierarchy_metadata=json.dumps(other)))
    assert len(list(MedForgetSource(folder).records())) == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image": None}, r"x\.parquet, record row 0 \(ID i1\): no image\. Check the download"),
        ({"image": {"bytes": b"", "path": "x"}}, r"\(ID i1\): no image"),
        ({"ID": None}, "record row 0: 'ID' is null"),
        ({"metadata": "[{'Question': 'x'}]"}, "'metadata' is malformed JSON"),
        ({"metadata": '{"Question": "x"}'}, "'metadata' is not a list of questions"),
        ({"metadata": '["x"]'}, "metadata 0: expected an object"),
        ({"metadata": '[{"Question": 4}]'}, "metadata 0: 'Question' is a whole number"),
        ({"metadata": '[{"Question": "x", "Answer": {"a": 1}}]'}, "metadata 0: 'Answer' is neither text nor a list"),
        ({"hierarchy_metadata": "[1]"}, "'hierarchy_metadata' is not an object"),
        ({"metadata": None}, "no records"),
        ({"metadata": "[]"}, "no records"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        one(tmp_path, row(**changes))
    assert "\n" not in str(caught.value)


def test_lists_as_arrow_holds_them_are_read_as_well(tmp_path: Path) -> None:
    asked = pa.list_(pa.struct({"Question": pa.string(), "Answer": pa.list_(pa.string())}))
    place = pa.struct({"patient_id": pa.int64()})
    image = SCHEMA.field("image")
    schema = pa.schema([image, ("ID", pa.int64()), ("metadata", asked), ("hierarchy_metadata", place)])
    cells = {
        "image": row()["image"], "ID": 5, "metadata": [{"Question": "Q?", "Answer": ["a", "b"]}],
        "hierarchy_metadata": {"patient_id": 12},
    }  # fmt: skip
    (record,) = MedForgetSource(write(tmp_path / "x.parquet", cells, schema=schema)).records()
    assert (record.id, record.answer, record.hierarchy) == ("row/5/1", "a b", {"patient": "12"})


@pytest.mark.parametrize("column", ["ID", "image", "metadata"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    schema = pa.schema([field.with_name(f"{column}s") if field.name == column else field for field in SCHEMA])
    cells = {f"{column}s" if name == column else name: value for name, value in row().items()}
    file = write(tmp_path / "x.parquet", cells, schema=schema)
    reason = rf"no column '{column}' \(did you mean '{column}s'\?\)\. It has .*; is it MedForget"
    with pytest.raises(DataError, match=reason):
        list(MedForgetSource(file).records())


def test_missing_files_and_folders_are_named(folder: Path) -> None:
    with pytest.raises(DataError, match=r"no folder 'study_level'\. Check source\.path and source\.level"):
        list(MedForgetSource(folder, level="study").records())
    with pytest.raises(DataError, match=r"no file 'forget_set_al\.parquet' \(did you mean 'forget_set_all"):
        list(MedForgetSource(folder, subset="al").records())
    with pytest.raises(UsageError, match=r"unknown level 'studi' \(did you mean 'study'\?\); known: institution"):
        MedForgetSource(folder, level="studi")
    (folder / "patient_level" / "forget_set_all.parquet").write_bytes(b"x")
    with pytest.raises(DataError, match=r"forget_set_all\.parquet: not a readable parquet file"):
        list(MedForgetSource(folder).records())


def test_the_fingerprint_follows_files_and_parameters(folder: Path) -> None:
    make = SOURCES.get("medforget")
    first = make(folder).fingerprint()
    assert make(str(folder)).fingerprint() == first
    file = folder / "patient_level" / "forget_set_all.parquet"
    alone = make(file).fingerprint()
    write(file, row(), row("i9"))
    assert len({first, alone, make(folder).fingerprint(), make(file).fingerprint()}) == 4
