"""Any dataset that Hugging Face's ``datasets`` opens: a folder, or one on the Hub."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from mllmu_med.errors import DataError, UsageError
from mllmu_med.folders import digest, file_digest
from mllmu_med.registry import did_you_mean
from mllmu_med.sources import hf_rows
from mllmu_med.sources.compact import CompactMap, short_hash
from mllmu_med.sources.content import content_digest
from mllmu_med.sources.embedded import EmbeddedImages
from mllmu_med.sources.fields import SPLITS, Fields
from mllmu_med.sources.hf_rows import Split
from mllmu_med.sources.image_folder import ImageFolder
from mllmu_med.sources.record import About, ImageRef, Record
from mllmu_med.sources.table import Columns

_TEXT_FILES = frozenset({".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".md", ".yaml"})
_CODE_VERSION = 1


class HfSource:
    """One record per row of a dataset in parquet, Arrow, JSON or CSV files or an image folder, with a column mapping.

    Columns stand for the same fields as those of ``jsonl``. What is not text becomes text: numbers as they are written
    (whole ones without a decimal point), class numbers as the names of their classes, truth values as true and false,
    dates as ISO 8601. ``options`` may also be an object of choices by letter. An answer that is the number of an
    option is not looked up.

    An image is the column's bytes, a file that the dataset names, or the first one of a list; the others of a list are
    counted. Equal bytes are one image. A row without an id is named ``<split>-row-<number>``, counted from 0. Columns
    that stand for no field go to ``extra`` if JSON can hold them. Nothing is decoded, and no code of a dataset is run.

    Args:
        path: a folder (also one that ``save_to_disk`` has written), or a name on the Hub such as ``owner/name``. What
            is on the Hub is streamed; nothing is stored.
        config: the configuration (subset), where the dataset has several.
        split: the dataset's split → train, validation or test; those not named are left out. None for all splits, by
            the usual names. A row's own ``split`` column comes first.
        mapping: field → column, where the two differ, e.g. ``{"question": "prompt"}``. Every mapped column must exist.
        revision: branch, tag or commit of a dataset on the Hub; the newest commit if None.
        images: the folder of images that a text column names; the dataset's own if None.
    """

    name = "hf"

    def __init__(
        self,
        path: Path | str,
        config: str | None = None,
        split: Mapping[str, str] | None = None,
        mapping: Mapping[str, str] | None = None,
        revision: str | None = None,
        images: Path | str | None = None,
    ) -> None:
        self.path, self.config, self.revision = str(path), config, revision
        self.images = Path(images) if images is not None else Path(path)
        self.columns = Columns(mapping)
        self.split = {name: _usual(target) for name, target in split.items()} if split is not None else None
        self.skipped: Counter[str] = Counter()
        on_hub = not Path(path).is_dir()
        url = f"https://huggingface.co/datasets/{path}" if on_hub else None
        self.about = About(str(path) if on_hub else Path(path).resolve().name, None, url)

    def fingerprint(self) -> str:
        """Digest of the parameters and the files, or of the commit.

        Raises:
            DataError: the folder is missing, or the Hub cannot be asked which commit is the newest.
        """
        on_hub = hf_rows.is_hub_id(self.path)
        return digest({
            "source": self.name,
            "code": _CODE_VERSION,
            "config": self.config,
            "split": self.split,
            "mapping": self.columns.mapping,
            "commit": hf_rows.commit(self.path, self.revision) if on_hub else None,
            "files": {} if on_hub else _state(Path(self.path)),
            "images": _state(self.images) if self.images != Path(self.path) else {},
        })  # fmt: skip

    def records(self) -> Iterator[Record]:
        """Records split by split, in the order of the rows.

        Raises:
            DataError: the dataset cannot be found or opened, a split or a mapped column is missing, a row or its image
                cannot be used, an id occurs twice, or there is no record at all.
            UsageError: ``config`` or ``revision`` for a folder that has none.
        """
        self.skipped.clear()
        revision = hf_rows.commit(self.path, self.revision) if hf_rows.is_hub_id(self.path) else self.revision
        splits = self._in_use(hf_rows.open_splits(self.path, self.config, revision))
        reader = _Reader(self, [split.name for split, _ in splits])
        found = False
        for number, (split, target) in enumerate(splits):
            for record in reader.records(split, number, target):
                found = True
                yield record
        if not found:
            raise DataError("no records", file=self.path, mend="Check the dataset and source.split.")

    def _in_use(self, splits: list[Split]) -> list[tuple[Split, str]]:
        """The splits to be read, each with what it is for."""
        names = [split.name for split in splits]
        for name in self.split or ():
            if name not in names:
                hint = did_you_mean(name, names)
                raise DataError(f"no split '{name}'{hint}; it has {', '.join(names)}", file=self.path, mend=_SPLIT)
        if self.split is not None:
            return [(split, self.split[split.name]) for split in splits if split.name in self.split]
        for name in names:
            if name.lower() not in SPLITS:
                mend = f"Say what it is for, e.g. source.split={{{name}: train}}."
                raise DataError(f"a split of no usual name: '{name}'", file=self.path, mend=mend)
        return [(split, SPLITS[split.name.lower()]) for split in splits]


_SPLIT = "Check source.split."


class _Reader:
    """One pass over the rows of a dataset."""

    def __init__(self, source: HfSource, splits: list[str]) -> None:
        self._source, self._splits = source, splits
        self._file = Path(source.path)
        self._columns = source.columns
        self._image_column = source.columns.names["image"]
        self._embedded = EmbeddedImages(source.path)
        self._folder = ImageFolder(source.images)
        self._places = CompactMap()  # id → number of its row and split, as one number

    def records(self, split: Split, split_number: int, target: str) -> Iterator[Record]:
        """The records of a split; ``target`` is what it is for."""
        for number, values in hf_rows.read(self._source.path, split, self._image_column):
            where = f"{split.name} row {number}"
            image = self._image(values.get(self._image_column), split, number, where)
            fields = self._columns.cells(self._texts(values), self._file, where)
            record = self._columns.record(fields, source=self._source.name, image=image)
            self._check_id(record.id, fields, number * len(self._splits) + split_number)
            if not record.answer:
                self._source.skipped["empty answer"] += 1
                continue
            yield record if record.source_split else replace(record, source_split=target)

    def _texts(self, values: dict[str, Any]) -> dict[str, Any]:
        """The row without its image, and with its options as a list."""
        options = self._columns.names["options"]
        if self._image_column in values:
            values = {**values, self._image_column: ""}
        if isinstance(values.get(options), dict):
            choices = [choice for _, choice in sorted(values[options].items()) if choice is not None]
            values = {**values, options: choices}
        return values

    def _check_id(self, identity: str, fields: Fields, place: int) -> None:
        first = self._places.setdefault(short_hash(identity), place)
        if first != place:
            row, split = divmod(first, len(self._splits))
            where = f"{self._splits[split]} row {row}"
            raise fields.error(f"the id '{identity}' occurs twice, first in {where}", "Make ids unique.")

    def _image(self, value: Any, split: Split, number: int, where: str) -> ImageRef | None:
        """The image of a cell: bytes, a file's name, what ``datasets`` stores for an image, or a list of these."""
        if isinstance(value, list) and len(value) > 1:
            self._source.skipped["further images of a row"] += len(value) - 1
        data, name = _bytes_and_name(value)
        if data:
            return self._embedded.ref(data, partial(self._bytes_again, split, number))
        if isinstance(name, str):
            return self._folder.ref(self._relative(name, where), file=self._file, record=where) if name else None
        if name is None and data is None:
            return None
        reason = f"'{self._image_column}' holds neither an image nor the name of one"
        raise DataError(reason, file=self._file, record=where, mend="Check source.mapping.")

    def _bytes_again(self, split: Split, number: int) -> bytes | None:
        for _, values in hf_rows.read(self._source.path, split, self._image_column, start=number):
            return _bytes_and_name(values.get(self._image_column))[0]
        return None

    def _relative(self, name: str, where: str) -> str:
        """An image's name as the image folder has it; ``datasets`` names files here by their whole path."""
        folder = self._source.images
        if "://" in name:
            mend = "Download and unpack the dataset, and give its folder."
            raise DataError(f"the image '{name}' is no file here", file=self._file, record=where, mend=mend)
        if not folder.is_dir():
            mend = "Images are given by name: download them and set source.images to their folder."
            raise DataError("no such image folder", file=folder, record=where, mend=mend)
        path, root = Path(name), folder.resolve()
        inside = path.is_absolute() and path.resolve().is_relative_to(root)
        return path.resolve().relative_to(root).as_posix() if inside else name


def _bytes_and_name(value: Any) -> tuple[bytes | None, Any]:
    """What a cell holds of its (first) image: bytes, and a file's name or whatever else stands in its place."""
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, dict) and value.keys() == {"bytes", "path"}:
        return value["bytes"], value["path"]
    return (value, None) if isinstance(value, bytes) else (None, value)


def _usual(target: str) -> str:
    """``train``, ``validation`` or ``test``; usual other names are understood."""
    if target.lower() not in SPLITS:
        raise UsageError(f"split: '{target}' is none of train, validation, test{did_you_mean(target, list(SPLITS))}")
    return SPLITS[target.lower()]


def _state(folder: Path) -> dict[str, str]:
    """Digests of a folder's files: of text files one each, by content, and one of all others."""
    if not folder.is_dir():
        raise DataError("no such folder", file=folder, mend="Check source.path and source.images.")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    texts = {path.relative_to(folder).as_posix(): file_digest(path) for path in files if path.suffix in _TEXT_FILES}
    return {**texts, "": content_digest(path for path in files if path.suffix not in _TEXT_FILES)}
