from __future__ import annotations

from typing import Any

from mllmu_med.report.evidence_grids import at, evidence_grids
from mllmu_med.report.page import report_html
from mllmu_med.report.paying import payers
from tests.unit.report.fake_run import FakeBenchmark
from tests.unit.report.test_grids import _cells


def with_evidence(results: dict[str, Any]) -> dict[str, Any]:
    numbers = {"theta0": (1.0, 0.0, 89.25), "oracle": (0.55, 1.0, 0.0), "npo": (0.9, 0.75, 29.75)}
    for row in results["rows"]:
        if row["name"] in numbers:
            auc, depth, bits = numbers[row["name"]]
            row["membership"] = {"mia_loss": {"image": {"auc": auc}, "blind": {"auc": None}}}
            row["inside"] = {
                "depth": {"forget/privacy": {"uds": {"mean": {"value": depth}}, "contrast": None}},
                "probes": {
                    "value": {"layer": 1, "layers": [{"layer": 0, "left": 0.9}, {"layer": 1, "left": 1 - depth}]}
                },
            }
            row["distances"] = {"forget/privacy": {"bits_per_answer": bits, "js": 0.0125}}
            row["unlok"] = {"privacy": {"efficacy": depth, "generalisation": {"mean": None}}}
    return results


def test_traces_are_shown_beside_the_oracle(results: dict[str, Any]) -> None:
    membership, inside, distance, unlok = evidence_grids(with_evidence(results))
    assert [grid.caption for grid in (membership, inside, distance, unlok)] == [
        "Membership inference", "Inside the model", "Distance from the oracle", "UnLOK-VQA",
    ]  # fmt: skip
    assert membership.groups == [("with the image", 1)], "what no row was measured by is no column"
    assert _cells(membership, "npo")["loss"] == ("0.90", 0)
    assert _cells(membership, "oracle")["loss"] == ("0.55", 6)
    assert _cells(inside, "npo")["depth"] == ("0.75", 2)
    assert _cells(inside, "npo")["value"] == ("25.0%", 2), "at the layer chosen on θ0 and the oracle"
    assert _cells(distance, "npo") == {"bits an answer": ("29.8", None), "JS": ("0.013", None)}
    assert _cells(unlok, "theta0")["efficacy"] == ("0.00", 0)
    assert _cells(unlok, "ga")["efficacy"][0] == "–"


def test_nothing_measured_nothing_shown(results: dict[str, Any], benchmark_samples: FakeBenchmark) -> None:
    assert evidence_grids(results) == []
    page = report_html(results, benchmark_samples, {})
    assert 'id="traces"' not in page
    assert 'id="paying"' not in page


def test_a_number_is_found_or_missing() -> None:
    row = {"a": {"b": {"c": 1, "d": None, "e": "x"}}}
    assert at(row, "a", "b", "c") == 1.0
    assert [at(row, *path) for path in (("a", "b", "d"), ("a", "x", "c"), ("z",), ("a", "b", "c", "d"))] == [None] * 4


def group(verdict: str, extra: float) -> dict[str, Any]:
    return {
        "verdict": verdict,
        "extra": extra,
        "extra_low": extra - 0.1,
        "extra_high": extra + 0.1,
        "p": 0.026,
        "clusters": 9,
    }


def test_who_pays_more_is_listed_worst_first(results: dict[str, Any], benchmark_samples: FakeBenchmark) -> None:
    for row in results["rows"]:
        if row["name"] in ("npo", "theta0"):
            row["subgroups"] = {
                "wrong": {"modality": {"<b>CT</b>": group("pays more", 0.5), "MRI": group("as the rest", 0.0)}},
                "utility": {"language": {"zh": group("pays more", 0.75), "en": group("pays less", -0.75)}},
            }
    found = payers(results)
    assert [(one.model, one.cost, one.subgroup) for one in found] == [
        ("NPO", "ordinary answers", "language: zh"), ("NPO", "wrong facts still repeated", "modality: <b>CT</b>"),
    ]  # fmt: skip
    assert found[0].figures == "75.0% more than the rest (0.65–0.85; p 0.026; 9 patients or images)"
    page = report_html(results, benchmark_samples, {})
    assert "&lt;b&gt;CT&lt;/b&gt;" in page
    assert "<b>CT</b>" not in page
