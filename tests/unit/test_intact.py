"""Tables that are damaged, foreign or gone: one line that names the file."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from mllmu_med.benchmark.builder import build_benchmark
from mllmu_med.benchmark.sample import Subset
from mllmu_med.benchmark.store import Benchmark
from mllmu_med.errors import DataError
from mllmu_med.intact import intact
from tests.unit.benchmark.conftest import PLAN
from tests.unit.benchmark.fake_source import FakeSource


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_benchmark(FakeSource(), PLAN, tmp_path_factory.mktemp("benchmark") / "b", seed=0).path


@pytest.fixture
def opened(made: Path, tmp_path: Path) -> Benchmark:
    """A benchmark that a test may damage."""
    return Benchmark.open(shutil.copytree(made, tmp_path / "b"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def foreign(path: Path) -> None:
    parquet.write_table(pyarrow.table({"a": [1, 2]}), path)


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for place in range(8, len(data) // 2):
        data[place] ^= 255
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("damage", [cut, emptied, foreign, flipped])
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("samples/retain-00000.parquet", lambda b: b.samples(Subset.RETAIN)),
        ("images/images-00000.parquet", lambda b: [b.image_bytes(name) for name in b.image_ids()]),
    ],
)
def test_a_damaged_benchmark(
    opened: Benchmark, name: str, read: Callable[[Benchmark], Any], damage: Callable[[Path], None]
) -> None:
    assert read(opened)
    again = Benchmark.open(opened.path)
    damage(opened.path / name)
    with pytest.raises(DataError, match=r"00000\.parquet: damaged, or of another version: ") as caught:
        read(again)
    assert "\n" not in str(caught.value)


def test_a_damaged_ledger(opened: Benchmark) -> None:
    for damage in (cut, emptied):
        damage(opened.path / "ledger.parquet")
        with pytest.raises(DataError, match=r"ledger\.parquet: damaged"):
            opened.ledger()
    (opened.path / "ledger.parquet").unlink()
    with pytest.raises(DataError, match=r"ledger\.parquet: no such file"):
        opened.ledger()


def test_an_unknown_subset(opened: Benchmark) -> None:
    path = opened.path / "samples" / "retain-00000.parquet"
    table = parquet.read_table(path)
    place = table.column_names.index("subset")
    table = table.set_column(place, "subset", pyarrow.array(["elsewhere"] * len(table)))
    parquet.write_table(table, path)
    with pytest.raises(DataError, match="'elsewhere' is not a valid Subset"):
        opened.samples(Subset.RETAIN)


def test_what_is_no_damage_is_let_through(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), intact(tmp_path):
        raise PermissionError(13, "no")
    with pytest.raises(DataError, match="its own"), intact(tmp_path):
        raise DataError("its own")
    with pytest.raises(ZeroDivisionError), intact(tmp_path):
        _ = 1 // 0
