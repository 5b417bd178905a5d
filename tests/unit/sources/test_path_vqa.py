"""PathVQA as pickles and as parquet, and every trap in both."""

from __future__ import annotations

import io
import os
import pickle
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mllmu_med.errors import DataError, UsageError
from mllmu_med.sources import SOURCES, Record
from mllmu_med.sources import parquet as parquet_rows
from mllmu_med.sources.images import image_digest, read_image
from mllmu_med.sources.path_vqa import PathVqaSource

NAMES = {"train": "train", "validation": "val", "test": "test"}


def picture(shade: int = 90) -> bytes:
    """A small grey JPEG."""
    buffer = io.BytesIO()
    Image.new("L", (12, 8), shade).save(buffer, format="JPEG")
    return buffer.getvalue()


class Folder:
    """A PathVQA folder: rows of (number of the image, question, answer) by split."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, list[tuple[int, str, Any]]] = {"train": [], "validation": [], "test": []}

    def pickles(self, protocol: int = 4) -> Path:
        """The authors' layout."""
        for split, name in NAMES.items():
            rows = [{"image": f"{name}_{n:04d}", "question": q, "answer": a} for n, q, a in self.rows[split]]
            self.pickle(split, pickle.dumps(rows, protocol))
            (self.path / "images" / name).mkdir(parents=True, exist_ok=True)
            for number, _, _ in self.rows[split]:
                (self.path / "images" / name / f"{name}_{number:04d}.jpg").write_bytes(picture(number))
        return self.path

    def pickle(self, split: str, data: bytes) -> Path:
        """One split's pickle, of these bytes."""
        file = self.path / "qas" / NAMES[split] / f"{NAMES[split]}_qa.pkl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        return self.path

    def parquet(self, shards: int = 1, group: int = 1_000, **columns: list[Any]) -> Path:
        """The other layout; ``columns`` replace whole columns of the training rows."""
        from pyarrow import table
        from pyarrow.parquet import write_table

        (self.path / "data").mkdir(parents=True, exist_ok=True)
        for split, rows in self.rows.items():
            for shard in range(shards):
                part = rows[shard::shards]
                cells = {
                    "image": [{"bytes": picture(number), "path": f"{number}.jpg"} for number, _, _ in part],
                    "question": [question for _, question, _ in part],
                    "answer": [answer for _, _, answer in part],
                    **(columns if split == "train" else {}),
                }
                name = f"{split}-{shard:05d}-of-{shards:05d}.parquet"
                write_table(table(cells), self.path / "data" / name, row_group_size=group)
        return self.path


@pytest.fixture
def pathology(tmp_path: Path) -> Folder:
    """Two questions about image 1 and one about image 2 for training; one each about 3 and 4 for the others."""
    folder = Folder(tmp_path / "pvqa")
    folder.rows["train"] = [(1, "Where are  liver cells?", "In the  liver "), (1, "Is it?", "yes"), (2, "Is it?", "No")]
    folder.rows["validation"] = [(3, "What is it?", "gland")]
    folder.rows["test"] = [(4, "What is it?", "duct")]
    return folder


def records(path: Path, **options: Any) -> list[Record]:
    """All records of a source."""
    return list(PathVqaSource(path, **options).records())


def test_a_record_carries_what_the_pickle_says(pathology: Folder) -> None:
    found = records(pathology.pickles())
    first = found[0]
    assert (first.id, first.group, first.source) == ("path_vqa-train-0", "path_vqa-train/train_0001.jpg", "path_vqa")
    assert (first.question, first.answer, first.answer_type) == ("Where are liver cells?", "In the liver", "open")
    assert (first.modality, first.body_part, first.content_type, first.options) == (None, None, None, None)
    assert first.image is not None
    assert first.image.path == (pathology.path / "images/train/train_0001.jpg").resolve()
    assert first.extra == {"image": "train_0001"}
    assert [record.id for record in found] == [
        "path_vqa-train-0", "path_vqa-train-1", "path_vqa-train-2", "path_vqa-validation-0", "path_vqa-test-0",
    ]  # fmt: skip
    assert [record.source_split for record in found] == ["train", "train", "train", "validation", "test"]
    assert [record.answer_type for record in found] == ["open", "closed", "closed", "open", "open"]


@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])
def test_pickles_of_every_protocol(pathology: Folder, protocol: int) -> None:
    assert len(records(pathology.pickles(protocol))) == 5


def test_names_of_images_may_have_their_ending(pathology: Folder) -> None:
    pathology.pickles()
    row = {"image": "train_0002.jpg", "question": "Q", "answer": "A"}
    image = records(pathology.pickle("train", pickle.dumps([row])))[0].image
    assert image is not None
    assert image.key == "train/train_0002.jpg"


def test_both_layouts_tell_the_same(pathology: Folder) -> None:
    pickled = [(r.id, r.question, r.answer, r.answer_type, r.source_split) for r in records(pathology.pickles())]
    other = Folder(pathology.path.parent / "tables")
    other.rows = pathology.rows
    found = records(other.parquet())
    assert [(r.id, r.question, r.answer, r.answer_type, r.source_split) for r in found] == pickled
    assert len({record.group for record in found}) == 4
    assert found[0].group == found[1].group
    assert found[0].extra == {"image": "1.jpg"}


class Caller:
    """Its pickle calls a function that leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_calls_something_is_refused_and_the_call_not_made(pathology: Folder, protocol: int) -> None:
    pathology.pickles()
    trace = pathology.path / "trace"
    row = {"image": "train_0001", "question": "Q", "answer": Caller(trace)}
    path = pathology.pickle("train", pickle.dumps([row], protocol))
    for read in (records, lambda path: PathVqaSource(path).fingerprint()):
        with pytest.raises(
            DataError, match=r"train_qa\.pkl: not a pickle of plain data \(it holds an instruction for co"
        ):
            read(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"a": 1}, r"val_qa\.pkl: expected a list of records"),
        (["x"], r"val_qa\.pkl, record 0: expected an object with named fields"),
        ([{"question": "Q", "answer": "A"}], r"val_qa\.pkl, record 0: no field 'image'"),
        ([{"image": 5, "question": "Q", "answer": "A"}], "record 0: 'image' is a whole number, expected text"),
        ([{"image": "val_0003", "answer": "A"}], "record 0: no field 'question'"),
        ([{"image": "val_0003", "question": "Q"}], "record 0: no field 'answer'"),
        ([{"image": "val_0003", "question": None, "answer": "A"}], "record 0: the question is empty"),
        ([{"image": "val_0003", "question": ["Q"], "answer": "A"}], "record 0: 'question' holds a list, expected text"),
        (
            [{"image": "val_0009", "question": "Q", "answer": "A"}],
            r"record 0: no image 'val/val_0009\.jpg' in .*images",
        ),
        (
            [{"image": "../../secret", "question": "Q", "answer": "A"}],
            r"record 0: image 'val/../../secret\.jpg' lies out",
        ),
        ([{"image": "a\0b", "question": "Q", "answer": "A"}], "record 0: not a usable image path"),
        ([], r"val_qa\.pkl: the split 'validation' has no records\. Check the download"),
    ],
)
def test_a_bad_pickle_is_one_clear_line(pathology: Folder, value: Any, reason: str) -> None:
    pathology.pickles()
    (pathology.path / "secret.jpg").write_bytes(picture())
    with pytest.raises(DataError, match=reason) as caught:
        records(pathology.pickle("validation", pickle.dumps(value)))
    assert "\n" not in str(caught.value)


def test_a_damaged_pickle_and_a_missing_one_are_named(pathology: Folder) -> None:
    path = pathology.pickles()
    file = path / "qas/test/test_qa.pkl"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"test_qa\.pkl: not a pickle of plain data \(damaged or cut off\)"):
        records(path)
    file.unlink()
    for read in (records, lambda path: PathVqaSource(path).fingerprint()):
        with pytest.raises(DataError, match=r"pvqa: no qas/test/test_qa\.pkl\. Check the download"):
            read(path)


def test_empty_answers_are_skipped_and_numbers_are_text(pathology: Folder) -> None:
    pathology.rows["train"] += [(2, "How many?", 3), (2, "Q", ""), (2, "Q", None), (2, "Q", "\t")]
    source = PathVqaSource(pathology.pickles())
    for _ in range(2):
        found = list(source.records())
        assert [record.answer for record in found][:4] == ["In the liver", "yes", "No", "3"]
        assert source.skipped == {"empty answer": 3}
    assert found[-2].id == "path_vqa-validation-0"


def test_shards_are_one_split_in_order(pathology: Folder) -> None:
    pathology.rows["train"] = [(number, f"Q{number}", "A") for number in range(6)]
    pathology.rows["validation"] *= 2
    pathology.rows["test"] *= 2
    found = records(pathology.parquet(shards=2))
    assert [record.question for record in found][:6] == ["Q0", "Q2", "Q4", "Q1", "Q3", "Q5"]
    assert [record.id for record in found][:6] == [f"path_vqa-train-{number}" for number in range(6)]


def test_an_image_of_a_row_is_read_again_when_it_is_asked_for(
    pathology: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_rows, "BATCH", 3)
    pathology.rows["train"] = [(number, f"Q{number}", "A") for number in range(10)]
    path = pathology.parquet(group=4)
    found = records(path)
    for number in (7, 0, 9, 3, 3):
        image = found[number].image
        assert image is not None
        assert image.path is None
        assert image.make is not None
        assert image.make() == picture(number)
        assert image.key == image_digest(picture(number))
        assert read_image(image, found[number].id).width == 12
    for file in (path / "data").glob("train-*"):
        file.unlink()
    gone = found[7].image
    assert gone is not None
    with pytest.raises(DataError, match=r"train-00000-of-00001\.parquet: no such file"):
        read_image(gone, "r")


def test_images_do_not_stay_in_memory(pathology: Folder) -> None:
    pathology.rows["train"] = [(number % 250, f"Q{number}", "A") for number in range(200)]
    cells = [{"bytes": bytes([number]) * 20_000, "path": None} for number in range(200)]
    path = pathology.parquet(image=cells)
    tracemalloc.start()
    found = records(path)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == 202
    assert held < 1_000_000
    assert peak < 2_000_000  # of 4,000,000


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"answer": [None, "yes", "no"]}, None),
        ({"question": ["Q", None, "Q"]}, "record row 1: the question is empty"),
        ({"question": ["Q", "", "Q"]}, "record row 1: the question is empty"),
        ({"answer": [["A"], ["A"], ["A"]]}, "record row 0: 'answer' holds a list, expected text"),
        ({"image": [None, {"bytes": b"x", "path": None}, None]}, "record row 0: no image in the row. Check"),
        ({"image": [{"bytes": None, "path": "a.jpg"}] * 3}, "record row 0: no image in the row"),
        ({"image": ["a.jpg"] * 3}, "record row 0: no image in the row"),
    ],
)
def test_a_bad_row_is_named(pathology: Folder, columns: dict[str, list[Any]], reason: str | None) -> None:
    path = pathology.parquet(**columns)
    if reason is None:
        assert len(records(path)) == 4
        return
    with pytest.raises(DataError, match=r"train-00000-of-00001\.parquet, " + reason):
        records(path)


def test_bytes_that_are_no_image_are_found_when_they_are_read(pathology: Folder) -> None:
    whole = picture()
    cells = [{"bytes": data, "path": None} for data in (whole[:-60], b"%PDF", whole)]
    found = records(pathology.parquet(image=cells))
    for record, reason in zip(found, ("the image is truncated or damaged", "not an image"), strict=False):
        assert record.image is not None
        with pytest.raises(DataError, match=rf"record {record.id}: {reason}"):
            read_image(record.image, record.id)
    assert found[2].image is not None
    assert read_image(found[2].image, found[2].id).height == 8


def test_missing_columns_damaged_files_and_empty_splits_are_named(pathology: Folder) -> None:
    from pyarrow import table
    from pyarrow.parquet import write_table

    path = pathology.parquet()
    file = path / "data/test-00000-of-00001.parquet"
    write_table(table({"image": [b"x"], "prompt": ["Q"], "answer": ["A"]}), file)
    with pytest.raises(DataError, match=r"no column 'question'; columns: image, prompt, answer\. Take the source 'hf'"):
        records(path)
    file.write_bytes(b"PAR1 something else PAR1")
    with pytest.raises(DataError, match=r"test-00000-of-00001\.parquet: not a readable parquet file"):
        records(path)
    file.unlink()
    for read in (records, lambda path: PathVqaSource(path).fingerprint()):
        with pytest.raises(DataError, match=r"pvqa: no data/test-\*\.parquet\. Check the download"):
            read(path)
    pathology.rows["test"] = []
    with pytest.raises(DataError, match="the split 'test' has no records"):
        records(pathology.parquet())


def test_a_folder_that_is_none_is_explained(pathology: Folder, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent: no such folder\. Give the folder that holds qas and images"):
        records(tmp_path / "absent")
    with pytest.raises(DataError, match=r"neither qas nor data/\*\.parquet\. Give the folder that holds one of them"):
        records(tmp_path)
    pathology.pickles()
    with pytest.raises(DataError, match=r"neither qas nor data/\*\.parquet\. Give the folder .*pvqa\.$"):
        records(tmp_path)
    with pytest.raises(DataError, match=r"has qas and data/\*\.parquet\. Remove one of the two"):
        records(pathology.parquet())


@pytest.mark.parametrize("layout", ["pickles", "parquet"])
def test_limit_spreads_over_splits_and_keeps_all_questions(tmp_path: Path, layout: str) -> None:
    folder = Folder(tmp_path / "pvqa")
    for number in range(40):
        split = "train" if number < 20 else "validation" if number < 30 else "test"
        folder.rows[split] += [(number, "Q1", "A"), (number, "Q2", "A")]
    path = getattr(folder, layout)()
    few, more = records(path, limit=4), records(path, limit=8)
    assert Counter(record.source_split for record in few) == {"train": 4, "validation": 2, "test": 2}
    assert Counter(record.source_split for record in more) == {"train": 8, "validation": 4, "test": 4}
    assert {record.id for record in few} < {record.id for record in more}
    assert {record.id for record in more} <= {record.id for record in records(path)}
    with pytest.raises(UsageError, match="limit is 0"):
        PathVqaSource(path, limit=0)


@pytest.mark.parametrize("layout", ["pickles", "parquet"])
def test_the_fingerprint_follows_everything_that_is_yielded(pathology: Folder, layout: str) -> None:
    path = getattr(pathology, layout)()
    source = SOURCES.get("path_vqa")
    seen = {source(path).fingerprint()}
    assert source(str(path)).fingerprint() in seen
    seen.add(source(path, limit=2).fingerprint())
    pattern = "images/test/*.jpg" if layout == "pickles" else "data/test*"
    (file,) = path.glob(pattern)
    file.write_bytes(file.read_bytes() + b"\0")
    seen.add(source(path).fingerprint())
    pathology.rows["validation"] = [(3, "What is it?", "a gland")]
    getattr(pathology, layout)()
    seen.add(source(path).fingerprint())
    assert len(seen) == 4
