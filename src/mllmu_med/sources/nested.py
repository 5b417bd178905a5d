"""What peers' datasets hold in a cell: lists and objects, as such or as JSON in a text; identifiers; images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mllmu_med.folders import parse_json
from mllmu_med.sources.fields import Fields


def nested(fields: Fields, name: str) -> Any:
    """A cell's list or object, parsed where it is text; None where it is absent, null or empty.

    Raises:
        DataError: text that is not JSON.
    """
    value = fields.values.get(name)
    if isinstance(value, str):
        try:
            value = parse_json(value) if value.strip() else None
        except (ValueError, RecursionError) as error:
            raise fields.error(f"'{name}' is malformed JSON ({error})", "Mend the cell.") from None
    return value


def objects(fields: Fields, name: str, value: Any) -> Iterator[Fields]:
    """Each object of a cell's list; none where there is no list.

    Raises:
        DataError: it is no list, or holds something other than objects.
    """
    if value is None:
        return
    if not isinstance(value, list):
        raise fields.error(f"'{name}' is not a list of questions")
    for number, inner in enumerate(value):
        yield Fields.of(inner, fields.file, f"{fields.record}, {name} {number}")


def identifier(fields: Fields, name: str) -> str:
    """An identifier, which may be a number; never empty.

    Raises:
        DataError: it is absent, empty, or neither text nor a whole number.
    """
    value = fields.values.get(name)
    text = str(value) if type(value) is int else fields.text(name)
    if not text:
        raise fields.error(f"'{name}' is empty")
    return text


def image_bytes(value: Any) -> bytes | None:
    """The encoded bytes of an image cell: bytes, or an object ``{bytes, path}``; None where it holds none."""
    if isinstance(value, dict):
        value = value.get("bytes")
    return value if isinstance(value, bytes) and value else None
