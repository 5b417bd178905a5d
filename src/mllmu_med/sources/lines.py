"""The lines of a text file that may be of any size, in any encoding, or no text at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mllmu_med.errors import DataError

LONGEST_LINE = 1 << 26
"""A line with more bytes is refused; it would have to be held in memory as a whole."""

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number (from 1) and text of each line of a UTF-8 file, line end included. A byte order mark is left out.

    Only a line feed ends a line.

    Raises:
        DataError: missing, not UTF-8, a null character, or a line of more than 64 MiB; names the line.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise DataError("no such file", file=path, mend="Check source.path.") from None
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", file=path, mend="Check source.path.") from None
    with file:
        number = 0
        while line := file.readline(LONGEST_LINE + 1):
            number += 1
            where = f"line {number}"
            if len(line) > LONGEST_LINE:
                raise DataError(
                    f"longer than {LONGEST_LINE:,} bytes", file=path, record=where, mend="Is this the right file?"
                )
            if number == 1 and line.startswith(_UTF_16):
                raise DataError("not UTF-8 but UTF-16", file=path, mend="Save the file as UTF-8.")
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                reason = f"not UTF-8 at byte {error.start} of the line"
                raise DataError(reason, file=path, record=where, mend="Save the file as UTF-8.") from None
            if "\0" in text:
                reason = f"a null character at column {text.index(chr(0)) + 1}"
                raise DataError(reason, file=path, record=where, mend="Save the file as plain text in UTF-8.")
            yield number, text
