"""Datasets of any layout that the datasets library opens, local and (as far as can be told offline) on the Hub."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Audio, ClassLabel, Dataset, DatasetDict, Features, Image, Json, List, Value
from PIL import Image as Pictures

from mllmu_med.errors import DataError, UsageError
from mllmu_med.sources import SOURCES, Record, hf_rows
from mllmu_med.sources.hf import HfSource
from mllmu_med.sources.images import image_digest, read_image

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def png(shade: int) -> bytes:
    """A grey image."""
    buffer = io.BytesIO()
    Pictures.new("L", (6, 4), shade).save(buffer, format="PNG")
    return buffer.getvalue()


def cell(shade: int) -> dict[str, Any]:
    """An image as datasets stores it."""
    return {"bytes": png(shade), "path": f"{shade}.png"}


def rows(number: int, **columns: Any) -> dict[str, list[Any]]:
    """Columns of so many rows; each column is a function of the row's number."""
    made = {"question": lambda n: f"Question {n}?", "answer": lambda n: f"answer {n}", "image": cell, **columns}
    return {name: [make(n) for n in range(number)] for name, make in made.items() if make is not None}


def features(**columns: Any) -> Features:
    """Features of a dataset with questions, answers and images; ``columns`` replace them, None takes one out."""
    found = {"question": Value("string"), "answer": Value("string"), "image": Image(), **columns}
    return Features({name: feature for name, feature in found.items() if feature is not None})


def save(folder: Path, values: dict[str, list[Any]], kinds: Features | None = None, split: str = "train") -> Path:
    """A folder with one parquet file of a split, as datasets writes it."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    table = Dataset.from_dict(values, features=kinds or features())
    pq.write_table(table.data.table, folder / "data" / f"{split}-00000-of-00001.parquet", row_group_size=4)
    return folder


def read(path: Path | str, **options: Any) -> list[Record]:
    """All records."""
    return list(HfSource(path, **options).records())


def data(record: Record) -> bytes:
    """The bytes of a record's image."""
    assert record.image is not None
    return read_image(record.image, record.id).data


def test_a_parquet_folder(tmp_path: Path) -> None:
    save(tmp_path, rows(20, note=lambda n: n / 2), features(note=Value("float64")))
    save(tmp_path, rows(1, note=lambda n: None), features(note=Value("float64")), split="test")
    found = read(tmp_path)
    assert [record.id for record in found] == [*(f"train-row-{n}" for n in range(20)), "test-row-0"]
    assert found[3].image is not None
    assert found[3] == Record(
        id="train-row-3", image=found[3].image, question="Question 3?", answer="answer 3", group=image_digest(png(3)),
        source="hf", source_split="train", extra={"note": 1.5},
    )  # fmt: skip
    assert found[3].image.key == found[3].group
    assert found[-1].source_split == "test"
    assert found[-1].extra == {"note": None}


def test_images_are_read_again_in_any_order(tmp_path: Path) -> None:
    found = read(save(tmp_path, rows(20)))
    for number in (19, 0, 7, 7, 18):
        assert data(found[number]) == png(number)


def test_a_split_may_have_several_files(tmp_path: Path) -> None:
    folder = save(tmp_path, rows(3))
    (first,) = (folder / "data").iterdir()
    first.rename(folder / "data" / "train-00000-of-00002.parquet")
    later = rows(6, image=lambda n: cell(100 + n))
    save(folder, later)
    (folder / "data" / "train-00000-of-00001.parquet").rename(folder / "data" / "train-00001-of-00002.parquet")
    found = read(folder)
    assert [record.id for record in found] == [f"train-row-{n}" for n in range(9)]
    assert [data(found[number]) for number in (8, 3, 2, 0)] == [png(105), png(100), png(2), png(0)]
    (split,) = hf_rows.open_splits(str(folder), None, None)
    for start in (0, 2, 3, 4, 8, 9):
        numbers = [number for number, _ in hf_rows.read(str(folder), split, "image", start)]
        assert numbers == list(range(start, 9))


def test_reading_a_saved_dataset_from_the_middle_keeps_the_numbers(tmp_path: Path) -> None:
    Dataset.from_dict(rows(20), features=features()).save_to_disk(str(tmp_path))
    (split,) = hf_rows.open_splits(str(tmp_path), None, None)
    assert [(n, row["answer"]) for n, row in hf_rows.read(str(tmp_path), split, "image", 18)] == [
        (18, "answer 18"), (19, "answer 19"),
    ]  # fmt: skip


def test_equal_images_are_one(tmp_path: Path) -> None:
    first, second, other = read(save(tmp_path, rows(3, image=lambda n: cell(n // 2))))
    assert first.image is not None
    assert second.image is not None
    assert first.image.key == second.image.key == first.group == second.group != other.group


def test_a_saved_dataset(tmp_path: Path) -> None:
    dataset = Dataset.from_dict(rows(20), features=features())
    DatasetDict(forget=dataset, retain=dataset.select([2])).save_to_disk(str(tmp_path / "saved"))
    found = read(tmp_path / "saved", split={"forget": "train", "retain": "valid"})
    assert [record.id for record in found[-2:]] == ["forget-row-19", "retain-row-0"]
    assert {record.source_split for record in found} == {"train", "validation"}
    assert [data(found[number]) for number in (20, 4, 0)] == [png(2), png(4), png(0)]
    dataset.save_to_disk(str(tmp_path / "single"))
    assert len(read(tmp_path / "single")) == 20
    with pytest.raises(UsageError, match=r"config: .* is a saved dataset"):
        read(tmp_path / "single", config="x")


def test_an_image_folder(tmp_path: Path) -> None:
    (tmp_path / "train" / "sub").mkdir(parents=True)
    (tmp_path / "train" / "a.png").write_bytes(png(1))
    (tmp_path / "train" / "sub" / "b.png").write_bytes(png(2))
    lines = [{"file_name": name, "question": "What?", "answer": name} for name in ("a.png", "sub/b.png")]
    (tmp_path / "train" / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    first, second = read(tmp_path)
    assert (first.answer, first.group, data(first)) == ("a.png", "train/a.png", png(1))
    assert first.image is not None
    assert first.image.path == (tmp_path / "train" / "a.png").resolve()
    assert (second.answer, second.group) == ("sub/b.png", "train/sub/b.png")


def test_the_folder_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real" / "train").mkdir(parents=True)
    (tmp_path / "real" / "train" / "a.png").write_bytes(png(1))
    line = {"file_name": "a.png", "question": "What?", "answer": "It."}
    (tmp_path / "real" / "train" / "metadata.jsonl").write_text(json.dumps(line), encoding="utf-8")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (record,) = read(tmp_path / "link")
    assert (record.group, data(record)) == ("train/a.png", png(1))


def test_csv_cells_are_text_as_they_stand(tmp_path: Path) -> None:
    lines = "question,answer,image,id\nHow many?,007,a.png,1\nWhich?,NA,a.png,2\nNone?,,,3\nNo?,None,,4\n"
    (tmp_path / "train.csv").write_text(lines, encoding="utf-8")
    (tmp_path / "a.png").write_bytes(png(1))
    source = HfSource(tmp_path)
    found = list(source.records())
    assert [(record.id, record.answer) for record in found] == [("1", "007"), ("2", "NA"), ("4", "None")]
    assert [record.group for record in found] == ["a.png", "a.png", "4"]
    assert source.skipped == {"empty answer": 1}


def test_json_lines_with_answers_of_several_types(tmp_path: Path) -> None:
    lines = [{"question": "Q?", "answer": value, "meta": {"a": [1]}} for value in (5, "five", 2.0, 2.5, True)]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    found = read(tmp_path)
    assert [record.answer for record in found] == ["5", "five", "2", "2.5", "true"]
    assert found[0].extra == {"meta": {"a": [1]}}


@pytest.mark.parametrize(
    ("feature", "values", "answers"),
    [
        (ClassLabel(names=["no", "yes"]), [1, 0, 1], ["yes", "no", "yes"]),
        (Value("int32"), [3, -1, 0], ["3", "-1", "0"]),
        (Value("float64"), [3.0, 0.25, 1e20], ["3", "0.25", "100000000000000000000"]),
        (Value("bool"), [True, False, True], ["true", "false", "true"]),
        (Json(), [1, "x", "1"], ["1", "x", "1"]),
        (Value("large_string"), ["a", " b ", "c\nd"], ["a", "b", "c d"]),
    ],
)
def test_answers_of_every_type_become_text(tmp_path: Path, feature: Any, values: list[Any], answers: list[str]) -> None:
    folder = save(tmp_path, rows(3, answer=lambda n: values[n]), features(answer=feature))
    assert [record.answer for record in read(folder)] == answers


def test_what_has_no_label_or_is_null_is_an_empty_answer(tmp_path: Path) -> None:
    labels = save(tmp_path / "a", rows(3, answer=lambda n: (0, -1, None)[n]), features(answer=ClassLabel(names=["no"])))
    source = HfSource(labels)
    assert [record.answer for record in source.records()] == ["no"]
    assert source.skipped == {"empty answer": 2}


def test_every_field_can_be_mapped(tmp_path: Path) -> None:
    columns: dict[str, Callable[[int], Any]] = {
        "prompt": lambda n: "Which  side?", "label": lambda n: 0, "scan": lambda n: [cell(7), cell(8)],
        "case": lambda n: 4, "part": lambda n: "val", "lang": lambda n: "DE", "kind": lambda n: "Closed",
        "where": lambda n: {"patient": 12, "study": None}, "choices": lambda n: {"B": "right", "A": "left", "C": None},
        "topic": lambda n: 1, "extra_label": lambda n: 1, "thumb": cell, "raw": lambda n: b"\xff",
    }  # fmt: skip
    kinds = features(
        image=None, question=None, answer=None, prompt=Value("string"), label=ClassLabel(names=["left", "right"]),
        scan=List(Image()), case=Value("int64"), part=Value("string"), lang=Value("string"), kind=Value("string"),
        where={"patient": Value("int64"), "study": Value("string")}, thumb=Image(), raw=Value("binary"),
        choices={"B": Value("string"), "A": Value("string"), "C": Value("string")},
        topic=ClassLabel(names=["Presence", "Laterality"]), extra_label=ClassLabel(names=["x", "y"]),
    )  # fmt: skip
    save(tmp_path, rows(1, question=None, answer=None, image=None, **columns), kinds)
    mapping = {
        "question": "prompt", "answer": "label", "image": "scan", "id": "case", "split": "part", "language": "lang",
        "answer_type": "kind", "hierarchy": "where", "options": "choices", "content_type": "topic",
    }  # fmt: skip
    source = HfSource(tmp_path, mapping=mapping)
    (record,) = source.records()
    assert data(record) == png(7)
    assert record == Record(
        id="4", image=record.image, question="Which side?", answer="left", group="12", source="hf",
        language="de", answer_type="closed", content_type="laterality", source_split="validation",
        hierarchy={"patient": "12"}, options=("left", "right"), extra={"extra_label": "y"},
    )  # fmt: skip
    assert source.skipped == {"further images of a row": 1}


def test_lists_of_images_may_be_empty(tmp_path: Path) -> None:
    cells = [[], None, [cell(1)], [None, cell(2)]]
    folder = save(tmp_path, rows(4, image=lambda n: cells[n]), features(image=List(Image())))
    assert [record.image is not None for record in read(folder)] == [False, False, True, False]


def test_sound_and_other_bytes_are_left_out_and_never_decoded(tmp_path: Path) -> None:
    inner = {"a": Value("binary"), "b": Value("string")}
    kinds = features(sound=Audio(), raw=List(Value("binary")), data=Value("large_binary"), inner=inner)
    sound = {"bytes": b"not sound", "path": None}
    cells = {"sound": sound, "raw": [b"x"], "data": b"y", "inner": {"a": b"z", "b": "z"}}
    row = {"question": "Q?", "answer": "a", "image": cell(1), **cells}
    pq.write_table(pa.Table.from_pylist([row], schema=kinds.arrow_schema), tmp_path / "train.parquet")
    (record,) = read(tmp_path)
    assert record.extra == {}


def test_an_image_that_is_none_is_found_when_it_is_used(tmp_path: Path) -> None:
    (record,) = read(save(tmp_path, rows(1, image=lambda n: {"bytes": b"no image", "path": None})))
    with pytest.raises(DataError, match="not an image"):
        data(record)


def test_images_by_name_lie_in_the_folder_or_in_another(tmp_path: Path) -> None:
    folder = save(tmp_path / "set", rows(1, image=lambda n: "x/a.png"), features(image=Value("string")))
    (tmp_path / "pictures" / "x").mkdir(parents=True)
    (tmp_path / "pictures" / "x" / "a.png").write_bytes(png(1))
    with pytest.raises(DataError, match=r"set, record train row 0: no image 'x/a\.png' in .*set"):
        read(folder)
    (record,) = read(folder, images=tmp_path / "pictures")
    assert (record.group, data(record)) == ("x/a.png", png(1))
    with pytest.raises(DataError, match=r"nowhere, record train row 0: no such image folder.*source\.images"):
        read(folder, images=tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../secret.png", r"record train row 0: image '\.\./secret\.png' lies outside"),
        ("/etc/passwd", "image '/etc/passwd' lies outside"),
        ("link.png", "lies outside"),
        ("http://127.0.0.1/a.png", r"the image 'http://127\.0\.0\.1/a\.png' is no file here\. Download and unpack"),
        ("zip://a.png::b.zip", "is no file here"),
    ],
)
@pytest.mark.parametrize("kind", ["text", "image"])
def test_a_path_out_of_the_folder_is_refused(tmp_path: Path, name: str, reason: str, kind: str) -> None:
    (tmp_path / "secret.png").write_bytes(png(1))
    value = name if kind == "text" else {"bytes": None, "path": name}
    feature = Value("string") if kind == "text" else Image()
    folder = save(tmp_path / "set", rows(1, image=lambda n: value), features(image=feature))
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(DataError, match=reason):
        read(folder)


@pytest.mark.parametrize(
    ("feature", "value"),
    [
        (Value("int64"), 7),
        (Value("binary"), b""),
        ({"url": Value("string")}, {"url": "x"}),
        ({"bytes": Value("binary"), "path": Value("string"), "more": Value("string")}, {**cell(1), "more": "x"}),
    ],
)
def test_another_thing_in_place_of_an_image_is_refused(tmp_path: Path, feature: Any, value: Any) -> None:
    folder = save(tmp_path, rows(1, image=lambda n: value), features(image=feature))
    with pytest.raises(DataError, match=r"train row 0: 'image' holds neither an image nor the name of one\. Check"):
        read(folder)


@pytest.mark.parametrize("feature", [Value("binary"), Value("large_binary"), List(Value("binary"))])
def test_bytes_without_more_are_an_image(tmp_path: Path, feature: Any) -> None:
    value = [png(1)] if isinstance(feature, List) else png(1)
    (record,) = read(save(tmp_path, rows(1, image=lambda n: value), features(image=feature)))
    assert data(record) == png(1)


def test_splits_have_usual_names_or_are_mapped(tmp_path: Path) -> None:
    for split in ("train", "valid", "extra"):
        save(tmp_path, rows(2), split=split)
    with pytest.raises(DataError, match=r"a split of no usual name: 'extra'\. .*source\.split=\{extra: train\}"):
        read(tmp_path)
    found = read(tmp_path, split={"extra": "testing", "train": "train"})
    assert [(record.id, record.source_split) for record in found] == [
        ("train-row-0", "train"), ("train-row-1", "train"), ("extra-row-0", "test"), ("extra-row-1", "test"),
    ]  # fmt: skip
    with pytest.raises(DataError, match=r"no split 'extr' \(did you mean 'extra'\?\); it has train, extra, valid"):
        read(tmp_path, split={"extr": "train"})
    with pytest.raises(
        UsageError, match=r"split: 'trian' is none of train, validation, test \(did you mean 'train'\?\)"
    ):
        HfSource(tmp_path, split={"extra": "trian"})


def test_a_configuration_is_chosen_by_name(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save(tmp_path / name, rows(2 if name == "two" else 1))
    configs = "".join(f"- config_name: {name}\n  data_files: {name}/data/*\n" for name in ("one", "two"))
    card = f"---\nconfigs:\n{configs}---\n"
    (tmp_path / "README.md").write_text(card, encoding="utf-8")
    assert len(read(tmp_path, config="two")) == 2
    with pytest.raises(DataError, match=r"cannot be opened as a dataset \(.*config.*one.*two"):
        read(tmp_path)
    with pytest.raises(DataError, match=r"cannot be opened as a dataset .*three"):
        read(tmp_path, config="three")


def test_features_of_the_card_are_used(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"question": ["Q?"], "answer": [1]}), tmp_path / "data" / "train-0.parquet")
    card = """---
dataset_info:
  features:
  - name: question
    dtype: string
  - name: answer
    dtype:
      class_label:
        names:
          '0': benign
          '1': malignant
---
"""
    (tmp_path / "README.md").write_text(card, encoding="utf-8")
    assert [record.answer for record in read(tmp_path)] == ["malignant"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            {"mapping": {"modality": "scan"}},
            r"record train row 0: no field 'scan', which stands for modality \(did you mean 'scam'\?\)",
        ),
        ({"mapping": {"question": "prompt"}}, "no field 'prompt', which stands for question"),
        ({"mapping": {"image": "picture"}}, "no field 'picture', which stands for image"),
        ({"revision": "main"}, "revision: .* is a folder, which has none"),
    ],
)
def test_wrong_options_are_named(tmp_path: Path, options: dict[str, Any], reason: str) -> None:
    save(tmp_path, rows(1, scam=lambda n: "CT"), features(scam=Value("string")))
    with pytest.raises((DataError, UsageError), match=reason):
        read(tmp_path, **options)


def test_a_missing_question_or_answer_column_is_named(tmp_path: Path) -> None:
    save(tmp_path, rows(1, answer=None, answers=lambda n: "x"), features(answer=None, answers=Value("string")))
    with pytest.raises(DataError, match=r"no field 'answer' \(did you mean 'answers'\?\)\. .*source\.mapping"):
        read(tmp_path)
    with pytest.raises(UsageError, match=r"no record field 'anser' \(did you mean 'answer'\?\)"):
        HfSource(tmp_path, mapping={"anser": "answers"})


def test_repeated_ids_are_named(tmp_path: Path) -> None:
    ids = ["a", "b", "a"]
    save(tmp_path / "1", rows(3, id=lambda n: ids[n]), features(id=Value("string")))
    with pytest.raises(DataError, match=r"record train row 2: the id 'a' occurs twice, first in train row 0\. Make"):
        read(tmp_path / "1")
    save(tmp_path / "2", rows(2, id=str), features(id=Value("string")))
    save(tmp_path / "2", rows(1, id=lambda n: "1"), features(id=Value("string")), split="test")
    with pytest.raises(DataError, match=r"test row 0: the id '1' occurs twice, first in train row 1"):
        read(tmp_path / "2")


def test_empty_datasets_are_named(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match=r"none: cannot be opened as a dataset .*doesn't contain any data files"):
        read(tmp_path / "none")
    with pytest.raises(DataError, match=r"empty: no records\. Check the dataset and source\.split"):
        read(save(tmp_path / "empty", rows(0)))
    with pytest.raises(DataError, match="blank: no records"):
        read(save(tmp_path / "blank", rows(2, answer=lambda n: " ")))


def test_damaged_files_are_named(tmp_path: Path) -> None:
    folder = save(tmp_path / "parquet", rows(20))
    (file,) = (folder / "data").iterdir()
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"parquet: cannot be opened as a dataset"):
        read(folder)
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "train.jsonl").write_text(
        '{"question": "a", "answer": "b"}\n{"question" "a"}\n', encoding="utf-8"
    )
    with pytest.raises(DataError, match=r"json: .*cannot be (opened|read)") as caught:
        read(tmp_path / "json")
    assert "\n" not in str(caught.value)
    (tmp_path / "latin").mkdir()
    (tmp_path / "latin" / "train.csv").write_bytes("question,answer\nQ,na\xefve\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin: .*utf-8"):
        read(tmp_path / "latin")


def test_cells_do_not_get_into_messages(tmp_path: Path) -> None:
    """What Arrow says of a value that it cannot convert quotes the value."""
    for name, value in (("a", 1), ("b", "Ana Lim's scan")):
        lines = [{"question": "Q?", "answer": "a", "n": value}] * 2
        (tmp_path / f"train-{name}.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    source = HfSource(tmp_path)
    with pytest.raises(DataError, match=r"split 'train' cannot be read from row \d+ on \(") as caught:
        list(source.records())
    assert "Lim" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Failed to parse string: 'Ana Lim' as int64", "Failed to parse string: … as int64"),
        ("could not convert 'Ana O'Hara' with type str", "could not convert … with type str"),
        ('Couldn\'t cast "x y" here', "Couldn't cast … here"),
        ("open 'Ana Lim and more", "open …"),
    ],
)
def test_quoted_parts_of_messages_are_left_out(text: str, shown: str) -> None:
    with (
        pytest.raises(DataError, match=f"^p: reason .{re.escape(shown)}.. Mend."),
        hf_rows._failures("p", "reason", "Mend.", quotes=False),
    ):
        raise ValueError(text)


def test_the_libraries_stay_silent(tmp_path: Path) -> None:
    """In a process of its own: their handlers write to what was standard error when they were imported."""
    (tmp_path / "train.csv").write_bytes("question,answer\nQ,na\xefve\n".encode("latin-1"))
    code = f"""
from contextlib import suppress
from mllmu_med.errors import DataError
from mllmu_med.sources.hf import HfSource
with suppress(DataError):
    list(HfSource({str(tmp_path)!r}).records())
print("end")
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (result.stdout, result.stderr) == ("end\n", "")


def test_what_the_libraries_say_is_as_before(tmp_path: Path) -> None:
    from datasets.utils import is_progress_bar_enabled
    from datasets.utils import logging as of_datasets
    from huggingface_hub.utils import logging as of_hub

    before = [logging.get_verbosity() for logging in (of_datasets, of_hub)]
    try:
        of_datasets.set_verbosity(15)
        of_hub.set_verbosity(25)
        read(save(tmp_path, rows(1)))
        assert [of_datasets.get_verbosity(), of_hub.get_verbosity()] == [15, 25]
        assert is_progress_bar_enabled()
    finally:
        of_datasets.set_verbosity(before[0])
        of_hub.set_verbosity(before[1])


@pytest.mark.parametrize("format_", ["webdataset", "text", "audiofolder"])
def test_other_formats_are_refused(tmp_path: Path, format_: str) -> None:
    name = {"webdataset": "train.tar", "text": "train.txt", "audiofolder": "train/a.wav"}[format_]
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=f"its files are {format_}, which is not read. Save it as one of parquet"):
        read(tmp_path)


def test_a_script_is_not_run(tmp_path: Path) -> None:
    folder = save(tmp_path / "evil", rows(1))
    (folder / "evil.py").write_text(
        "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\n", encoding="utf-8"
    )
    with pytest.raises(DataError, match=r"cannot be opened as a dataset \(Dataset scripts are no longer supported"):
        read(folder)
    assert not (folder / "ran").exists()


def test_the_card_cannot_point_out_of_the_folder(tmp_path: Path) -> None:
    save(tmp_path / "other", rows(1))
    folder = save(tmp_path / "set", rows(1))
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: x\n  data_files: ../other/data/*.parquet\n---\n", encoding="utf-8"
    )
    with pytest.raises(DataError, match=r"set: its file '.*other.*' lies outside\. Check data_files"):
        read(folder)
    (folder / "README.md").unlink()
    (file,) = (folder / "data").iterdir()
    file.unlink()
    file.symlink_to(next((tmp_path / "other" / "data").iterdir()))
    with pytest.raises(DataError, match="lies outside"):
        read(folder)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", "./absent folder"):
        with pytest.raises(DataError, match=r"absent.*: no such folder\. Give a folder, or a name on the Hub"):
            read(path)
    (tmp_path / "a.parquet").write_bytes(b"x")
    with pytest.raises(DataError, match=r"a\.parquet: a file, not a folder\. Give the folder"):
        read(tmp_path / "a.parquet")


@pytest.mark.parametrize("use", [lambda source: list(source.records()), lambda source: source.fingerprint()])
def test_the_hub_without_a_network_is_one_line(use: Callable[[HfSource], Any]) -> None:
    reason = r"^nobody/nothing: no folder here, and cannot be found on the Hub \(.*offline.*\)\. Go"
    with pytest.raises(DataError, match=reason) as caught:
        use(HfSource("nobody/nothing"))
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"cannot be opened as a dataset .*Go online"):
        list(HfSource("nobody/nothing", revision=COMMIT).records())


def test_a_refused_connection_is_one_line(tmp_path: Path) -> None:
    """The HTTP library's own errors, in a process that is not told to stay offline."""
    code = "from mllmu_med.sources import hf_rows; hf_rows.commit('a/b', None)"
    environment = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert "mllmu_med.errors.DataError: a/b: no folder here, and cannot be found on the Hub" in result.stderr


class Hub:
    """Stands for the Hub: asks for a commit and for files are noted, and answered from a folder."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import datasets
        import huggingface_hub

        self.asked: list[Any] = []
        self.folder, self.load = folder, datasets.load_dataset_builder
        monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", self.info)
        monkeypatch.setattr(datasets, "load_dataset_builder", self.builder)

    def info(self, path: str, *, revision: str | None, timeout: float) -> SimpleNamespace:
        self.asked.append(("commit of", path, revision))
        return SimpleNamespace(sha=COMMIT)

    def builder(self, path: str, **options: Any) -> Any:
        self.asked.append(("files of", path, options["name"], options["revision"]))
        assert options.keys() == {"name", "revision", "cache_dir"}
        return self.load(str(self.folder), cache_dir=options["cache_dir"])


def test_what_is_on_the_hub_is_read_at_one_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(save(tmp_path / "set", rows(3)), monkeypatch)
    monkeypatch.setattr(hf_rows, "_check_places", lambda *_: None)
    found = read("owner/name", config="c", revision="v1")
    assert [record.id for record in found] == ["train-row-0", "train-row-1", "train-row-2"]
    assert data(found[0]) == png(0)
    assert hub.asked == [("commit of", "owner/name", "v1"), ("files of", "owner/name", "c", COMMIT)]
    hub.asked.clear()
    read("owner/name", revision=COMMIT)
    assert hub.asked == [("files of", "owner/name", None, COMMIT)]


def test_files_elsewhere_on_the_hub_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Hub(save(tmp_path / "set", rows(1)), monkeypatch)
    with pytest.raises(DataError, match=r"owner/name: its file '/.*' lies outside"):
        read("owner/name")
    own = [f"hf://datasets/owner/name@{COMMIT}/data/a.parquet"]
    hf_rows._check_places("owner/name", COMMIT, {"train": own})
    for other in ("hf://datasets/owner/name2@main/a", "hf://datasets/owner/name@other/a", "https://example.org/a"):
        with pytest.raises(DataError, match="lies outside"):
            hf_rows._check_places("owner/name", COMMIT, {"train": [*own, other]})


def test_images_as_files_on_the_hub_ask_for_a_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save(tmp_path / "set", rows(1, image=lambda n: "a.png"), features(image=Value("string")))
    Hub(folder, monkeypatch)
    monkeypatch.setattr(hf_rows, "_check_places", lambda *_: None)
    with pytest.raises(
        DataError, match=r"name, record train row 0: no such image folder\. Images are given by name: download"
    ):
        read("owner/name")


def test_the_card_says_where_the_data_comes_from(tmp_path: Path) -> None:
    assert HfSource("owner/name").about.url == "https://huggingface.co/datasets/owner/name"
    assert HfSource(tmp_path).about.url is None


def test_the_fingerprint_follows_files_and_parameters(tmp_path: Path) -> None:
    folder = save(tmp_path / "set", rows(2, note=lambda n: "x"), features(note=Value("string")))
    (tmp_path / "pictures").mkdir()
    make = SOURCES.get("hf")
    first = make(folder).fingerprint()
    assert make(str(folder)).fingerprint() == first
    found = [
        first,
        make(folder, split={"train": "train"}).fingerprint(),
        make(folder, mapping={"modality": "note"}).fingerprint(),
        make(folder, config="default").fingerprint(),
        make(folder, images=tmp_path / "pictures").fingerprint(),
    ]
    (tmp_path / "pictures" / "a.png").write_bytes(b"x")
    found.append(make(folder, images=tmp_path / "pictures").fingerprint())
    (folder / "README.md").write_text("a", encoding="utf-8")
    found.append(make(folder).fingerprint())
    (folder / "README.md").write_text("b", encoding="utf-8")
    found.append(make(folder).fingerprint())
    save(folder, rows(3))
    found.append(make(folder).fingerprint())
    assert len(set(found)) == len(found)
    with pytest.raises(DataError, match="no such folder"):
        make(tmp_path / "absent dir").fingerprint()


def test_the_fingerprint_of_the_hub_is_the_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Hub(tmp_path, monkeypatch)
    assert HfSource("a/b").fingerprint() == HfSource("a/b", revision="main").fingerprint()
    assert HfSource("a/b", revision=COMMIT).fingerprint() == HfSource("a/b").fingerprint()
    assert HfSource("a/b", revision="f" * 40).fingerprint() != HfSource("a/b").fingerprint()
