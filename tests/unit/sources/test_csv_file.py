"""A user's own records in a CSV file."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from mllmu_med.errors import DataError, UsageError
from mllmu_med.sources import SOURCES, Record
from mllmu_med.sources.csv_file import CsvSource
from mllmu_med.sources.images import read_image
from mllmu_med.sources.jsonl import JsonlSource

HEADER = "question,answer"


@pytest.fixture
def folder(tmp_path: Path, jpeg: bytes) -> Path:
    """A folder with one image in ``pictures``."""
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.jpg").write_bytes(jpeg)
    return tmp_path


def write(folder: Path, content: str | bytes) -> Path:
    """A file with this content."""
    file = folder / "records.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def read(folder: Path, content: str | bytes, **options: Any) -> list[Record]:
    """The records of a file with this content."""
    return list(CsvSource(write(folder, content), **options).records())


def test_a_row_is_the_record_that_the_same_line_of_json_is(folder: Path) -> None:
    line = {
        "id": "q1", "question": " Which  side? ", "answer": "left", "image": "pictures/a.jpg", "group": "p7",
        "split": "val", "language": "DE", "answer_type": "Closed", "modality": "CT", "body_part": "chest",
        "content_type": "Laterality", "options": ["left ", "right"], "hierarchy": {"patient": "p7", "study": "s1"},
        "reader": "A",
    }  # fmt: skip
    (folder / "records.jsonl").write_text(json.dumps(line))
    (expected,) = JsonlSource(folder / "records.jsonl").records()
    cells = {**line, "options": "left |right", "hierarchy": json.dumps(line["hierarchy"]).replace('"', '""')}
    quoted = ",".join(f'"{cell}"' for cell in cells.values())
    (record,) = read(folder, f"{','.join(cells)}\n{quoted}\n")
    assert record == Record(**{**{name: getattr(expected, name) for name in Record.__slots__}, "source": "csv"})


def test_empty_cells_are_not_known(folder: Path) -> None:
    rows = f"{HEADER},id,image,group,modality,options,note\r\nQ,A,,,,,,\r\n\r\nQ,A,,pictures/a.jpg,,,,n\r\n"
    first, second = read(folder, rows)
    assert first == Record("line-2", None, "Q", "A", group="line-2", source="csv", extra={"note": ""})
    assert (second.id, second.group, second.modality, second.options) == ("line-4", "pictures/a.jpg", None, None)
    assert second.extra == {"note": "n"}


def test_numbers_need_no_quotes_and_stay_as_written(folder: Path) -> None:
    (record,) = read(folder, f"{HEADER},id,n\nHow many?,3,007,1.50\n")
    assert (record.answer, record.id, record.extra) == ("3", "007", {"n": "1.50"})


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_line_feeds_and_quotes_in_cells(folder: Path, separator: str) -> None:
    rows = f'question{separator}answer\n"Where;,\tis\nit?"{separator}"the ""left"" one, above; below"\n'
    (record,) = read(folder, "\ufeff" + rows)
    assert (record.question, record.answer) == ("Where;, is it?", 'the "left" one, above; below')
    assert read(folder, rows, separator=separator)[0].answer == record.answer


def test_a_wrong_guess_of_the_separator_is_told_and_can_be_overruled(folder: Path) -> None:
    rows = f"{HEADER},a;b;c;d\nQ,A,1\n"
    with pytest.raises(DataError, match=r"no field 'question' .*; columns: .* \(separated by semicolons\)"):
        read(folder, rows)
    assert read(folder, rows, separator=",")[0].extra == {"a;b;c;d": "1"}


def test_columns_are_mapped(folder: Path) -> None:
    (record,) = read(folder, "Frage;Antwort;id\nQ;A;5\n", mapping={"question": "Frage", "answer": "Antwort"})
    assert (record.question, record.answer, record.id) == ("Q", "A", "5")


def test_an_empty_answer_is_skipped_and_counted(folder: Path) -> None:
    source = CsvSource(write(folder, f"{HEADER}\nQ,A\nQ, \nQ,\n"))
    for _ in range(2):
        assert [record.id for record in source.records()] == ["line-2"]
        assert source.skipped == {"empty answer": 2}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            "Q,A\n",
            r"record line 1: no field 'question'; columns: Q, A \(separated by commas\)\. If it has another name",
        ),
        (
            "question;text\nQ;A\n",
            r"record line 1: no field 'answer'; columns: question, text \(separated by semicolons",
        ),
        ("question,answer,answer\nQ,A,B\n", "record line 1: column 'answer' occurs twice"),
        ("", "the file is empty. The first line must name the columns"),
        (f"{HEADER}\n", "no records. At least one question with an answer is expected"),
        (f"{HEADER}\nQ,A\nQ,A,B\n", "record line 3: the header has 2 cells, this row 3, separated by commas"),
        (f"{HEADER}\nQ,A\nQ\n", "record line 3: the header has 2 cells, this row 1"),
        (f"{HEADER}\n,A\n", "record line 2: the question is empty"),
        (f'{HEADER},id\nQ,A,x\n\n"Q\n",A,y\nQ,A,x\n', "record line 6: the id 'x' occurs twice, first in line 2. Make"),
        (f"{HEADER},id\nQ,A,line-3\nQ,A,\n", "record line 3: the id 'line-3' occurs twice, first in line 2"),
        (
            f"{HEADER},image\nQ,A,b.jpg\n",
            r"records\.csv, record line 2: no image 'b\.jpg' in .* Check the image folder",
        ),
        (f"{HEADER},image\nQ,A,../../etc/passwd\n", "record line 2: image '../../etc/passwd' lies outside"),
        (f"{HEADER},split\nQ,A,later\n", "record line 2: 'split' is 'later', expected train, validation or test"),
        (f"{HEADER},answer_type\nQ,A,half\n", "record line 2: 'answer_type' is 'half'"),
        (
            f"{HEADER},group,split\nQ,A,p,train\nQ,A,p,test\n",
            "line 3: group 'p' is in split test here and in train in line",
        ),
        (f"{HEADER},options\nQ,A,[1\n", "record line 2: 'options' is not JSON"),
        (
            f"{HEADER}\nQ,é\n".encode("latin-1"),
            "record line 2: not UTF-8 at byte 2 of the line. Save the file as UTF-8",
        ),
        (f"{HEADER}\nQ,A\n".encode("utf-16"), "not UTF-8 but UTF-16"),
        (f"{HEADER}\nQ,\0\n", "record line 2: a null character"),
    ],
)
def test_what_is_wrong_is_one_line_that_says_where(folder: Path, content: str | bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        read(folder, content)
    assert str(caught.value).startswith(str(folder / "records.csv"))
    assert "\n" not in str(caught.value)


def test_a_wrong_separator_mapping_or_folder_is_told(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"separator is '\|'; known: a comma, a semicolon and a tab"):
        CsvSource(folder / "x.csv", separator="|")
    with pytest.raises(UsageError, match="no record field 'questoin'"):
        CsvSource(folder / "x.csv", mapping={"questoin": "q"})
    with pytest.raises(DataError, match=r"nowhere: no such image folder\. Check source\.images"):
        read(folder, f"{HEADER}\nQ,A\n", images=folder / "nowhere")
    with pytest.raises(DataError, match=r"line 1: no field 'scan', which stands for modality"):
        read(folder, f"{HEADER}\nQ,A\n", mapping={"modality": "scan"})
    with pytest.raises(DataError, match=r"absent\.csv: no such file\. Check source\.path"):
        list(CsvSource(folder / "nowhere" / "absent.csv").records())


def test_a_truncated_image_is_found_when_it_is_read(folder: Path, jpeg: bytes) -> None:
    (folder / "pictures" / "a.jpg").write_bytes(jpeg[:-200])
    (record,) = read(folder, f"{HEADER},image\nQ,A,a.jpg\n", images=folder / "pictures")
    assert record.image is not None
    with pytest.raises(DataError, match=r"a\.jpg, record line-2: the image is truncated or damaged"):
        read_image(record.image, record.id)


def test_memory_does_not_grow_with_the_file(folder: Path) -> None:
    rows = "".join(f"Q,A,record {number}\n" for number in range(20_000))
    records = CsvSource(write(folder, f"{HEADER},id\n{rows}")).records()
    next(records)
    tracemalloc.start()
    assert sum(1 for _ in records) == 19_999
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000 * 100


def test_the_fingerprint_follows_file_images_and_arguments(folder: Path) -> None:
    file = write(folder, f"{HEADER},image,scan\nQ,A,pictures/a.jpg,CT\n")
    source = SOURCES.get("csv")
    first = source(file).fingerprint()
    assert source(str(file)).fingerprint() == first
    others = [source(file, mapping={"modality": "scan"}).fingerprint(), source(file, separator=",").fingerprint()]
    picture = folder / "pictures" / "a.jpg"
    picture.write_bytes(picture.read_bytes() + b"\0")
    image = source(file).fingerprint()
    file.write_bytes(file.read_bytes().replace(b"Q", b"R"))
    assert len({first, *others, image, source(file).fingerprint()}) == 5
    with pytest.raises(DataError, match=r"absent\.csv: no such file"):
        source(folder / "absent.csv").fingerprint()
