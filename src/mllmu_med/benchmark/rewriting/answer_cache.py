"""Answers of a language model by the content of what it was asked, so that a second run asks only what is missing.

An entry holds a model's answer, private values included: keep the folder where those may be kept.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from pathlib import Path

from mllmu_med.errors import DataError
from mllmu_med.folders import digest, read_json

_FORMAT = 1
_LARGEST_ENTRY = 1_000_000


class AnswerCache:
    """One JSON file per answer under ``folder``, written elsewhere and renamed; safe for threads and processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str) -> str | None:
        """The answer stored under ``key`` (64 hex digits), or None where there is none or the entry is damaged."""
        path = self._path(key)
        try:
            if path.stat().st_size > _LARGEST_ENTRY:
                return None
            entry = read_json(path)
        except (FileNotFoundError, NotADirectoryError, DataError, RecursionError):
            return None
        if not isinstance(entry, dict) or entry.get("format") != _FORMAT or entry.get("key") != key:
            return None
        answer = entry.get("answer")
        return answer if isinstance(answer, str) and entry.get("digest") == digest(answer) else None

    def put(self, key: str, answer: str) -> None:
        """Store an answer.

        Raises:
            DataError: the folder cannot be written.
        """
        path = self._path(key)
        entry = {"format": _FORMAT, "key": key, "answer": answer, "digest": digest(answer)}
        stage = path.with_name(f".{key}.{os.getpid()}.{threading.get_ident()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stage.write_text(json.dumps(entry, sort_keys=True), encoding="utf-8")
            os.replace(stage, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                stage.unlink()
            raise DataError(
                f"the rewriter's answers cannot be stored: {error.strerror}", file=self._folder,
                mend="Choose another benchmark.rewriter.cache.",
            ) from None  # fmt: skip

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.json"
