"""MedForget (Wu et al. 2025, arXiv 2512.09867): chest X-ray questions in a hierarchy of hospital data.

The layout that the authors' code reads (github.com/fengli-wu/MedForget)::

    institution_level  patient_level  study_level  section_level
        forget_set_all.parquet  retain_set_all.parquet

with columns ``ID``, ``image``, ``image_path`` (``institution/patient/study/…``), ``metadata`` (JSON: a list of
``{"Question", "Answer"}``) and ``hierarchy_metadata`` (JSON: ``institution_id``, ``patient_id``, ``study_id``,
``section_name``, ``hierarchy_level``).

Written after the authors' code and description; their data are built on MIMIC-CXR and withheld so far, so that none of
this could be tried on them. The code does not say how the reworded evaluation sets are stored: they are not read as
such, but any parquet file of these columns can be given.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from mllmu_med.errors import DataError, UsageError
from mllmu_med.folders import digest
from mllmu_med.registry import did_you_mean
from mllmu_med.sources.compact import CompactMap, short_hash
from mllmu_med.sources.content import content_digest
from mllmu_med.sources.embedded import EmbeddedImages
from mllmu_med.sources.fields import Fields, clean
from mllmu_med.sources.nested import identifier, image_bytes, nested, objects
from mllmu_med.sources.parquet import ParquetRows
from mllmu_med.sources.record import About, ImageRef, Record
from mllmu_med.sources.table import plain

LEVELS = ("institution", "patient", "study", "section")
"""From the widest to the narrowest."""

_NEEDED = ("ID", "image", "metadata")
_SPLITS = ("forget", "retain")
_OPTION = re.compile(r"(?:^|\s)([A-H])\)\s*")
_CODE_VERSION = 1


class _File(NamedTuple):
    """A parquet file and what it is to the authors: ``forget``, ``retain`` or None."""

    path: Path
    split: str | None


class MedForgetSource:
    """MedForget as records: one per question; the group is the patient (the image, where a row does not say whose).

    ``hierarchy`` holds what a row states: by ``hierarchy_metadata``, else, but for the section, by ``image_path``.
    ``extra["peer_split"]`` is ``forget`` or ``retain``; ``extra["task"]`` is told from the question's form as the
    authors do: ``cloze`` with ``[blank]``, ``classification`` with ``A)``, ``B)`` and ``C)``, ``generation`` otherwise.
    The options of a classification question also stay in its text. An answer in several parts is joined with spaces.
    The row's other columns are kept in ``extra``. Empty questions and answers and repeated questions are left out and
    counted. ``ID`` may stand in several rows; its questions are numbered through.

    Args:
        path: the folder of the four levels, or one parquet file (which belongs to neither split).
        level: which level's forget and retain set: ``institution``, ``patient``, ``study`` or ``section``.
        subset: the end of the files' names, as the authors' scripts call it.
    """

    name = "medforget"
    about = About(
        "MedForget", "PhysioNet Credentialed Health Data License (of MIMIC-CXR)",
        "https://github.com/fengli-wu/MedForget", "Wu et al. 2025, arXiv 2512.09867",
    )  # fmt: skip

    def __init__(self, path: Path | str, level: str = "patient", subset: str = "all") -> None:
        if level not in LEVELS:
            raise UsageError(f"unknown level '{level}'{did_you_mean(level, list(LEVELS))}; known: {', '.join(LEVELS)}")
        self.path, self.level, self.subset = Path(path), level, subset
        self.skipped: Counter[str] = Counter()

    def fingerprint(self) -> str:
        """Digest of the parameters and of the files."""
        files = self._files()
        return digest({
            "source": self.name,
            "code": _CODE_VERSION,
            "splits": [file.split for file in files],
            "files": content_digest(file.path for file in files),
        })  # fmt: skip

    def records(self) -> Iterator[Record]:
        """Records in the order of the rows, those to be forgotten first.

        Raises:
            DataError: a file, column or image is missing, a row is malformed, a question is to be both forgotten and
                retained, or there is no record at all.
        """
        self.skipped.clear()
        images = EmbeddedImages(self.path)
        questions = CompactMap()  # what is asked about which image and answered how → number of the file
        found = False
        for number, file in enumerate(self._files()):
            asked: Counter[str] = Counter()  # by ID
            for fields, image in _rows(file.path, images):
                for entry in objects(fields, "metadata", nested(fields, "metadata")):
                    record = self._record(fields, entry, image, file.split, asked)
                    if record is None:
                        continue
                    place = str(fields.values.get("hierarchy_metadata"))
                    key = short_hash(identifier(fields, "ID"), place, record.question, record.answer)
                    before = len(questions)
                    if questions.setdefault(key, number) != number:
                        mend = "A question must be in one of the two sets only."
                        raise entry.error("the question is to be forgotten and to be retained", mend)
                    if len(questions) == before:
                        self.skipped["repeated question"] += 1
                        continue
                    found = True
                    yield record
        if not found:
            raise DataError("no records", file=self.path, mend="Check the download.")

    def _files(self) -> list[_File]:
        if self.path.is_file():
            return [_File(self.path, None)]
        folder = self.path / f"{self.level}_level"
        if not folder.is_dir():
            raise DataError(f"no folder '{folder.name}'", file=self.path, mend="Check source.path and source.level.")
        files = [_File(folder / f"{split}_set_{self.subset}.parquet", split) for split in _SPLITS]
        for file in files:
            if not file.path.is_file():
                there = sorted(path.name for path in folder.glob("*.parquet"))
                hint = did_you_mean(file.path.name, there)
                raise DataError(f"no file '{file.path.name}'{hint}", file=folder, mend="Check source.subset.")
        return files

    def _record(
        self, fields: Fields, entry: Fields, image: ImageRef, split: str | None, asked: Counter[str]
    ) -> Record | None:
        """The record of a question; None (counted) if it lacks its text or its answer."""
        identity = identifier(fields, "ID")
        asked[identity] += 1
        question, answer = entry.optional_text("Question"), _answer(entry)
        if not question or not answer:
            self.skipped["empty answer" if question else "empty question"] += 1
            return None
        hierarchy = _hierarchy(fields)
        task = _task(question)
        options = _options(question) if task == "classification" else None
        extra = {name: value for name, value in fields.values.items() if name not in _NEEDED}
        return Record(
            id=f"{split or 'row'}/{identity}/{asked[identity]}",
            image=image,
            question=question,
            answer=answer,
            group=_patient(hierarchy) or image.key,
            source=self.name,
            answer_type="closed" if task == "classification" else "open",
            modality="X-ray",
            body_part="chest",
            hierarchy=hierarchy or None,
            options=options,
            extra={**extra, "task": task, **({"peer_split": split} if split else {})},
        )


def _rows(path: Path, images: EmbeddedImages) -> Iterator[tuple[Fields, ImageRef]]:
    """Fields (without the image) and image of each row."""
    rows = ParquetRows(path)
    for name in _NEEDED:
        if name not in rows.columns:
            hint = did_you_mean(name, list(rows.columns))
            mend = f"It has {', '.join(rows.columns)}; is it MedForget?"
            raise DataError(f"no column '{name}'{hint}", file=path, mend=mend)
    for number, values in rows.rows():
        texts = {name: plain(value) for name, value in values.items() if name != "image"}
        fields = Fields(texts, path, f"row {number}")
        fields = Fields(texts, path, f"row {number} (ID {identifier(fields, 'ID')})")
        data = image_bytes(values["image"])
        if data is None:
            raise fields.error("no image", "Check the download.")
        yield fields, images.ref(data, partial(_image_again, rows, number))


def _image_again(rows: ParquetRows, number: int) -> bytes | None:
    return image_bytes(rows.value(number, "image"))


def _answer(entry: Fields) -> str | None:
    """The answer as text: the authors' code joins lists, and writes numbers out."""
    value = entry.values.get("Answer")
    parts = [part for part in (value if isinstance(value, list) else [value]) if part is not None]
    if not all(isinstance(part, str | int | float) for part in parts):
        raise entry.error("'Answer' is neither text nor a list of texts")
    return clean(" ".join(map(str, parts))) or None


def _hierarchy(fields: Fields) -> dict[str, str]:
    """What the row states of institution, patient, study and section."""
    stated: Any = nested(fields, "hierarchy_metadata") or {}
    if not isinstance(stated, dict):
        raise fields.error("'hierarchy_metadata' is not an object")
    names = {**{level: f"{level}_id" for level in LEVELS[:3]}, "section": "section_name"}
    folders = (fields.optional_text("image_path") or "").split("/")
    found: dict[str, str] = {}
    for position, level in enumerate(LEVELS):
        value = stated.get(names[level])
        name = clean(str(value)) if isinstance(value, str | int) else ""
        if not name and level != "section" and position < len(folders) - 1:  # the last part is the image
            name = folders[position]
        if name:
            found[level] = name
    return found


def _patient(hierarchy: dict[str, str]) -> str | None:
    """The patient's name, which another institution may give as well; None where the row does not say it."""
    return "/".join(hierarchy[level] for level in LEVELS[:2] if level in hierarchy) if "patient" in hierarchy else None


def _task(question: str) -> str:
    if "[blank]" in question:
        return "cloze"
    return "classification" if all(f"{letter})" in question for letter in "ABC") else "generation"


def _options(question: str) -> tuple[str, ...] | None:
    """The options in a question's text, ``A) … B) … C) …``; None where the letters are not in order."""
    _, *parts = _OPTION.split(question)
    letters, texts = parts[::2], [clean(text) for text in parts[1::2]]
    in_order = letters == [chr(ord("A") + number) for number in range(len(letters))]
    return tuple(texts) if in_order and len(texts) > 1 and all(texts) else None
