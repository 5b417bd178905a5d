"""Output of the benchmarks: JSON, Markdown tables, and the blocks of a page that they fill."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Rows = Sequence[Mapping[str, Any]]


def shown(value: Any) -> str:
    """A cell: three significant figures, thousands apart, a dash for what was not measured."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def markdown(rows: Rows, columns: Mapping[str, str]) -> str:
    """A table; ``columns``: key of a row → title. Text columns stand left, numbers right."""
    words = {key: all(isinstance(row.get(key), str) or row.get(key) is None for row in rows) for key in columns}
    lines = [
        list(columns.values()),
        ["---" if words[key] else "--:" for key in columns],
        *([shown(row.get(key)) for key in columns] for row in rows),
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def goal(what: str, wanted: str, found: float | None, reached: bool | None) -> dict[str, Any]:
    """A line of the table of goals; ``reached`` None: not measured here."""
    verdict = "not measured here" if reached is None else ("reached" if reached else "not reached")
    return {"goal": what, "wanted": wanted, "found": found, "verdict": verdict}


GOAL_COLUMNS = {"goal": "goal", "wanted": "wanted", "found": "found", "verdict": "verdict"}


def write(folder: Path, name: str, result: Mapping[str, Any], text: str) -> None:
    """``name.json`` and ``name.md`` in the folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / f"{name}.md").write_text(text, encoding="utf-8")


def fill(page: Path, blocks: Mapping[str, str]) -> list[str]:
    """Put each text between ``<!-- measured:NAME -->`` and ``<!-- /measured:NAME -->``; returns the names found.

    Raises:
        SystemExit: the page has the marks of none of them, so that nothing would be filled.
    """
    text, found = page.read_text(encoding="utf-8"), []
    for name, block in blocks.items():
        mark = re.escape(name)
        pattern = re.compile(rf"(<!-- measured:{mark} -->\n).*?(<!-- /measured:{mark} -->)", re.DOTALL)
        if pattern.search(text):
            found.append(name)
            text = pattern.sub(lambda match, block=block: f"{match[1]}\n{block.strip()}\n\n{match[2]}", text)
    if not found:
        raise SystemExit(f"{page}: has no <!-- measured:NAME --> for {', '.join(blocks)}; put the marks there first")
    page.write_text(text, encoding="utf-8")
    return found
