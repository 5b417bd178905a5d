"""Reading the fields of one record from parsed JSON: strict types, and errors that name file, record and mend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mllmu_med.errors import DataError

SPLITS = {
    "train": "train", "training": "train", "validation": "validation", "validate": "validation", "valid": "validation",
    "val": "validation", "dev": "validation", "test": "test", "testing": "test",
}  # fmt: skip
"""Accepted names of splits → the names that records carry."""

ANSWER_TYPES = ("open", "closed")

_JSON_NAMES = {
    str: "text", bool: "true/false", int: "a whole number", float: "a number", list: "a list", dict: "an object",
    type(None): "null",
}  # fmt: skip


def clean(text: str) -> str:
    """Text without white space at its ends, and with single spaces inside."""
    return " ".join(text.split())


def _whole(text: str) -> bool:
    """Whether the text can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Fields:
    """One record as parsed, and where it stands.

    Attributes:
        record: how errors name it, e.g. ``12 (line 13)``.
    """

    values: Mapping[str, Any]
    file: Path
    record: str

    @classmethod
    def of(cls, value: object, file: Path, record: str) -> Fields:
        """The fields of a JSON object; DataError if it is anything else."""
        if not isinstance(value, dict):
            reason = f"expected an object with named fields, found {_JSON_NAMES.get(type(value), 'something else')}"
            raise DataError(reason, file=file, record=record)
        return cls(value, file, record)

    def error(self, reason: str, mend: str | None = None) -> DataError:
        """An error about this record, to be raised."""
        return DataError(reason, file=self.file, record=self.record, mend=mend)

    def required(self, name: str, kind: type, mend: str | None = None) -> Any:
        """A field's value; DataError if it is absent, null or not of this JSON type."""
        if name not in self.values:
            raise self.error(f"no field '{name}'", mend)
        return self._typed(name, kind)

    def optional(self, name: str, kind: type) -> Any:
        """A field's value, or None where it is absent or null; DataError if it is of another JSON type."""
        return None if self.values.get(name) is None else self._typed(name, kind)

    def text(self, name: str, mend: str | None = None) -> str:
        """A required text, cleaned; may be empty."""
        return clean(self.required(name, str, mend))

    def optional_text(self, name: str) -> str | None:
        """A text, cleaned; None where it is absent, null or empty."""
        value = self.optional(name, str)
        return clean(value) or None if value is not None else None

    def _typed(self, name: str, kind: type) -> Any:
        value = self.values[name]
        if type(value) is not kind:  # exact, so that true is not taken for a number
            mend = "Put it in quotes." if kind is str and type(value) in (int, float) else None
            raise self.error(
                f"'{name}' is {_JSON_NAMES.get(type(value), 'something else')}, expected {_JSON_NAMES[kind]}", mend
            )
        if isinstance(value, str) and not _whole(value):
            raise self.error(f"'{name}' holds half of a character (a lone surrogate)", "Write it anew.")
        return value

    def answer_type(self, name: str) -> str | None:
        """``open``, ``closed`` or None, in any case."""
        value = self.optional_text(name)
        if value is not None and value.lower() not in ANSWER_TYPES:
            raise self.error(f"'{name}' is '{value}', expected open or closed")
        return value.lower() if value else None

    def split(self, name: str) -> str | None:
        """``train``, ``validation``, ``test`` or None; usual other names are understood."""
        value = self.optional_text(name)
        if value is not None and value.lower() not in SPLITS:
            raise self.error(f"'{name}' is '{value}', expected train, validation or test")
        return SPLITS[value.lower()] if value else None
