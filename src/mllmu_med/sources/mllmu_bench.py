"""MLLMU-Bench (Liu et al. 2024, arXiv 2410.22108): fictitious and public persons, each with an image and questions.

The layout of the authors' dataset ``MLLMMU/MLLMU-Bench`` on the Hub, downloaded into a folder::

    forget_5  forget_10  forget_15  retain_95  retain_90  retain_85   a part of the fictitious persons each
    Full_Set  all fictitious persons      Retain_Set  public persons (celebrities)
    Test_Set  the fictitious persons again, other images and wordings      ft_Data  for training

each a folder of parquet files, one row per person: ``ID``, ``image`` (``images``, a list, in Test_Set), ``Directory``,
``biography``, ``question``, ``answer``, ``Classification_Task``, ``Generation_Task``, ``Mask_Task``; in ft_Data, and in
the authors' ``baseline_train_split``, ``metadata`` in place of the tasks.

Written after the dataset card and the authors' code (github.com/franciscoliu/MLLMU-Bench); not tried on their data.
What they do not say: whether the ids of public persons can be those of fictitious ones (they are kept apart here).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from mllmu_med.errors import DataError, UsageError
from mllmu_med.folders import digest
from mllmu_med.registry import did_you_mean
from mllmu_med.sources.content import content_digest
from mllmu_med.sources.embedded import EmbeddedImages
from mllmu_med.sources.fields import Fields, clean
from mllmu_med.sources.nested import identifier, image_bytes, nested, objects
from mllmu_med.sources.parquet import ParquetRows
from mllmu_med.sources.record import About, ImageRef, Record
from mllmu_med.sources.table import plain

PUBLIC, TEST = "Retain_Set", "Test_Set"
"""The folders of public persons, and of further images and wordings of the fictitious ones."""

WITH_IMAGE = {"Image_Textual": True, "Pure_Text": False}
"""Types of questions → whether they are about the image."""

_CHOICES = {"Image_Textual_Questions": True, "Pure_Text_Questions": False}
_QUESTION_COLUMNS = ("question", "answer", "Classification_Task", "Generation_Task", "Mask_Task", "metadata")
_IMAGE_COLUMNS = ("image", "images")
_CODE_VERSION = 1


class Asked(NamedTuple):
    """A question of a row: ``task`` is biography, training, classification, generation or cloze."""

    task: str
    with_image: bool
    question: str
    answer: str
    options: tuple[str, ...] | None = None


class MllmuBenchSource:
    """MLLMU-Bench as records: one per question of a person, who is the group and the ``patient`` of the hierarchy.

    Questions without an image are text-only records. The answer of a multiple-choice question is the text of the
    correct option. Cloze questions keep their ``__``. ``extra["peer_split"]`` is ``forget``, ``retain`` or ``test`` by
    the folder (absent for Full_Set and ft_Data), ``extra["peer_subset"]`` the folder, ``extra["task"]`` the task; the
    row's other columns are kept by name. Only Test_Set has a split, ``test``: its persons are those of the other
    folders, so that a benchmark that follows the source's splits leaves it out.

    Of several images in a row the first one is taken; the others are counted, as are empty questions and answers.

    Args:
        path: the folder that holds the folders of parquet files.
        subsets: the folders to be read; a person may stand in one of them only, Test_Set aside.
    """

    name = "mllmu_bench"
    about = About(
        "MLLMU-Bench", None, "https://huggingface.co/datasets/MLLMMU/MLLMU-Bench", "Liu et al. 2024, arXiv 2410.22108"
    )

    def __init__(self, path: Path | str, subsets: Sequence[str] = ("forget_5", "retain_95")) -> None:
        if not subsets or len(set(subsets)) < len(subsets):
            raise UsageError("subsets: name at least one folder, and each only once")
        self.path, self.subsets = Path(path), tuple(subsets)
        self.skipped: Counter[str] = Counter()

    def fingerprint(self) -> str:
        """Digest of the parameters and of the files."""
        return digest({
            "source": self.name,
            "code": _CODE_VERSION,
            "subsets": self.subsets,
            "files": content_digest(file for subset in self.subsets for file in self._files(subset)),
        })  # fmt: skip

    def records(self) -> Iterator[Record]:
        """Records in the order of ``subsets``, files and rows.

        Raises:
            DataError: a folder, column or image is missing, a row is malformed, a person occurs twice, or there is no
                record at all.
        """
        self.skipped.clear()
        images = EmbeddedImages(self.path)
        places: dict[tuple[bool, str], str] = {}
        found = False
        for subset in self.subsets:
            for file in self._files(subset):
                for row, fields, image in self._rows(file, images):
                    person = (subset == TEST, _person(fields, subset))
                    if person in places:
                        mend = "Name subsets that do not overlap in source.subsets."
                        raise fields.error(f"the person occurs twice, first in {places[person]}", mend)
                    places[person] = f"{subset} row {row}"
                    for record in self._records_of(fields, subset, image):
                        found = True
                        yield record
        if not found:
            raise DataError("no records", file=self.path, mend="Check the download.")

    def _files(self, subset: str) -> list[Path]:
        """The subset's parquet files, in order."""
        folders = sorted(child.name for child in self.path.iterdir() if child.is_dir()) if self.path.is_dir() else []
        if subset not in folders:
            hint = did_you_mean(subset, folders)
            mend = f"It has {', '.join(folders)}: check source.subsets." if folders else "Check source.path."
            raise DataError(f"no folder '{subset}'{hint}", file=self.path, mend=mend)
        files = sorted((self.path / subset).glob("*.parquet"))
        if not files:
            raise DataError("no parquet files", file=self.path / subset, mend="Check the download.")
        return files

    def _rows(self, file: Path, images: EmbeddedImages) -> Iterator[tuple[int, Fields, ImageRef | None]]:
        """Number, fields (without the image) and image of each row."""
        rows = ParquetRows(file)
        column = _image_column(rows)
        for number, values in rows.rows():
            found = _images(values[column])
            if len(found) > 1:
                self.skipped["further images of a person"] += len(found) - 1
            image = images.ref(found[0], partial(_image_again, rows, number, column)) if found else None
            texts = {name: plain(value) for name, value in values.items() if name not in _IMAGE_COLUMNS}
            identity = identifier(Fields(texts, file, f"row {number}"), "ID")
            yield number, Fields(texts, file, f"row {number} (ID {identity})"), image

    def _records_of(self, fields: Fields, subset: str, image: ImageRef | None) -> Iterator[Record]:
        """A record for each question of a row."""
        identity, person = identifier(fields, "ID"), _person(fields, subset)
        extra = {name: value for name, value in fields.values.items() if name not in _QUESTION_COLUMNS}
        split = _peer_split(subset)
        extra |= {"peer_subset": subset, **({"peer_split": split} if split else {})}
        numbers: Counter[str] = Counter()
        for asked in _asked(fields):
            numbers[asked.task] += 1
            if not asked.question or not asked.answer:
                self.skipped["empty answer" if asked.question else "empty question"] += 1
                continue
            if asked.with_image and image is None:
                raise fields.error(f"no image for its {asked.task} questions", "Check the download.")
            yield Record(
                id=f"{subset}/{identity}/{asked.task}-{numbers[asked.task]}",
                image=image if asked.with_image else None,
                question=asked.question,
                answer=asked.answer,
                group=person,
                source=self.name,
                answer_type="closed" if asked.options else "open",
                source_split="test" if subset == TEST else None,
                hierarchy={"patient": person},
                options=asked.options,
                extra={**extra, "task": asked.task},
            )


def _asked(fields: Fields) -> Iterator[Asked]:
    """Every question of a row, in the order of the tasks."""
    if fields.values.get("question") is not None or fields.values.get("answer") is not None:
        yield Asked("biography", True, *_texts(fields, "question", "answer"))
    for entry in objects(fields, "metadata", nested(fields, "metadata")):
        yield Asked("training", True, *_texts(entry, "Question", "Answer"))
    choices = nested(fields, "Classification_Task") or {}
    if not isinstance(choices, dict):
        raise fields.error("'Classification_Task' is not an object of lists of questions")
    for name, with_image in _CHOICES.items():
        for entry in objects(fields, name, choices.get(name)):
            yield _choice(entry, with_image)
    for name, task in (("Generation_Task", "generation"), ("Mask_Task", "cloze")):
        for entry in objects(fields, name, nested(fields, name)):
            kind = entry.required("Type", str)
            if kind not in WITH_IMAGE:
                raise entry.error(f"'Type' is '{kind}', expected {' or '.join(WITH_IMAGE)}")
            yield Asked(task, WITH_IMAGE[kind], *_texts(entry, "Question", "Ground_Truth"))


def _texts(fields: Fields, question: str, answer: str) -> tuple[str, str]:
    return fields.optional_text(question) or "", fields.optional_text(answer) or ""


def _choice(fields: Fields, with_image: bool) -> Asked:
    """A multiple-choice question; the correct option is named by its letter."""
    question, letter = _texts(fields, "Question", "Correct_Answer")
    named: dict[str, Any] = fields.required("Options", dict)
    options = {name: clean(text) for name, text in sorted(named.items()) if isinstance(text, str)}
    if letter and letter not in options:
        raise fields.error(f"'Correct_Answer' is '{letter}', which is none of its options {', '.join(options)}")
    return Asked("classification", with_image, question, options.get(letter, ""), tuple(options.values()))


def _person(fields: Fields, subset: str) -> str:
    return f"public-{identifier(fields, 'ID')}" if subset == PUBLIC else identifier(fields, "ID")


def _peer_split(subset: str) -> str | None:
    """What the authors use a folder for."""
    kind = subset.partition("_")[0].lower()
    return kind if kind in ("forget", "retain", "test") else None


def _image_column(rows: ParquetRows) -> str:
    """The column that holds the images.

    Raises:
        DataError: there is none, or no column of ids or questions.
    """
    for needed in (("ID",), _IMAGE_COLUMNS, _QUESTION_COLUMNS):
        if not any(name in rows.columns for name in needed):
            hint = did_you_mean(needed[0], list(rows.columns))
            mend = f"It has {', '.join(rows.columns)}; is it MLLMU-Bench?"
            raise DataError(f"no column '{needed[0]}'{hint}", file=rows.path, mend=mend)
    return next(name for name in _IMAGE_COLUMNS if name in rows.columns)


def _images(value: Any) -> list[bytes]:
    """The encoded images of a cell that holds one or a list."""
    cells = value if isinstance(value, list) else [value]
    return [data for data in map(image_bytes, cells) if data is not None]


def _image_again(rows: ParquetRows, number: int, column: str) -> bytes | None:
    return next(iter(_images(rows.value(number, column))), None)
