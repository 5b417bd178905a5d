"""The objects of a JSON array of any size, one after the other, in bounded memory."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from mllmu_med.errors import DataError
from mllmu_med.folders import refuse_constant, refuse_duplicates

BLOCK = 1 << 16
"""Bytes read at once."""

LARGEST_ELEMENT = 1 << 26
"""An element with more characters is refused; it would have to be held in memory as a whole."""

_DECODER = json.JSONDecoder(parse_constant=refuse_constant, object_pairs_hook=refuse_duplicates)
_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"[0-9.eE+-]*")
_LONGEST_TOKEN = 16
"""An error that lies further than this before the end of what was read cannot be mended by reading on (the longest
token but for strings and numbers is ``-Infinity``, then a pair of ``\\u`` escapes)."""


class Element(NamedTuple):
    """An element of an array.

    Attributes:
        key: the name under which the file's top-level object holds the array; None where the array is the top level.
        line: where the element starts, counted from 1.
    """

    key: str | None
    line: int
    value: Any


def stream_array(path: Path) -> Iterator[tuple[int, Any]]:
    """Line number (from 1) and value of each element of a top-level array, or of all arrays of a top-level object.

    Strict JSON in UTF-8: NaN, Infinity and repeated keys are errors. Memory is bounded by the largest element.

    Raises:
        DataError: missing, not UTF-8, malformed, something other than an array or an object of arrays, or an element
            of more than 64 Mi characters; the message names the line.
    """
    for element in stream_arrays(path):
        yield element.line, element.value


def stream_arrays(path: Path) -> Iterator[Element]:
    """As ``stream_array``, with the name of the array that each element stands in."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise DataError("no such file", file=path, mend="Check the path.") from None
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", file=path) from None
    with file:
        window = _Window(file, path)
        if window.peek() == "{":
            yield from _object(window)
        elif window.peek() == "[":
            yield from _array(window, None)
        else:
            found = "something else" if window.peek() else "nothing"
            raise DataError(f"expected a list of records, found {found}", file=path, mend="Check the download.")
        if window.peek():
            raise window.malformed("something follows the end of the list")


def _array(window: _Window, key: str | None) -> Iterator[Element]:
    window.take("[")
    if window.peek() != "]":
        yield Element(key, *window.value())
        while window.peek() == ",":
            window.take(",")
            yield Element(key, *window.value())
    window.take("]")


def _object(window: _Window) -> Iterator[Element]:
    seen: set[str] = set()
    window.take("{")
    while True:
        if window.peek() != '"':
            raise window.malformed("expected a name in double quotes")
        key = window.value()[1]
        if key in seen:
            raise DataError(f"key '{key}' occurs twice", file=window.path)
        seen.add(key)
        window.take(":")
        if window.peek() != "[":
            raise DataError(
                f"expected a list of records, found an object whose '{key}' is no list",
                file=window.path, record=f"line {window.line}", mend="Put all records into one list.",
            )  # fmt: skip
        yield from _array(window, key)
        if window.peek() != ",":
            break
        window.take(",")
    window.take("}")


class _Window:
    """The part of a file's text that is being parsed."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.path = path
        self.line = 1  # of the next character
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""
        self._at = 0  # index in _text of the next character
        self._line_start = 0  # index in _text at which its line starts; negative where that is dropped already
        self._bytes = 0  # read so far
        self._ended = False

    def peek(self) -> str:
        """The next character that is not white space; empty at the end of the file."""
        while True:
            self._advance(_end_of(_SPACE, self._text, self._at))
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def take(self, character: str) -> None:
        """Step over a character that must come next."""
        if self.peek() != character:
            raise self.malformed(f"expected '{character}'")
        self._advance(self._at + 1)

    def value(self) -> tuple[int, Any]:
        """Line and value of the JSON value that comes next."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated string") or error.pos > len(self._text) - _LONGEST_TOKEN
                if not (cut and self._more()):
                    raise self.malformed(error.msg, error.pos) from None
            except RecursionError:
                raise DataError("nested too deeply", file=self.path, record=f"line {self.line}") from None
            except ValueError as error:  # a repeated key, NaN, a number of too many digits
                raise DataError(str(error), file=self.path, record=f"line {self.line}") from None
            else:
                if not (type(value) in (int, float) and self._may_go_on(end) and self._more()):
                    line = self.line
                    self._advance(end)
                    return line, value

    def malformed(self, message: str, position: int | None = None) -> DataError:
        """An error at an index of the text at hand, or at the next character."""
        position = self._at if position is None else position
        before = self._text.rfind("\n", self._at, position)
        line = self.line + self._text.count("\n", self._at, position)
        column = position - before if before >= 0 else position - self._line_start + 1
        reason = f"malformed JSON at line {line}, column {column}: {message}"
        return DataError(reason, file=self.path, mend="Mend the line.")

    def _may_go_on(self, end: int) -> bool:
        """Whether a number that seems to end here is perhaps cut: ``1`` of ``1.5``, ``1`` before ``e`` of ``1e-3``."""
        return _end_of(_NUMBER, self._text, end) == len(self._text)

    def _advance(self, end: int) -> None:
        """Step over everything before ``end``."""
        newlines = self._text.count("\n", self._at, end)
        if newlines:
            self.line += newlines
            self._line_start = self._text.rfind("\n", self._at, end) + 1
        self._at = end

    def _more(self) -> bool:
        """Drop what is parsed and read on; False at the end of the file.

        At least as much is read as is left, so that an element is decoded a logarithmic number of times.
        """
        if self._ended:
            return False
        rest = self._text[self._at :]
        if len(rest) > LARGEST_ELEMENT:
            reason = f"an element has more than {LARGEST_ELEMENT:,} characters"
            raise DataError(reason, file=self.path, record=f"line {self.line}", mend="Is this the right file?")
        data = self._file.read(max(BLOCK, len(rest)))
        self._ended = not data
        try:
            new = self._decoder.decode(data, final=self._ended)
        except UnicodeDecodeError as error:  # its object is what an earlier block left over, then data
            position = self._bytes + len(data) - len(error.object) + error.start
            line = self.line + rest.count("\n") + error.object[: error.start].count(b"\n")
            reason = f"not UTF-8 at byte {position} (line {line})"
            raise DataError(reason, file=self.path, mend="Save the file as UTF-8.") from None
        self._bytes += len(data)
        self._line_start -= self._at
        self._text, self._at = rest + new, 0
        return True


def _end_of(pattern: re.Pattern[str], text: str, start: int) -> int:
    match = pattern.match(text, start)
    return match.end() if match else start
