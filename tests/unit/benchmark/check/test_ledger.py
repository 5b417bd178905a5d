from __future__ import annotations

from pathlib import Path

from mllmu_med.benchmark.ledger import ledger_rows
from mllmu_med.benchmark.sample import Subset
from tests.unit.benchmark.check.tampering import Good, changed, told


def test_rows_without_samples_and_samples_without_rows_are_told(good: Good, tmp_path: Path) -> None:
    rows = ledger_rows(good.samples)
    lost, doubled = rows[0], rows[1]
    stored = [*rows[1:], doubled, {**rows[2], "fact_id": "invented"}]
    assert set(told(good.tampered(tmp_path / "b", ledger=stored))) == {
        f"error [ledger] {lost['fact_id']}: is told by samples, but has no row",
        f"error [ledger] {doubled['fact_id']}: has 2 rows",
        "error [ledger] invented: has a row, but no sample tells it",
    }


def test_rows_that_say_otherwise_than_their_samples_are_told(good: Good, tmp_path: Path) -> None:
    rows = ledger_rows(good.samples)
    wrong = next(row for row in rows if row["scenario"] == "incorrectness")
    private = [row for row in rows if row["scenario"] == "privacy" and len(row["sample_ids"]) > 1]
    value = private[0]["values"][0]
    changes = {
        wrong["fact_id"]: {"wrong_answer": "something else", "repetitions": wrong["repetitions"] + 1},
        private[0]["fact_id"]: {"values": ["Someone Else"]},
        private[1]["fact_id"]: {"sample_ids": [*private[1]["sample_ids"][1:], "x", "y"]},
        private[2]["fact_id"]: {"image_ids": []},
        private[3]["fact_id"]: {"spans": private[3]["spans"][1:], "role": "holdout?"},
    }
    stored = [{**row, **changes.get(row["fact_id"], {})} for row in rows]
    found = told(good.tampered(tmp_path / "b", ledger=stored))
    differs = "the row's {} is not what its samples say"
    assert sorted(found) == sorted(
        f"error [ledger] {fact_id}: {text}"
        for fact_id, texts in {
            wrong["fact_id"]: [differs.format("wrong_answer"), differs.format("repetitions")],
            private[0]["fact_id"]: [differs.format("values")],
            private[1]["fact_id"]: ["of the row's samples 2 do not tell it; 1 that do are left out"],
            private[2]["fact_id"]: ["of the row's images 0 do not tell it; 1 that do are left out"],
            private[3]["fact_id"]: [differs.format("spans"), differs.format("role")],
        }.items()
        for text in texts
    )
    assert not any(value in text for text in found)


def test_a_private_value_of_no_fact_is_told(good: Good, tmp_path: Path) -> None:
    sample = good.one(form="text", subset=Subset.HOLDOUT)
    report = good.tampered(tmp_path / "b", changed(good.samples, {sample.id: {"fact_id": None}}))
    assert told(report) == [f"error [ledger] {sample.id}: tells a private value but belongs to no fact"]


def test_a_fact_in_a_subset_that_holds_none_is_told(good: Good, tmp_path: Path) -> None:
    sample = good.one(subset=Subset.TEST)
    report = good.tampered(
        tmp_path / "b", changed(good.samples, {sample.id: {"fact_id": "stray"}}), ledger=ledger_rows(good.samples)
    )
    assert told(report) == [f"error [ledger] {sample.id}: belongs to a fact, but test holds none"]
