"""Images by the names that records give, none from outside the folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from mllmu_med.errors import DataError
from mllmu_med.sources import image_folder
from mllmu_med.sources.image_folder import ImageFolder, find_one


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five files in a folder, and one beside it."""
    (tmp_path / "data").mkdir()
    for number in range(5):
        (tmp_path / "data" / f"{number}.jpg").write_bytes(b"x")
    (tmp_path / "secret.jpg").write_bytes(b"x")
    return tmp_path / "data"


def test_an_image_is_the_same_reference_while_it_is_remembered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_folder, "_REMEMBERED", 2)
    images = ImageFolder(folder)
    first = images.ref("0.jpg", file=folder, record="1")
    assert (first.key, first.path) == ("0.jpg", (folder / "0.jpg").resolve())
    assert images.ref("1.jpg", file=folder, record="2") is not first
    assert images.ref("0.jpg", file=folder, record="3") is first
    images.ref("2.jpg", file=folder, record="4")
    again = images.ref("0.jpg", file=folder, record="5")
    assert again is not first
    assert again == first
    assert len(images._found) == 2


def test_what_is_absent_or_outside_is_told_with_the_record_that_asks_for_it(folder: Path) -> None:
    images = ImageFolder(folder)
    with pytest.raises(DataError, match=r"^q\.json, record 7: no image '9\.jpg' in .*data\. Check the image folder"):
        images.ref("9.jpg", file=Path("q.json"), record="7")
    with pytest.raises(DataError, match=r"^q\.json, record 7: image '\.\./secret\.jpg' lies outside"):
        images.ref("../secret.jpg", file=Path("q.json"), record="7")
    assert not images._found


def test_the_first_of_several_names_is_found(folder: Path) -> None:
    assert find_one(folder, ("x", "3.jpg", "1.jpg"), "file") == folder / "3.jpg"
    with pytest.raises(DataError, match=r"data: no image folder 'x' or 'y'\. Check source\.path and the download"):
        find_one(folder, iter(("x", "y")), "image folder")
