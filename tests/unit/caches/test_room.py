"""The cache stays within its size, also when several processes fill it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mllmu_med.caches import room
from mllmu_med.caches.place import DEFAULT_SIZE, cache_folder, cache_size, private_folder
from mllmu_med.errors import UsageError


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLLMU_MED_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MLLMU_MED_CACHE_SIZE", raising=False)
    return tmp_path / "cache"


def tensors(root: Path, name: str, size: int, age: float, kind: str = "features") -> Path:
    path = root / kind / "space" / f"{name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (time.time() - age,) * 2)
    return path


def stage(root: Path, kind: str, size: int, age: float) -> Path:
    folder = root / kind / "key"
    (folder / "adapter").mkdir(parents=True)
    (folder / "adapter" / "weights").write_bytes(bytes(size))
    (folder / "manifest.json").write_text("{}")
    os.utime(folder, (time.time() - age,) * 2)
    return folder


@pytest.mark.parametrize(
    ("text", "size"),
    [("", DEFAULT_SIZE), ("0", 0), ("12345", 12345), ("500M", 500 << 20), ("1.5GiB", 3 << 29), ("2 tb", 2 << 40)],
)
def test_sizes_in_words(text: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLLMU_MED_CACHE_SIZE", text)
    assert cache_size() == size


@pytest.mark.parametrize("text", ["much", "-1", "5X", "1e9", "G"])
def test_what_is_no_size_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLLMU_MED_CACHE_SIZE", text)
    with pytest.raises(UsageError, match="MLLMU_MED_CACHE_SIZE"):
        cache_size()


def test_what_was_used_longest_ago_goes_first(root: Path) -> None:
    old, older, oldest = (tensors(root, str(age), 100, age) for age in (10, 20, 30))
    kept = stage(root, "theta0", 100, 5)
    ancient = stage(root, "base", 100, 40)
    room.touch(oldest)
    assert room.make_room(root, 400) == 2
    assert not ancient.exists()
    assert not older.exists()
    assert old.exists()
    assert oldest.exists(), "it was used just now"
    assert kept.exists()
    assert room.make_room(root, 400) == 0


def test_entries_are_counted_with_all_their_files(root: Path) -> None:
    tensors(root, "a", 100, 0)
    stage(root, "oracle", 50, 0)
    found = {entry.kind: entry.size for entry in room.entries(root)}
    assert found["features"] == 100
    assert found["oracle"] == 52, "the manifest too"
    assert room.entries(root / "absent") == []


def test_what_killed_processes_left_is_swept_away_and_what_is_being_written_is_not(root: Path) -> None:
    day = room.ABANDONED + 60
    left = [tensors(root, f".part-{age}", 10, age) for age in (day, 5)]
    staging = root / "theta0" / ".staging-x"
    staging.mkdir(parents=True)
    (staging / "weights").write_bytes(b"x")
    os.utime(staging, (time.time() - day,) * 2)
    room.make_room(root, 10**9)
    assert not left[0].exists()
    assert left[1].exists()
    assert not staging.exists()


def test_an_entry_is_removed_by_one_and_never_half_there(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stage(root, "base", 10, 0)
    delete, seen = room._delete, []

    def note(moved: Path) -> None:
        seen.append((path.exists(), (moved / "adapter" / "weights").is_file()))
        delete(moved)

    monkeypatch.setattr(room, "_delete", note)
    assert room.remove(path)
    assert not room.remove(path)
    assert seen == [(False, True)], "it has another name, and is whole, before anything of it is deleted"
    assert list((root / "base").iterdir()) == []


def test_room_is_made_now_and_then(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLLMU_MED_CACHE_SIZE", "1000")
    monkeypatch.setattr(room, "_written", {})
    first = tensors(root, "first", 900, 10)
    room.wrote(900)
    for number in range(4):
        tensors(root, str(number), 40, 5)
        room.wrote(40)
    assert not first.exists()


def test_the_folders_are_the_owners_alone(root: Path) -> None:
    folder = private_folder(root / "features" / "space")
    assert cache_folder().stat().st_mode & 0o077 == 0
    assert folder.stat().st_mode & 0o077 == 0


WRITER = """
import sys, torch
from mllmu_med.caches import tensors
from mllmu_med.caches.tensors import TensorStore
tensors.GATHERED = 0
who = int(sys.argv[1])
store = TensorStore("features", "ab" * 32)
wrong = found = 0
for number in range(60):
    for own in (number, number * 2 + who):  # half of the names are the other process's as well
        store.put(f"entry-{own}", {"values": torch.full((250,), float(own))})
    for back in range(0, number, 7):
        for one in (store, TensorStore("features", "ab" * 32)):
            kept = one.get(f"entry-{back}")
            found += kept is not None
            wrong += kept is not None and not bool((kept["values"] == back).all())
print(wrong, found)
"""


def test_two_processes_fill_and_empty_it_at_once(root: Path) -> None:
    """Neither fails, nothing wrong is read, and what is left fits."""
    size = 30_000
    environment = {**os.environ, "MLLMU_MED_CACHE_SIZE": str(size)}
    pair = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(who)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )
        for who in range(2)
    ]  # fmt: skip
    for process in pair:
        out, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
        assert "Traceback" not in said
        assert "damaged" not in said
        wrong, found = map(int, out.split())
        assert wrong == 0
        assert found > 0
    kept = room.entries(root)
    assert 0 < sum(entry.size for entry in kept) <= size * 1.2, "two processes overshoot by a twentieth each"
    assert not list(root.rglob(".*")), "nothing half written or half removed"
