"""Pickles that hold plain data, read without unpickling: nothing in the file can name or call any code.

Python's own unpickler calls whatever a file tells it to, and even a subclass of it that resolves no names can be made
to return registered extensions or to take any amount of memory. Here the file's instructions are taken apart by the
standard library's ``pickletools``, which runs none of them, and the few that build lists, dictionaries, tuples, texts,
numbers, truth values and None are carried out. There is no code for any other.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mllmu_med.errors import DataError

LARGEST_FILE = 1 << 26
"""A pickle of more bytes is refused; it has to be held in memory as a whole."""

_MARK = object()
_NOTHING = frozenset({"PROTO", "FRAME"})  # instructions that change no data
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = frozenset({
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
})  # fmt: skip
_PYTHON_2_TEXTS = frozenset({"STRING", "BINSTRING", "SHORT_BINSTRING"})
_NEW: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Refused(Exception):
    """What is wrong with a pickle."""


def read_plain_pickle(path: Path) -> Any:
    """The data of a pickle, of any protocol, that holds nothing but plain data; texts of Python 2 are UTF-8.

    Raises:
        DataError: missing, larger than 64 MiB, not a whole pickle, or one that holds anything else, such as the name
            of a class or function; none of it is then used.
    """
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= LARGEST_FILE else b""
    except FileNotFoundError:
        raise DataError("no such file", file=path, mend="Check the path.") from None
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", file=path) from None
    if size > LARGEST_FILE:
        raise DataError(f"more than {LARGEST_FILE:,} bytes", file=path, mend="Is this the right file?")
    try:
        return _Machine().run(data)
    except _Refused as refused:
        raise DataError(
            f"not a pickle of plain data ({refused})", file=path, mend="Take the file that the authors publish."
        ) from None


class _Machine:
    """The stack and the memo that a pickle's instructions work on."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        """Carry out every instruction; returns what the last one leaves.

        Raises:
            _Refused: an instruction is unknown, not allowed, damaged, or finds something else than it needs.
        """
        try:
            for opcode, argument, position in pickletools.genops(data):
                if opcode.name == "STOP":
                    if len(self._stack) != 1 or self._stack[0] is _MARK:
                        raise _Refused("it ends too early")
                    return self._stack[0]
                try:
                    self._step(opcode.name, argument)
                except (IndexError, KeyError, TypeError, AttributeError):
                    raise _Refused(f"{opcode.name} at byte {position} does not fit what comes before") from None
        except UnicodeError:
            raise _Refused("text that is not UTF-8") from None
        except (ValueError, OverflowError, MemoryError):  # of genops: an unknown instruction, or the end of the file
            raise _Refused("damaged or cut off") from None
        raise _Refused("damaged or cut off")

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _NOTHING:
            return
        if name in _VALUES:
            if isinstance(argument, str):
                argument.encode()  # half a surrogate pair would be an error wherever it is written later
            stack.append(argument)
        elif name in _PYTHON_2_TEXTS:
            stack.append(argument.encode("latin-1").decode("utf-8"))  # pickletools takes the bytes for Latin-1
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _NEW:
            stack.append(_NEW[name]())
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[len(self._memo) if name == "MEMOIZE" else argument] = self._top()
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name == "LIST":
            stack.append(self._since_mark())
        elif name == "TUPLE":
            stack.append(tuple(self._since_mark()))
        elif name in _TUPLES:
            stack.append(tuple([self._pop() for _ in range(_TUPLES[name])][::-1]))
        elif name == "DICT":
            stack.append(_pairs(self._since_mark()))
        elif name == "APPEND":
            value = self._pop()
            self._container(list).append(value)
        elif name == "APPENDS":
            values = self._since_mark()
            self._container(list).extend(values)
        elif name == "SETITEM":
            value, key = self._pop(), self._pop()
            self._container(dict).update(_pairs([key, value]))
        elif name == "SETITEMS":
            values = self._since_mark()
            self._container(dict).update(_pairs(values))
        else:
            raise _Refused(f"it holds an instruction for code, {name}")

    def _top(self) -> Any:
        if self._stack[-1] is _MARK:
            raise IndexError
        return self._stack[-1]

    def _pop(self) -> Any:
        value = self._top()
        self._stack.pop()
        return value

    def _container(self, kind: type) -> Any:
        if type(self._top()) is not kind:
            raise TypeError
        return self._stack[-1]

    def _since_mark(self) -> list[Any]:
        """Everything above the last mark, which goes, too."""
        place = len(self._stack) - 1
        while self._stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise IndexError
        values = self._stack[place + 1 :]
        del self._stack[place:]
        return values


def _pairs(values: list[Any]) -> dict[Any, Any]:
    """Keys and values in turn; keys are texts, numbers, truth values or None, so that none has to be searched for."""
    keys, contents = values[::2], values[1::2]
    if len(keys) != len(contents) or not all(key is None or isinstance(key, str | int | float) for key in keys):
        raise TypeError
    return dict(zip(keys, contents, strict=True))
