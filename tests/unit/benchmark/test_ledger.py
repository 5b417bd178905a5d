from __future__ import annotations

from mllmu_med.benchmark.ledger import ledger_rows
from mllmu_med.benchmark.sample import Sample, Span, Stratum, Subset
from mllmu_med.benchmark.store import Benchmark


def test_the_forms_of_one_fact_share_a_row() -> None:
    def sample(sample_id: str, form: str, answer: str, start: int, image: str | None) -> Sample:
        return Sample(
            sample_id, "record-1", Subset.FORGET_PRIVACY, Stratum.PRIVATE_IMAGE, "Q?", answer, "g", image, form=form,
            patient_id="p", fact_id="p/mrn", repetitions=6, spans=(Span("mrn", "77", start, start + 2, 10.0),),
        )  # fmt: skip

    rows = ledger_rows([sample("a", "leak", "CT; 77", 4, "i1"), sample("b", "text", "77", 0, None)])
    assert len(rows) == 1
    row = rows[0]
    assert (row["fact_id"], row["scenario"], row["role"], row["patient_id"]) == ("p/mrn", "privacy", "forget", "p")
    assert (row["forms"], row["sample_ids"], row["record_ids"]) == (["leak", "text"], ["a", "b"], ["record-1"])
    assert (row["image_ids"], row["values"], row["spaces"], row["repetitions"]) == (["i1"], ["77"], [10.0], 12)
    assert [(s["sample_id"], s["start"], s["end"]) for s in row["spans"]] == [("a", 4, 6), ("b", 0, 2)]


def test_every_injected_fact_of_a_build_is_in_the_ledger(built: Benchmark) -> None:
    rows = built.ledger()
    samples = {sample.id: sample for sample in built.samples()}
    injected = {sample.fact_id for sample in samples.values() if sample.fact_id}
    assert [row["fact_id"] for row in rows] == list(dict.fromkeys(row["fact_id"] for row in rows))
    assert {row["fact_id"] for row in rows} == injected
    assert {(row["scenario"], row["role"]) for row in rows} == {
        ("privacy", "forget"), ("privacy", "retain"), ("privacy", "holdout"), ("incorrectness", "forget"),
    }  # fmt: skip
    for row in rows:
        for span in row["spans"]:
            value = samples[span["sample_id"]].answer[span["start"] : span["end"]]
            assert row["values"][row["phi_classes"].index(span["phi_class"])] == value
        assert (row["repetitions"] == 0) == (row["role"] == "holdout")
        if row["scenario"] == "incorrectness":
            assert row["wrong_answer"] != row["correct_answer"]
            assert row["values"] == []
