"""A stage is done, or made whole, or not there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mllmu_med.errors import DataError
from mllmu_med.folders import read_manifest, verify
from mllmu_med.pipeline.stage import Facts, Stage


def stage(folder: Path, calls: list[str], key: str = "one") -> Stage:
    def make(target: Path) -> Facts:
        calls.append(key)
        (target / "file").write_text(key)
        return {"count": 3}

    return Stage("npo", "unlearn", folder / "npo", key, "2 steps of 6", make)


def test_it_is_made_once(tmp_path: Path) -> None:
    calls: list[str] = []
    own = stage(tmp_path, calls)
    assert (own.plan().name, own.plan().status, own.plan().reason) == ("npo", "to do", "absent")
    assert own.ensure() is True
    assert own.ensure() is False
    assert calls == ["one"]
    assert (own.plan().status, own.plan().reason) == ("done", "reused")
    manifest = verify(own.folder)
    assert (manifest["key"], manifest["stage"], manifest["count"]) == ("one", "npo", 3)
    assert manifest["seconds"] >= 0
    assert own.facts() == manifest


def test_another_key_makes_it_again(tmp_path: Path) -> None:
    calls: list[str] = []
    stage(tmp_path, calls).ensure()
    changed = stage(tmp_path, calls, "two")
    assert changed.plan().reason == "its inputs have changed"
    assert changed.ensure() is True
    assert (changed.folder / "file").read_text() == "two"
    assert calls == ["one", "two"]


def test_a_failure_leaves_what_was_there_before(tmp_path: Path) -> None:
    calls: list[str] = []
    stage(tmp_path, calls).ensure()

    def fail(target: Path) -> Facts:
        (target / "half").write_text("written")
        raise DataError("no")

    broken = replace(stage(tmp_path, calls, "two"), make=fail)
    with pytest.raises(DataError):
        broken.ensure()
    assert [path.name for path in tmp_path.iterdir()] == ["npo"]
    assert read_manifest(tmp_path / "npo")["key"] == "one"
    with pytest.raises(DataError):
        replace(broken, folder=tmp_path / "new").ensure()
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("threads", "expected"), [(1, 1), (2, 2), (0, 3)])
def test_it_computes_with_its_own_number_of_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int, expected: int
) -> None:
    """The number of threads is the stage's, whatever ran before it in the process; 0 is what the environment allows."""
    import torch

    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    found: list[int] = []

    def make(target: Path) -> Facts:
        found.append(torch.get_num_threads())
        return {}

    replace(stage(tmp_path, []), make=make, threads=threads).ensure()
    assert found == [expected]
