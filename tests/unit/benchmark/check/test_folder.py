from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mllmu_med.benchmark.check import check_benchmark
from mllmu_med.errors import DataError, IntegrityError
from mllmu_med.folders import write_json
from tests.unit.benchmark.check.tampering import Good, rewrite_json, told


def rewrite(name: str, change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        pq.write_table(change(pq.read_table(folder / name)), folder / name)

    return apply


def test_a_changed_missing_or_extra_file_is_an_integrity_error(good: Good, tmp_path: Path) -> None:
    good.tampered(tmp_path / "b")
    (tmp_path / "b" / "samples" / "test-00000.parquet").write_bytes(b"PAR1")
    (tmp_path / "b" / "ledger.parquet").unlink()
    (tmp_path / "b" / "notes.txt").write_text("mine")
    with pytest.raises(IntegrityError) as caught:
        check_benchmark(tmp_path / "b")
    assert "ledger.parquet is missing; notes.txt is not in the manifest; samples/test-00000.parquet has changed" in str(
        caught.value
    )
    assert caught.value.exit_code == 6


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        (
            {"format": "mllmu-med/benchmark/99", "package": "7.1.0"},
            r"newer than.*written by MLLMU-Med 7\.1\.0\. Update",
        ),
        ({"format": "mllmu-med/benchmark/10", "package": "1.0"}, r"newer than.*written by MLLMU-Med 1\.0\. Update"),
        ({"format": "mllmu-med/benchmark/1", "package": "0.0.9"}, r"older than.*by MLLMU-Med 0\.0\.9\. Build"),
        ({"format": "mllmu-med/benchmark/0"}, r"older than.*of an unknown version"),
        ({"format": "mllmu-med/model/2"}, r"the format is 'mllmu-med/model/2', not"),
        ({}, r"the format is 'None', not"),
    ],
)
def test_another_format_is_a_data_error_that_says_who_wrote_it(
    manifest: dict[str, Any], words: str, tmp_path: Path
) -> None:
    write_json(tmp_path / "manifest.json", manifest)
    with pytest.raises(DataError, match=words) as caught:
        check_benchmark(tmp_path)
    assert caught.value.exit_code == 3


def test_a_folder_without_manifest_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no manifest\.json"):
        check_benchmark(tmp_path)


def test_other_columns_are_told_and_nothing_else_is_read(good: Good, tmp_path: Path) -> None:
    def damage(folder: Path) -> None:
        test, retain = "samples/test-00000.parquet", "samples/retain-00000.parquet"
        rewrite(test, lambda table: table.drop_columns(["question"]))(folder)
        rewrite(retain, lambda t: t.set_column(0, "id", pa.array(range(len(t)))))(folder)
        rewrite("ledger.parquet", lambda t: t.append_column("mood", pa.array(["good"] * len(t))))(folder)

    report = good.tampered(tmp_path / "b", files=damage)
    ours = [text for text in told(report) if "[columns]" in text]
    assert ours == [
        "error [columns] ledger.parquet has a column 'mood' that no benchmark has",
        "error [columns] samples/retain-00000.parquet: column 'id' is int64 instead of string",
        "error [columns] samples/test-00000.parquet has no column 'question'",
    ]
    assert (report.samples, report.images, report.ok) == (0, 0, False)


def test_files_that_are_no_parquet_or_belong_to_no_subset_are_told(good: Good, tmp_path: Path) -> None:
    def damage(folder: Path) -> None:
        (folder / "images" / "images-00001.parquet").write_bytes(b"not parquet")
        (folder / "samples" / "train-00000.parquet").write_bytes((folder / "ledger.parquet").read_bytes())
        (folder / "ledger.parquet").unlink()

    report = good.tampered(tmp_path / "b", files=damage)
    assert [text for text in told(report) if "[files]" in text] == [
        "error [files] images/images-00001.parquet cannot be read as parquet",
        "error [files] ledger.parquet is missing",
        "error [files] samples/train-00000.parquet is not a file of a benchmark",
    ]


def test_a_missing_card_or_description_is_told(good: Good, tmp_path: Path) -> None:
    def damage(folder: Path) -> None:
        (folder / "README.md").unlink()
        (folder / "croissant.json").unlink()

    assert told(good.tampered(tmp_path / "b", files=damage)) == [
        "error [descriptions] there is no croissant.json",
        "error [descriptions] there is no dataset card, README.md",
    ]


def test_a_description_of_other_files_is_told(good: Good, tmp_path: Path) -> None:
    def damage(folder: Path) -> None:
        (folder / "README.md").write_text("another card")

        def rename(described: Any) -> None:
            described["distribution"][1]["@id"] = "gone.parquet"

        rewrite_json(folder / "croissant.json", rename)

    texts = told(good.tampered(tmp_path / "b", files=damage))
    assert len(texts) == 3
    assert all("croissant.json and the manifest differ about" in text for text in texts)
    assert {text.rpartition(" ")[2] for text in texts} >= {"README.md", "gone.parquet"}


@pytest.mark.parametrize("text", ["{", "[]", '{"distribution": 3}', "null"])
def test_what_is_no_description_at_all_is_told(text: str, good: Good, tmp_path: Path) -> None:
    report = good.tampered(tmp_path / "b", files=lambda folder: (folder / "croissant.json").write_text(text))
    assert told(report) == ["error [descriptions] croissant.json is not Croissant metadata"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("counts", 3), ("plan", None), ("rules", {}), ("rules", [1]), ("rules", [{"id": "r"}]), ("images", "4"),
     ("images", True)],
)  # fmt: skip
def test_a_malformed_manifest_is_a_data_error(name: str, value: object, good: Good, tmp_path: Path) -> None:
    write_json(tmp_path / "manifest.json", {**good.manifest, "files": {}, name: value})
    with pytest.raises(DataError, match=f"manifest.json: .*'{name}' is"):
        check_benchmark(tmp_path)
