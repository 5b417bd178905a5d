"""The page's table of what was retained and not shown, and why a training ended."""

from __future__ import annotations

from typing import Any

from mllmu_med.report.page import report_html
from mllmu_med.report.unused import unused_grid
from tests.unit.report.fake_run import FakeBenchmark
from tests.unit.report.page_reader import Page


def kept(level: float | None, original: float | None, clusters: int) -> dict[str, Any]:
    share = None if level is None or not original else level / original
    ends = {"low": None, "high": None} if share is None else {"low": share - 0.125, "high": share + 0.125}
    return {"clusters": clusters, "level": level, "original": original, "share": share, **ends}


def with_unused(results: dict[str, Any]) -> dict[str, Any]:
    found = {row["name"]: row for row in results["rows"]}
    found["npo"] |= {
        "retain_share": 0.3,
        "unused": {
            "patients": {"used": kept(0.9, 0.9, 11), "unused": kept(0.25, 1.0, 25)},
            "retain": {"used": kept(0.75, 0.8, 120), "unused": kept(0.77, 0.8, 1280)},
        },
        "strangers": {"patients": 32, "questions": 260, "kept": 0.25, "low": 0.125, "high": 0.5},
    }
    found["idk"] |= {
        "retain_share": 0.0,
        "unused": {
            "patients": {"used": kept(None, None, 0), "unused": kept(0.5, 0.0, 36)},
            "retain": {"used": kept(None, None, 0), "unused": kept(0.8, 0.8, 400)},
        },
    }
    found["ga"]["retain_share"] = 1.0
    return results


def test_only_rows_with_unused_data_are_in_the_table(results: dict[str, Any]) -> None:
    assert unused_grid(results) is None
    grid = unused_grid(with_unused(results))
    assert grid is not None
    assert [summary.name for summary, _ in grid.rows] == ["idk", "npo"]
    assert sum(span for _, span in grid.groups) == len(grid.titles)
    assert all(len(cells) == len(grid.titles) for _, cells in grid.rows)


def test_levels_are_shaded_against_theta0_and_what_is_left_against_all(results: dict[str, Any]) -> None:
    grid = unused_grid(with_unused(results))
    assert grid is not None
    idk, npo = (cells for _, cells in grid.rows)
    assert [(cell.text, cell.shade) for cell in npo] == [
        ("30.0%", None),
        ("90.0%", 6), ("25.0%", 0), ("0.25", 0), ("0.12–0.38", None), ("25", None),
        ("75.0%", 4), ("77.0%", 5), ("0.96", 5), ("0.84–1.09", None), ("1,280", None),
        ("25.0%", 0), ("0.12–0.50", None),
    ]  # fmt: skip
    assert [cell.text for cell in idk[:6]] == ["0%", "–", "50.0%", "–", "–", "36"]
    assert [cell.text for cell in idk[-2:]] == ["–", "–"], "not asked"
    assert "not measured" in grid.notes[-1]


def test_the_page_has_the_section_only_where_some_row_has(
    results: dict[str, Any], benchmark_samples: FakeBenchmark
) -> None:
    assert "not shown to the method" not in report_html(results, benchmark_samples, {})
    text = report_html(with_unused(results), benchmark_samples, {})
    assert '<section id="unused"' in text
    assert '<a href="#unused">' in text
    assert "Retained, but not shown to the method" in Page(text).text


def test_why_a_training_ended_stands_below_its_curves(
    results: dict[str, Any], benchmark_samples: FakeBenchmark
) -> None:
    before = Page(report_html(results, benchmark_samples, {})).text
    assert "Ended early" not in before
    assert "Took all" not in before
    found = {row["name"]: row for row in results["rows"]}
    found["npo"]["stopped"] = "the retain budget was spent at step <60>\u202e"
    found["idk"]["curves"][-1] |= {"excess": 0.5}
    found["idk"]["stopping"] = {"excess": 0.3, "band": 0.02}
    found["ga"]["curves"][0] |= {"excess": 1.25, "extractable": 0.58, "auc": 0.625}  # of an earlier request
    found["ga"]["curves"][-1] |= {"excess": 0.25, "extractable": 0.0, "auc": 0.25}
    found["llmu"]["curves"][-1] |= {"excess": 0.75}  # measured by an earlier version
    page = Page(report_html(results, benchmark_samples, {}))
    assert "Ended early: the retain budget was spent at step <60>" in page.text
    assert "\u202e" not in page.text
    assert f"Took all of its {found['idk']['cost']['steps']} steps." in page.text
    known = "At the end it knew {} nats a token more of what must go than an approximate oracle"
    assert known.format("1.25") + ", and would still give 58.0% of the answers; a membership test against " in page.text
    assert "made-up patients has an AUC of 0.25." in page.text, "the one furthest from .5"
    assert known.format("0.75") + "." in page.text
    assert page.text.count("At the end") == 2
    alternatives = [attributes.get("alt") or "" for tag, attributes in page.tags if tag == "img"]
    assert (
        "Loss terms of IDK over its training steps; stopping rule: excess from 0.50 to 0.50 nats a token"
        in alternatives
    )
