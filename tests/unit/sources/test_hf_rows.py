"""Every layout that the datasets library opens, and what is wrong with a folder."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Audio, Dataset, DatasetDict, List, Value

from mllmu_med.errors import DataError, UsageError
from mllmu_med.sources import hf_rows
from mllmu_med.sources.hf import HfSource
from tests.unit.sources.hf_folders import cell, data, features, png, read, rows, save


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


def test_sound_and_other_bytes_are_left_out_and_never_decoded(tmp_path: Path) -> None:
    inner = {"a": Value("binary"), "b": Value("string")}
    kinds = features(sound=Audio(), raw=List(Value("binary")), data=Value("large_binary"), inner=inner)
    sound = {"bytes": b"not sound", "path": None}
    cells = {"sound": sound, "raw": [b"x"], "data": b"y", "inner": {"a": b"z", "b": "z"}}
    row = {"question": "Q?", "answer": "a", "image": cell(1), **cells}
    pq.write_table(pa.Table.from_pylist([row], schema=kinds.arrow_schema), tmp_path / "train.parquet")
    (record,) = read(tmp_path)
    assert record.extra == {}


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
    from datasets.utils import disable_progress_bars, enable_progress_bars, is_progress_bar_enabled
    from datasets.utils import logging as of_datasets
    from huggingface_hub.utils import logging as of_hub

    before = [logging.get_verbosity() for logging in (of_datasets, of_hub)]
    had_bars = is_progress_bar_enabled()  # another test may have turned them off
    try:
        enable_progress_bars()
        of_datasets.set_verbosity(15)
        of_hub.set_verbosity(25)
        read(save(tmp_path, rows(1)))
        assert [of_datasets.get_verbosity(), of_hub.get_verbosity()] == [15, 25]
        assert is_progress_bar_enabled()
    finally:
        of_datasets.set_verbosity(before[0])
        of_hub.set_verbosity(before[1])
        if not had_bars:
            disable_progress_bars()


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
