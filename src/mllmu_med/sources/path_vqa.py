"""PathVQA, questions about figures of pathology textbooks (He et al. 2020, arXiv 2003.10286)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mllmu_med.errors import DataError
from mllmu_med.folders import digest
from mllmu_med.sources.content import content_digest
from mllmu_med.sources.embedded import EmbeddedImages
from mllmu_med.sources.fields import Fields, clean
from mllmu_med.sources.image_folder import ImageFolder
from mllmu_med.sources.limiting import check_limit, choose
from mllmu_med.sources.nested import image_bytes
from mllmu_med.sources.parquet import ParquetRows
from mllmu_med.sources.plain_pickle import read_plain_pickle
from mllmu_med.sources.record import About, ImageRef, Record
from mllmu_med.sources.table import text_cell

SPLITS = {"train": "train", "validation": "val", "test": "test"}
"""Splits → what the authors' files call them."""

_COLUMNS = ("image", "question", "answer")
_CODE_VERSION = 1


class _Row(NamedTuple):
    """A question, its split, its place in the split (from 0), and its image."""

    fields: Fields
    split: str
    number: int
    image: ImageRef


class PathVqaSource:
    """PathVQA in either of its two layouts; the group is the image.

    ::

        qas/train/train_qa.pkl  qas/val/val_qa.pkl  qas/test/test_qa.pkl       data/train-*.parquet
        images/train/*.jpg      images/val/*.jpg    images/test/*.jpg          data/validation-*.parquet
                                                                               data/test-*.parquet

    The authors' archive ``pvqa`` (left) holds pickles: lists of ``{image: "train_0422", question: …, answer: …}``. They
    are not unpickled but read as plain data; whatever else one holds is refused. In the other layout images stand
    in the rows (``image`` as ``{bytes, path}``, ``question``, ``answer``); equal bytes are one image, and one that is
    asked for again is read again from its row.

    Answers of yes or no are closed, all others open: so the authors define it. White space in texts is made single.
    Records without an answer are skipped and counted.

    Args:
        path: the folder with ``qas`` and ``images``, or that with ``data``.
        limit: at most so many images, in the same proportions of splits. A smaller limit takes a subset of a larger
            one's images.
    """

    name = "path_vqa"
    about = About(
        "PathVQA, visual questions and answers about figures of pathology textbooks",
        "MIT; images and captions belong to the publishers and authors of the textbooks and to PEIR",
        "https://github.com/UCSD-AI4H/PathVQA", "He et al. 2020, arXiv 2003.10286",
    )  # fmt: skip

    def __init__(self, path: Path | str, limit: int | None = None) -> None:
        check_limit(limit)
        self.path, self.limit = Path(path), limit
        self.skipped: Counter[str] = Counter()

    def fingerprint(self) -> str:
        """Digest of the parameters and files."""
        files = [file for split in SPLITS for file in self._files(split)]
        images = (row.image.path for row in self._rows()) if self._pickled() else ()
        return digest({
            "source": self.name,
            "code": _CODE_VERSION,
            "limit": self.limit,
            "files": content_digest(files),
            "images": content_digest(path for path in images if path is not None),
        })  # fmt: skip

    def records(self) -> Iterator[Record]:
        """Records in the order of the files: train, validation, test.

        Raises:
            DataError: a file or an image is missing, malformed or lies outside the folder, a pickle holds more than
                plain data, or a split is empty.
        """
        self.skipped.clear()
        chosen = choose(((row.split, row.image.key) for row in self._rows()), self.limit)
        for row in self._rows():
            if row.image.key in chosen:
                record = self._record(row)
                if record is None:
                    self.skipped["empty answer"] += 1
                else:
                    yield record

    def _pickled(self) -> bool:
        """Whether this is the authors' layout."""
        if not self.path.is_dir():
            raise DataError("no such folder", file=self.path, mend="Give the folder that holds qas and images.")
        pickled, tabled = (self.path / "qas").is_dir(), any(self.path.glob("data/*.parquet"))
        if pickled and tabled:
            raise DataError("has qas and data/*.parquet", file=self.path, mend="Remove one of the two.")
        if not pickled and not tabled:
            below = sorted(child.parent.name for name in ("qas", "data") for child in self.path.glob(f"*/{name}"))
            mend = f"Give the folder {self.path / below[0]}." if below else "Give the folder that holds one of them."
            raise DataError("neither qas nor data/*.parquet", file=self.path, mend=mend)
        return pickled

    def _files(self, split: str) -> list[Path]:
        """The split's files, in order.

        Raises:
            DataError: there is none.
        """
        if self._pickled():
            name = SPLITS[split]
            found = [self.path / "qas" / name / f"{name}_qa.pkl"]
            pattern = f"qas/{name}/{name}_qa.pkl"
        else:
            pattern = f"data/{split}-*.parquet"
            found = sorted(self.path.glob(pattern))
        if not found or not found[0].is_file():
            raise DataError(f"no {pattern}", file=self.path, mend="Check the download.")
        return found

    def _rows(self) -> Iterator[_Row]:
        """Every question."""
        for split in SPLITS:
            number = 0
            for file in self._files(split):
                for fields, image in self._of_pickle(file, split) if self._pickled() else self._of_parquet(file):
                    yield _Row(fields, split, number, image)
                    number += 1
            if not number:
                raise DataError(f"the split '{split}' has no records", file=file, mend="Check the download.")

    def _of_pickle(self, file: Path, split: str) -> Iterator[tuple[Fields, ImageRef]]:
        values = read_plain_pickle(file)
        if not isinstance(values, list):
            raise DataError("expected a list of records", file=file, mend="Check the download.")
        images = ImageFolder(self.path / "images")
        for number, value in enumerate(values):
            if not isinstance(value, dict):
                raise DataError("expected an object with named fields", file=file, record=number)
            fields = Fields(value, file, str(number))
            name = fields.required("image", str)
            path = f"{SPLITS[split]}/{name}" if name.endswith(".jpg") else f"{SPLITS[split]}/{name}.jpg"
            yield fields, images.ref(path, file=file, record=str(number))

    def _of_parquet(self, file: Path) -> Iterator[tuple[Fields, ImageRef]]:
        rows, images = ParquetRows(file), EmbeddedImages(file)
        missing = [column for column in _COLUMNS if column not in rows.columns]
        if missing:
            reason = f"no column '{missing[0]}'; columns: {', '.join(rows.columns)}"
            raise DataError(reason, file=file, mend="Take the source 'hf', which maps columns.")
        for number, values in rows.rows():
            fields = Fields(values, file, f"row {number}")
            data = image_bytes(values["image"])
            if data is None:
                raise fields.error("no image in the row", "Check the download.")
            yield fields, images.ref(data, partial(_image_again, rows, number))

    def _record(self, row: _Row) -> Record | None:
        """The record, or None if it has no answer."""
        question, answer = _text(row.fields, "question"), _text(row.fields, "answer")
        if not answer:
            return None
        if not question:
            raise row.fields.error("the question is empty")
        name = row.fields.values["image"]
        name = name.get("path") if isinstance(name, dict) else name
        return Record(
            id=f"path_vqa-{row.split}-{row.number}",
            image=row.image,
            question=question,
            answer=answer,
            group=f"path_vqa-{row.image.key}",
            source=self.name,
            answer_type="closed" if answer.lower() in ("yes", "no") else "open",
            source_split=row.split,
            extra={"image": name} if isinstance(name, str) else {},
        )


def _image_again(rows: ParquetRows, number: int) -> bytes | None:
    return image_bytes(rows.value(number, "image"))


def _text(fields: Fields, name: str) -> str:
    """A text or number as text, with single spaces; empty where it is null."""
    if name not in fields.values:
        raise fields.error(f"no field '{name}'")
    return clean(text_cell(fields, name, fields.values[name]) or "")
