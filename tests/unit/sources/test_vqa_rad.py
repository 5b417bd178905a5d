"""VQA-RAD in both layouts, and every trap in it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mllmu_med.errors import DataError, UsageError
from mllmu_med.sources import SOURCES, Record
from mllmu_med.sources.images import read_image
from mllmu_med.sources.vqa_rad import VqaRadSource, with_commas


def picture(shade: int = 90) -> bytes:
    """A small grey JPEG."""
    buffer = io.BytesIO()
    Image.new("L", (12, 8), shade).save(buffer, format="JPEG")
    return buffer.getvalue()


def question(qid: int | str, image: int, **changes: Any) -> dict[str, Any]:
    """A row of the authors' file; ``changes`` replace fields."""
    return {
        "qid": qid, "phrase_type": "freeform", "qid_linked_id": f"link-{qid}", "image_case_url": "https://example.org/1",
        "image_name": f"synpic{image}.jpg", "image_organ": "HEAD", "evaluation": "not evaluated",
        "question": f"What is number {qid}?", "question_rephrase": "NULL", "question_relation": "NULL",
        "question_frame": "NULL", "question_type": "PRES", "answer": "Yes", "answer_type": "CLOSED", **changes,
    }  # fmt: skip


class Folder:
    """A VQA-RAD folder; ``public`` and ``sets`` write it in one of the layouts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        self.test: list[dict[str, Any]] = []

    def public(self, name: str = "VQA_RAD Dataset Public.json", images: str = "VQA_RAD Image Folder") -> Path:
        """The authors' layout."""
        return self._write({name: [*self.rows, *self.test]}, images)

    def sets(self) -> Path:
        """A file for each split."""
        return self._write({"trainset.json": self.rows, "testset.json": self.test}, "images")

    def _write(self, files: dict[str, list[dict[str, Any]]], images: str) -> Path:
        (self.path / images).mkdir(parents=True, exist_ok=True)
        for name, rows in files.items():
            (self.path / name).write_text("[" + ",\n".join(map(json.dumps, rows)) + "]", encoding="utf-8")
        for row in [*self.rows, *self.test]:
            if isinstance(row.get("image_name"), str) and "/" not in row["image_name"]:
                (self.path / images / row["image_name"]).write_bytes(picture(len(row["image_name"])))
        return self.path


@pytest.fixture
def rad(tmp_path: Path) -> Folder:
    """Two training questions and a test question about image 1, a test question about image 2."""
    folder = Folder(tmp_path / "rad")
    folder.rows = [question("0", 1), question(1, 1, image_organ="CHEST")]
    folder.test = [question(2, 1, phrase_type="test_freeform"), question(3, 2, phrase_type="test_para")]
    return folder


def records(path: Path, **options: Any) -> list[Record]:
    """All records of a source."""
    return list(VqaRadSource(path, **options).records())


def test_a_record_carries_what_the_row_says(rad: Folder) -> None:
    rad.rows[0] |= {
        "image_organ": "ABD", "question_type": "ATTRIB, PRES", "answer": " Left  lobe", "answer_type": "OPEN",
        "question_rephrase": "Which is number 0?", "question_frame": "NULL",
    }  # fmt: skip
    record = records(rad.public())[0]
    assert (record.id, record.group, record.source) == ("vqa_rad-0", "vqa_rad-synpic1.jpg", "vqa_rad")
    assert (record.question, record.answer, record.answer_type) == ("What is number 0?", "Left lobe", "open")
    assert (record.body_part, record.content_type, record.modality) == ("abdomen", "attribute", None)
    assert (record.language, record.source_split, record.options, record.hierarchy) == ("en", "train", None, None)
    assert record.image is not None
    assert record.image.path == (rad.path / "VQA_RAD Image Folder" / "synpic1.jpg").resolve()
    assert record.extra == {
        "qid": "0", "phrase_type": "freeform", "qid_linked_id": "link-0", "image_case_url": "https://example.org/1",
        "image_name": "synpic1.jpg", "image_organ": "ABD", "evaluation": "not evaluated", "answer": " Left  lobe",
        "question_rephrase": "Which is number 0?", "question_type": "ATTRIB, PRES", "answer_type": "OPEN",
        "phrasings": ["Which is number 0?"],
    }  # fmt: skip


def test_test_questions_are_marked_by_their_phrase_type(rad: Folder) -> None:
    found = records(rad.public())
    assert {record.id: record.source_split for record in found} == {
        "vqa_rad-0": "train", "vqa_rad-1": "train", "vqa_rad-2": "test", "vqa_rad-3": "test",
    }  # fmt: skip
    rad.rows[1]["phrase_type"] = "NULL"
    assert records(rad.public())[1].source_split is None


def test_in_the_other_layout_the_file_is_the_split(rad: Folder) -> None:
    for row in rad.test:
        row["phrase_type"] = "freeform"
    rad.rows[1]["phrase_type"] = "frame"
    found = records(rad.sets())
    assert [record.source_split for record in found] == ["train", "train", "test", "test"]
    assert found[0].image is not None
    assert found[0].image.path == (rad.path / "images" / "synpic1.jpg").resolve()


def test_an_image_of_both_splits_is_one_group(rad: Folder) -> None:
    splits: dict[str, set[str | None]] = {}
    for record in records(rad.public()):
        splits.setdefault(record.group, set()).add(record.source_split)
    assert splits == {"vqa_rad-synpic1.jpg": {"train", "test"}, "vqa_rad-synpic2.jpg": {"test"}}


def test_an_id_may_be_text_or_a_number_but_not_both(rad: Folder) -> None:
    assert [record.id for record in records(rad.public())][:2] == ["vqa_rad-0", "vqa_rad-1"]
    rad.rows.append(question(0, 2))
    with pytest.raises(
        DataError, match=r"record 2 \(line 3, qid 0\): the id 0 occurs twice\. Every qid may stand in one"
    ):
        records(rad.public())


def test_an_id_is_unique_over_both_files(rad: Folder) -> None:
    rad.test.append(question("1", 1))
    with pytest.raises(DataError, match=r"testset\.json, record 2 \(line 3, qid 1\): the id 1 occurs twice"):
        records(rad.sets())


def test_numbers_as_answers_become_text(rad: Folder) -> None:
    rad.rows[0]["answer"] = 4
    record = records(rad.public())[0]
    assert record.answer == "4"
    assert record.extra["answer"] == 4


def test_answer_types_and_misspelt_question_types_are_understood(rad: Folder) -> None:
    rad.rows[0] |= {"answer_type": "CLOSED ", "question_type": "PRSE"}
    rad.rows[1] |= {"answer_type": "OPEN", "question_type": "ATRIB"}
    rad.test[0] |= {"question_type": "Other"}
    rad.test[1] |= {"question_type": "NEW, POS", "answer_type": "NULL"}
    found = records(rad.public())
    assert [record.answer_type for record in found] == ["closed", "open", "closed", None]
    assert [record.content_type for record in found] == ["presence", "attribute", "other", "new"]


@pytest.mark.parametrize(
    ("published", "name"),
    [
        ("ABN", "abnormality"), ("COLOR", "color"), ("COUNT", "count"), ("MODALITY", "modality"), ("ORGAN", "organ"),
        ("PLANE", "plane"), ("POS, PRES", "position"), ("SIZE", "size"), ("NULL", None), (None, None),
    ],
)  # fmt: skip
def test_question_types_get_the_names_used_here(rad: Folder, published: str | None, name: str | None) -> None:
    rad.rows[0]["question_type"] = published
    assert records(rad.public())[0].content_type == name


def test_null_as_text_stands_for_nothing(rad: Folder) -> None:
    rad.rows[0] |= {"image_organ": "NULL", "question_type": " NULL ", "evaluation": "NULL"}
    record = records(rad.public())[0]
    assert (record.body_part, record.content_type) == (None, None)
    assert not {"image_organ", "question_type", "evaluation", "phrasings", "question_frame"} & set(record.extra)


@pytest.mark.parametrize("answer", ["NULL", "", " \t"])
def test_an_empty_answer_is_skipped_and_counted_once_per_pass(rad: Folder, answer: str) -> None:
    rad.rows[0]["answer"] = answer
    source = VqaRadSource(rad.public())
    for _ in range(2):
        assert len(list(source.records())) == 3
        assert source.skipped == {"empty answer": 1}


def test_records_may_lack_keys_that_say_little(rad: Folder) -> None:
    for row in rad.rows:
        for name in ("question_rephrase", "question_frame", "question_relation", "answer_type", "image_organ"):
            del row[name]
    assert [record.body_part for record in records(rad.public())] == [None, None, "head", "head"]


def test_a_tab_is_the_comma_it_once_was(rad: Folder) -> None:
    rad.rows[0] |= {"question": "Are the liver \tsplee n\tand stomach seen?", "answer": "Heart \tlungs"}
    record = records(rad.public())[0]
    assert (record.question, record.answer) == ("Are the liver, spleen, and stomach seen?", "Heart, lungs")
    assert record.extra["question"] == "Are the liver \tsplee n\tand stomach seen?"
    assert record.extra["answer"] == "Heart \tlungs"
    assert "question" not in records(rad.public())[1].extra


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("(hours?\tminutes?)", "(hours?, minutes?)"),
        ("lungs \tbony thoracic cavit y\tmediastinum and great vessels", "lungs, bony thoracic cavity, mediastinum "
         "and great vessels"),
        ("in a male\twhat else", "in a male, what else"),
        ("is it a\tor b", "is it a, or b"),
        ("segment 5\tleft", "segment 5, left"),
        ("aneurysm \t if present", "aneurysm, if present"),
        (" two  words ", "two words"),
    ],
)  # fmt: skip
def test_lost_commas(text: str, mended: str) -> None:
    assert with_commas(text) == mended


def test_other_wordings_are_kept_where_they_are_some(rad: Folder) -> None:
    rad.rows[0] |= {"question_rephrase": "Is  it\tso?", "question_frame": "What is number 0? "}
    rad.rows[1] |= {"question_rephrase": "Same?", "question_frame": "Same? "}
    first, second, third, _ = records(rad.public())
    assert first.extra["phrasings"] == ["Is it, so?"]
    assert second.extra["phrasings"] == ["Same?"]
    assert "phrasings" not in third.extra


def test_an_image_without_a_question_is_counted(rad: Folder) -> None:
    path = rad.public()
    (path / "VQA_RAD Image Folder" / "synpic9.jpg").write_bytes(picture())
    source = VqaRadSource(path)
    assert len(list(source.records())) == 4
    assert source.skipped == {"image without a question": 1}
    limited = VqaRadSource(path, limit=1)
    assert len({record.group for record in limited.records()}) == 1
    assert limited.skipped == {"image without a question": 1}


def test_names_of_files_with_underscores(rad: Folder) -> None:
    assert len(records(rad.public("VQA_RAD_Dataset_Public.json", "VQA_RAD_Image_Folder"))) == 4


def test_limit_spreads_over_body_parts_and_keeps_all_questions(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "rad")
    for image in range(30):
        organ = ("HEAD", "CHEST", "ABD")[image % 3]
        folder.rows += [question(2 * image, image, image_organ=organ)]
        folder.test += [question(2 * image + 1, image, image_organ=organ, phrase_type="test_freeform")]
    path = folder.public()
    few, more = records(path, limit=6), records(path, limit=9)
    assert Counter(record.body_part for record in few) == {"head": 4, "chest": 4, "abdomen": 4}
    assert {record.group for record in few} < {record.group for record in more}
    assert set(Counter(record.group for record in more).values()) == {2}
    with pytest.raises(UsageError, match="limit is 0"):
        VqaRadSource(path, limit=0)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"qid": 2.5}, r"record 0 \(line 1\): 'qid' is a number, expected text"),
        ({"image_name": None}, r"record 0 \(line 1, qid 0\): 'image_name' is null, expected text"),
        ({"image_name": "../secret.jpg"}, r"record 0 \(line 1, qid 0\): image '../secret\.jpg' lies outside"),
        ({"question": ["a"]}, r"record 0 \(line 1, qid 0\): 'question' is a list, expected text"),
        ({"question": "NULL"}, r"record 0 \(line 1, qid 0\): the question is empty"),
        ({"answer": 0.5}, r"record 0 \(line 1, qid 0\): 'answer' is a number, expected text\. Put it in quotes"),
        ({"answer": True}, "'answer' is true/false, expected text"),
        ({"answer_type": "HALF"}, "'answer_type' is 'HALF', expected open or closed"),
        ({"question_rephrase": 5}, "'question_rephrase' is a whole number, expected text"),
    ],
)
def test_a_bad_row_is_named(rad: Folder, changes: dict[str, Any], reason: str) -> None:
    rad.rows[0] |= changes
    with pytest.raises(DataError, match=r"VQA_RAD Dataset Public\.json, .*" + reason):
        records(rad.public())


@pytest.mark.parametrize("name", ["qid", "image_name", "question", "answer"])
def test_a_row_without_what_is_needed_is_named(rad: Folder, name: str) -> None:
    del rad.rows[1][name]
    with pytest.raises(DataError, match=rf"record 1 \(line 2.*\): no field '{name}'"):
        records(rad.public())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'[{"qid": 1,\n "image" 2}]', "malformed JSON at line 2, column 10"),
        ('[{"answer": "é"}]'.encode("latin-1"), r"not UTF-8 at byte 13 \(line 1\)"),
        (b"[[]]", r"record 0 \(line 1\): expected an object with named fields, found a list"),
        (b"5", "expected a list of records"),
        (b"[]", r"the split 'train' has no records\. Check the download"),
    ],
)
def test_a_malformed_file_is_one_clear_line(rad: Folder, content: bytes, reason: str) -> None:
    path = rad.public()
    (path / "VQA_RAD Dataset Public.json").write_bytes(content)
    with pytest.raises(DataError, match=r"Public\.json[:,].*" + reason) as caught:
        records(path)
    assert "\n" not in str(caught.value)


def test_a_split_without_questions_is_an_error(rad: Folder) -> None:
    test, rad.test = rad.test, []
    with pytest.raises(DataError, match=r"Public\.json: the split 'test' has no records"):
        records(rad.public())
    (rad.path / "VQA_RAD Dataset Public.json").unlink()
    with pytest.raises(DataError, match=r"testset\.json: the split 'test' has no records"):
        records(rad.sets())
    rad.rows, rad.test = [], test
    with pytest.raises(DataError, match=r"trainset\.json: the split 'train' has no records"):
        records(rad.sets())


def test_a_folder_that_is_none_is_explained(rad: Folder, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent: no such folder\. Give the folder that holds 'VQA_RAD Dataset Public"):
        records(tmp_path / "absent")
    with pytest.raises(
        DataError, match=r"neither 'VQA_RAD Dataset.* nor trainset\.json and testset\.json\. Give the f"
    ):
        records(tmp_path)
    path = rad.public()
    with pytest.raises(DataError, match=r"nor trainset\.json and testset\.json\. Give the folder .*rad\.$"):
        records(tmp_path)
    rad.sets()
    with pytest.raises(DataError, match=r"has 'VQA_RAD Dataset Public\.json' and trainset\.json\. Remove one"):
        records(path)
    (path / "VQA_RAD Dataset Public.json").unlink()
    (path / "testset.json").unlink()
    for read in (records, lambda path: VqaRadSource(path).fingerprint()):
        with pytest.raises(DataError, match=r"testset\.json: no such file"):
            read(path)


def test_missing_and_truncated_images_are_named(rad: Folder) -> None:
    path = rad.public()
    image = path / "VQA_RAD Image Folder" / "synpic2.jpg"
    image.write_bytes(picture()[:-60])
    record = records(path)[3]
    assert record.image is not None
    with pytest.raises(DataError, match=r"synpic2\.jpg, record vqa_rad-3: the image is truncated or damaged"):
        read_image(record.image, record.id)
    image.unlink()
    for read in (records, lambda path: VqaRadSource(path).fingerprint()):
        with pytest.raises(
            DataError, match=r"record 3 \(line 4, qid 3\): no image 'synpic2\.jpg' in .*Check the image"
        ):
            read(path)
    for file in image.parent.iterdir():
        file.unlink()
    image.parent.rmdir()
    with pytest.raises(DataError, match="no image folder 'VQA_RAD Image Folder' or"):
        records(path)


def test_the_fingerprint_follows_everything_that_is_yielded(rad: Folder) -> None:
    path = rad.public()
    source = SOURCES.get("vqa_rad")
    seen = {source(path).fingerprint()}
    assert source(str(path)).fingerprint() in seen
    seen.add(source(path, limit=1).fingerprint())
    image = path / "VQA_RAD Image Folder" / "synpic2.jpg"
    image.write_bytes(image.read_bytes() + b"\0")
    seen.add(source(path).fingerprint())
    rad.rows[0]["answer"] = "No"
    rad.public()
    seen.add(source(path).fingerprint())
    assert len(seen) == 4


def test_records_are_the_same_in_another_process(rad: Folder) -> None:
    path = rad.public()
    code = (
        "import sys; from mllmu_med.sources.vqa_rad import VqaRadSource; s = VqaRadSource(sys.argv[1], 1); "
        "print(s.fingerprint(), [r.id for r in s.records()])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code, str(path)],
            env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    source = VqaRadSource(path, 1)
    assert outputs == {f"{source.fingerprint()} {[record.id for record in source.records()]}\n"}
