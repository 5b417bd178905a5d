"""Deletion requests from real data: what identifies a patient, kept apart from the records.

A record names its request by a keyed hash and holds nothing else of the patient. The values stand in the request file
alone, and are shown by nothing here: no log line, no error and no ``repr``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mllmu_med.errors import DataError
from mllmu_med.folders import read_json
from mllmu_med.sources.secret_key import SecretKey

VERSION = 1
"""Of the request file's layout."""


class PrivateField(NamedTuple):
    """A value that identifies a patient, and the class of Safe Harbor it belongs to.

    Attributes:
        element: keyword of the DICOM element that holds it; empty where it comes from elsewhere. An institution's
            address is as identifying as a patient's, but no answer to where the patient lives.
    """

    phi_class: str
    value: str
    element: str = ""

    def __repr__(self) -> str:
        return f"PrivateField({self.phi_class!r}, ***)"


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """A patient whose data may have to be forgotten.

    Attributes:
        id: keyed hash of the patient's identity (see ``request_id``); what records hold in ``extra["request"]``.
        fields: the identifying values, each once, those of a class together.
        records: ids of the records about the patient's images.
    """

    id: str
    fields: tuple[PrivateField, ...]
    records: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Request({self.id[:12]}…, {len(self.fields)} fields ***, {len(self.records)} records)"


def request_id(key: SecretKey, patient_id: str, issuer: str = "") -> str:
    """The id of a patient's request: HMAC-SHA256, 64 hexadecimal digits.

    Args:
        patient_id: as in the header (0010,0020), without padding.
        issuer: who gave it (0010,0021); empty where the header does not say.
    """
    return key.hash("patient", issuer, patient_id)


def write_requests(path: Path | str, requests: Iterable[Request]) -> None:
    """The requests as one JSON file that only its owner may read (mode 0600), replaced in one rename.

    Raises:
        DataError: the folder does not exist or cannot be written to, or an id comes twice. Nothing is left behind.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise DataError(f"cannot be written ({error.strerror})", file=path, mend="Choose another folder.") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            _write(file, requests, path)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_requests(path: Path | str) -> list[Request]:
    """The requests of a file.

    Raises:
        DataError: missing, malformed, or not a request file of a known version. The message quotes no value.
    """
    path = Path(path)
    try:
        content = read_json(path)
    except (RecursionError, OSError):
        content = None
    if not isinstance(content, dict) or content.keys() != {"version", "requests"}:
        raise DataError("not a request file", file=path, mend="write_requests makes one.")
    if content["version"] != VERSION:
        raise DataError("a request file of another version", file=path, mend=f"Version {VERSION} is read.")
    if not isinstance(content["requests"], list):
        raise DataError("'requests' is no list", file=path)
    requests = [_request(value, path, position) for position, value in enumerate(content["requests"])]
    if len({request.id for request in requests}) < len(requests):
        raise DataError("an id occurs twice", file=path)
    return requests


def _write(file: Any, requests: Iterable[Request], path: Path) -> None:
    """One request per line, so that none but the one at hand is in memory."""
    seen: set[str] = set()
    file.write(f'{{"version": {VERSION}, "requests": [')
    for request in requests:
        if request.id in seen:
            raise DataError("the id occurs twice", file=path, record=request.id)
        file.write(",\n" if seen else "\n")
        seen.add(request.id)
        fields = [
            {"class": field.phi_class, "value": field.value, **({"element": field.element} if field.element else {})}
            for field in request.fields
        ]
        value = {"id": request.id, "fields": fields, "records": request.records}
        file.write(json.dumps(value, ensure_ascii=False))
    file.write("\n]}\n")


def _request(value: object, path: Path, position: int) -> Request:
    error = DataError("not a request: id, fields (class, value) and records are expected", file=path, record=position)
    if not isinstance(value, dict) or value.keys() != {"id", "fields", "records"}:
        raise error
    identity, fields, records = value["id"], value["fields"], value["records"]
    if not isinstance(fields, list) or not all(
        isinstance(one, dict) and {"class", "value"} <= one.keys() <= {"class", "value", "element"} for one in fields
    ):
        raise error
    texts = [text for field in fields for text in field.values()]
    if not isinstance(records, list) or not all(type(one) is str for one in [identity, *records, *texts]):
        raise error
    made = tuple(PrivateField(one["class"], one["value"], one.get("element", "")) for one in fields)
    return Request(identity, made, tuple(records))
