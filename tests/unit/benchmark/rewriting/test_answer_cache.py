"""The answer cache: whole entries or none."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from mllmu_med.benchmark.rewriting.answer_cache import AnswerCache
from mllmu_med.errors import DataError
from mllmu_med.folders import digest

KEY, OTHER = digest("a"), digest("b")


def test_what_is_put_is_got(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path / "new" / "folder")
    assert cache.get(KEY) is None
    for answer in ("plain", "", '王芳 \u2028 \x00 "quoted"', "x" * 10_000):
        cache.put(KEY, answer)
        assert cache.get(KEY) == answer
        assert AnswerCache(tmp_path / "new" / "folder").get(KEY) == answer
    assert cache.get(OTHER) is None
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [f"{KEY}.json"]


def test_an_entry_of_another_key_is_not_taken(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path)
    cache.put(KEY, "a")
    path = tmp_path / KEY[:2] / f"{KEY}.json"
    target = tmp_path / OTHER[:2] / f"{OTHER}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(path.read_text())
    assert cache.get(OTHER) is None


@pytest.mark.parametrize(
    "change",
    [
        {"answer": "b"}, {"answer": 5}, {"digest": "0"}, {"digest": None}, {"format": 2}, {"key": OTHER},
        {"format": None},
    ],
)  # fmt: skip
def test_damage_is_seen(tmp_path: Path, change: dict[str, object]) -> None:
    cache = AnswerCache(tmp_path)
    cache.put(KEY, "a")
    (path,) = tmp_path.rglob("*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert cache.get(KEY) is None
    cache.put(KEY, "a")
    assert cache.get(KEY) == "a"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 50_000, b" " * 1_100_000, b"null", b'{"a": NaN}'])
def test_rubbish_is_nothing(tmp_path: Path, content: bytes) -> None:
    cache = AnswerCache(tmp_path)
    cache.put(KEY, "a")
    (path,) = tmp_path.rglob("*.json")
    path.write_bytes(content)
    assert cache.get(KEY) is None


def test_threads_may_write_the_same_entry(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path)
    threads = [threading.Thread(target=lambda: [cache.put(KEY, "a" * 5000) for _ in range(30)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.get(KEY) == "a" * 5000
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file: the rewriter's answers cannot be stored"):
        AnswerCache(tmp_path / "file").put(KEY, "a")
