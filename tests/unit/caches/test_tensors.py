"""Tensors on disk: equal bits come back, or nothing does."""

from __future__ import annotations

import gc
import json
import logging
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mllmu_med.caches import tensors
from mllmu_med.caches.tensors import FORMAT, TensorStore, tensor_digest

SPACE, OTHER = "ab" * 32, "cd" * 32


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLLMU_MED_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MLLMU_MED_CACHE_SIZE", raising=False)
    return tmp_path / "cache"


ENTRY = {
    "": torch.tensor([1.5, -0.0, float("nan"), 2**-149]), "half": torch.tensor([[1.0], [-3.0]], dtype=torch.bfloat16),
    "count.0": torch.tensor([2**62], dtype=torch.int64), "none": torch.zeros(0, 3),
}  # fmt: skip


def filled(*names: str, space: str = SPACE) -> TensorStore:
    store = TensorStore("features", space)
    for name in names:
        store.put(name, ENTRY)
    store.flush()
    return store


def files(root: Path) -> list[Path]:
    return sorted(root.rglob("*.safetensors"))


def same(found: dict[str, torch.Tensor] | None) -> bool:
    return found is not None and {k: tensor_digest(v) for k, v in found.items()} == {
        k: tensor_digest(v) for k, v in ENTRY.items()
    }


def test_every_bit_comes_back_from_another_store(root: Path) -> None:
    filled("a", "b")
    store = TensorStore("features", SPACE)
    assert same(store.get("a"))
    assert same(store.get("b"))
    assert store.get("c") is None
    assert len(files(root)) == 1, "many entries are one file"
    assert TensorStore("references", SPACE).get("a") is None
    assert TensorStore("features", OTHER).get("a") is None


def test_entries_are_there_before_they_are_written_and_are_written_when_the_store_goes(root: Path) -> None:
    store = TensorStore("features", SPACE)
    given = torch.ones(3)
    store.put("a", {"values": given})
    given += 1
    kept = store.get("a")
    assert kept is not None
    assert kept["values"].tolist() == [1, 1, 1], "what was put is kept, not what became of it"
    assert files(root) == []
    assert store.gathered == 12
    del store, kept
    gc.collect()
    assert len(files(root)) == 1


def test_they_are_written_when_there_are_enough_of_them_or_they_have_waited(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = TensorStore("features", SPACE)
    monkeypatch.setattr(tensors, "GATHERED", 100)
    for name in "abcdef":
        store.put(name, {"values": torch.zeros(10)})
    assert len(files(root)) == 2
    monkeypatch.setattr(tensors, "GATHERED", 10**9)
    monkeypatch.setattr(tensors, "PATIENCE", -1.0)
    store.put("g", {"values": torch.zeros(10)})
    assert len(files(root)) == 3


def test_what_another_process_adds_is_found(root: Path) -> None:
    store = filled("a")
    assert store.get("b") is None
    filled("b")
    assert same(store.get("b"))


def test_files_are_mapped_and_not_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "GATHERED", 10**9)
    store = TensorStore("references", SPACE)
    for name in "ab":
        store.put(name, {"values": torch.full((8 << 20,), ord(name), dtype=torch.float32)})
    store.flush()
    before = _resident()
    found = TensorStore("references", SPACE).get("a")
    assert found is not None
    assert _resident() - before < 48, "MiB; both entries are 64"
    with Path("/proc/self/maps").open() as maps:
        assert any(str(files(root)[0]) in line for line in maps)


def _resident() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("VmRSS:"))) / 1024


def flip_bit(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def damage(path: Path, how: str) -> None:
    if how == "a bit of a tensor":
        flip_bit(path, -1)
    elif how == "a bit of a name":
        flip_bit(path, path.read_bytes().rindex(b'"b:half"') + 1)
    elif how == "cut off":
        path.write_bytes(path.read_bytes()[:-3])
    elif how == "cut to nothing":
        path.write_bytes(b"")
    elif how == "no safetensors":
        path.write_bytes(b"something else, and longer than a header's length")
    else:
        with safe_open(path, "pt") as file:
            head = file.metadata()
        held = load_file(path)
        if how == "another space":
            head["space"] = OTHER
        elif how == "an older format":
            head["format"] = "mllmu-med/tensors/0"
        elif how == "no digests":
            head = {"format": FORMAT, "space": SPACE}
        elif how == "spoilt digests":
            head["digests"] = "{"
        else:
            head["digests"] = json.dumps({**json.loads(head["digests"]), "c:half": "0"})
        save_file(held, path, metadata=head)


DAMAGES = (
    "a bit of a tensor", "a bit of a name", "cut off", "cut to nothing", "no safetensors", "another space",
    "an older format", "no digests", "spoilt digests", "an entry too many",
)  # fmt: skip


@pytest.mark.parametrize("how", DAMAGES)
def test_what_is_damaged_counts_as_absent_and_is_made_again(
    how: str, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled("a", "b")
    (path,) = files(root)
    damage(path, how)
    store = TensorStore("features", SPACE)
    with caplog.at_level(logging.WARNING, "mllmu_med"):
        found = [store.get("b"), store.get("a"), store.get("b")]
    assert found == [None, None, None]
    assert len(caplog.records) == 1
    assert str(path) in caplog.text
    assert files(root) == []
    store.put("a", ENTRY)
    store.put("b", ENTRY)
    store.flush()
    assert same(store.get("a"))
    assert same(TensorStore("features", SPACE).get("b"))


def test_an_entry_in_two_files_survives_the_damage_of_one(root: Path) -> None:
    filled("a", "b")
    filled("b", "c")
    flip_bit(next(path for path in files(root) if "a:half" in path.read_bytes().decode(errors="replace")), -1)
    store = TensorStore("features", SPACE)
    store.get("a")
    assert same(store.get("b"))
    assert same(store.get("c"))


def test_what_is_mapped_outlives_its_file(root: Path) -> None:
    store = filled("a")
    found = store.get("a")
    files(root)[0].unlink()
    assert same(found)
    assert same(store.get("a"))
    assert TensorStore("features", SPACE).get("a") is None


@pytest.mark.parametrize("why", ["a file in the way", "a full disk"])
def test_a_disk_that_cannot_be_written_costs_one_line(
    why: str, root: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    if why == "a file in the way":
        root.write_text("")
    else:

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(tensors.os, "replace", full)
    store = TensorStore("features", SPACE)
    with caplog.at_level(logging.WARNING, "mllmu_med"):
        for name in "abc":
            store.put(name, ENTRY)
            store.flush()
    assert len(caplog.records) == 1
    assert "nothing more is kept" in caplog.text
    assert store.get("a") is None
    assert not root.is_dir() or [path for path in root.rglob("*") if path.is_file()] == []


def test_a_size_of_0_is_no_cache(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled("b")
    monkeypatch.setenv("MLLMU_MED_CACHE_SIZE", "0")
    store = filled("a")
    assert store.get("a") is None
    assert store.get("b") is None, "and nothing is taken"
    assert len(files(root)) == 1


def test_what_is_larger_than_the_cache_is_not_written(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLLMU_MED_CACHE_SIZE", "10")
    filled("a")
    assert files(root) == []
