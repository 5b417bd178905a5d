"""The values of a JSON file, one after the other: of a list, or one per line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mllmu_med.errors import DataError
from mllmu_med.folders import parse_json
from mllmu_med.sources.json_array import stream_array
from mllmu_med.sources.lines import text_lines


def stream_json(path: Path) -> Iterator[tuple[int, Any]]:
    """Line (from 1) and value of each element of a JSON list, or of each line where the file begins with an object.

    Raises:
        DataError: missing, not UTF-8 or malformed; the message names the line.
    """
    try:
        with path.open("rb") as file:
            start = file.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip()
    except OSError:
        start = b""  # the reader says what is wrong
    return stream_lines(path) if start.startswith(b"{") else stream_array(path)


def stream_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Number (from 1) and value of each line that is not empty.

    Strict JSON in UTF-8: NaN, Infinity and repeated keys are errors. Memory is bounded by the longest line.

    Raises:
        DataError: missing, not UTF-8, malformed, or a line of more than 64 MiB; the message names the line.
    """
    for number, line in text_lines(path):
        text = line.strip()
        if not text:
            continue
        where = f"line {number}"
        try:
            yield number, parse_json(text)
        except json.JSONDecodeError as error:
            reason = f"malformed JSON at column {error.colno}: {error.msg}"
            raise DataError(reason, file=path, record=where, mend="Mend the line.") from None
        except RecursionError:
            raise DataError("nested too deeply", file=path, record=where, mend="Mend the line.") from None
        except ValueError as error:  # a repeated key, NaN, a number of too many digits
            raise DataError(str(error), file=path, record=where, mend="Mend the line.") from None
