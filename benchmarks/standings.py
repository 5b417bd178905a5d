"""Tables and pictures of contests, from the runs that are finished.

    python benchmarks/standings.py runs/contest/few --names phantom-few
    python benchmarks/standings.py runs/contest/few runs/slake/few --names phantom-few slake-few --fill docs

Written: ``table.json`` and ``table.md`` in each folder. With ``--fill`` also

- ``DOCS/assets/contest-NAME.json``, the figures of every run, and the pictures beside it. What is published there of
  other θ0s and seeds stays and counts: runs may be carried out on several machines, one after the other;
- the tables between their marks in ``DOCS/explanation/contest.md`` (``contest-NAME``, ``-less``, ``-pairs``; paired
  differences need the answers, and are of the runs at hand alone);
- what all published contests say together, in ``DOCS/ours.md`` (``contest-all``, ``contest-all-less``) and, of
  strangers and unused patients, in ``DOCS/explanation/siblings.md`` (``strangers``).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.speed import tables
from benchmarks.speed.pictures import dots, lines, points
from mllmu_med import api
from mllmu_med.evaluation.comparing.pairs import Difference, corrected

Row = Mapping[str, Any]
COMPARED = ("privacy", "incorrectness", "membership_auc")
AUC = "AUC − AUC*"
UES, UESR = ("UES privacy", "UES facts"), ("UES-R privacy", "UES-R facts")
_SHOWN: Mapping[str, str] = {
    "forgets": "forgets ↑", "suppression": "suppression ↑", "restoration": "restoration ↑", "patients": "patients ↑",
    "test": "test ↑", AUC: "AUC − AUC\\* → 0", "KL to θ*": "KL to θ\\* ↓", "cost": "cost ↓",
}  # fmt: skip
REFERENCES = ("theta0", "refuse_all", "truncated_retrain")
NO_DATA = ("30 %", "10 %", "0 %")
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
        AUC: None if auc is None or ideal is None else auc - ideal, "KL to θ*": distances.get("kl"),
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
    means: dict[str, float | None] = {}
    for name in [name for name in entry["cells"][0] if name not in ("theta0", "seed")]:
        known = [cell[name] for cell in entry["cells"] if cell.get(name) is not None]
        means[name] = fmean(known) if known else None
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


def number(value: float | None) -> str:
    """Two places without the leading zero, as ``.97``; a dash where there is none."""
    if value is None:
        return "–"
    text = f"{value:.2f}".replace("-", "−")
    return "0" if text in ("0.00", "−0.00") else text.replace("0.", ".", 1) if abs(value) < 0.995 else text


def spread(row: Row, name: str) -> str:
    """Mean and, from several cells, least and most; where no cells are kept, as its ``range`` says."""
    known = [cell[name] for cell in row["cells"] if cell[name] is not None] or row.get("range", {}).get(name, [])
    if len(known) < 2 or number(min(known)) == number(max(known)):
        return number(row[name])
    return f"{number(row[name])} ({number(min(known))}{'–' if min(known) >= 0 else ' to '}{number(max(known))})"


def _markdown(rows: Sequence[Row], columns: Mapping[str, str]) -> str:
    """A table whose columns behind the first stand right, words though they are."""
    head, _, *rest = tables.markdown(rows, columns).splitlines(keepends=True)
    return "".join([head, "| --- |" + " --: |" * (len(columns) - 1) + "\n", *rest])


def _score(row: Row) -> float:
    return sum(row[name] or 0.0 for name in UES)


def _with_share(rows: Sequence[Row], share: str) -> dict[str, Row]:
    """Method → its row with this share of the retain data, best first."""
    own = [row for row in rows if row["name"].endswith(f".r{share.removesuffix(' %')}")]
    return {row["name"].rpartition(".")[0]: row for row in sorted(own, key=_score, reverse=True)}


def whole(rows: Sequence[Row]) -> str:
    """Every method with all retain data, best first, and the reference rows."""
    named = {f"`{name}`": row for name, row in _with_share(rows, "100 %").items()}
    named |= {row["label"]: row for row in rows if row["name"] in REFERENCES}
    robust = [{name: number(row[name]) for name in UESR} for row in named.values()]
    shown = [
        {
            "name": name, **{score: spread(row, score) for score in UES}, **found,
            **{key: number(row[key]) for key in _SHOWN},
            AUC: spread(row, AUC),  # a mean of signed distances alone would flatter
            "cost": "–" if row["cost"] is None else f"{row['cost']:.0%}",
        }
        for (name, row), found in zip(named.items(), robust, strict=True)
    ]  # fmt: skip
    titles = {**{name: f"{name[4:]} ↑" for name in UES}, **{name: f"{name[6:]} ↑, UES-R" for name in UESR}}
    columns = {"name": "", **titles, **_SHOWN}
    return _markdown(shown, columns)


def less(rows: Sequence[Row]) -> str:
    """Both scores and what unused patients keep, with less and less retain data."""
    by_share = {share: _with_share(rows, share) for share in NO_DATA}
    names = list(dict.fromkeys(name for own in by_share.values() for name in own))
    shown = []
    for name in names:
        entry = {"name": f"`{name}`"}
        for share, own in by_share.items():
            entry[share] = "–" if name not in own else _in_brief(own[name], unused=True)
        shown.append(entry)
    return _markdown(shown, {"name": "privacy / facts / **unused patients** / AUC − AUC\\*", **{s: s for s in NO_DATA}})


def summary(situations: Mapping[str, Sequence[Row]], share: str) -> str:
    """Situation by situation, methods with this share of the retain data: best in the mean of all first. Situations in
    which none was run with it are left out.

    Args:
        situations: name → rows of its contest.
        share: ``100 %``, or one of :data:`NO_DATA`, then with what unused patients keep.
    """
    by_name = {name: own for name, rows in situations.items() if (own := _with_share(rows, share))}
    methods = dict.fromkeys(method for own in by_name.values() for method in own)
    scores = {method: fmean(_score(own[method]) for own in by_name.values() if method in own) for method in methods}
    shown = []
    for method in sorted(methods, key=lambda method: -scores[method]):
        entry = {"name": f"`{method}`"}
        for name, own in by_name.items():
            entry[name] = "–" if method not in own else _in_brief(own[method], unused=share in NO_DATA)
        shown.append(entry)
    what = (
        "privacy / facts / **unused patients** / AUC − AUC\\*" if share in NO_DATA else "privacy / facts / AUC − AUC\\*"
    )
    return _markdown(shown, {"name": what, **{name: name.replace("-", ", ") for name in by_name}})


def _in_brief(row: Row, *, unused: bool) -> str:
    kept = [f"**{number(row['unused patients'])}**"] if unused else []
    return " / ".join([*(number(row[name]) for name in UES), *kept, number(row[AUC])])


def seen_on_strangers(situations: Mapping[str, Sequence[Row]]) -> dict[str, list[tuple[float, float]]]:
    """Situation → what is kept of strangers and of unused patients, for each row with less retain data and each run."""
    found = {}
    for name, rows in situations.items():
        cells = [cell for row in rows if row["name"].endswith((".r30", ".r10", ".r0")) for cell in row["cells"]]
        pairs = [(cell["strangers"], cell["unused patients"]) for cell in cells]
        found[name] = [(kept, left) for kept, left in pairs if kept is not None and left is not None]
    return {name: pairs for name, pairs in found.items() if len(pairs) > 2}


def stand_in(pairs: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """How well strangers tell what becomes of unused patients: rank correlation, situation by situation."""
    from scipy.stats import spearmanr

    shown = [
        {"name": name.replace("-", ", "), "models": str(len(own)), "ρ": number(float(spearmanr(own).statistic))}
        for name, own in pairs.items()
    ]
    return _markdown(shown, {"name": "contest", "models": "models", "ρ": "Spearman's ρ"})


def differences(rows: Sequence[Row], cells: Sequence[Cell], ours: str) -> list[Difference]:
    """Paired differences between our row and every other method with the same share, corrected together; each over the
    cells that have both."""
    share = ours.rpartition(".")[2]
    ran = {row["name"]: {(cell["theta0"], cell["seed"]) for cell in row["cells"]} for row in rows}
    found: list[Difference] = []
    for row in rows:
        both = ran.get(ours, set()) & ran[row["name"]]
        if both and row["name"].endswith(f".{share}") and row["name"] != ours:
            runs = ",".join(str(cell.folder.resolve()) for cell in cells if cell[:2] in both)
            found += api.compare([f"{runs}:{ours}", f"{runs}:{row['name']}"], metrics=list(COMPARED))["differences"]
    return corrected(found)


def pairs(found: Sequence[Difference], ours: str) -> str:
    """The differences as a table: ours minus theirs, with 95 % intervals; bold where they are told apart."""
    by_other: dict[str, dict[str, str]] = {}
    for one in found:
        if one["difference"] is not None:
            interval = "" if one["low"] is None else f" ({number(one['low'])} to {number(one['high'])})"
            text = f"{number(one['difference'])}{interval}"
            entry = by_other.setdefault(one["b"], {"name": f"`{one['b'].rpartition('.')[0]}`"})
            entry[one["quantity"]] = f"**{text}**" if one["told_apart"] else text
    titles = {"name": f"`{ours.rpartition('.')[0]}` minus", "privacy": "privacy", "incorrectness": "facts"}
    return _markdown(list(by_other.values()), {**titles, "membership_auc": "membership AUC"})


def _apart(row: Row) -> float | None:
    """Mean distance of the membership AUC from the oracle's, whatever its sign."""
    known = [abs(cell[AUC]) for cell in row["cells"] or [row] if cell[AUC] is not None]
    return fmean(known) if known else None


def pictures(rows: Sequence[Row], name: str) -> dict[str, str]:
    """Scores and membership with all retain data; what unused patients keep, with less and less."""
    made = {}
    full = _with_share(rows, "100 %")
    shown = {
        method: {
            "UES privacy ↑": row["UES privacy"], "UES facts ↑": row["UES facts"],
            "|AUC − AUC*| ↓": _apart(row),
        }
        for method, row in full.items()
    }  # fmt: skip
    if shown:
        made[f"contest-{name}-whole"] = dots(shown, "all retain data in use")
    by_share = [_with_share(rows, share) for share in NO_DATA]
    series = {
        method: [own[method]["unused patients"] if method in own else None for own in by_share]
        for method in ("excess+siblings", "unlikelihood+siblings", "correct+siblings", "npo+siblings", "npo", "excess")
    }
    series = {method: values for method, values in series.items() if any(value is not None for value in values)}
    if any(len([value for value in values if value is not None]) > 1 for values in series.values()):
        made[f"contest-{name}-unused"] = lines(NO_DATA, series, "retain data in use", "of θ0's recall, unused patients")
    return made


def stand(folder: Path, name: str, ours: Sequence[str], docs: Path | None) -> list[dict[str, Any]]:
    """Tables of one contest, in its folder and, where ``docs`` are given, there; its rows, the published included."""
    cells = cells_of(folder)
    if not cells:
        raise SystemExit(f"{folder}: no run is finished there")
    rows = own = table(cells)
    if docs is not None:
        # Runs with less retain data alone say nothing of the table in which the reference rows stand.
        new = own if _with_share(own, "100 %") else [row for row in own if row["name"] not in REFERENCES]
        rows = merged(new, published(docs).get(name, ()))
    compared = {one: differences(own, cells, one) for one in ours}
    blocks = {
        f"contest-{name}": whole(rows), f"contest-{name}-less": less(rows),
        f"contest-{name}-pairs": "\n".join(pairs(found, one) for one, found in compared.items()),
    }  # fmt: skip
    tables.write(folder, "table", {"rows": rows, "differences": compared}, "\n".join(blocks.values()))
    if docs is not None:
        tables.fill(docs / "explanation" / "contest.md", blocks)
        publish(docs / "assets" / f"{PREFIX}{name}.json", rows)
        for picture, svg in pictures(rows, name).items():
            (docs / "assets" / f"{picture}.svg").write_text(svg, encoding="utf-8")
    print(f"{name}: {len(cells)} runs: {', '.join(f'θ0 {cell.theta0}, seed {cell.seed}' for cell in cells)}")
    return rows


def main() -> None:
    """Parse, read, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="FOLDER", help="OUTPUT/REGIME of benchmarks/contest.py"
    )
    parser.add_argument("--names", nargs="+", default=["phantom-few"], help="of the folders, in marks and pictures")
    parser.add_argument("--ours", nargs="+", default=["excess.r100", "excess+siblings.r30"], help="rows to compare")
    parser.add_argument("--fill", type=Path, metavar="DOCS")
    args = parser.parse_args()
    if len(args.names) != len(args.folders):
        parser.error(f"{len(args.folders)} folders have {len(args.names)} names; give each its own with --names")
    found = {
        name: stand(folder, name, args.ours, args.fill) for folder, name in zip(args.folders, args.names, strict=True)
    }
    if args.fill is not None:
        found = published(args.fill)
    together = {"contest-all": summary(found, "100 %"), "contest-all-less": summary(found, "30 %")}
    kept = seen_on_strangers(found)
    if args.fill is not None:
        tables.fill(args.fill / "ours.md", together)
    if args.fill is not None and kept:
        tables.fill(args.fill / "explanation" / "siblings.md", {"strangers": stand_in(kept)})
        drawn = points(kept, "of θ0's answers about strangers, left", "of θ0's recall of unused patients, left")
        (args.fill / "assets" / "strangers-unused.svg").write_text(drawn, encoding="utf-8")
    print(*together.values(), sep="\n")


if __name__ == "__main__":
    main()
