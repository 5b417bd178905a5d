"""A user's own records: one JSON object per line."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mllmu_med.errors import DataError, UsageError
from mllmu_med.folders import digest, file_digest, parse_json
from mllmu_med.registry import did_you_mean
from mllmu_med.sources.fields import Fields, clean
from mllmu_med.sources.images import locate, stamps
from mllmu_med.sources.record import About, ImageRef, Record

FIELDS = (
    "id", "question", "answer", "image", "group", "split", "language", "answer_type", "modality", "body_part",
    "content_type", "options", "hierarchy",
)  # fmt: skip
"""Every field of a record that a line may set; see ``JsonlSource``."""

_CODE_VERSION = 1


class JsonlSource:
    """One record per line of a UTF-8 file, each a JSON object; empty lines are ignored.

    ============  ========  =========================================================================================
    field         required  meaning
    ============  ========  =========================================================================================
    question      yes       text
    answer        yes       text; a record whose answer is empty is skipped and counted
    id            no        unique text; ``line-<number>`` if absent
    image         no        path relative to ``images``; null or absent for a text-only question
    group         no        what must never be split over subsets (patient, study); the image if absent, else the id
    split         no        train, validation or test; the same for all records of a group or image
    language      no        ISO 639-1; ``en`` if absent
    answer_type   no        open or closed
    modality      no        e.g. ``CT``
    body_part     no        e.g. ``chest``
    content_type  no        what is asked: modality, organ, finding, presence, laterality, size, count, …
    options       no        list of texts: the choices of a multiple-choice question
    hierarchy     no        object of texts: institution, patient, study, section
    ============  ========  =========================================================================================

    All other fields of a line are kept in the record's ``extra``. White space in texts is made single.

    Args:
        path: the file.
        images: the folder that image paths are relative to and that they must not leave; the file's own folder if
            None.
        mapping: field → name under which the lines hold it, where the two differ, e.g. ``{"question": "prompt"}``.
            Every line must have a mapped name; null stands for "not known".
    """

    name = "jsonl"
    about = About("Own records")

    def __init__(
        self, path: Path | str, images: Path | str | None = None, mapping: Mapping[str, str] | None = None
    ) -> None:
        self.path = Path(path)
        self.images = Path(images) if images is not None else self.path.parent
        self.mapping = dict(mapping or {})
        self.skipped: Counter[str] = Counter()
        for field in self.mapping:
            if field not in FIELDS:
                hint = did_you_mean(field, list(FIELDS))
                raise UsageError(f"mapping: no record field '{field}'{hint}; known: {', '.join(FIELDS)}")
        self.names = {field: self.mapping.get(field, field) for field in FIELDS}
        self._used = frozenset(self.names.values())
        if len(self._used) < len(FIELDS):
            twice = next(name for name, times in Counter(self.names.values()).items() if times > 1)
            raise UsageError(f"mapping: '{twice}' would stand for two fields; map the other one as well")

    def fingerprint(self) -> str:
        """Digest of the parameters, the file and the images."""
        records = (record.image.path for record in self.records() if record.image is not None)
        return digest({
            "source": self.name,
            "code": _CODE_VERSION,
            "mapping": self.mapping,
            "file": file_digest(self.path),
            "images": stamps(path for path in records if path is not None),
        })  # fmt: skip

    def records(self) -> Iterator[Record]:
        """Records in the order of the lines.

        Raises:
            DataError: a line, a field or an image cannot be used; an id occurs twice; a group or an image
                stands in two splits; or there is no record at all.
        """
        self.skipped.clear()
        if self.path.exists() and not self.images.is_dir():
            raise DataError("no such image folder", file=self.images, mend="Check source.images.")
        images: dict[str, ImageRef] = {}
        ids: dict[str, str] = {}
        splits: dict[str, tuple[str | None, str]] = {}
        found = False
        for fields in self._lines():
            record = self._record(fields, images)
            if ids.setdefault(record.id, fields.record) != fields.record:
                raise fields.error(f"the id '{record.id}' occurs twice, first in {ids[record.id]}", "Make ids unique.")
            units = [f"group '{record.group}'", *([f"image '{record.image.key}'"] if record.image else [])]
            for unit in units:
                split, first = splits.setdefault(unit, (record.source_split, fields.record))
                if split != record.source_split:
                    raise fields.error(
                        f"{unit} is in split {record.source_split or 'none'} here and in {split or 'none'} in {first}",
                        "Give all records of a group or of an image the same split.",
                    )
            if not record.answer:
                self.skipped["empty answer"] += 1
                continue
            found = True
            yield record
        if not found:
            raise DataError("no records", file=self.path, mend="One JSON object per line is expected.")

    def _lines(self) -> Iterator[Fields]:
        """Every line's object."""
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            raise DataError("no such file", file=self.path, mend="Check source.path.") from None
        except OSError as error:
            raise DataError(f"cannot be read ({error.strerror})", file=self.path) from None
        with file:
            for number, line in enumerate(file, start=1):
                where = f"line {number}"
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                    value = parse_json(text) if text else None
                except UnicodeDecodeError as error:
                    reason = f"not UTF-8 at byte {error.start} of the line"
                    raise DataError(reason, file=self.path, record=where, mend="Save the file as UTF-8.") from None
                except json.JSONDecodeError as error:
                    reason = f"malformed JSON at column {error.colno}: {error.msg}"
                    raise DataError(reason, file=self.path, record=where, mend="Mend the line.") from None
                except (ValueError, RecursionError) as error:
                    raise DataError(str(error), file=self.path, record=where, mend="Mend the line.") from None
                if text:
                    yield Fields.of(value, self.path, where)

    def _record(self, fields: Fields, images: dict[str, ImageRef]) -> Record:
        names = self.names
        for field, name in self.mapping.items():
            if name not in fields.values:
                hint = did_you_mean(name, sorted(fields.values))
                raise fields.error(f"no field '{name}', which stands for {field}{hint}", "Check source.mapping.")
        question, answer = fields.text(names["question"], _MAPPING), fields.text(names["answer"], _MAPPING)
        if not question:
            raise fields.error("the question is empty")
        identity = fields.optional_text(names["id"]) or fields.record.replace(" ", "-")
        image: str | None = fields.optional(names["image"], str)
        if image and image not in images:
            path = locate(self.images, image, file=self.path, record=fields.record)
            images[image] = ImageRef(image, path)
        content_type = fields.optional_text(names["content_type"])
        return Record(
            id=identity,
            image=images[image] if image else None,
            question=question,
            answer=answer,
            group=fields.optional_text(names["group"]) or image or identity,
            source=self.name,
            language=(fields.optional_text(names["language"]) or "en").lower(),
            answer_type=fields.answer_type(names["answer_type"]),
            modality=fields.optional_text(names["modality"]),
            body_part=fields.optional_text(names["body_part"]),
            content_type=content_type.lower() if content_type else None,
            source_split=fields.split(names["split"]),
            hierarchy=_hierarchy(fields, names["hierarchy"]),
            options=_options(fields, names["options"]),
            extra={name: value for name, value in fields.values.items() if name not in self._used},
        )


_MAPPING = "If it has another name, say so in source.mapping."


def _options(fields: Fields, name: str) -> tuple[str, ...] | None:
    options: list[Any] | None = fields.optional(name, list)
    if options is not None and not all(type(option) is str for option in options):
        raise fields.error(f"'{name}' holds something that is not text")
    return tuple(map(clean, options)) if options is not None else None


def _hierarchy(fields: Fields, name: str) -> dict[str, str] | None:
    hierarchy: dict[str, Any] | None = fields.optional(name, dict)
    if hierarchy is not None and not all(type(value) is str for value in hierarchy.values()):
        raise fields.error(f"'{name}' holds something that is not text")
    return hierarchy
