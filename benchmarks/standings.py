"""Tables and pictures of contests, from the runs that are finished.

    python benchmarks/standings.py runs/contest/few --names phantom-few
    python benchmarks/standings.py runs/contest/few runs/slake/few --names phantom-few slake-few --fill docs

Written: ``table.json`` and ``table.md`` in each folder. With ``--fill`` also

- ``DOCS/assets/contest-NAME.json``, the figures of every run, and the pictures beside it. What is published there of
  other θ0s and seeds stays and counts: runs may be carried out on several machines, one after the other;
- the tables between their marks in ``DOCS/explanation/contest.md`` (``contest-NAME``, ``-less``, ``-pairs``; paired
  differences need the answers, and are of the runs at hand alone);
- what all published contests say together, there (``contest-all``, ``contest-all-less``), held against what was aimed
  at in ``DOCS/ours.md`` (``contest-goals``) and, of strangers and unused patients, in ``DOCS/explanation/siblings.md``
  (``strangers``).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.contests.goals import against_goals
from benchmarks.contests.runs import AUC, PREFIX, REFERENCES, Cell, Row, cells_of, merged, publish, published, table
from benchmarks.contests.strangers import seen_on_strangers, stand_in
from benchmarks.contests.text import NO_DATA, less, pairs, summary, whole, with_share
from benchmarks.speed import tables
from benchmarks.speed.pictures import dots, lines, points
from mllmu_med import api
from mllmu_med.evaluation.comparing.pairs import Difference, corrected, with_p

COMPARED = ("privacy", "incorrectness", "membership_auc")


def differences(rows: Sequence[Row], cells: Sequence[Cell], ours: str) -> list[tuple[int, Difference]]:
    """Paired differences between our row and every other method with the same share, θ0 by θ0; each over the cells that
    have both.

    The seeds on a θ0 have the same patients. Over two θ0s together they would look like six draws of patients, and two
    are too few to say anything of a third. Asked is whether the two methods differ on each θ0 at hand: the p of that is
    the largest of its p-values (an intersection-union test), and these are what Holm's correction is over.
    """
    share = ours.rpartition(".")[2]
    ran = {row["name"]: {(cell["theta0"], cell["seed"]) for cell in row["cells"]} for row in rows}
    found: list[tuple[int, Difference]] = []
    for row in rows:
        if not row["name"].endswith(f".{share}") or row["name"] == ours:
            continue
        both = ran.get(ours, set()) & ran[row["name"]]
        for theta0 in sorted({theta0 for theta0, _ in both}):
            runs = ",".join(str(cell.folder.resolve()) for cell in cells if cell[:2] in both and cell.theta0 == theta0)
            one = api.compare([f"{runs}:{ours}", f"{runs}:{row['name']}"], metrics=list(COMPARED))["differences"]
            found += [(theta0, difference) for difference in one]
    by_pair: dict[tuple[str, str], list[Difference]] = {}
    for _, difference in found:
        by_pair.setdefault((difference["b"], difference["quantity"]), []).append(difference)
    # A p-value that is not known counts as larger than any that is: where one is missing, nothing is told of the pair.
    largest = [max(own, key=lambda one: math.inf if one["p"] is None else one["p"]) for own in by_pair.values()]
    p_holm = {(one["b"], one["quantity"]): one["p_holm"] for one in corrected(largest)}
    return [(theta0, with_p(one, p_holm[one["b"], one["quantity"]])) for theta0, one in found]


def _apart(row: Row) -> float | None:
    """Mean distance of the membership AUC from the oracle's, whatever its sign."""
    known = [abs(cell[AUC]) for cell in row["cells"] or [row] if cell[AUC] is not None]
    return fmean(known) if known else None


def pictures(rows: Sequence[Row], name: str) -> dict[str, str]:
    """Scores and membership with all retain data; what unused patients keep, with less and less."""
    made = {}
    full = with_share(rows, "100 %")
    shown = {
        method: {
            "UES privacy ↑": row["UES privacy"], "UES facts ↑": row["UES facts"],
            "|AUC − AUC*| ↓": _apart(row),
        }
        for method, row in full.items()
    }  # fmt: skip
    if shown:
        made[f"contest-{name}-whole"] = dots(shown, "all retain data in use")
    by_share = [with_share(rows, share) for share in NO_DATA]
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
        new = own if with_share(own, "100 %") else [row for row in own if row["name"] not in REFERENCES]
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
    goals = {"contest-goals": against_goals(found)}
    kept = seen_on_strangers(found)
    if args.fill is not None:
        tables.fill(args.fill / "explanation" / "contest.md", together)
        tables.fill(args.fill / "ours.md", goals)
    if args.fill is not None and kept:
        tables.fill(args.fill / "explanation" / "siblings.md", {"strangers": stand_in(kept)})
        drawn = points(kept, "of θ0's answers about strangers, left", "of θ0's recall of unused patients, left")
        (args.fill / "assets" / "strangers-unused.svg").write_text(drawn, encoding="utf-8")
    print(*together.values(), *goals.values(), sep="\n")


if __name__ == "__main__":
    main()
