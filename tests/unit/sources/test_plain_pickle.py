"""Plain data comes out of a pickle of any protocol; nothing else does, and no code is ever called."""

from __future__ import annotations

import ast
import collections
import copyreg
import os
import pickle
import pickletools
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mllmu_med.errors import DataError
from mllmu_med.sources import plain_pickle
from mllmu_med.sources.plain_pickle import read_plain_pickle

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
PLAIN = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=5)
    ),
    max_leaves=20,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the pickle of a test goes."""
    return tmp_path / "data.pkl"


def read(file: Path, data: bytes) -> Any:
    """What a file with these bytes holds."""
    file.write_bytes(data)
    return read_plain_pickle(file)


def is_plain(value: Any) -> bool:
    """Whether a value and all in it are of the exact types that are allowed; cycles count as seen."""
    waiting, seen = [value], set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if type(one) not in (list, dict, tuple, str, int, float, bool, type(None)):
            return False
        waiting += one if isinstance(one, list | tuple) else [*one, *one.values()] if isinstance(one, dict) else []
    return True


@settings(max_examples=200)
@given(PLAIN, st.integers(0, 5))
def test_plain_data_of_every_protocol_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, value: Any, protocol: int
) -> None:
    found = read(tmp_path_factory.getbasetemp() / "plain.pkl", pickle.dumps(value, protocol))
    assert found == value
    assert repr(found) == repr(value)  # of the same types, in the same order


@pytest.mark.parametrize("protocol", range(6))
def test_a_long_list_of_records_with_shared_texts(file: Path, protocol: int) -> None:
    shared = "train_0001"
    rows = [{"image": shared, "question": f"Was ist {number}? 肺", "answer": "yes"} for number in range(3_000)]
    assert read(file, pickle.dumps(rows, protocol)) == rows


def test_texts_of_python_2_are_utf_8(file: Path) -> None:
    assert read(file, b"(lp0\n(dp1\nS'answer'\np2\nS'na\\'s'\np3\nsa.") == [{"answer": "na's"}]
    assert read(file, b"\x80\x02U\x03\xe8\x82\xba.") == "肺"
    with pytest.raises(DataError, match=r"text that is not UTF-8"):
        read(file, b"\x80\x02U\x01\xe4.")


class Caller:
    """Its pickle calls a function that leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("protocol", range(6))
def test_a_call_is_refused_and_not_made(file: Path, protocol: int) -> None:
    trace = file.parent / "trace"
    with pytest.raises(DataError, match=r"data\.pkl: not a pickle of plain data \(it holds an instruction for code"):
        read(file, pickle.dumps([1, Caller(trace)], protocol))
    assert not trace.exists()


@pytest.mark.parametrize(
    "value",
    [len, Path("x"), {1, 2}, frozenset({1}), b"bytes", bytearray(b"b"), 1j, collections.OrderedDict(a=1), range(3)],
)
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_whatever_is_not_plain_is_refused(file: Path, value: Any, protocol: int) -> None:
    with pytest.raises(DataError, match="an instruction for code"):
        read(file, pickle.dumps({"a": [value]}, protocol))


@pytest.mark.parametrize(
    "name",
    [
        "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4",
        "PERSID", "BINPERSID", "NEXT_BUFFER", "READONLY_BUFFER", "POP", "DUP", "POP_MARK", "EMPTY_SET", "ADDITEMS",
        "FROZENSET", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
    ],
)  # fmt: skip
def test_every_other_instruction_is_refused_by_name(name: str) -> None:
    with pytest.raises(plain_pickle._Refused, match=f"an instruction for code, {name}$"):
        plain_pickle._Machine()._step(name, None)


def test_every_instruction_there_is_was_looked_at() -> None:
    """A new Python may bring new instructions; they are refused until somebody has thought about them."""
    allowed = []
    for opcode in pickletools.opcodes:
        machine = plain_pickle._Machine()
        try:
            machine._step(opcode.name, "" if opcode.name.endswith(("STRING", "UNICODE")) else 0)
        except plain_pickle._Refused:
            continue
        except (IndexError, KeyError, TypeError):
            pass
        allowed.append(opcode.name)
    assert set(allowed) == {
        "APPEND", "APPENDS", "BINFLOAT", "BINGET", "BININT", "BININT1", "BININT2", "BINPUT", "BINSTRING", "BINUNICODE",
        "BINUNICODE8", "DICT", "EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "FLOAT", "FRAME", "GET", "INT", "LIST",
        "LONG", "LONG1", "LONG4", "LONG_BINGET", "LONG_BINPUT", "MARK", "MEMOIZE", "NEWFALSE", "NEWTRUE", "NONE",
        "PROTO", "PUT", "SETITEM", "SETITEMS", "SHORT_BINSTRING", "SHORT_BINUNICODE", "STRING", "TUPLE", "TUPLE1",
        "TUPLE2", "TUPLE3", "UNICODE",
    }  # fmt: skip


def test_a_registered_extension_is_refused_even_when_it_is_cached(file: Path) -> None:
    copyreg.add_extension("os", "getcwd", 240)
    try:
        data = b"\x80\x02\x82\xf0."
        found = pickle.loads(data)  # noqa: S301 - now it is in the cache, about which no find_class is asked
        assert found is os.getcwd
        with pytest.raises(DataError, match="an instruction for code, EXT1"):
            read(file, data)
    finally:
        copyreg.remove_extension("os", "getcwd", 240)


def test_pickle_is_not_even_imported() -> None:
    tree = ast.parse(Path(plain_pickle.__file__).read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported == {
        "__future__", "pickletools", "collections.abc", "pathlib", "typing", "mllmu_med.errors",
    }  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_pickles_are_plain_data_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    value = [{"image": "train_1", "n": (1, 2.5, None)}, {"image": "train_1", "answer": True, "more": [[], {}]}]
    damaged = bytearray(pickle.dumps(value, data.draw(st.integers(0, 5))))
    for place, byte in data.draw(
        st.lists(st.tuples(st.integers(0, len(damaged) - 1), st.integers(0, 255)), max_size=6)
    ):
        damaged[place] = byte
    del damaged[data.draw(st.integers(0, len(damaged))) :]
    file = tmp_path_factory.getbasetemp() / "damaged.pkl"
    with suppress(DataError):
        assert is_plain(read(file, bytes(damaged)))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "damaged or cut off"),
        (b"hello", "BINGET at byte 0 does not fit"),
        (b"\xff\xd8\xff\xe0", "damaged or cut off"),
        (pickle.dumps(["abc"])[:-4], "damaged or cut off"),
        (b"\x80\x04\x8d" + b"\xff" * 8 + b"abc.", "damaged or cut off"),  # a text of 2⁶⁴ bytes
        (b"\x80\x04\x8d" + b"\xff" * 7 + b"\x00abc.", "damaged or cut off"),
        (b".", "it ends too early"),
        (b"NN.", "it ends too early"),
        (b"(.", "it ends too early"),
        (b"Na.", "APPEND at byte 1 does not fit what comes before"),
        (b"]Ns.", "SETITEM at byte 2 does not fit"),
        (b"}(Nu.", "SETITEMS at byte 3 does not fit"),
        (b"}]Ns.", "SETITEM at byte 3 does not fit"),  # a list as key
        (b"](e(u.", "SETITEMS at byte 4 does not fit"),
        (b"h\x05.", "BINGET at byte 0 does not fit"),
        (b"q\x05.", "BINPUT at byte 0 does not fit"),
        (b"(q\x05.", "BINPUT at byte 1 does not fit"),
        (b"t.", "TUPLE at byte 0 does not fit"),
        (b"(\x85.", "TUPLE1 at byte 1 does not fit"),
        (b"X\x01\x00\x00\x00\xe4.", "text that is not UTF-8"),
        (b"X\x03\x00\x00\x00\xed\xa0\x80.", "text that is not UTF-8"),  # half a surrogate pair
        (b"I" + b"9" * 5_000 + b"\n.", "damaged or cut off"),
    ],
)
def test_a_damaged_pickle_is_one_clear_line(file: Path, data: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        read(file, data)
    assert str(caught.value).startswith(f"{file}: not a pickle of plain data (")
    assert str(caught.value).endswith("Take the file that the authors publish.")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"]q\x00" + b"(h\x00h\x00h\x00h\x00h\x00eq\x00]" * 2_000,  # lists of lists of lists, five times each
        b"Nr\xff\xff\xff\x7f.",  # place 2³¹ − 1 of the memo
        b"]" + b"(" * 100_000,
        b"]" * 100_000,
    ],
    ids=["laughs", "memo", "marks", "lists"],
)  # fmt: skip
def test_a_small_file_cannot_take_much_memory_or_time(file: Path, data: bytes) -> None:
    tracemalloc.start()
    with suppress(DataError):
        read(file, data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_a_cycle_is_plain_data_too(file: Path) -> None:
    found = read(file, b"]q\x00h\x00a.")
    assert found[0] is found
    assert is_plain(found)


def test_a_file_above_the_limit_is_not_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_pickle, "LARGEST_FILE", 20)
    assert read(file, pickle.dumps([1])) == [1]
    file.write_bytes(pickle.dumps(list(range(20))))
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("it was read"))
    with pytest.raises(DataError, match=r"more than 20 bytes\. Is this the right file"):
        read_plain_pickle(file)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.pkl: no such file\. Check the path"):
        read_plain_pickle(tmp_path / "absent.pkl")
    with pytest.raises(DataError, match="cannot be read"):
        read_plain_pickle(tmp_path)
