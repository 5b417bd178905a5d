"""The reference page names every key of the sources it lists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mllmu_med.recipe.arguments import parameters_of
from mllmu_med.sources import SOURCES

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "sources.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| \[`(\w+)`\]\(#\w+\).* \| ([^|]*) \|$", PAGE, re.MULTILINE))


def test_the_page_lists_sources() -> None:
    assert {"csv", "jsonl", "path_vqa", "phantom", "pmc_vqa", "slake", "vqa_rad"} <= set(ROWS) <= set(SOURCES)


@pytest.mark.parametrize("name", sorted(ROWS))
def test_the_keys_are_those_of_the_source(name: str) -> None:
    keys = [key for key in parameters_of(SOURCES.get(name)) if key != "path"]
    assert re.findall(r"`(\w+)`", ROWS[name]) == keys
    section = PAGE.split(f"\n## {name}\n")[1].split("\n## ")[0]
    for key in keys:
        assert f"`{key}`" in section
