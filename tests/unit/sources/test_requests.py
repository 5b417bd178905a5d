"""Requests: a file for its owner alone, strict reading, and values that nothing shows."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mllmu_med.errors import DataError
from mllmu_med.sources.requests import PrivateField, Request, read_requests, request_id, write_requests
from mllmu_med.sources.secret_key import SecretKey

KEY = SecretKey("0f1e2d3c4b5a69788796a5b4c3d2e1f0")
SECRET = '山田太郎 "Canary"'
ONE = Request("ab" * 32, (PrivateField("name", SECRET), PrivateField("mrn", "P-77", "PatientID")), ("dicom-1/plane",))
TWO = Request("cd" * 32, (), ())


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_requests(tmp_path / "requests.json", iter([ONE, TWO]))
    assert read_requests(tmp_path / "requests.json") == [ONE, TWO]
    write_requests(str(tmp_path / "requests.json"), [])
    assert read_requests(str(tmp_path / "requests.json")) == []


def test_equal_requests_give_equal_bytes_in_any_locale(tmp_path: Path) -> None:
    write_requests(tmp_path / "a.json", [ONE, TWO])
    write_requests(tmp_path / "b.json", [ONE, TWO])
    data = (tmp_path / "a.json").read_bytes()
    assert data == (tmp_path / "b.json").read_bytes()
    content = json.loads(data.decode("utf-8"))
    assert content["version"] == 1
    assert content["requests"][0] == {
        "id": ONE.id, "records": ["dicom-1/plane"],
        "fields": [
            {"class": "name", "value": SECRET}, {"class": "mrn", "value": "P-77", "element": "PatientID"}
        ],
    }  # fmt: skip
    assert "山田太郎".encode() in data  # a person can read it
    assert len(data.splitlines()) == 4  # one line each, so that it can be streamed


@pytest.mark.skipif(os.name != "posix", reason="file modes are of POSIX")
def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "requests.json"
    path.write_text("{}")
    path.chmod(0o644)
    before = os.umask(0)
    try:
        write_requests(path, [ONE])
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "requests.json"
    write_requests(path, [ONE])

    def broken() -> Iterator[Request]:
        yield TWO
        raise DataError("stopped")

    with pytest.raises(DataError, match="stopped"):
        write_requests(path, broken())
    with pytest.raises(DataError, match="the id occurs twice"):
        write_requests(path, [ONE, ONE])
    assert read_requests(path) == [ONE]
    assert os.listdir(tmp_path) == ["requests.json"]
    with pytest.raises(DataError, match=r"requests\.json: cannot be written \(No such file"):
        write_requests(tmp_path / "absent" / "requests.json", [ONE])


def edited(**changes: Any) -> dict[str, Any]:
    """A valid request as JSON, with these keys replaced; ``...`` removes one."""
    value = {"id": "x", "fields": [{"class": "mrn", "value": "P-77"}], "records": ["r"], **changes}
    return {key: entry for key, entry in value.items() if entry is not ...}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([], "not a request file"),
        ({"version": 1}, "not a request file"),
        ({"version": 1, "requests": [], "more": 1}, "not a request file"),
        ({"version": 2, "requests": []}, "of another version"),
        ({"version": 1, "requests": {}}, "'requests' is no list"),
        ({"version": 1, "requests": [edited(), edited()]}, "an id occurs twice"),
        *(
            ({"version": 1, "requests": [edited(id="first"), value]}, "record 1: not a request")
            for value in (
                7, edited(id=...), edited(id=3), edited(more="Canary"), edited(fields="Canary"),
                edited(fields=["Canary"]),
                edited(fields=[{"class": "mrn"}]), edited(fields=[{"class": "mrn", "value": 5}]),
                edited(fields=[{"class": "mrn", "value": "v", "Canary": ""}]), edited(records="r"), edited(records=[1]),
            )
        ),
    ],
)  # fmt: skip
def test_a_malformed_file_is_refused_without_quoting_it(tmp_path: Path, content: Any, reason: str) -> None:
    path = tmp_path / "requests.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=reason) as caught:
        read_requests(path)
    assert "requests.json" in str(caught.value)
    assert "Canary" not in str(caught.value)
    assert "P-77" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 100_000, b'{"version": 1, "requests": NaN}'])
def test_what_is_no_json_is_a_data_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "requests.json").write_bytes(data)
    with pytest.raises(DataError, match=r"requests\.json"):
        read_requests(tmp_path / "requests.json")
    with pytest.raises(DataError, match="no such file"):
        read_requests(tmp_path / "absent.json")
    with pytest.raises(DataError, match="not a request file"):
        read_requests(tmp_path)


def test_no_way_of_printing_shows_a_value(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("test").debug("%s %r %s", ONE, ONE.fields, ONE.fields[0])
    shown = f"{ONE} {ONE!r} {[ONE]} {ONE.fields} {ONE.fields[0]} {ONE.fields[1]} {caplog.text}"
    assert "Canary" not in shown
    assert "P-77" not in shown
    assert "2 fields ***, 1 records" in shown
    assert "PrivateField('mrn', ***)" in shown


def test_ids_depend_on_key_patient_and_issuer() -> None:
    other = SecretKey("f0e1d2c3b4a5968778695a4b3c2d1e0f")
    ids = {
        request_id(KEY, "P-1"), request_id(KEY, "P-2"), request_id(KEY, "P-1", "A"), request_id(KEY, "A", "P-1"),
        request_id(other, "P-1"),
    }  # fmt: skip
    assert len(ids) == 5
    assert request_id(KEY, "P-1") == KEY.hash("patient", "", "P-1")
