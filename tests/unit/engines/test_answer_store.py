"""The journal of answers: what is in it survives, what is torn or damaged is not believed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from mllmu_med.engines.answer_store import JOURNAL, AnswerStore, discard, kept
from mllmu_med.errors import DataError, UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "evaluations" / ".answers-npo"


def filled(folder: Path, *keys: str) -> Path:
    with AnswerStore(folder, "p") as store:
        for key in keys:
            store.put(key, [key, "é\n"])
    return folder / JOURNAL


def found(folder: Path, *keys: str, purpose: str = "p") -> list[object]:
    with AnswerStore(folder, purpose) as store:
        return [store.get(key) for key in keys]


def test_what_was_put_is_there_after_opening_again(folder: Path) -> None:
    filled(folder, "a", "b")
    assert found(folder, "a", "b", "c") == [["a", "é\n"], ["b", "é\n"], None]
    filled(folder, "c")
    assert found(folder, "a", "b", "c") == [[key, "é\n"] for key in "abc"]
    assert kept(folder, "p") == 3


def test_a_record_is_on_disk_before_put_returns(folder: Path) -> None:
    with AnswerStore(folder, "p") as store:
        for count in range(1, 4):
            store.put(f"key {count}", count)
            assert kept(folder, "p") == count, "seen by another reader while the store is still open"
            assert store.get(f"key {count}") == count


def test_every_torn_end_loses_the_last_record_at_most_and_spoils_no_later_one(folder: Path) -> None:
    journal = filled(folder, "a")
    whole = journal.read_bytes()
    journal = filled(folder, "b")
    both = journal.read_bytes()
    for end in range(len(whole), len(both)):
        journal.write_bytes(both[:end])
        assert found(folder, "a", "b") == [["a", "é\n"], None], f"cut at byte {end}"
        filled(folder, "c")
        assert found(folder, "a", "b", "c") == [["a", "é\n"], None, ["c", "é\n"]], f"cut at byte {end}"


def test_a_flipped_bit_costs_its_own_record_alone(folder: Path) -> None:
    journal = filled(folder, "a", "b", "c")
    whole = journal.read_bytes()
    first, second, third = (whole.index(f'"key":"{key}"'.encode()) for key in "abc")
    assert first < second < third
    for place in (second, second - 40, second + 12):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        journal.write_bytes(damaged)
        assert found(folder, "a", "b", "c") == [["a", "é\n"], None, ["c", "é\n"]]


def test_damage_that_comes_after_opening_is_noticed_as_well(folder: Path) -> None:
    journal = filled(folder, "a")
    with AnswerStore(folder, "p") as store:
        damaged = bytearray(journal.read_bytes())
        damaged[-4] ^= 1
        journal.write_bytes(damaged)
        assert store.get("a") is None


def test_another_purpose_begins_anew(folder: Path) -> None:
    filled(folder, "a")
    assert kept(folder, "q") == 0
    assert kept(folder, "p") == 1, "looking changes nothing"
    assert found(folder, "a", purpose="q") == [None]
    assert found(folder, "a") == [None], "and what was there is gone: a journal never outgrows one evaluation"


def test_rubbish_in_its_place_begins_anew(folder: Path) -> None:
    journal = filled(folder, "a")
    for rubbish in (b"", b"\n", b"\x00" * 100, b"{}\n", b"\xff" * 70 + b"\n"):
        journal.write_bytes(rubbish)
        assert found(folder, "a") == [None]
        assert found(filled(folder, "b").parent, "b") == [["b", "é\n"]]


def test_nobody_else_can_read_it(folder: Path) -> None:
    before = os.umask(0)
    try:
        journal = filled(folder, "a")
    finally:
        os.umask(before)
    assert stat.S_IMODE(journal.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_two_at_once_are_refused(folder: Path) -> None:
    with AnswerStore(folder, "p"), pytest.raises(UsageError, match="another process"), AnswerStore(folder, "p"):
        pass
    assert found(folder, "a") == [None], "and the lock goes with the store"


def test_a_full_disk_is_told_in_one_line_and_leaves_the_journal_whole(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(folder, "a")
    write = os.write

    def half(descriptor: int, data: bytes) -> int:
        if len(data) > 20:
            return write(descriptor, data[:20])
        raise OSError(28, "No space left on device")

    with AnswerStore(folder, "p") as store:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", half)
            with pytest.raises(DataError, match="No space left on device"):
                store.put("b", 1)
        store.put("c", 2)
        assert (store.get("b"), store.get("c")) == (None, 2)
    assert found(folder, "a", "b", "c") == [["a", "é\n"], None, 2]


def test_discarding(folder: Path) -> None:
    filled(folder, "a")
    discard(folder)
    assert not folder.exists()
    assert kept(folder, "p") == 0
    discard(folder)
