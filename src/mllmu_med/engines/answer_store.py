"""Answers of an unfinished evaluation, by the content of what was asked: a journal that loses its last record at most.

It holds private values. It lies inside the run's folder, is readable by its owner alone, and goes when the stage is
finished: what the stage wrote is the result, not this.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mllmu_med.errors import DataError, UsageError
from mllmu_med.folders import canonical_json, parse_json
from mllmu_med.locks import lock

JOURNAL = "journal"
_FORMAT = 1
_DIGITS = 64


class AnswerStore:
    """Records under keys, one line each in an append-only file: SHA-256 of the record, a space, the record as JSON.

    A record is on disk before ``put`` returns. A torn last line is cut off; any other line that does not have its
    checksum counts as absent. Only the places of records are held in memory. Used as a context manager; a second
    process is refused.

    Args:
        folder: of the journal, made if it is not there.
        purpose: what the answers are for, e.g. the stage's key. Records of another purpose are dropped, so that the
            journal never outgrows one evaluation.
    """

    def __init__(self, folder: Path, purpose: str) -> None:
        self.folder, self.purpose = folder, purpose
        self._descriptor = -1
        self._places: dict[str, tuple[int, int]] = {}
        self._end = 0

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._descriptor = os.open(self.folder / JOURNAL, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._lock()
            self._read()
        except BaseException:
            os.close(self._descriptor)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def __len__(self) -> int:
        """Records under different keys."""
        return len(self._places)

    def get(self, key: str) -> Any:
        """What was put under the key; None where there is nothing, or something damaged."""
        if key not in self._places:
            return None
        start, length = self._places[key]
        record = _checked(os.pread(self._descriptor, length, start))
        return None if record is None else record["value"]

    def put(self, key: str, value: Any) -> None:
        """Append a JSON-able value other than None.

        Raises:
            DataError: it cannot be written.
        """
        line = _line({"key": key, "value": value})
        try:
            _write(self._descriptor, line)
            os.fsync(self._descriptor)
        except OSError as error:
            with contextlib.suppress(OSError):  # what is torn would spoil the next line
                os.ftruncate(self._descriptor, self._end)
            raise DataError(
                f"the answers cannot be kept: {error.strerror}", file=self.folder, mend="Make room, then run it again."
            ) from None
        self._places[key] = (self._end, len(line))
        self._end += len(line)

    def _lock(self) -> None:
        if not lock(self._descriptor):  # without locks two processes at once would cost records, never falsify one
            raise UsageError(f"{self.folder}: another process is asking the same; wait for it, or stop it")

    def _read(self) -> None:
        """Find the records, and begin anew where they are for another purpose."""
        head = {"format": _FORMAT, "purpose": self.purpose}
        with open(self._descriptor, "rb", closefd=False) as file:
            file.seek(0)
            first = file.readline()
            if _checked(first) != head:
                os.ftruncate(self._descriptor, 0)
                _write(self._descriptor, _line(head))
                self._end = os.fstat(self._descriptor).st_size
                return
            self._end = len(first)
            for line in file:
                if not line.endswith(b"\n"):
                    os.ftruncate(self._descriptor, self._end)
                    break
                if (record := _checked(line)) is not None:
                    self._places[record["key"]] = (self._end, len(line))
                self._end += len(line)


def kept(folder: Path, purpose: str) -> int:
    """How many records a store would find; nothing is opened for writing."""
    try:
        with (folder / JOURNAL).open("rb") as file:
            if _checked(file.readline()) != {"format": _FORMAT, "purpose": purpose}:
                return 0
            return len({record["key"] for line in file if (record := _checked(line)) is not None})
    except FileNotFoundError:
        return 0


def discard(folder: Path) -> None:
    """Remove a store's folder, if there is one."""
    shutil.rmtree(folder, ignore_errors=True)


def _line(record: dict[str, Any]) -> bytes:
    text = canonical_json(record).encode()
    return sha256(text).hexdigest().encode() + b" " + text + b"\n"


def _checked(line: bytes) -> dict[str, Any] | None:
    """The record in a line, or None if it is not whole."""
    text = line[_DIGITS + 1 : -1]
    if not line.endswith(b"\n") or sha256(text).hexdigest().encode() != line[:_DIGITS]:
        return None
    record: dict[str, Any] = parse_json(text.decode())
    return record


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
