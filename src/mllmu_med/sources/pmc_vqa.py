"""PMC-VQA, multiple-choice questions about figures of PubMed Central articles (Zhang et al. 2023, arXiv 2305.10415)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mllmu_med.errors import DataError, UsageError
from mllmu_med.folders import digest, file_digest
from mllmu_med.sources.content import content_digest
from mllmu_med.sources.csv_rows import Table
from mllmu_med.sources.fields import clean
from mllmu_med.sources.image_folder import ImageFolder, find_one
from mllmu_med.sources.limiting import check_limit, choose
from mllmu_med.sources.record import About, Record

FILES: dict[int, dict[str, tuple[str, ...]]] = {
    1: {"train": ("train.csv",), "test": ("test.csv",)},
    2: {"train": ("train_2.csv", "train2.csv"), "test": ("test_2.csv", "test2.csv")},
}
"""Version → split → names of its file."""

CLEAN_TEST = "test_clean.csv"
IMAGE_FOLDERS = {1: ("images", "figures"), 2: ("figures", "images_2", "images2", "images")}
"""Version → names of its image folder; the first one that exists."""

LETTERS = "ABCD"

_NEEDED = ("figure path", "question", *(f"choice {letter.lower()}" for letter in LETTERS))
_PREFIX = re.compile(rf"\s*([{LETTERS}])\s*:\s*")
_ARTICLE = re.compile(r"(PMC\d+)_")
_CODE_VERSION = 1


class _Row(NamedTuple):
    """A row with its columns as ``_column`` names them.

    Attributes:
        file: where it stands.
        line: on which line.
    """

    cells: dict[str, str]
    file: Path
    line: int
    split: str

    @property
    def image(self) -> str:
        return self.cells["figure path"].strip()


class PmcVqaSource:
    """PMC-VQA as multiple-choice records; the group is the article that the figure is from.

    ::

        train.csv    test.csv    test_clean.csv    images/PMC1064097_F1.jpg       version 1
        train_2.csv  test_2.csv                    figures/PMC8253797_Fig4_11.jpg  version 2: panels of figures

    The columns are ``Figure_path, Question, Answer, Choice A … Choice D, Answer_label``, in any order and case, with
    ``_`` or a space, and also spelt ``Anwser``; the answer may be a choice's text or its letter. The letter before a
    choice (``A:``) is left out of it. White space in texts is made single.

    Figures of one article, often of one patient, stay together; a figure whose name does not say its article is a group
    by itself. Records without a question or answer, and those whose answer is none of the choices or contradicts its
    letter, are skipped and counted. ``extra`` holds ``article`` and the other columns, named in lower case.

    Args:
        path: the folder with the CSV files.
        version: 1 or 2; None = the one that is there.
        clean_test: take the test questions of version 1 that the authors checked by hand (``test_clean.csv``).
        images: the image folder; the version's own below ``path`` if None.
        limit: at most so many images, in the same proportions of splits. A smaller limit takes a subset of a larger
            one's images.
    """

    name = "pmc_vqa"
    about = About(
        "PMC-VQA, multiple-choice questions about figures of PubMed Central articles", "CC-BY-SA",
        "https://huggingface.co/datasets/xmcmic/PMC-VQA", "Zhang et al. 2023, arXiv 2305.10415",
    )  # fmt: skip

    def __init__(
        self,
        path: Path | str,
        version: int | None = None,
        clean_test: bool = False,
        images: Path | str | None = None,
        limit: int | None = None,
    ) -> None:
        check_limit(limit)
        if version not in (None, *FILES):
            raise UsageError(f"version is {version}; PMC-VQA has 1 and 2")
        if clean_test and version == 2:
            raise UsageError("clean_test: only version 1 has test questions that were checked by hand")
        self.path, self.version, self.clean_test, self.limit = Path(path), version, clean_test, limit
        self.images = Path(images) if images is not None else None
        self.skipped: Counter[str] = Counter()

    def fingerprint(self) -> str:
        """Digest of the parameters, the CSV files and the images that questions are about."""
        version = self._version()
        folder = self._image_folder(version)
        return digest({
            "source": self.name,
            "code": _CODE_VERSION,
            "limit": self.limit,
            "files": {file.name: file_digest(file) for file in self._files(version).values()},
            "images": content_digest(folder / row.image for row in self._rows(version)),
        })  # fmt: skip

    def records(self) -> Iterator[Record]:
        """Records in the order of the files: train, test.

        Raises:
            DataError: a file or an image is missing or malformed, an image lies outside its folder, or a split is
                empty.
        """
        self.skipped.clear()
        version = self._version()
        images = ImageFolder(self._image_folder(version))
        chosen = choose(((row.split, row.image) for row in self._rows(version)), self.limit)
        for row in self._rows(version):
            if row.image in chosen:
                made = self._record(row, images)
                if isinstance(made, str):
                    self.skipped[made] += 1
                else:
                    yield made

    def _version(self) -> int:
        if not self.path.is_dir():
            raise DataError("no such folder", file=self.path, mend="Give the folder that holds train.csv.")
        if self.version is not None:
            return self.version
        there = [
            version for version, files in FILES.items() if any((self.path / name).is_file() for name in files["train"])
        ]
        if not there:
            below = sorted(file.parent.name for file in self.path.glob("*/train*.csv"))
            mend = f"Give the folder {self.path / below[0]}." if below else "Give the folder that holds one of them."
            raise DataError("neither train.csv nor train_2.csv", file=self.path, mend=mend)
        if self.clean_test:
            return 1
        if len(there) > 1:
            raise DataError("has both versions of PMC-VQA", file=self.path, mend="Set source.version to 1 or 2.")
        return there[0]

    def _files(self, version: int) -> dict[str, Path]:
        """Each split's file."""
        names = {**FILES[version], "test": (CLEAN_TEST,)} if self.clean_test else FILES[version]
        return {split: find_one(self.path, options, f"{split} file") for split, options in names.items()}

    def _image_folder(self, version: int) -> Path:
        if self.images is None:
            return find_one(self.path, IMAGE_FOLDERS[version], "image folder")
        if not self.images.is_dir():
            raise DataError("no such image folder", file=self.images, mend="Check source.images.")
        return self.images

    def _rows(self, version: int) -> Iterator[_Row]:
        """Every row."""
        for split, file in self._files(version).items():
            table = Table(file, ",", unnamed="index")
            columns = _columns(table)
            row = None
            for line, cells in table.rows():
                row = _Row({columns[name]: cell for name, cell in cells.items()}, file, line, split)
                yield row
            if row is None:
                raise DataError(f"the split '{split}' has no records", file=file, mend="Check the download.")

    def _record(self, row: _Row, images: ImageFolder) -> Record | str:
        """The record, or why it is left out."""
        question = clean(row.cells["question"])
        choices = {letter: _choice(row.cells[f"choice {letter.lower()}"], letter) for letter in LETTERS}
        answer = answer_of(row.cells.get("answer", ""), row.cells.get("answer label", ""), choices)
        if not question:
            return "empty question"
        if answer is None:
            given = row.cells.get("answer", "").strip() or row.cells.get("answer label", "").strip()
            return "answer is none of the choices" if given else "empty answer"
        image = images.ref(row.image, file=row.file, record=f"line {row.line}")
        article = _ARTICLE.match(Path(row.image).name)
        used = {*_NEEDED, "answer", "answer label"} - {"figure path"}
        extra = {name: cell for name, cell in row.cells.items() if name not in used}
        return Record(
            id=f"pmc_vqa-{row.file.stem}-{row.line}",
            image=image,
            question=question,
            answer=answer,
            group=f"pmc_vqa-{article[1] if article else row.image}",
            source=self.name,
            source_split=row.split,
            options=tuple(choice for choice in choices.values() if choice),
            extra={**extra, "article": article[1]} if article else extra,
        )


def _column(name: str) -> str:
    """A column's name in lower case, with spaces, spelt ``answer``."""
    return clean(name.replace("_", " ")).lower().replace("anwser", "answer")


def _columns(table: Table) -> dict[str, str]:
    """The file's columns → what they are called here.

    Raises:
        DataError: one is missing or there twice.
    """
    columns = {name: _column(name) for name in table.columns}
    twice = [name for name, times in Counter(columns.values()).items() if times > 1]
    missing = [name for name in _NEEDED if name not in columns.values()]
    if not {"answer", "answer label"} & set(columns.values()):
        missing.append("answer")
    if twice or missing:
        reason = f"column '{twice[0]}' occurs twice" if twice else f"no column '{missing[0]}'"
        raise DataError(
            f"{reason}; columns: {table.described}", file=table.file, record="line 1", mend="Check the download."
        )
    return columns


def _choice(cell: str, letter: str) -> str:
    """A choice without its own letter before it."""
    prefix = _PREFIX.match(cell)
    return clean(cell[prefix.end() :] if prefix and prefix[1] == letter else cell)


def answer_of(answer: str, label: str, choices: dict[str, str]) -> str | None:
    """The choice that is the answer; None where letter and text name none, or not the same one.

    Args:
        answer: a choice's text, with or without its letter before it, or the letter alone; may be empty. Text that is
            like none of the choices is ignored where there is a letter.
        label: a letter; may be empty.
        choices: by letter, without letters before them; one may be empty.
    """
    answer, label = clean(answer), clean(label).rstrip(" :")
    named = [choices.get(label, "")] if label else []
    if answer in choices and _loosely(answer) not in map(_loosely, named):  # a letter, not a choice that is called A
        named.append(choices[answer])
    else:
        prefix = _PREFIX.match(answer)
        named += [choices[prefix[1]]] if prefix else []
        text = _loosely(answer[prefix.end() :] if prefix else answer)
        named += [choice for choice in choices.values() if choice and _loosely(choice) == text][:1]
    return named[0] or None if len(set(map(_loosely, named))) == 1 else None


def _loosely(text: str) -> str:
    """Text for comparison: without case, and without quotes and full stops at its ends."""
    return text.strip(" .'\"").casefold()
