"""What all tables of own records share: which column holds which field, and what a cell may hold."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any

from mllmu_med.errors import UsageError
from mllmu_med.folders import parse_json
from mllmu_med.registry import did_you_mean
from mllmu_med.sources.fields import Fields, clean
from mllmu_med.sources.record import ImageRef, Record

FIELDS = (
    "id", "question", "answer", "image", "group", "split", "language", "answer_type", "modality", "body_part",
    "content_type", "options", "hierarchy",
)  # fmt: skip
"""Every field of a record that a row may set; see ``JsonlSource``."""

REQUIRED = ("question", "answer")

_MAPPING = "If it has another name, say so in source.mapping."


class Columns:
    """Which column (or JSON field) holds which field of a record.

    Args:
        mapping: field → column, where the two differ, e.g. ``{"question": "prompt"}``.

    Attributes:
        names: the column of every field.

    Raises:
        UsageError: the mapping names a field that does not exist, or one column for two fields.
    """

    def __init__(self, mapping: Mapping[str, str] | None = None) -> None:
        self.mapping = dict(mapping or {})
        for field in self.mapping:
            if field not in FIELDS:
                hint = did_you_mean(field, list(FIELDS))
                raise UsageError(f"mapping: no record field '{field}'{hint}; known: {', '.join(FIELDS)}")
        self.names = {field: self.mapping.get(field, field) for field in FIELDS}
        self._used = frozenset(self.names.values())
        if len(self._used) < len(FIELDS):
            twice = next(name for name, times in Counter(self.names.values()).items() if times > 1)
            raise UsageError(f"mapping: '{twice}' would stand for two fields; map the other one as well")

    def missing(self, columns: Collection[str]) -> tuple[str, str] | None:
        """Why these columns do not do, and the mend; None if every mapped and every required field has its column."""
        for field, name in self.names.items():
            if name not in columns and field in self.mapping:
                hint = did_you_mean(name, sorted(columns))
                return f"no field '{name}', which stands for {field}{hint}", "Check source.mapping."
        for field in REQUIRED:
            if self.names[field] not in columns:
                return f"no field '{self.names[field]}'{did_you_mean(field, sorted(columns))}", _MAPPING
        return None

    def image_name(self, fields: Fields) -> str | None:
        """The path of the record's image as the row gives it; None for a text-only question."""
        name: str | None = fields.optional(self.names["image"], str)
        return name or None

    def record(self, fields: Fields, *, source: str, image: ImageRef | None) -> Record:
        """The record of a row; its answer may be empty. Columns that stand for no field go to ``extra``.

        Raises:
            DataError: a field is missing, of the wrong type, or has a value that is not known.
        """
        wrong = self.missing(fields.values)
        if wrong is not None:
            raise fields.error(*wrong)
        names = self.names
        question, answer = fields.text(names["question"]), fields.text(names["answer"])
        if not question:
            raise fields.error("the question is empty")
        identity = fields.optional_text(names["id"]) or fields.record.replace(" ", "-")
        content_type = fields.optional_text(names["content_type"])
        return Record(
            id=identity,
            image=image,
            question=question,
            answer=answer,
            group=self.group(fields) or (image.key if image else identity),
            source=source,
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

    def group(self, fields: Fields) -> str | None:
        """The group that the row itself states: as such, or as the patient of its hierarchy."""
        patient = (_hierarchy(fields, self.names["hierarchy"]) or {}).get("patient")
        return fields.optional_text(self.names["group"]) or patient or None

    def cells(self, values: Mapping[str, Any], file: Path, record: str) -> Fields:
        """A row of a table as fields: what stands for text becomes text, whatever type the column has.

        Numbers, truth values, dates and times become text; an empty cell and NaN become null. ``options`` may be a
        list, or a text that holds a JSON list or choices with ``|`` between them; ``hierarchy`` an object, or a text
        that holds a JSON object. Other columns are kept as JSON can hold them.

        Raises:
            DataError: a cell cannot be what its column stands for.
        """
        fields = Fields(values, file, record)
        found: dict[str, Any] = {name: plain(value) for name, value in values.items() if name not in self._used}
        for field, name in self.names.items():
            if name not in values:
                continue
            value = values[name]
            if field == "options":
                found[name] = _list_cell(fields, name, value)
            elif field == "hierarchy":
                found[name] = _object_cell(fields, name, value)
            elif field != "image" or isinstance(value, str):
                found[name] = text_cell(fields, name, value)
                if found[name] is None and field in REQUIRED:
                    found[name] = ""
        return Fields(found, file, record)


def text_cell(fields: Fields, name: str, value: Any) -> str | None:
    """A cell as text; None where it is empty. 4.0 is written 4: tables turn whole numbers into it.

    Raises:
        DataError: it holds bytes, a list or an object.
    """
    value = plain(value)
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    raise fields.error(f"'{name}' holds {'a list' if isinstance(value, list) else 'an object'}, expected text")


def plain(value: Any) -> Any:
    """A cell's value as JSON can hold it: dates, times and decimals as text, NaN and bytes (such as images) as null."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, Mapping):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return None


def _list_cell(fields: Fields, name: str, value: Any) -> list[str | None] | None:
    if isinstance(value, str):
        value = _json_cell(fields, name, value) if value.lstrip().startswith("[") else value.split("|")
        value = value if any(value) else None
    if value is None:
        return None
    if not isinstance(value, list | tuple):
        raise fields.error(f"'{name}' is neither a list nor text")
    return [text_cell(fields, name, choice) or "" for choice in value]


def _object_cell(fields: Fields, name: str, value: Any) -> dict[str, str] | None:
    if isinstance(value, str):
        value = _json_cell(fields, name, value) if value.strip() else None
    if not value:
        return None
    if not isinstance(value, Mapping):
        raise fields.error(f'\'{name}\' is not an object such as {{"patient": "p7"}}')
    texts = {str(level): text_cell(fields, name, inner) for level, inner in value.items()}
    return {level: text for level, text in texts.items() if text is not None}


def _json_cell(fields: Fields, name: str, text: str) -> Any:
    try:
        return parse_json(text)
    except (ValueError, RecursionError) as error:
        raise fields.error(f"'{name}' is not JSON ({error})", "Mend the cell.") from None


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
