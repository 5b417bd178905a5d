"""SLAKE in its published layout, and every trap in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mllmu_med.errors import DataError, UsageError
from mllmu_med.sources import SOURCES, Record
from mllmu_med.sources.slake import SlakeSource


def records(path: Path, **options: Any) -> list[Record]:
    """All records of a source."""
    return list(SlakeSource(path, **options).records())


def splits(found: list[Record]) -> dict[str, set[str | None]]:
    """Group → splits in which its records stand."""
    result: dict[str, set[str | None]] = {}
    for record in found:
        result.setdefault(record.group, set()).add(record.source_split)
    return result


def test_a_record_carries_what_the_row_says(slake: Any) -> None:
    row = slake.add(
        "train", 12, content_type="KG", answer="Transverse  Plane", answer_type="CLOSED", question=" A  B? "
    )
    slake.add("validate", 1)
    slake.add("test", 2)
    record = records(slake.write())[0]
    assert (record.id, record.group, record.source) == ("slake-0", "slake-12", "slake")
    assert (record.question, record.answer, record.answer_type) == ("A B?", "Transverse Plane", "closed")
    assert (record.modality, record.body_part, record.content_type) == ("CT", "brain tissue", "knowledge")
    assert (record.language, record.source_split) == ("en", "train")
    assert record.hierarchy is None
    assert record.options is None
    assert record.image is not None
    assert record.image.path == (slake.path / "imgs/xmlab12/source.jpg").resolve()
    assert record.extra == {name: value for name, value in row.items() if name not in ("question", "q_lang")}


@pytest.mark.parametrize(
    ("published", "name"),
    [("Quantity", "count"), ("Abnormality", "abnormality"), ("New Type", "new type"), (None, None)],
)
def test_content_types_get_the_names_used_here(slake: Any, published: str | None, name: str | None) -> None:
    for split in ("train", "validate", "test"):
        slake.add(split, 1, content_type=published)
    assert {record.content_type for record in records(slake.write())} == {name}


def test_the_other_name_of_the_validation_file(slake_of_six: Any) -> None:
    assert Counter(r.source_split for r in records(slake_of_six.write("validation.json"))) == {
        "train": 8, "validation": 2, "test": 2,
    }  # fmt: skip


def test_two_validation_files_are_refused(slake_of_six: Any) -> None:
    slake_of_six.write("validation.json")
    with pytest.raises(DataError, match=r"has validate\.json and validation\.json\. Remove one"):
        records(slake_of_six.write())


def test_one_language_keeps_the_split_of_its_file(slake_of_six: Any) -> None:
    path = slake_of_six.write()
    english, chinese = splits(records(path)), splits(records(path, language="zh"))
    assert english["slake-1"] == {"train"}
    assert chinese["slake-1"] == {"test"}
    assert english["slake-5"] == {"validation"}
    assert chinese["slake-5"] == {"train"}
    assert all(len(found) == 1 for found in (*english.values(), *chinese.values()))


def test_with_both_languages_no_image_stands_in_two_splits(slake_of_six: Any) -> None:
    found = records(slake_of_six.write(), language="all")
    assert len(found) == 18
    assert splits(found) == {
        "slake-1": {"test"},  # train and test
        "slake-2": {"train"},
        "slake-3": {"train"},
        "slake-4": {"validation"},  # train and validation
        "slake-5": {"validation"},  # validation and train
        "slake-6": {"test"},
    }


def test_an_empty_answer_is_skipped_and_counted_once_per_pass(slake_of_six: Any) -> None:
    slake_of_six.add("train", 1, answer=" ")
    source = SlakeSource(slake_of_six.write())
    for _ in range(2):
        assert len(list(source.records())) == 12
        assert source.skipped == {"empty answer": 1}


def test_limit_keeps_the_proportions_and_takes_subsets(slake: Any) -> None:
    for image in range(60):  # per split: half CT, half MRI
        slake.add("train" if image < 40 else "validate" if image < 50 else "test", image)
    path = slake.write()
    chosen = {limit: {r.group for r in records(path, limit=limit)} for limit in (1, 7, 30, 60, 99)}
    assert [len(groups) for groups in chosen.values()] == [1, 7, 30, 60, 60]
    assert chosen[1] < chosen[7] < chosen[30] < chosen[60]
    half = Counter((r.source_split, r.modality) for r in records(path, limit=30))
    for split, expected in {"train": 10, "validation": 2.5, "test": 2.5}.items():
        assert abs(half[split, "CT"] - expected) <= 0.5
        assert abs(half[split, "MRI"] - expected) <= 0.5


def test_limit_keeps_all_questions_of_an_image(slake_of_six: Any) -> None:
    assert set(Counter(r.group for r in records(slake_of_six.write(), limit=3, language="all")).values()) == {3}


def test_the_order_and_the_choice_are_the_same_in_another_process(slake_of_six: Any) -> None:
    path = slake_of_six.write()
    code = (
        "import sys; from mllmu_med.sources.slake import SlakeSource; "
        "s = SlakeSource(sys.argv[1], 'all', 4); print(s.fingerprint(), [r.id for r in s.records()])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code, str(path)],
            env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    source = SlakeSource(path, "all", 4)
    assert outputs == {f"{source.fingerprint()} {[r.id for r in source.records()]}\n"}


def test_the_fingerprint_follows_everything_that_is_yielded(slake_of_six: Any) -> None:
    path = slake_of_six.write()
    first = SlakeSource(path).fingerprint()
    assert SlakeSource(str(path)).fingerprint() == first
    others = [SlakeSource(path, "zh"), SlakeSource(path, "all"), SlakeSource(path, limit=3), SlakeSource(path, limit=4)]
    assert len({first, *(source.fingerprint() for source in others)}) == 5
    image = path / "imgs/xmlab3/source.jpg"
    os.utime(image, (1, 1))
    assert SlakeSource(path).fingerprint() == first  # the same data, copied later
    image.write_bytes(image.read_bytes() + b"\0")
    longer = SlakeSource(path).fingerprint()
    slake_of_six.rows["train"][0]["answer"] = "Heart"
    file = path / "train.json"
    file.write_text(json.dumps(slake_of_six.rows["train"]), encoding="utf-8")
    assert len({first, longer, SlakeSource(path).fingerprint()}) == 3


def test_a_wrong_language_or_limit_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown SLAKE language 'eng' \(did you mean 'en'\?\)"):
        SlakeSource(tmp_path, language="eng")
    with pytest.raises(UsageError, match="limit is 0"):
        SlakeSource(tmp_path, limit=0)


def test_a_missing_folder_or_a_folder_above_is_explained(slake_of_six: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent: no such folder\. Give the folder that holds train\.json"):
        records(tmp_path / "absent")
    slake_of_six.write()
    with pytest.raises(DataError, match=r"no train\.json: not a SLAKE folder\. Give the folder .*Slake1\.0\."):
        records(tmp_path)


def test_a_missing_split_file_is_named(slake_of_six: Any) -> None:
    path = slake_of_six.write()
    (path / "test.json").unlink()
    with pytest.raises(DataError, match=r"test\.json: no such file"):
        records(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'[{"qid": 1,\n "img_id" 2}]', r"train\.json: malformed JSON at line 2, column 11"),
        ('[{"answer": "肺"}]'.encode("gb18030"), r"train\.json: not UTF-8 at byte 13"),
        (b'{"rows": []}', r"train\.json: expected a list of records"),
        (b"[[]]", r"train\.json, record 0: expected an object"),
        (b"[]", r"train\.json: the split has no records in language 'en'"),
        (b'[{"qid": 1, "qid": 2}]', r"train\.json: key 'qid' occurs twice"),
    ],
)
def test_a_malformed_file_is_one_clear_line(slake_of_six: Any, content: bytes, reason: str) -> None:
    path = slake_of_six.write()
    (path / "train.json").write_bytes(content)
    with pytest.raises(DataError, match=reason) as caught:
        records(path)
    assert "\n" not in str(caught.value)


def test_a_split_without_the_language_is_empty(slake_of_six: Any) -> None:
    slake_of_six.rows["test"] = [row for row in slake_of_six.rows["test"] if row["q_lang"] == "en"]
    path = slake_of_six.write()
    assert len(records(path)) == 12
    with pytest.raises(DataError, match=r"test\.json: the split has no records in language 'zh'"):
        records(path, language="zh")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"qid": 0}, r"test\.json, record 2 \(qid 0\): the id 0 occurs twice"),
        ({"qid": "7"}, "record 2: 'qid' is text, expected a whole number"),
        ({"img_id": "7"}, r"record 2 \(qid 18\): 'img_id' is text, expected a whole number"),
        ({"answer": 3}, r"record 2 \(qid 18\): 'answer' is a whole number, expected text\. Put it in quotes"),
        ({"question": ""}, r"record 2 \(qid 18\): the question is empty"),
        ({"answer_type": "HALF"}, "'answer_type' is 'HALF', expected open or closed"),
        ({"img_name": "xmlab9/source.jpg"}, r"record 2 \(qid 18\): no image 'xmlab9/source.jpg' in .*imgs"),
        ({"img_name": "../../etc/passwd"}, r"record 2 \(qid 18\): image '../../etc/passwd' lies outside"),
    ],
)
def test_a_bad_row_is_named(slake_of_six: Any, changes: dict[str, Any], reason: str) -> None:
    slake_of_six.rows["test"] = [row for row in slake_of_six.rows["test"] if row["q_lang"] == "en"]
    slake_of_six.add("test", 6, **changes)
    path = slake_of_six.write()
    with pytest.raises(DataError, match=reason):
        records(path)


def test_a_missing_image_changes_the_fingerprint_and_is_told_by_the_records(slake_of_six: Any) -> None:
    path = slake_of_six.write()
    first = SlakeSource(path).fingerprint()
    (path / "imgs/xmlab3/source.jpg").unlink()
    assert SlakeSource(path).fingerprint() != first
    with pytest.raises(DataError, match=r"no image 'xmlab3/source\.jpg'"):
        records(path)


def test_the_fingerprint_of_a_broken_file_is_the_same_clear_error(slake_of_six: Any) -> None:
    path = slake_of_six.write()
    (path / "test.json").write_text('[{"qid" 1}]')
    with pytest.raises(DataError, match=r"test\.json: malformed JSON at line 1"):
        SlakeSource(path).fingerprint()


def published() -> Path | None:
    """The real SLAKE folder: in ``MLLMU_MED_DATA``, or else beside the repository."""
    place = os.environ.get("MLLMU_MED_DATA")
    folder = Path(place) if place else Path(__file__).parents[3].parent / "shared" / "data"
    return folder / "Slake1.0" if (folder / "Slake1.0" / "train.json").is_file() else None


@pytest.mark.realdata
@pytest.mark.skipif(published() is None, reason="no Slake1.0 folder; set MLLMU_MED_DATA to the folder that holds it")
class TestPublishedSlake:
    """The published images and questions (a subset: 497 of 642 images)."""

    @staticmethod
    def source(**options: Any) -> tuple[SlakeSource, list[Record]]:
        """The source and its records."""
        folder = published()
        assert folder is not None
        source = SOURCES.get("slake")(folder, **options)
        assert isinstance(source, SlakeSource)
        return source, list(source.records())

    def test_counts(self) -> None:
        source, english = self.source()
        assert len(english) == 5_463 - 1
        assert source.skipped == {"empty answer": 1}
        assert len({record.group for record in english}) == 497
        source, chinese = self.source(language="zh")
        assert len(chinese) == 5_440
        assert not source.skipped
        assert {record.language for record in chinese} == {"zh"}

    def test_traps(self) -> None:
        _, english = self.source()
        closed = [record for record in english if record.answer_type == "closed"]
        assert sum(record.answer.lower() not in ("yes", "no") for record in closed) == 313
        assert not [record for record in english if "  " in record.answer or "  " in record.question]
        assert {record.content_type for record in english} == {
            "abnormality", "color", "count", "knowledge", "modality", "organ", "plane", "position", "shape", "size",
        }  # fmt: skip

    def test_both_languages_share_splits(self) -> None:
        _, both = self.source(language="all")
        assert len(both) == 10_902
        assert all(len(found) == 1 for found in splits(both).values())
        apart = splits([*self.source()[1], *self.source(language="zh")[1]])
        assert sum(len(found) > 1 for found in apart.values()) == 221

    def test_a_limit_keeps_the_modalities(self) -> None:
        _, limited = self.source(limit=50)
        images = {record.group: record.modality for record in limited}
        assert len(images) == 50
        for modality, count in {"CT": 259, "MRI": 131, "X-Ray": 107}.items():
            assert abs(Counter(images.values())[modality] - 50 * count / 497) < 2
