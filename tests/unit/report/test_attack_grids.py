from __future__ import annotations

from typing import Any

from mllmu_med.report.attack_grids import NOT_COUNTED, attack_grid, worst
from mllmu_med.report.attack_tables import attack_tables, attacks_markdown, rich_attacks
from mllmu_med.report.page import report_html
from tests.unit.report.fake_run import FakeBenchmark
from tests.unit.report.test_grids import _cells


def outcome(model: float | None) -> dict[str, float | None]:
    return {"model": model, "original": 0.9, "oracle": 0.1, "forget": 0.5}


def attacked(results: dict[str, Any]) -> dict[str, Any]:
    results["attacks"] = {
        "few_shot": {"label": "Few-shot", "threat": "black-box", "robust": True},
        "quantise": {"label": "Quantisation", "threat": "weights", "robust": True},
        "lens": {"label": "Lens", "threat": "white-box", "robust": False},
    }
    for row in results["rows"]:
        leak = {"theta0": 0.9, "oracle": 0.0, "npo": 0.25}.get(row["name"])
        if leak is not None:
            row["attacks"] = {
                "attack few_shot: shots-1": {"privacy": outcome(leak), "incorrectness": outcome(None)},
                "attack few_shot: shots-2": {"privacy": outcome(leak / 2)},
                "attack quantise: int8": {"privacy": outcome(leak)},
                "attack lens: layer-3": {"privacy": outcome(1.0)},
            }
    return results


def test_each_attack_is_shown_at_its_worst_beside_the_oracle(results: dict[str, Any]) -> None:
    grid = attack_grid(attacked(results), "privacy")
    assert grid is not None
    assert grid.groups == [("black-box", 1), ("white-box", 1), ("weights", 1)]
    assert [title for title, _ in grid.titles] == ["Few-shot", "(Lens)", "Quantisation"]
    assert _cells(grid, "npo")["Few-shot"] == ("25.0%", 2)
    assert _cells(grid, "oracle")["Quantisation"] == ("0%", 6)
    assert _cells(grid, "npo")["(Lens)"] == ("100%", 6), "the oracle gives as much"
    assert _cells(grid, "refuse_all")["Few-shot"][0] == "–"
    assert NOT_COUNTED in grid.notes


def test_what_was_not_measured_is_not_shown(results: dict[str, Any]) -> None:
    assert attack_grid(results, "privacy") is None
    assert attack_grid(attacked(results), "incorrectness") is None
    assert worst({"attacks": {}}, "privacy", "few_shot") is None


def test_the_page_has_a_section_for_attacks_only_where_there_were_some(
    results: dict[str, Any], benchmark_samples: FakeBenchmark
) -> None:
    assert 'id="attacks"' not in report_html(results, benchmark_samples, {})
    page = report_html(attacked(results), benchmark_samples, {})
    assert 'id="attacks"' in page
    assert "Private values brought back, by attack" in page


def test_a_line_for_each_attack_and_a_column_for_each_row_that_was_attacked(results: dict[str, Any]) -> None:
    assert attack_tables(results) == []
    assert (rich_attacks(results), attacks_markdown(results)) == ([], "")
    (table,) = attack_tables(attacked(results))
    assert [column.name for column in table.columns] == ["theta0", "oracle", "npo"]
    assert table.lines == [
        ("Few-shot", ["90.0%", "0%", "25.0%"]), ("Quantisation", ["90.0%", "0%", "25.0%"]),
        ("Lens", ["100%", "100%", "100%"]),
    ]  # fmt: skip
    (rich,) = rich_attacks(results)
    assert (rich.row_count, len(rich.columns)) == (3, 4)
    assert "| Few-shot | 90.0% | 0% | 25.0% |" in attacks_markdown(results)
