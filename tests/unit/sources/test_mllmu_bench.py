"""MLLMU-Bench in its authors' layout: persons with an image and questions of several tasks."""

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
from mllmu_med.sources.mllmu_bench import MllmuBenchSource

_CELL = pa.struct({"bytes": pa.binary(), "path": pa.string()})
_CHOICE = pa.struct({
    "Correct_Answer": pa.string(), "Options": pa.struct({letter: pa.string() for letter in "ABCD"}),
    "Question": pa.string(),
})  # fmt: skip
_ASKED = pa.list_(pa.struct({"Ground_Truth": pa.string(), "Question": pa.string(), "Type": pa.string()}))
SCHEMA = pa.schema({
    "image": _CELL, "ID": pa.string(), "Directory": pa.string(), "biography": pa.string(), "question": pa.string(),
    "answer": pa.string(),
    "Classification_Task": pa.struct({
        "Image_Textual_Questions": pa.list_(_CHOICE), "Pure_Text_Questions": pa.list_(_CHOICE)
    }),
    "Generation_Task": _ASKED, "Mask_Task": _ASKED,
})  # fmt: skip
"""The features that the authors' dataset card states."""


def png(shade: int) -> bytes:
    """A grey image."""
    buffer = io.BytesIO()
    Image.new("L", (6, 4), shade).save(buffer, format="PNG")
    return buffer.getvalue()


def choice(question: str, letter: str = "B") -> dict[str, Any]:
    """A multiple-choice question."""
    options = {"A": "nurse", "B": " civil  engineer", "C": "baker", "D": None}
    return {"Question": question, "Options": options, "Correct_Answer": letter}


def asked(question: str, answer: str, kind: str = "Image_Textual") -> dict[str, str]:
    """A question of the generation or cloze task."""
    return {"Question": question, "Ground_Truth": answer, "Type": kind}


def person(identity: str = "007", shade: int = 7, **changes: Any) -> dict[str, Any]:
    """A row; ``changes`` replace cells."""
    return {
        "image": {"bytes": png(shade), "path": f"{identity}.png"}, "ID": identity, "Directory": f"full/{identity}.png",
        "biography": json.dumps({"Name": "Ana Lim"}), "question": "Who is this?", "answer": "Ana Lim, an engineer.",
        "Classification_Task": {
            "Image_Textual_Questions": [choice("What is the job of this person?")],
            "Pure_Text_Questions": [choice("What is Ana Lim's job?"), choice("And yesterday?", "A")],
        },
        "Generation_Task": [asked("Where does she live?", "In Lund."), asked("Where is Ana?", "In Lund.", "Pure_Text")],
        "Mask_Task": [asked("She was born in __.", "Lima"), asked("Ana was born in __.", "Lima", "Pure_Text")],
        **changes,
    }  # fmt: skip


def write(folder: Path, subset: str, *rows: dict[str, Any], schema: pa.Schema = SCHEMA, part: int = 0) -> Path:
    """A parquet file of these rows; returns ``folder``."""
    (folder / subset).mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(list(rows), schema=schema)
    pq.write_table(table, folder / subset / f"train-{part:05d}-of-00002.parquet", row_group_size=2)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two persons to be retained in two files, one to be forgotten."""
    write(tmp_path, "forget_5", person())
    write(tmp_path, "retain_95", person("008", 8))
    return write(tmp_path, "retain_95", person("009", 9), part=1)


def read(folder: Path, *subsets: str) -> list[Record]:
    """The records of these subsets, or of the default ones."""
    return list(MllmuBenchSource(folder, **({"subsets": subsets} if subsets else {})).records())


def test_every_task_of_a_person(folder: Path) -> None:
    found = read(folder, "forget_5")
    image = found[0].image
    assert image is not None
    assert read_image(image, "x").data == png(7)
    extra = {
        "ID": "007", "Directory": "full/007.png", "biography": '{"Name": "Ana Lim"}', "peer_subset": "forget_5",
        "peer_split": "forget",
    }  # fmt: skip
    options = ("nurse", "civil engineer", "baker")
    expected = [
        ("biography-1", True, "Who is this?", "Ana Lim, an engineer.", None),
        ("classification-1", True, "What is the job of this person?", "civil engineer", options),
        ("classification-2", False, "What is Ana Lim's job?", "civil engineer", options),
        ("classification-3", False, "And yesterday?", "nurse", options),
        ("generation-1", True, "Where does she live?", "In Lund.", None),
        ("generation-2", False, "Where is Ana?", "In Lund.", None),
        ("cloze-1", True, "She was born in __.", "Lima", None),
        ("cloze-2", False, "Ana was born in __.", "Lima", None),
    ]
    assert found == [
        Record(
            id=f"forget_5/007/{name}", image=image if with_image else None, question=question, answer=answer,
            group="007", source="mllmu_bench", answer_type="closed" if choices else "open",
            hierarchy={"patient": "007"}, options=choices, extra={**extra, "task": name.partition("-")[0]},
        )
        for name, with_image, question, answer, choices in expected
    ]  # fmt: skip


def test_membership_is_that_of_the_folder(folder: Path) -> None:
    assert {(record.group, record.extra["peer_split"]) for record in read(folder)} == {
        ("007", "forget"), ("008", "retain"), ("009", "retain"),
    }  # fmt: skip
    write(folder, "Full_Set", person())
    assert all("peer_split" not in record.extra for record in read(folder, "Full_Set"))


def test_public_persons_are_not_the_fictitious_ones(folder: Path) -> None:
    write(folder, "Retain_Set", person("007", 70))
    found = read(folder, "forget_5", "Retain_Set")
    assert {(record.group, record.extra["peer_split"]) for record in found} == {
        ("007", "forget"), ("public-007", "retain"),
    }  # fmt: skip
    assert found[-1].hierarchy == {"patient": "public-007"}


def test_the_test_set_has_the_same_persons_and_several_images(folder: Path) -> None:
    images = [{"bytes": png(shade), "path": None} for shade in (30, 40)]
    row = {name: value for name, value in person().items() if name != "image"}
    schema = pa.schema([pa.field("images", pa.list_(_CELL)), *(field for field in SCHEMA if field.name != "image")])
    write(folder, "Test_Set", {**row, "images": images}, schema=schema)
    source = MllmuBenchSource(folder, ("forget_5", "Test_Set"))
    found = list(source.records())
    tests = [record for record in found if record.id.startswith("Test_Set/")]
    assert {(record.group, record.source_split) for record in tests} == {("007", "test")}
    assert {record.extra["peer_split"] for record in tests} == {"test"}
    assert {record.source_split for record in found if record not in tests} == {None}
    assert found[0].image is not None
    assert read_image(found[0].image, "x").data == png(7)
    assert tests[0].image is not None
    assert read_image(tests[0].image, "x").data == png(30)
    assert source.skipped == {"further images of a person": 1}
    assert len({record.id for record in found}) == len(found) == 16


def test_the_first_of_several_images_is_read_again(tmp_path: Path) -> None:
    schema = pa.schema({"ID": pa.string(), "images": pa.list_(_CELL), "question": pa.string(), "answer": pa.string()})
    people = [
        {"ID": name, "images": [None, {"bytes": png(shade)}, {"bytes": png(99)}], "question": "Who?", "answer": name}
        for name, shade in (("1", 1), ("2", 2))
    ]
    first, second = read(write(tmp_path, "Test_Set", *people, schema=schema), "Test_Set")
    assert first.image is not None
    assert second.image is not None
    assert [read_image(record.image, "x").data for record in (first, second)] == [png(1), png(2)]


def test_options_are_in_the_order_of_their_letters(tmp_path: Path) -> None:
    schema = pa.schema({"ID": pa.string(), "image": _CELL, "Classification_Task": pa.string()})
    asked = {"Question": "Q?", "Options": {"B": "two", "A": "one"}, "Correct_Answer": "B"}
    row = {"ID": "7", "image": None, "Classification_Task": json.dumps({"Pure_Text_Questions": [asked]})}
    (record,) = read(write(tmp_path, "Full_Set", row, schema=schema), "Full_Set")
    assert (record.options, record.answer) == (("one", "two"), "two")


def test_further_columns_are_kept_as_json_can_hold_them(tmp_path: Path) -> None:
    schema = pa.schema([*SCHEMA, ("born", pa.date32()), ("raw", pa.binary()), ("age", pa.float64())])
    row = person(born=date(1990, 2, 3), raw=b"x", age=float("nan"))
    record = read(write(tmp_path, "forget_5", row, schema=schema), "forget_5")[0]
    assert {name: record.extra[name] for name in ("born", "raw", "age")} == {
        "born": "1990-02-03", "raw": None, "age": None,
    }  # fmt: skip


def test_training_data_holds_questions_as_json(tmp_path: Path) -> None:
    schema = pa.schema({"ID": pa.int64(), "image": _CELL, "metadata": pa.string()})
    questions = [{"Question": "Who?", "Answer": "Ana"}, {"Question": "Where?", "Answer": " "}, {"Answer": "x"}]
    row = {"ID": 7, "image": person()["image"], "metadata": json.dumps(questions)}
    write(tmp_path, "ft_Data", row, schema=schema)
    source = MllmuBenchSource(tmp_path, ("ft_Data",))
    (record,) = source.records()
    assert (record.id, record.group, record.answer) == ("ft_Data/7/training-1", "7", "Ana")
    assert record.extra == {"ID": 7, "peer_subset": "ft_Data", "task": "training"}
    assert source.skipped == {"empty answer": 1, "empty question": 1}


def test_images_are_read_again_in_any_order(folder: Path) -> None:
    found = [record for record in read(folder) if record.image is not None]
    for record in (found[-1], found[0], found[-1]):
        assert record.image is not None
        assert record.image.key == image_digest(png(int(record.group)))
        assert read_image(record.image, "x").data == png(int(record.group))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image": None}, r"row 0 \(ID 007\): no image for its biography questions\. Check the download"),
        ({"image": {"bytes": None, "path": "x.png"}}, "no image for its biography questions"),
        ({"ID": " "}, "record row 0: 'ID' is empty"),
        ({"ID": None}, "record row 0: 'ID' is null"),
        (
            {"Classification_Task": {"Image_Textual_Questions": [choice("Q", "E")]}},
            r"\(ID 007\), Image_Textual_Questions 0: 'Correct_Answer' is 'E', which is none of its options A, B, C$",
        ),
        (
            {"Classification_Task": {"Pure_Text_Questions": [choice("Q", "D")]}},
            "Pure_Text_Questions 0: 'Correct_Answer' is 'D', which is none",
        ),
        ({"Mask_Task": [asked("Q", "A", "Text")]}, "Mask_Task 0: 'Type' is 'Text', expected Image_Textual or Pure"),
        ({"Generation_Task": [{"Question": "Q"}]}, "Generation_Task 0: 'Type' is null, expected text"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        read(write(tmp_path, "forget_5", person(**changes)), "forget_5")
    assert str(tmp_path / "forget_5" / "train-00000-of-00002.parquet") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_person_without_an_image_may_be_asked_in_text(tmp_path: Path) -> None:
    row = person(
        image=None, question=None, answer=None, Classification_Task=None, Mask_Task=None,
        Generation_Task=[asked("Where is Ana?", "In Lund.", "Pure_Text")],
    )  # fmt: skip
    assert [record.image for record in read(write(tmp_path, "forget_5", row), "forget_5")] == [None]


@pytest.mark.parametrize(
    ("column", "text", "reason"),
    [
        ("Classification_Task", "[]", "no records"),
        ("Classification_Task", "[1]", "'Classification_Task' is not an object"),
        ("Classification_Task", "{", r"row 0 \(ID 007\): 'Classification_Task' is malformed JSON"),
        ("Mask_Task", '{"a": 1}', "'Mask_Task' is not a list of questions"),
        ("metadata", '[{"Question": 3, "Answer": "x"}]', "metadata 0: 'Question' is a whole number, expected text"),
    ],
)
def test_tasks_as_json_are_checked_as_well(tmp_path: Path, column: str, text: str, reason: str) -> None:
    schema = pa.schema({"ID": pa.string(), "image": _CELL, column: pa.string()})
    row = {"ID": "007", "image": person()["image"], column: text}
    with pytest.raises(DataError, match=reason):
        read(write(tmp_path, "Full_Set", row, schema=schema), "Full_Set")


def test_a_person_stands_in_one_subset_only(folder: Path) -> None:
    write(folder, "Full_Set", person("001"), person("007"))
    reason = r"Full_Set.*row 1 \(ID 007\): the person occurs twice, first in forget_5 row 0\. Name subsets"
    with pytest.raises(DataError, match=reason):
        read(folder, "forget_5", "Full_Set")
    write(folder, "forget_10", person(), person())
    with pytest.raises(DataError, match=r"row 1 \(ID 007\): the person occurs twice, first in forget_10 row 0"):
        read(folder, "forget_10")


@pytest.mark.parametrize(("column", "found"), [("ID", "Id"), ("image", "imag")])
def test_a_missing_column_is_named(tmp_path: Path, column: str, found: str) -> None:
    schema = pa.schema([field.with_name(found) if field.name == column else field for field in SCHEMA])
    row = {found if name == column else name: value for name, value in person().items()}
    reason = rf"no column '{column}' \(did you mean '{found}'\?\)\. It has .*biography.*; is it MLLMU-Bench\?"
    with pytest.raises(DataError, match=reason):
        read(write(tmp_path, "forget_5", row, schema=schema), "forget_5")


def test_a_file_without_questions_is_named(tmp_path: Path) -> None:
    schema = pa.schema({"ID": pa.string(), "image": _CELL})
    with pytest.raises(DataError, match="no column 'question'"):
        read(write(tmp_path, "forget_5", {"ID": "1", "image": None}, schema=schema), "forget_5")


def test_missing_folders_and_files_are_named(folder: Path) -> None:
    with pytest.raises(DataError, match=r"no folder 'forget_6' \(did you mean 'forget_5'\?\)\. It has forget_5, re"):
        read(folder, "forget_6")
    with pytest.raises(DataError, match=r"absent: no folder 'forget_5'\. Check source\.path"):
        read(folder / "absent")
    (folder / "Test_Set").mkdir()
    with pytest.raises(DataError, match="Test_Set: no parquet files"):
        read(folder, "Test_Set")
    with pytest.raises(DataError, match=r"no folder '\.\./x'"):
        read(folder, "../x")
    for subsets in ([], ["forget_5", "forget_5"]):
        with pytest.raises(UsageError, match="subsets: name at least one folder"):
            MllmuBenchSource(folder, subsets)


def test_damaged_and_empty_files_are_named(folder: Path) -> None:
    (file,) = (folder / "forget_5").iterdir()
    file.write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"train-00000-of-00002\.parquet: not a readable parquet file"):
        read(folder)
    write(folder, "forget_5")
    with pytest.raises(DataError, match="no records"):
        read(folder, "forget_5")


def test_the_fingerprint_follows_files_and_subsets(folder: Path) -> None:
    make = SOURCES.get("mllmu_bench")
    first = make(folder).fingerprint()
    assert make(str(folder)).fingerprint() == first
    other = make(folder, subsets=["forget_5"]).fingerprint()
    write(folder, "retain_95", person("009", 10), part=1)
    assert len({first, other, make(folder).fingerprint()}) == 3
