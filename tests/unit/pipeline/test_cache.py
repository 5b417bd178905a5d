"""Base models kept by content."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mllmu_med.folders import read_manifest, verify
from mllmu_med.pipeline import run
from mllmu_med.pipeline.cache import cache_folder, reuse_or_make
from mllmu_med.pipeline.stage import Facts
from tests.unit.pipeline.conftest import tiny

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


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_cache_that_cannot_be_written_costs_time_and_not_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o500)
    with caplog.at_level(logging.WARNING):
        assert fill(tmp_path, "first", []) == {"training": {"steps": 3}}
    assert "could not be kept" in caplog.text
    (tmp_path / "cache").chmod(0o700)


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


def test_a_run_takes_its_base_from_the_cache(finished: Path, tmp_path: Path) -> None:
    """What another run has trained is taken; damaged, it is trained again, to the same bytes."""
    key = read_manifest(finished / "models" / "base")["key"]
    entry = cache_folder() / "base" / key[:32]
    for name in ("one", "two", "three"):
        run(tiny(), tmp_path / name, until="build", jobs=1)
    run_base(tmp_path / "one")
    assert "cached" not in read_manifest(tmp_path / "one" / "models" / "base")
    run_base(tmp_path / "two")
    assert read_manifest(tmp_path / "two" / "models" / "base")["cached"] is True
    weights = entry / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    run_base(tmp_path / "three")
    assert "cached" not in read_manifest(tmp_path / "three" / "models" / "base")
    files = [read_manifest(tmp_path / name / "models" / "base")["files"] for name in ("one", "two", "three")]
    assert files[0] == files[1] == files[2] == read_manifest(finished / "models" / "base")["files"]
    verify(entry)


def run_base(folder: Path) -> None:
    from mllmu_med.pipeline.stages import all_stages

    next(stage for stage in all_stages(tiny(), folder) if stage.name == "base").ensure()
