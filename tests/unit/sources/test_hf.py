"""From the columns of any dataset to records: fields, images, ids, splits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Image, Json, List, Value

from mllmu_med.errors import DataError, UsageError
from mllmu_med.sources import SOURCES, Record
from mllmu_med.sources.hf import HfSource
from mllmu_med.sources.images import image_digest
from tests.unit.sources.hf_folders import cell, data, features, png, read, rows, save


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


def test_equal_images_are_one(tmp_path: Path) -> None:
    first, second, other = read(save(tmp_path, rows(3, image=lambda n: cell(n // 2))))
    assert first.image is not None
    assert second.image is not None
    assert first.image.key == second.image.key == first.group == second.group != other.group


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
