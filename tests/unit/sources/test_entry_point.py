"""The example of the how-to page, installed as a package that this one does not know."""

from __future__ import annotations

import importlib
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mllmu_med import listing
from mllmu_med.errors import DataError, UsageError
from mllmu_med.recipe.arguments import check_arguments
from mllmu_med.sources import SOURCES, Record, Source

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "add-a-source.md"


def block(language: str) -> str:
    """The page's only block of code in this language."""
    (code,) = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert isinstance(code, str)
    return code


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The example as an installed distribution; the name of its source."""
    site = tmp_path / "site-packages"
    metadata = site / "chest_pairs-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: chest-pairs\nVersion: 1.0\n", encoding="utf-8")
    groups = tomllib.loads(block("toml"))["project"]["entry-points"]
    lines = [
        line for group, points in groups.items() for line in (f"[{group}]", *(f"{n} = {v}" for n, v in points.items()))
    ]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    ((name, target),) = groups["mllmu_med.sources"].items()
    module = target.partition(":")[0]
    (site / f"{module}.py").write_text(block("python"), encoding="utf-8")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(SOURCES, "_items", dict(SOURCES._items))  # what is loaded here is forgotten afterwards
    importlib.invalidate_caches()
    yield name
    sys.modules.pop(module, None)


@pytest.fixture
def pairs(tmp_path: Path, jpeg: bytes) -> Path:
    """A file as the example reads it."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.jpg").write_bytes(jpeg)
    file = tmp_path / "data" / "pairs.tsv"
    file.write_text("a.jpg\tWhich organ?\tlung\na.jpg\tIs it left?\tyes\n", encoding="utf-8")
    return file


def test_the_example_is_no_longer_than_thirty_lines() -> None:
    assert len(block("python").splitlines()) <= 30
    assert len([line for line in (block("python") + block("toml")).splitlines() if line]) <= 30


def test_it_is_unknown_until_it_is_installed() -> None:
    with pytest.raises(UsageError, match="unknown source 'chest_pairs'"):
        SOURCES.get("chest_pairs")


def test_its_records_come_through_the_registry(installed: str, pairs: Path) -> None:
    assert installed in SOURCES.names()
    source: Source = SOURCES.get(installed)(pairs)
    image = next(source.records()).image
    assert image is not None
    assert image.path == (pairs.parent / "a.jpg").resolve()
    assert list(source.records()) == [
        Record("line-1", image, "Which organ?", "lung", group="a.jpg", source="chest_pairs"),
        Record("line-2", image, "Is it left?", "yes", group="a.jpg", source="chest_pairs"),
    ]
    assert source.skipped == {}
    assert source.about.licence == "CC-BY-4.0"


def test_its_fingerprint_follows_file_and_images(installed: str, pairs: Path) -> None:
    source = SOURCES.get(installed)(pairs)
    found = [source.fingerprint()]
    assert SOURCES.get(installed)(pairs).fingerprint() == found[0]
    (pairs.parent / "a.jpg").write_bytes(b"other")
    found.append(source.fingerprint())
    pairs.write_bytes(pairs.read_bytes().replace(b"lung", b"liver"))
    found.append(source.fingerprint())
    assert len(set(found)) == 3


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("b.jpg\tQ?\ta", r"pairs\.tsv, record line 1: no image 'b\.jpg'"),
        ("../pairs.tsv\tQ?\ta", "lies outside"),
        ("a.jpg\tQ?", "record line 1: expected image, question, answer"),
        ("a.jpg", "expected image, question, answer"),
    ],
)
def test_it_fails_in_one_line(installed: str, pairs: Path, line: str, reason: str) -> None:
    pairs.write_text(line, encoding="utf-8")
    with pytest.raises(DataError, match=reason):
        list(SOURCES.get(installed)(pairs).records())


def test_a_recipe_can_name_it(installed: str, pairs: Path) -> None:
    arguments = check_arguments(SOURCES.get(installed), {"path": str(pairs)}, block="source", what="it")
    assert len(list(SOURCES.get(installed)(**arguments).records())) == 2
    with pytest.raises(UsageError, match=r"source\.pth: it has no such key \(did you mean 'path'\?\)"):
        check_arguments(SOURCES.get(installed), {"pth": "x"}, block="source", what="it")
    (row,) = [row for row in listing.sources() if row["source"] == installed]
    assert row["keys"] == "path"
