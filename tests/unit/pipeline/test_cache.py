"""Trained stages kept by content."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mllmu_med.caches import room
from mllmu_med.folders import read_manifest, verify, write_json
from mllmu_med.pipeline import cache, run
from mllmu_med.pipeline.cache import cache_folder, checkpoint_fingerprint, reuse_or_make
from mllmu_med.pipeline.stage import Facts, Stage, took
from mllmu_med.pipeline.workshop import Workshop
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
    taken = fill(tmp_path, "second", calls)
    assert taken.pop("seconds") >= 0
    assert taken == {"training": {"steps": 3}, "cached": True}
    assert calls == ["first"]
    assert verify(cache_folder() / "base" / KEY[:32])["key"] == KEY


def test_another_key_is_another_model(tmp_path: Path) -> None:
    calls: list[str] = []
    fill(tmp_path, "first", calls)
    fill(tmp_path, "second", calls, KEY[::-1])
    assert calls == ["first", "second"]


DAMAGES = ("change", "remove", "add", "no manifest", "no json", "another key", "no facts")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_made_again(damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
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
    elif damage == "no json":
        (entry / "manifest.json").write_text("{")
    else:
        manifest = read_manifest(entry)
        manifest |= {"key": KEY[::-1]} if damage == "another key" else {"facts": None}
        write_json(entry / "manifest.json", manifest)
    with caplog.at_level(logging.WARNING, "mllmu_med"):
        assert fill(tmp_path, "second", calls) == {"training": {"steps": 3}}
    assert len(caplog.records) == 1
    assert "cached" in fill(tmp_path, "third", calls)
    assert calls == ["first", "second"]
    verify(entry)


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


def test_seconds_are_those_of_the_making(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(cache.time, "perf_counter", lambda: now[0])

    def slow(folder: Path) -> Callable[[], Facts]:
        def make() -> Facts:
            now[0] += 61.5
            return maker(folder, [])()

        return make

    def stage(name: str) -> Stage:
        return Stage(name, "learn", tmp_path / name, KEY, "", lambda f: reuse_or_make(KEY, f, slow(f), "theta0"))

    for name in ("first", "second"):
        stage(name).ensure()
    first, second = (read_manifest(tmp_path / name) for name in ("first", "second"))
    assert first["seconds"] == second["seconds"] == 61.5
    assert "cached" not in first
    assert second["cached"] is True
    assert took(first) == "61.5 s"
    assert took(second) == "61.5 s when it was made; taken from the cache"
    assert first["files"] == second["files"]


def test_an_entry_that_goes_while_it_is_copied_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fill(tmp_path, "first", calls)
    copy2 = cache.shutil.copy2

    def vanish(source: Path, target: Path) -> None:
        copy2(source, target)
        room.remove(cache_folder() / "base" / KEY[:32])

    monkeypatch.setattr(cache.shutil, "copy2", vanish)
    fill(tmp_path, "second", calls)
    assert calls == ["first", "second"]


def test_what_was_used_longest_ago_makes_room(tmp_path: Path) -> None:
    calls: list[str] = []
    for letter in "abcdef":
        fill(tmp_path, letter, calls, letter * 64)
    fill(tmp_path, "again", calls, "a" * 64)
    assert calls == list("abcdef")
    total = sum(entry.size for entry in room.entries(cache_folder()))
    room.make_room(cache_folder(), total // 2)
    assert sorted(path.name[0] for path in (cache_folder() / "base").iterdir()) == ["a", "f"]


def test_a_size_of_0_is_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fill(tmp_path, "first", calls)
    monkeypatch.setenv("MLLMU_MED_CACHE_SIZE", "0")
    fill(tmp_path, "second", calls)
    fill(tmp_path, "third", calls, KEY[::-1])
    assert calls == ["first", "second", "third"]
    assert len(room.entries(cache_folder())) == 1


def test_what_is_larger_than_the_cache_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLLMU_MED_CACHE_SIZE", "3")
    fill(tmp_path, "first", [])
    assert not cache_folder().exists()


def test_another_run_trains_nothing_that_is_trained_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another method list, in another folder: base, θ0, oracle and truncated retraining are taken, byte for byte."""
    shared = ("base", "theta0", "oracle", "truncated_retrain")
    run(tiny("methods=[ga]"), tmp_path / "one", until="unlearn", jobs=1)

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("something is trained again")

    for name in ("make_base", "make_learnt", "make_truncated_retrain"):
        monkeypatch.setattr(f"mllmu_med.pipeline.training.{name}", fail)
    run(tiny("methods=[npo,ga]"), tmp_path / "other", until="unlearn", jobs=1)
    for name in shared:
        one, other = (read_manifest(tmp_path / run / "models" / name) for run in ("one", "other"))
        assert one["files"] == other["files"], name
        assert verify(tmp_path / "other" / "models" / name)["cached"] is True
        assert "cached" not in one
        assert one["training"] == other["training"]
        assert 0 < other["training"]["loop_seconds"] <= other["seconds"] <= one["seconds"], "of the making"
    one, other = (read_manifest(tmp_path / run / "models" / "ga") for run in ("one", "other"))
    assert one["files"] == other["files"], "unlearnt from a θ0 that was copied"
    assert "cached" not in other
    with pytest.raises(AssertionError, match="trained again"):
        run(tiny("learn.oracle.steps=4"), tmp_path / "third", until="unlearn", jobs=1)


def test_rows_of_other_seeds_share_what_is_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Methods × seeds × shares of the retain data: θ0 once; equal draws give equal bytes, others do not."""
    from mllmu_med.pipeline import training

    learnt: list[str] = []
    make = training.make_learnt

    def counted(workshop: Workshop, which: Any, settings: Any, name: str, *rest: Any, seed: int) -> Any:
        learnt.append(name)
        return make(workshop, which, settings, name, *rest, seed=seed)

    monkeypatch.setattr(training, "make_learnt", counted)
    rows = ["{name: npo, row: a}", "{name: npo, row: b, seed: 0}", "{name: npo, row: c, seed: 7}",
            "{name: npo, row: d, retain_share: 0.5}"]  # fmt: skip
    recipe = tiny(f"methods=[{', '.join(rows)}]", "seed=0")
    run(recipe, tmp_path, until="unlearn", jobs=1)
    assert sorted(learnt) == ["oracle", "theta0"]
    files = {row: read_manifest(tmp_path / "models" / row)["files"] for row in "abcd"}
    assert files["a"] == files["b"], "its own seed is the recipe's"
    assert files["a"] != files["c"]
    assert files["a"] != files["d"]
