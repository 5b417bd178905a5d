"""The figures of a contest's runs: read from the finished ones, averaged, published, merged with what was."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from mllmu_med import api

Row = Mapping[str, Any]
AUC, KL = "AUC − AUC*", "KL to θ*"
UES, UESR = ("UES privacy", "UES facts"), ("UES-R privacy", "UES-R facts")
REFERENCES = ("theta0", "another_oracle", "refuse_all", "truncated_retrain")
PREFIX = "contest-"
"""Of the published figures, in the documents' assets."""


class Cell(NamedTuple):
    """A finished run of the contest."""

    theta0: int
    seed: int
    folder: Path


def cells_of(folder: Path) -> list[Cell]:
    """The finished runs in ``folder/theta0-N/seed-M``, in order."""
    found = []
    for own in sorted(folder.glob("theta0-*/seed-*")):
        if (own / "results" / "results.json").is_file():
            found.append(Cell(int(own.parent.name.split("-")[1]), int(own.name.split("-")[1]), own))
    return found


def figures(row: Row) -> dict[str, float | None]:
    """The numbers of a row that the contest is about."""
    private, wrong = row["ues"]["privacy"], row["ues"]["incorrectness"]
    forget = row["metrics"].get("forget/privacy", {}).get("private_image", {})
    distances = (row.get("distances") or {}).get("forget/privacy") or {}
    unused = ((row.get("unused") or {}).get("patients") or {}).get("unused") or {}
    auc, ideal = forget.get("membership_auc"), forget.get("membership_auc_oracle")
    return {
        "UES privacy": private["value"], "UES facts": wrong["value"],
        "UES-R privacy": private["robust"], "UES-R facts": wrong["robust"],
        "forgets": private["parts"]["forget"], "suppression": wrong["parts"].get("suppression"),
        "restoration": wrong["parts"].get("restoration"), "patients": private["parts"]["patients"],
        "unused patients": unused.get("share"), "strangers": (row.get("strangers") or {}).get("kept"),
        "test": private["parts"]["test"],
        AUC: None if auc is None or ideal is None else auc - ideal, KL: distances.get("kl"),
        "cost": (row.get("cost") or {}).get("share_of_oracle"),
    }  # fmt: skip


def table(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """One entry a row: means over the cells, and the values of each, with four places."""
    found: dict[str, dict[str, Any]] = {}
    for theta0, seed, folder in cells:
        for row in api.read_results(folder)["rows"]:
            entry = found.setdefault(row["name"], {"name": row["name"], "label": row["label"], "cells": []})
            own = {name: None if value is None else round(value, 4) for name, value in figures(row).items()}
            entry["cells"].append({"theta0": theta0, "seed": seed, **own})
    return [_averaged(entry) for entry in found.values()]


def _averaged(entry: Row) -> dict[str, Any]:
    """The entry with the means of its cells: over the seeds of a θ0, then over the θ0s, of which some have fewer."""
    means: dict[str, float | None] = {}
    for name in [name for name in entry["cells"][0] if name not in ("theta0", "seed")]:
        known: dict[int, list[float]] = {}
        for cell in entry["cells"]:
            if cell.get(name) is not None:
                known.setdefault(cell["theta0"], []).append(cell[name])
        means[name] = fmean(map(fmean, known.values())) if known else None
    return {**entry, **means}


def merged(rows: Sequence[Row], earlier: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows with the cells published before of other θ0s and seeds, and the rows that only stand there."""
    before = {row["name"]: row for row in earlier}
    found = []
    for row in rows:
        new = {(cell["theta0"], cell["seed"]): cell for cell in row["cells"]}
        old = {(cell["theta0"], cell["seed"]): cell for cell in before.pop(row["name"], {"cells": ()})["cells"]}
        found.append(_averaged({**row, "cells": [cell for _, cell in sorted({**old, **new}.items())]}))
    return [*found, *(dict(row) for row in before.values())]


def published(docs: Path) -> dict[str, list[dict[str, Any]]]:
    """Name → rows of every contest in ``docs/assets``."""
    files = sorted((docs / "assets").glob(f"{PREFIX}*.json"))
    return {file.stem.removeprefix(PREFIX): json.loads(file.read_text(encoding="utf-8"))["rows"] for file in files}


def publish(file: Path, rows: Sequence[Row]) -> None:
    """Write a contest's rows, a line each; what else the file says of them, as its ``note``, stays."""
    said = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    heads = [f"{json.dumps(key)}: {json.dumps(said[key], ensure_ascii=False)}," for key in said if key != "rows"]
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    file.write_text("{" + "\n".join([*heads, f'"rows": [\n{lines}\n]}}\n']), encoding="utf-8")
