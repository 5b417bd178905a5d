"""The contest's table: means over seeds, and the column of unused patients only where some row has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.methods import UNUSED, fill, markdown, rows_of


def row(name: str, share: float | None = None, *, limited: bool = False) -> dict[str, Any]:
    ues = {"value": 0.5, "parts": {"retain": 0.25, "patients": 0.75}}
    found: dict[str, Any] = {
        "name": name, "label": name.upper(), "family": "text", "ues": {"privacy": ues, "incorrectness": ues},
        "cost": {"seconds": 2.0, "peak_memory_mb": 10.0, "changed_share": 0.5, "share_of_oracle": 0.25},
    }  # fmt: skip
    if limited:
        found["unused"] = {"patients": {"unused": {"share": share}}}
    return found


def results(*shares: float | None) -> list[dict[str, Any]]:
    return [{"rows": [row("ga"), row("npo", share, limited=True)]} for share in shares]


def test_unused_patients_are_a_mean_over_the_seeds_that_measured_them() -> None:
    ga, npo = rows_of(results(0.25, 0.75, None))
    assert (ga[UNUSED], npo[UNUSED]) == (None, pytest.approx(0.5))
    head, rule, first, second = (line.strip("| ").split(" | ") for line in markdown([ga, npo]).splitlines())
    place = head.index(UNUSED)
    assert (first[place], second[place]) == ("–", "0.50")
    assert head[place - 1] == "test ↑"
    assert len(head) == len(rule) == len(first) == len(second)


@pytest.mark.parametrize("found", [[{"rows": [row("ga")]}], results(None)])
def test_without_any_there_is_no_such_column(found: list[dict[str, Any]]) -> None:
    rows = rows_of(found)
    assert all(UNUSED not in one for one in rows)
    assert "unused" not in markdown(rows)


def test_the_pages_say_it_of_the_rows_that_have_it(tmp_path: Path) -> None:
    page = tmp_path / "text.md"
    page.write_text("<!-- measured:ga -->\n\n<!-- measured:npo -->\n", encoding="utf-8")
    assert fill(tmp_path, rows_of(results(0.5)), "phantom") == 2
    ga, npo = (line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("*Measured"))
    assert f"{UNUSED} 0.50" in npo
    assert UNUSED not in ga
