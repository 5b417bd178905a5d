from __future__ import annotations

import re
from pathlib import Path

import pytest

from mllmu_med.benchmark.identities import CLASSES, LOCALES
from mllmu_med.benchmark.identities.classes import Setting, formats, settings
from mllmu_med.benchmark.identities.formats import Format

PAGE = (Path(__file__).parents[4] / "docs/reference/identities.md").read_text(encoding="utf-8")


def rows(phi_class: str) -> list[str]:
    """The table under the heading of a class, without its two header lines."""
    (section,) = (part for part in PAGE.split("\n## ")[1:-1] if re.search(rf"^[^|]*`{phi_class}`", part, re.MULTILINE))
    return [line for line in section.splitlines() if line.startswith("|")][2:]


@pytest.mark.parametrize("phi_class", CLASSES)
def test_the_page_lists_every_format_with_its_size_and_its_reason(phi_class: str) -> None:
    varied = (*settings("en", LOCALES, True), *settings("zh", (), True), *settings("ja", (), True))
    kinds: dict[Format, None] = dict.fromkeys(kind for setting in varied for kind in formats(phi_class, setting))
    kinds |= dict.fromkeys(formats(phi_class, Setting("en_US", False, False)))
    listed = {(row.split(" | ")[0][2:], *row.removesuffix(" |").split(" | ")[-2:]) for row in rows(phi_class)}
    assert listed == {(f"`{kind.shape}`", f"{kind.size:,}", kind.why) for kind in kinds}
    assert len(rows(phi_class)) == len(kinds)
    assert sum("*plain*" in row for row in rows(phi_class)) == 1
