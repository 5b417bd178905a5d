"""PMC-VQA in its published versions and spellings."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mllmu_med.errors import DataError, UsageError
from mllmu_med.sources import SOURCES, Record
from mllmu_med.sources.images import read_image
from mllmu_med.sources.pmc_vqa import PmcVqaSource, answer_of

HEADER = ("Figure_path", "Question", "Answer", "Choice A", "Choice B", "Choice C", "Choice D", "Answer_label")
CHOICES = {"A": "Diffuse", "B": "Focal", "C": "None", "D": ""}


def picture(shade: int = 90) -> bytes:
    """A small grey JPEG."""
    buffer = io.BytesIO()
    Image.new("L", (12, 8), shade).save(buffer, format="JPEG")
    return buffer.getvalue()


def row(figure: str = "PMC1_F1.jpg", **changes: str) -> dict[str, str]:
    """A row as the authors show it; ``changes`` replace cells."""
    return {
        "Figure_path": figure, "Question": " What is  the pattern? ", "Answer": "Focal uptake",
        "Choice A": "A:Diffuse uptake", "Choice B": " B: Focal uptake ", "Choice C": "C:No uptake",
        "Choice D": "D:Cannot determine", "Answer_label": "B", **changes,
    }  # fmt: skip


class Folder:
    """A PMC-VQA folder that is written file by file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()

    def file(self, name: str, *rows: dict[str, str]) -> Path:
        """A CSV file of these rows; returns the folder."""
        with (self.path / name).open("w", newline="", encoding="utf-8") as output:
            writer = csv.DictWriter(output, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        return self.path

    def images(self, *names: str, folder: str = "images") -> Path:
        """Images of these names; returns the folder above."""
        (self.path / folder).mkdir(exist_ok=True)
        for number, name in enumerate(names):
            (self.path / folder / name).write_bytes(picture(number))
        return self.path


@pytest.fixture
def pmc(tmp_path: Path) -> Folder:
    """Version 1 with two training questions about figures of one article and a test question about another."""
    folder = Folder(tmp_path / "pmc")
    folder.file("train.csv", row(), row("PMC1_F2.jpg", Answer_label="A", Answer="Diffuse uptake"))
    folder.file("test.csv", row("PMC2_F1.jpg"))
    folder.images("PMC1_F1.jpg", "PMC1_F2.jpg", "PMC2_F1.jpg")
    return folder


def records(path: Path, **options: Any) -> list[Record]:
    """All records of a source."""
    return list(PmcVqaSource(path, **options).records())


def test_a_record_carries_what_the_row_says(pmc: Folder) -> None:
    found = records(pmc.path)
    first = found[0]
    assert (first.id, first.group, first.source) == ("pmc_vqa-train-2", "pmc_vqa-PMC1", "pmc_vqa")
    assert (first.question, first.answer) == ("What is the pattern?", "Focal uptake")
    assert first.options == ("Diffuse uptake", "Focal uptake", "No uptake", "Cannot determine")
    assert (first.answer_type, first.modality, first.content_type, first.language) == (None, None, None, "en")
    assert first.image is not None
    assert first.image.path == (pmc.path / "images" / "PMC1_F1.jpg").resolve()
    assert first.extra == {"figure path": "PMC1_F1.jpg", "article": "PMC1"}
    assert [record.source_split for record in found] == ["train", "train", "test"]
    assert [record.id for record in found] == ["pmc_vqa-train-2", "pmc_vqa-train-3", "pmc_vqa-test-2"]
    assert [record.group for record in found] == ["pmc_vqa-PMC1", "pmc_vqa-PMC1", "pmc_vqa-PMC2"]
    assert found[1].answer == "Diffuse uptake"


def test_a_figure_without_an_article_is_a_group_by_itself(pmc: Folder) -> None:
    pmc.file("test.csv", row("scan_1.jpg"))
    record = records(pmc.images("scan_1.jpg"))[-1]
    assert record.group == "pmc_vqa-scan_1.jpg"
    assert "article" not in record.extra


@pytest.mark.parametrize(
    "names",
    [
        {"Answer": "Anwser", "Answer_label": "Anwser_label"},
        {name: name.lower().replace(" ", "_") for name in HEADER},
        {name: name.replace("_", " ").upper() for name in HEADER},
        {"Answer_label": "Answer label"},
        {"Figure_path": " Figure_path "},
    ],
)
def test_spellings_of_the_columns(pmc: Folder, names: dict[str, str]) -> None:
    expected = records(pmc.path)
    spelt = {names.get(name, name): cell for name, cell in reversed(row().items())}
    pmc.file("train.csv", {"": "0", **spelt, "Caption": "c, d"}, {"": "1", **spelt, "Caption": ""})
    first, second, _ = records(pmc.path)
    assert (first.question, first.answer, first.options) == (
        expected[0].question, expected[0].answer, expected[0].options,
    )  # fmt: skip
    assert first.extra == {**expected[0].extra, "index": "0", "caption": "c, d"}
    assert second.extra["index"] == "1"


def test_the_answer_may_be_the_letter_alone(pmc: Folder) -> None:
    second = row("PMC8_Fig4_11.jpg", Answer="D", Caption="x", split="train")
    del second["Answer_label"]
    pmc.file("train_2.csv", second)
    pmc.file("test_2.csv", second)
    path = pmc.images("PMC8_Fig4_11.jpg", folder="figures")
    record = records(path, version=2)[0]
    assert (record.id, record.answer) == ("pmc_vqa-train_2-2", "Cannot determine")
    assert record.image is not None
    assert record.image.path == (path / "figures" / "PMC8_Fig4_11.jpg").resolve()
    assert record.extra == {"figure path": "PMC8_Fig4_11.jpg", "caption": "x", "split": "train", "article": "PMC8"}


@pytest.mark.parametrize(
    ("answer", "label", "choice"),
    [
        ("Focal", "B", "Focal"), ("", "B", "Focal"), ("", " B: ", "Focal"), ("Focal", "", "Focal"),
        ("B", "", "Focal"), ("B:Focal", "", "Focal"), (" B: focal. ", "", "Focal"), ("'FOCAL'", "", "Focal"),
        ("B:Focal uptake", "", "Focal"), ("Something like it", "B", "Focal"), ("B", "B", "Focal"),
        ("", "", None), ("Other", "", None), ("E", "", None), ("", "E", None), ("Focal", "E", None),
        ("Diffuse", "B", None), ("A", "B", None), ("A:Focal", "", None), ("A:Focal", "B", None), ("A:other", "B", None),
        ("D", "", None), ("", "D", None),
    ],
)  # fmt: skip
def test_letter_and_text_must_name_one_choice(answer: str, label: str, choice: str | None) -> None:
    assert answer_of(answer, label, CHOICES) == choice


def test_choices_that_are_called_by_letters() -> None:
    panels = {"A": "B", "B": "A", "C": "C", "D": "D"}
    assert answer_of("A", "B", panels) == "A"
    assert answer_of("A", "", panels) == "B"
    assert answer_of("C", "", panels) == "C"
    twins = {"A": "MRI", "B": "CT", "C": "mri", "D": "None"}
    assert answer_of("mri", "C", twins) == "mri"


def test_only_the_own_letter_is_left_out_of_a_choice(pmc: Folder) -> None:
    pmc.file("train.csv", row(**{"Choice A": "A. fumigatus", "Choice B": "A:B", "Choice C": "D: x", "Choice D": ""}))
    source = PmcVqaSource(pmc.path)
    assert [record.id for record in source.records()] == ["pmc_vqa-train-2", "pmc_vqa-test-2"]
    record = next(source.records())
    assert record.options == ("A. fumigatus", "A:B", "D: x")
    assert record.answer == "A:B"


def test_unusable_answers_and_questions_are_skipped_and_counted(pmc: Folder) -> None:
    pmc.file(
        "train.csv", row(), row(Answer="Other", Answer_label="E"), row(Answer="Diffuse uptake"), row(Question=" "),
        row(Answer="", Answer_label=" "), row("absent.jpg", Answer="Other", Answer_label=""),
    )  # fmt: skip
    source = PmcVqaSource(pmc.path)
    for _ in range(2):
        assert [record.id for record in source.records()] == ["pmc_vqa-train-2", "pmc_vqa-test-2"]
        assert source.skipped == {"answer is none of the choices": 3, "empty answer": 1, "empty question": 1}


def test_line_feeds_and_quotes_in_cells(pmc: Folder) -> None:
    pmc.file("train.csv", row(Question='Is it "one,\ntwo"?'), row("PMC1_F2.jpg"))
    first, second, _ = records(pmc.path)
    assert first.question == 'Is it "one, two"?'
    assert [first.id, second.id] == ["pmc_vqa-train-2", "pmc_vqa-train-4"]


def test_versions(pmc: Folder) -> None:
    with pytest.raises(DataError, match=r"pmc: no train file 'train_2\.csv' or 'train2\.csv'\. Check source\.path"):
        records(pmc.path, version=2)
    pmc.file("train2.csv", row(Question="Second?"))
    pmc.file("test2.csv", row())
    with pytest.raises(DataError, match=r"pmc: has both versions of PMC-VQA\. Set source\.version to 1 or 2"):
        records(pmc.path)
    assert [len(records(pmc.path, version=version)) for version in (1, 2)] == [3, 2]
    (pmc.path / "train.csv").unlink()
    assert records(pmc.path)[0].question == "Second?"
    with pytest.raises(UsageError, match="version is 3; PMC-VQA has 1 and 2"):
        PmcVqaSource(pmc.path, version=3)


def test_the_clean_test_questions(pmc: Folder) -> None:
    with pytest.raises(DataError, match=r"no test file 'test_clean\.csv'"):
        records(pmc.path, clean_test=True)
    pmc.file("test_clean.csv", row("PMC2_F1.jpg", Question="Checked?"))
    pmc.file("train_2.csv", row())
    found = records(pmc.path, clean_test=True)
    assert [(record.id, record.question) for record in found][2:] == [("pmc_vqa-test_clean-2", "Checked?")]
    assert found[2].source_split == "test"
    with pytest.raises(UsageError, match="clean_test: only version 1"):
        PmcVqaSource(pmc.path, version=2, clean_test=True)


def test_images_may_lie_elsewhere(pmc: Folder) -> None:
    (pmc.path / "images").rename(pmc.path / "figures")
    assert len(records(pmc.path)) == 3
    (pmc.path / "figures").rename(pmc.path.parent / "other")
    with pytest.raises(DataError, match=r"pmc: no image folder 'images' or 'figures'"):
        records(pmc.path)
    assert len(records(pmc.path, images=pmc.path.parent / "other")) == 3
    with pytest.raises(DataError, match=r"nowhere: no such image folder\. Check source\.images"):
        records(pmc.path, images=pmc.path / "nowhere")


def test_limit_spreads_over_splits(pmc: Folder) -> None:
    pmc.file("train.csv", *(row(f"PMC{number}_F1.jpg") for number in range(20) for _ in range(2)))
    pmc.file("test.csv", *(row(f"PMC{number}_F1.jpg") for number in range(20, 30)))
    path = pmc.images(*(f"PMC{number}_F1.jpg" for number in range(30)))
    few, more = records(path, limit=6), records(path, limit=15)
    assert Counter(record.source_split for record in few) == {"train": 8, "test": 2}
    assert Counter(record.source_split for record in more) == {"train": 20, "test": 5}
    assert {record.group for record in few} < {record.group for record in more}
    with pytest.raises(UsageError, match="limit is -1"):
        PmcVqaSource(path, limit=-1)


@pytest.mark.parametrize("name", [name for name in HEADER if name not in ("Answer", "Answer_label")])
def test_a_missing_column_is_named(pmc: Folder, name: str) -> None:
    cells = row()
    del cells[name]
    column = name.replace("_", " ").lower()
    with pytest.raises(
        DataError, match=rf"train\.csv, record line 1: no column '{column}'; columns: .*separated by comma"
    ):
        records(pmc.file("train.csv", cells))


def test_columns_that_are_one_or_none_are_named(pmc: Folder) -> None:
    with pytest.raises(DataError, match=r"column 'answer' occurs twice; columns: .*Anwser"):
        records(pmc.file("train.csv", row(Anwser="x")))
    cells = row()
    del cells["Answer"], cells["Answer_label"]
    with pytest.raises(DataError, match="no column 'answer'"):
        records(pmc.file("train.csv", cells))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"train\.csv: the file is empty"),
        (",".join(HEADER).encode() + b"\n", r"train\.csv: the split 'train' has no records\. Check the download"),
        (",".join(HEADER).encode() + b"\na,b\n", "record line 2: the header has 8 cells, this row 2"),
        (",".join(HEADER).encode() + b"\nPMC1_F1.jpg,\xe9,B,A,B,C,D,B\n", "record line 2: not UTF-8 at byte 12"),
        (",".join(HEADER).encode() + b"\nPMC9_F1.jpg,Q,B,A,B,C,D,B\n", r"record line 2: no image 'PMC9_F1\.jpg' in"),
        (
            ",".join(HEADER).encode() + b"\n../secret.jpg,Q,B,A,B,C,D,B\n",
            "record line 2: image '../secret.jpg' lies outs",
        ),
        (",".join(HEADER).encode() + b"\n,Q,B,A,B,C,D,B\n", "record line 2: no image '' in"),
        (",".join(HEADER).encode() + b'\n"PMC1,Q,B,A,B,C,D,B\n', "record line 2: a double quote is opened and never"),
    ],
)
def test_a_bad_file_is_one_clear_line(pmc: Folder, content: bytes, reason: str) -> None:
    (pmc.path / "train.csv").write_bytes(content)
    with pytest.raises(DataError, match=reason) as caught:
        records(pmc.path)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_none_is_explained(pmc: Folder, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent: no such folder\. Give the folder that holds train\.csv"):
        records(tmp_path / "absent")
    with pytest.raises(DataError, match=r"neither train\.csv nor train_2\.csv\. Give the folder .*pmc\.$"):
        records(tmp_path)
    (pmc.path / "test.csv").unlink()
    with pytest.raises(DataError, match=r"pmc: no test file 'test\.csv'"):
        records(pmc.path)


def test_a_truncated_image_is_found_when_it_is_read(pmc: Folder) -> None:
    (pmc.path / "images" / "PMC1_F1.jpg").write_bytes(picture()[:-60])
    record = records(pmc.path)[0]
    assert record.image is not None
    with pytest.raises(DataError, match=r"PMC1_F1\.jpg, record pmc_vqa-train-2: the image is truncated or damaged"):
        read_image(record.image, record.id)


def test_the_fingerprint_follows_everything_that_is_yielded(pmc: Folder) -> None:
    source = SOURCES.get("pmc_vqa")
    pmc.file("test_clean.csv", row("PMC2_F1.jpg"))
    first = source(pmc.path).fingerprint()
    assert source(str(pmc.path)).fingerprint() == first
    assert source(pmc.path, version=1).fingerprint() == first
    seen = {first, source(pmc.path, limit=1).fingerprint(), source(pmc.path, clean_test=True).fingerprint()}
    image = pmc.path / "images" / "PMC2_F1.jpg"
    image.write_bytes(image.read_bytes() + b"\0")
    seen.add(source(pmc.path).fingerprint())
    pmc.file("train.csv", row(Question="Other?"))
    seen.add(source(pmc.path).fingerprint())
    image.unlink()
    seen.add(source(pmc.path).fingerprint())
    assert len(seen) == 6
