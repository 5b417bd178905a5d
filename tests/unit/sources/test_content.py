"""A digest of files is of what they hold, and what was read is not read again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mllmu_med.sources import content
from mllmu_med.sources.content import content_digest


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a process that has read nothing yet."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("MLLMU_MED_CACHE", str(folder))
    monkeypatch.setattr(content, "_known", {})
    return folder


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Three files of a folder."""
    folder = tmp_path / "images"
    folder.mkdir()
    made = [folder / f"{name}.jpg" for name in "abc"]
    for number, path in enumerate(made):
        path.write_bytes(bytes([number]) * 10)
    return made


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read."""
    names: list[str] = []
    digest = content.file_digest

    def noted(path: Path) -> str:
        names.append(path.name)
        return digest(path)

    monkeypatch.setattr(content, "file_digest", noted)
    return names


def another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this one has in memory is forgotten."""
    monkeypatch.setattr(content, "_known", {})


@pytest.mark.usefixtures("cache")
def test_a_copy_elsewhere_with_other_times_is_the_same_content(files: list[Path], tmp_path: Path) -> None:
    first = content_digest(files)
    (tmp_path / "other").mkdir()
    copies = [Path(shutil.copy(path, tmp_path / "other" / path.name)) for path in files]
    assert content_digest(copies) != first  # the folder's name is part of what is told apart
    shutil.copytree(files[0].parent, tmp_path / "moved" / "images")
    moved = [tmp_path / "moved" / "images" / path.name for path in files]
    for path in moved:
        os.utime(path, (5, 5))
    assert content_digest(moved) == first


@pytest.mark.usefixtures("cache")
def test_content_names_order_and_absence_are_told_apart(files: list[Path]) -> None:
    seen = {content_digest(files), content_digest(files[:2]), content_digest([]), content_digest(reversed(files))}
    files[1].write_bytes(b"\x09" * 10)  # as long as before
    seen.add(content_digest(files))
    files[1].unlink()
    seen.add(content_digest(files))
    assert len(seen) == 6
    assert content_digest([*files, files[0]]) in seen  # twice the same file is no more than once


def test_what_was_read_once_is_known_to_every_process(
    cache: Path, files: list[Path], read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = content_digest(files)
    assert sorted(read) == ["a.jpg", "b.jpg", "c.jpg"]
    assert content_digest(iter(files)) == first
    another_process(monkeypatch)
    assert content_digest(files) == first
    assert len(read) == 3
    (entry,) = (cache / "contents").iterdir()
    for reads, damaged in enumerate(["", "[]", "{}", '{"sha256": 5}', '{"sha256": "ab"}'], start=2):
        entry.write_text(damaged)
        another_process(monkeypatch)
        assert content_digest(files) == first
        assert len(read) == 3 * reads


def test_without_a_cache_a_process_reads_once(
    cache: Path, files: list[Path], read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLLMU_MED_CACHE_SIZE", "0")
    assert content_digest(files) == content_digest(files)
    assert len(read) == 3
    assert not cache.exists()
    another_process(monkeypatch)
    content_digest(files)
    assert len(read) == 6


@pytest.mark.usefixtures("cache")
def test_what_could_not_be_read_is_tried_again(files: list[Path], read: list[str]) -> None:
    whole = content_digest(files)
    path = files[2].rename(files[2].with_suffix(".away"))
    less = content_digest(files)
    assert content_digest(files) == less != whole
    assert read.count("a.jpg") == 3
    os.utime(path, (7, 7))
    path.rename(files[2])
    assert content_digest(files) == whole


@pytest.mark.usefixtures("cache")
def test_after_an_interruption_only_the_rest_is_read(
    files: list[Path], read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "TOGETHER", 2)

    def interrupted() -> Iterator[Path]:
        yield from files[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        content_digest(interrupted())
    content_digest(files)
    assert sorted(read) == ["a.jpg", "b.jpg", "c.jpg"]


def test_a_read_only_cache_costs_time_and_no_run(
    cache: Path, files: list[Path], read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.write_text("a file stands in its place")
    first = content_digest(files)
    another_process(monkeypatch)
    assert content_digest(files) == first
    assert len(read) == 6
