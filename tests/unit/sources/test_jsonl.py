"""A user's own records, one JSON object per line."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from mllmu_med.errors import DataError, UsageError
from mllmu_med.sources import SOURCES, Record
from mllmu_med.sources.images import read_image
from mllmu_med.sources.jsonl import JsonlSource

GOOD = {"question": "Is it?", "answer": "yes"}


@pytest.fixture
def folder(tmp_path: Path, jpeg: bytes) -> Path:
    """A folder with one image in ``pictures``."""
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.jpg").write_bytes(jpeg)
    return tmp_path


def write(folder: Path, *lines: dict[str, Any] | str | bytes) -> Path:
    """A file of these lines; objects are turned into JSON."""
    file = folder / "records.jsonl"
    encoded = [
        line if isinstance(line, bytes) else (line if isinstance(line, str) else json.dumps(line)).encode()
        for line in lines
    ]
    file.write_bytes(b"\n".join(encoded) + b"\n")
    return file


def read(folder: Path, *lines: dict[str, Any] | str | bytes, **options: Any) -> list[Record]:
    """The records of a file with these lines."""
    return list(JsonlSource(write(folder, *lines), **options).records())


def test_every_field(folder: Path) -> None:
    line = {
        "id": "q1", "question": " Which  side? ", "answer": "left", "image": "pictures/a.jpg", "group": "p7",
        "split": "val", "language": "DE", "answer_type": "Closed", "modality": "CT", "body_part": "chest",
        "content_type": "Laterality", "options": ["left ", "right"], "hierarchy": {"patient": "p7", "study": "s1"},
        "reader": {"name": "A", "years": 3},
    }  # fmt: skip
    (record,) = read(folder, line)
    assert record.image is not None
    assert record.image.path == (folder / "pictures" / "a.jpg").resolve()
    assert record == Record(
        id="q1", image=record.image, question="Which side?", answer="left", group="p7", source="jsonl", language="de",
        answer_type="closed", modality="CT", body_part="chest", content_type="laterality", source_split="validation",
        hierarchy={"patient": "p7", "study": "s1"}, options=("left", "right"),
        extra={"reader": {"name": "A", "years": 3}},
    )  # fmt: skip


def test_what_a_line_does_not_say_is_none(folder: Path) -> None:
    first, second = read(folder, GOOD, "", {**GOOD, "image": "pictures/a.jpg", "modality": None})
    assert first == Record("line-1", None, "Is it?", "yes", group="line-1", source="jsonl")
    assert (second.id, second.group, second.modality) == ("line-3", "pictures/a.jpg", None)


def test_images_may_lie_in_another_folder(folder: Path) -> None:
    (record,) = read(folder, {**GOOD, "image": "a.jpg"}, images=folder / "pictures")
    assert record.image is not None
    assert record.image.key == "a.jpg"
    with pytest.raises(DataError, match=r"line 1: image '\.\./records\.jsonl' lies outside"):
        read(folder, {**GOOD, "image": "../records.jsonl"}, images=folder / "pictures")
    with pytest.raises(DataError, match="nowhere: no such image folder"):
        read(folder, GOOD, images=folder / "nowhere")


def test_records_of_one_image_share_its_reference(folder: Path) -> None:
    first, second = read(folder, *[{**GOOD, "image": "pictures/a.jpg"}] * 2)
    assert first.image is second.image


def test_columns_are_mapped_and_the_rest_is_kept(folder: Path) -> None:
    mapping = {"question": "prompt", "id": "key", "group": "patient"}
    line = {"prompt": "Q", "answer": "A", "key": "k", "patient": "p", "id": 5, "note": "n"}
    (record,) = read(folder, line, mapping=mapping)
    assert (record.question, record.id, record.group) == ("Q", "k", "p")
    assert record.extra == {"id": 5, "note": "n"}


def test_two_columns_may_be_swapped(folder: Path) -> None:
    (record,) = read(folder, {"question": "A", "answer": "Q"}, mapping={"question": "answer", "answer": "question"})
    assert (record.question, record.answer) == ("Q", "A")


def test_a_mapped_column_must_be_there_but_may_be_null(folder: Path) -> None:
    (record,) = read(folder, {**GOOD, "scan": None}, mapping={"modality": "scan"})
    assert record.modality is None
    with pytest.raises(
        DataError, match=r"line 2: no field 'scan', which stands for modality \(did you mean 'scam'\?\)"
    ):
        read(folder, {**GOOD, "scan": "CT"}, {**GOOD, "scam": "CT"}, mapping={"modality": "scan"})


def test_a_wrong_mapping_is_a_usage_error(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"no record field 'questoin' \(did you mean 'question'\?\)"):
        JsonlSource(folder / "x.jsonl", mapping={"questoin": "q"})
    with pytest.raises(UsageError, match="'answer' would stand for two fields"):
        JsonlSource(folder / "x.jsonl", mapping={"question": "answer"})


def test_an_empty_answer_is_skipped_and_counted(folder: Path) -> None:
    source = JsonlSource(write(folder, GOOD, {**GOOD, "answer": "  "}))
    for _ in range(2):
        assert [record.id for record in source.records()] == ["line-1"]
        assert source.skipped == {"empty answer": 1}


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([GOOD, '{"question": "a" "answer"}'], r"records\.jsonl, record line 2: malformed JSON at column 18"),
        ([GOOD, '{"question": "a\xe4"}'.encode("latin-1")], r"line 2: not UTF-8 at byte 15 of the line\. Save"),
        (['{"answer": "x", "answer": "y"}'], "line 1: key 'answer' occurs twice"),
        (['{"answer": NaN}'], "line 1: NaN is not JSON"),
        (["[1]"], "line 1: expected an object with named fields, found a list"),
        ([{"question": "a"}], r"line 1: no field 'answer'\. If it has another name, say so in source\.mapping"),
        ([{**GOOD, "answer": 5}], r"'answer' is a whole number, expected text\. Put it in quotes"),
        ([{**GOOD, "question": " "}], "line 1: the question is empty"),
        ([{**GOOD, "id": "x"}, {**GOOD, "id": "x"}], r"line 2: the id 'x' occurs twice, first in line 1"),
        ([{**GOOD, "id": "line-2"}, GOOD], "line 2: the id 'line-2' occurs twice"),
        ([{**GOOD, "split": "train"}, {**GOOD, "split": "later"}], "line 2: 'split' is 'later'"),
        ([{**GOOD, "options": ["a", 2]}], "'options' holds something that is not text"),
        ([{**GOOD, "hierarchy": {"patient": 3}}], "'hierarchy' holds something that is not text"),
        ([{**GOOD, "image": "b.jpg"}], r"records\.jsonl, record line 1: no image 'b.jpg' in"),
        ([""], r"records\.jsonl: no records\. At least one question with an answer"),
        ([{**GOOD, "answer": ""}], "no records"),
        (["[" * 100_000], "line 1: "),
    ],
)
def test_a_bad_line_is_named(folder: Path, lines: list[Any], reason: str) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        read(folder, *lines)
    assert "\n" not in str(caught.value)


def test_a_group_must_not_stand_in_two_splits(folder: Path) -> None:
    one, other = ({**GOOD, "group": "p7", "split": split} for split in ("train", "test"))
    assert len(read(folder, one, one, {**other, "group": "p8"}, {**GOOD, "split": "validation"})) == 4
    with pytest.raises(DataError, match=r"line 3: group 'p7' is in split test here and in train in line 2\. Give all"):
        read(folder, "", one, other)
    with pytest.raises(DataError, match="in split none here and in train in line 1"):
        read(folder, one, {**GOOD, "group": "p7"})


def test_an_image_must_not_stand_in_two_splits_under_two_groups(folder: Path) -> None:
    image = {**GOOD, "image": "pictures/a.jpg"}
    with pytest.raises(
        DataError, match=r"line 2: image 'pictures/a\.jpg' is in split test here and in train in line 1"
    ):
        read(folder, {**image, "split": "train", "group": "a"}, {**image, "split": "test", "group": "b"})


def test_a_byte_order_mark_is_no_error(folder: Path) -> None:
    (record,) = read(folder, b"\xef\xbb\xbf" + json.dumps(GOOD).encode())
    assert record.answer == "yes"


def test_a_missing_file_is_named(folder: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.jsonl: no such file\. Check source\.path"):
        list(JsonlSource(folder / "absent.jsonl").records())
    with pytest.raises(DataError, match=r"absent\.jsonl: no such file"):
        list(JsonlSource(folder / "nowhere" / "absent.jsonl").records())
    with pytest.raises(DataError, match="cannot be read"):
        list(JsonlSource(folder / "pictures", images=folder).records())


def test_a_truncated_image_is_found_when_it_is_read(folder: Path, jpeg: bytes) -> None:
    (folder / "pictures" / "a.jpg").write_bytes(jpeg[:-200])
    (record,) = read(folder, {**GOOD, "image": "pictures/a.jpg"})
    assert record.image is not None
    with pytest.raises(DataError, match=r"a\.jpg, record line-1: the image is truncated or damaged .*Replace the file"):
        read_image(record.image, record.id)


def test_memory_does_not_grow_with_the_file(folder: Path) -> None:
    lines = [{**GOOD, "id": f"record {number}", "group": f"patient {number // 4}"} for number in range(20_000)]
    source = JsonlSource(write(folder, *lines))
    records = source.records()
    next(records)
    tracemalloc.start()
    assert sum(1 for _ in records) == 19_999
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000 * 110  # two entries of at most 51 bytes each, with their arrays growing


def test_the_fingerprint_names_what_is_wrong(folder: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.jsonl: no such file"):
        JsonlSource(folder / "absent.jsonl").fingerprint()
    with pytest.raises(DataError, match=r"line 1: no image 'b\.jpg'"):
        JsonlSource(write(folder, {**GOOD, "image": "b.jpg"})).fingerprint()


def test_the_fingerprint_follows_file_images_and_mapping(folder: Path) -> None:
    file = write(folder, {**GOOD, "image": "pictures/a.jpg", "scan": "CT"})
    source = SOURCES.get("jsonl")
    first = source(file).fingerprint()
    assert source(str(file)).fingerprint() == first
    mapped = source(file, mapping={"modality": "scan"}).fingerprint()
    picture = folder / "pictures" / "a.jpg"
    picture.write_bytes(picture.read_bytes() + b"\0")
    image = source(file).fingerprint()
    file.write_bytes(file.read_bytes().replace(b"yes", b"no"))
    assert len({first, mapped, image, source(file).fingerprint()}) == 4


def test_a_patient_of_the_hierarchy_is_the_group_where_none_is_stated(folder: Path) -> None:
    line = {"question": "Q?", "answer": "a", "image": "pictures/a.jpg", "hierarchy": {"patient": "P1"}}
    stated, unstated, nobody = read(
        folder, {**line, "group": "g"}, line, {**line, "hierarchy": {"study": "S"}}
    )  # fmt: skip
    assert [record.group for record in (stated, unstated, nobody)] == ["g", "P1", "pictures/a.jpg"]
