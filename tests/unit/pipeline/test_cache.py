"""Base models kept by content."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from mllmu_med.folders import verify
from mllmu_med.pipeline.cache import cache_folder, checkpoint_fingerprint, reuse_or_make
from mllmu_med.pipeline.stage import Facts

KEY = "0123456789abcdef" * 4


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLLMU_MED_CACHE", str(tmp_path / "cache"))


def maker(folder: Path, calls: list[str]) -> Callable[[], Facts]:
    def make() -> Facts:
        calls.append(folder.name)
        (folder / "adapter").mkdir()
        (folder / "model.safetensors").write_bytes(b"weights")
        (folder / "adapter" / "config.json").write_text("{}")
        return {"training": {"steps": 3}}

    return make


def fill(tmp_path: Path, name: str, calls: list[str], key: str = KEY) -> Facts:
    folder = tmp_path / name
    folder.mkdir()
    facts = reuse_or_make(key, folder, maker(folder, calls))
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert (folder / "adapter" / "config.json").read_text() == "{}"
    assert not (folder / "manifest.json").exists(), "the stage writes its own"
    return facts


def test_the_second_time_it_is_taken_from_the_cache(tmp_path: Path) -> None:
    calls: list[str] = []
    assert fill(tmp_path, "first", calls) == {"training": {"steps": 3}}
    assert fill(tmp_path, "second", calls) == {"training": {"steps": 3}, "cached": True}
    assert calls == ["first"]
    assert verify(cache_folder() / "base" / KEY[:32])["key"] == KEY


def test_another_key_is_another_model(tmp_path: Path) -> None:
    calls: list[str] = []
    fill(tmp_path, "first", calls)
    fill(tmp_path, "second", calls, KEY[::-1])
    assert calls == ["first", "second"]


@pytest.mark.parametrize("damage", ["change", "remove", "add", "no manifest", "no json"])
def test_a_damaged_entry_is_made_again(damage: str, tmp_path: Path) -> None:
    calls: list[str] = []
    fill(tmp_path, "first", calls)
    entry = cache_folder() / "base" / KEY[:32]
    if damage == "change":
        (entry / "model.safetensors").write_bytes(b"Weights")
    elif damage == "remove":
        (entry / "adapter" / "config.json").unlink()
    elif damage == "add":
        (entry / "more.py").write_text("")
    elif damage == "no manifest":
        (entry / "manifest.json").unlink()
    else:
        (entry / "manifest.json").write_text("{")
    assert fill(tmp_path, "second", calls) == {"training": {"steps": 3}}
    assert calls == ["first", "second"]
    verify(entry)
    assert "cached" in fill(tmp_path, "third", calls)


def test_a_cache_that_cannot_be_written_costs_time_and_not_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        assert fill(tmp_path, "first", []) == {"training": {"steps": 3}}
    assert "could not be kept" in caplog.text


def test_another_checkpoint_under_the_same_path_has_another_fingerprint(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    weights = bytearray(8 << 20)
    (model / "model.safetensors").write_bytes(weights)
    before = checkpoint_fingerprint(model)
    moved = model.rename(tmp_path / "moved")
    assert checkpoint_fingerprint(moved) == before, "what counts is the content"
    for tensor in range(0, len(weights), 100_000):  # training changes something in every tensor
        weights[tensor + 12_345 : tensor + 62_345] = b"x" * 50_000
    (moved / "model.safetensors").write_bytes(weights[: 8 << 20])
    assert checkpoint_fingerprint(moved) != before


def test_small_files_count_to_the_last_byte(tmp_path: Path) -> None:
    found = set()
    for text in ("{}", "{ }", "[]"):
        (tmp_path / "config.json").write_text(text)
        found.add(checkpoint_fingerprint(tmp_path))
    (tmp_path / "more.json").write_text("")
    found.add(checkpoint_fingerprint(tmp_path))
    assert len(found) == 4
    assert checkpoint_fingerprint(tmp_path / "nobody" / "some-model") is None, "a Hub id has no files here"


def test_a_failure_while_making_keeps_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()

    def fail() -> Facts:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reuse_or_make(KEY, folder, fail)
    assert not (cache_folder() / "base").exists() or not list((cache_folder() / "base").iterdir())


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("MLLMU_MED_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "mllmu-med"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "mllmu-med"
