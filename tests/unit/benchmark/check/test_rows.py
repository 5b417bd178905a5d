from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mllmu_med.benchmark.sample import Probe, Subset
from tests.unit.benchmark.check.tampering import Good, about, changed, checks, counted, told


def test_a_repeated_id_is_told_once(good: Good, tmp_path: Path) -> None:
    retained = good.some(3, subset=Subset.RETAIN)
    samples = changed(good.samples, {s.id: {"id": "twin"} for s in retained})
    report = good.tampered(tmp_path / "b", samples)
    assert told(report) == ["error [ids] twin: the id occurs 3 times"]


def test_wordings_that_do_not_add_up_are_a_warning(good: Good, tmp_path: Path) -> None:
    sample = good.one(subset=Subset.RETAIN)
    report = good.tampered(tmp_path / "b", changed(good.samples, {sample.id: {"repetitions": 5}}))
    assert told(report) == [f"warning [repetitions] {sample.id}: repetitions do not match the training wordings"]
    assert report.ok


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("counts", {}, "the numbers of samples"),
        ("phi_classes", {"name": 1}, "the numbers of private values by class"),
        ("forms", {"leak": 1}, "the numbers of samples by form"),
        ("error_types", {}, "the numbers of wrong facts by kind"),
        ("languages", {"en": 1}, "the numbers of samples by language"),
        ("probes", {"paraphrase": 1}, "the numbers of probes"),
        ("patients", {"forgotten": 3, "retained": 3, "holdout": 3}, "the numbers of patients"),
        ("burned_images", 7, "the numbers of images with burned-in values"),
    ],
)
def test_a_wrong_number_in_the_manifest_is_told(
    name: str, value: object, words: str, good: Good, tmp_path: Path
) -> None:
    assert counted(good.samples)[name] == good.manifest[name]  # what the other tests rely on
    report = good.tampered(tmp_path / "b", manifest={name: value})
    assert told(report) == [f"error [counts] {words} differ from those in the manifest"]


def test_wrong_numbers_of_images_and_of_a_rules_records_are_told(good: Good, tmp_path: Path) -> None:
    rule = good.manifest["rules"][0]
    manifest = {"images": len(good.images) + 1, "rules": [{**rule, "unseen": rule["unseen"] + 1}]}
    report = good.tampered(tmp_path / "b", manifest=manifest)
    assert told(report) == [
        f"error [counts] {len(good.images)} images are stored; the manifest says {len(good.images) + 1}",
        f"error [counts] the records of {rule['id']} differ from those in the manifest",
    ]


def test_a_sample_in_the_file_of_another_subset_is_told(good: Good, tmp_path: Path) -> None:
    def swap(folder: Path) -> None:
        for name in ("test", "validation"):
            (folder / "samples" / f"{name}-00000.parquet").rename(folder / f"{name}.parquet")
        (folder / "test.parquet").rename(folder / "samples" / "validation-00000.parquet")
        (folder / "validation.parquet").rename(folder / "samples" / "test-00000.parquet")

    report = good.tampered(tmp_path / "b", files=swap)
    sample = min(good.samples, key=lambda s: (s.subset is not Subset.TEST, s.id))
    assert about(report, sample.id) == ["is of test but stands in the file of validation"]
    assert {"rows", "counts"} <= checks(report)


def test_gaps_are_told_and_do_not_stop_the_rest(good: Good, tmp_path: Path) -> None:
    private = good.one(form="leak", subset=Subset.FORGET_PRIVACY)
    plain = good.some(3, subset=Subset.TEST)
    repeated = good.one(subset=Subset.RETAIN)

    def damage(folder: Path) -> None:
        for sample, change in (
            (private, {"spans": [{"phi_class": "mrn", "value": None, "start": 0, "end": 1, "space": 1.0}]}),
            (plain[0], {"question": None}),
            (plain[1], {"answer": ""}),
            (plain[2], {"hierarchy": [{"level": None, "name": "CT"}]}),
            (repeated, {"repetitions": 9}),
        ):
            file = folder / "samples" / f"{sample.subset.file_name}-00000.parquet"
            table = pq.read_table(file)
            rows: list[dict[str, Any]] = table.to_pylist()
            next(row for row in rows if row["id"] == sample.id).update(change)
            pq.write_table(table.from_pylist(rows, schema=table.schema), file)

    report = good.tampered(tmp_path / "b", files=damage)
    assert {s.id: about(report, s.id) for s in (private, *plain)} == {
        private.id: ["has nothing, or gaps, in its spans"],
        plain[0].id: ["has nothing, or gaps, in its question"],
        plain[1].id: ["has nothing, or gaps, in its answer"],
        plain[2].id: ["has nothing, or gaps, in its hierarchy"],
    }
    assert about(report, repeated.id) == ["repetitions do not match the training wordings"]


def test_gaps_in_every_nested_column_are_seen(good: Good) -> None:
    from mllmu_med.benchmark.check.rows import empty_columns

    sample = good.one(form="burned", subset=Subset.FORGET_PRIVACY)
    assert empty_columns(sample) == []
    region, span = sample.regions[0], sample.spans[0]
    gaps: dict[str, Any] = {
        "spans": (replace(span, space=None),), "regions": (replace(region, x0=None),), "phrasings": (None,),
        "accepted": ("yes", None), "probes": (Probe("generic", "Who?", image=None),), "group": "",
    }  # fmt: skip
    for name, value in gaps.items():
        assert empty_columns(replace(sample, **{name: value})) == [name]
    assert empty_columns(replace(sample, probes=(Probe("generic", "Who?"),))) == []
