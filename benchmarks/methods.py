"""Every method at equal tuning budget: tuned once on the validation part, then run on several seeds, as one table.

    python benchmarks/methods.py phantom --trials 4 --seeds 0 1 2 -o runs/contest
    python benchmarks/methods.py slake source.path=Slake1.0 --methods grad_diff npo npo+gu --trials 8 -o runs/slake

Each step resumes: what is done is reused, so the same command goes on after an interruption. Written: ``table.md`` and
``table.json`` in the output folder; the runs themselves, with pages, in ``seed-N``.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from mllmu_med import api
from mllmu_med.listing import methods as listed
from mllmu_med.recipe import load_recipe

COMPOSED = ("npo+sam", "npo+gu", "npo+ng_diff", "npo+prompt_decouple", "npo+siblings")
"""Add-ons are shown on one objective; each composes with all."""
NOT_ALONE = ("o3",)
"""Needs adapters: run it with ``model.trainable.language=lora``."""
COLUMNS = (
    ("UES privacy ↑", "privacy", "value"),
    ("UES facts ↑", "incorrectness", "value"),
    ("forgets e_f ↑", "privacy", "forget"),
    ("suppression ↑", "incorrectness", "suppression"),
    ("restoration ↑", "incorrectness", "restoration"),
    ("retain ↑", "privacy", "retain"),
    ("patients ↑", "privacy", "patients"),
    ("test ↑", "privacy", "test"),
)
UNUSED = "unused patients ↑"
"""What is left, as a share of θ0's, of the retained patients that a method may not use; shown where some row has it."""
COSTS = (("seconds", "seconds"), ("MiB", "peak_memory_mb"), ("changed", "changed_share"), ("cost", "share_of_oracle"))


def everything() -> list[str]:
    """All methods that train all weights, and one composition for each add-on."""
    names = [str(row["method"]) for row in listed() if "full" in str(row["supports"])]
    return [name for name in names if not name.startswith("+") and name not in NOT_ALONE] + list(COMPOSED)


def carry_out(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Tune, run every seed, and return the results of each."""
    names = args.methods or everything()
    recipe = load_recipe(args.recipe, *args.overrides, methods=names)
    folder = Path(args.output)
    tunable = [name for name in names if load_recipe(recipe, methods=[name]) and _has_grid(name)]
    tuned: Mapping[str, Any] = {}
    if args.trials > 1:
        found = api.tune(load_recipe(recipe, methods=tunable), folder / f"seed-{recipe.seed}", trials=args.trials)
        tuned = {name: row["settings"] for name, row in found["best"].items()}
    raw = recipe.to_dict()
    raw["methods"] = [{**tuned[name], "row": name} if name in tuned else name for name in names]
    results = []
    for seed in args.seeds:
        run = type(recipe).model_validate({**raw, "seed": seed})
        made = api.run(run, folder / f"seed-{seed}")
        assert made.results is not None
        results.append(made.results)
    return results


def _has_grid(name: str) -> bool:
    from mllmu_med.methods import METHODS

    return bool(METHODS.get(name.partition("+")[0]).grid)


def rows_of(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One entry a row of the table: means over the seeds, and the range of both scores."""
    found = []
    for first in results[0]["rows"]:
        same = [row for result in results for row in result["rows"] if row["name"] == first["name"]]
        entry: dict[str, Any] = {"name": first["name"], "label": first["label"], "family": first["family"]}
        for title, task, part in COLUMNS:
            scores = [row["ues"][task] for row in same]
            values = [score["value"] if part == "value" else score["parts"].get(part) for score in scores]
            known = [value for value in values if value is not None]
            entry[title] = mean(known) if known else None
            if part == "value" and len(known) > 1:
                entry[f"{title} range"] = [min(known), max(known)]
        for title, key in COSTS:
            known = [row["cost"][key] for row in same if (row.get("cost") or {}).get(key) is not None]
            entry[title] = mean(known) if known else None
        shares = [row["unused"]["patients"]["unused"]["share"] for row in same if row.get("unused")]
        known = [share for share in shares if share is not None]
        entry[UNUSED] = mean(known) if known else None
        found.append(entry)
    if all(entry[UNUSED] is None for entry in found):
        for entry in found:
            del entry[UNUSED]
    return found


def titles_of(row: Mapping[str, Any]) -> list[str]:
    """The columns of figures that a table has: the usual ones, and that of unused patients where there are some."""
    return [title for title, _, _ in COLUMNS] + ([UNUSED] if UNUSED in row else [])


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table as Markdown."""
    titles = titles_of(rows[0])
    head = ["method", "family", *titles, "time", "memory", "changed", "cost"]
    lines = [head, ["---", "---", *["--:"] * (len(head) - 2)]]
    for row in rows:
        cells = [f"{row['label']} `{row['name']}`", row["family"] or ""]
        for title in titles:
            value, ends = row[title], row.get(f"{title} range")
            shown = "–" if value is None else f"{value:.2f}"
            cells.append(f"{shown} ({ends[0]:.2f}–{ends[1]:.2f})" if ends else shown)
        cells += [
            "–" if row["seconds"] is None else f"{row['seconds']:.0f} s",
            "–" if row["MiB"] is None else f"{row['MiB']:.0f} MiB",
            "–" if row["changed"] is None else f"{row['changed']:.1%}",
            "–" if row["cost"] is None else f"{row['cost']:.0%}",
        ]
        lines.append(cells)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def fill(pages: Path, rows: Sequence[Mapping[str, Any]], note: str) -> int:
    """Write each method's own row behind its mark ``<!-- measured:NAME -->`` in the pages; returns how many marks."""
    found = {row["name"]: row for row in rows} | {row["name"].partition("+")[2]: row for row in rows}
    count = 0

    def written(match: re.Match[str]) -> str:
        nonlocal count
        row = found.get(match[1])
        if row is None:
            return match[0]
        count += 1
        said = ", ".join(f"{title} {row[title]:.2f}" for title in titles_of(row) if row[title] is not None)
        on = f" as `{row['name']}`" if "+" in row["name"] else ""
        return f"<!-- measured:{match[1]} -->\n*Measured{on} ({note}):* {said}; {row['cost']:.0%} of the oracle's cost."

    for page in sorted(pages.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        changed = re.sub(r"<!-- measured:(\w+) -->(?:\n\*Measured[^\n]*)?", written, text)
        if changed != text:
            page.write_text(changed, encoding="utf-8")
    return count


def main() -> None:
    """Parse, carry out, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", default="phantom", help="a recipe's name or file")
    parser.add_argument("overrides", nargs="*", help="KEY=VALUE")
    parser.add_argument("--methods", nargs="+", help="default: every registered one")
    parser.add_argument("--trials", type=int, default=4, help="settings tried for each method; 1 = untuned")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("-o", "--output", default="runs/contest")
    parser.add_argument("--fill", type=Path, metavar="FOLDER", help="write each row into the methods' pages, too")
    args = parser.parse_intermixed_args()
    rows = rows_of(carry_out(args))
    table = markdown(rows)
    folder = Path(args.output)
    (folder / "table.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    (folder / "table.md").write_text(table, encoding="utf-8")
    print(table)
    if args.fill:
        seeds = f"seed {args.seeds[0]}" if len(args.seeds) == 1 else f"mean of {len(args.seeds)} seeds"
        effort = (
            "starting values, untuned" if args.trials == 1 else f"best of {args.trials} settings on the validation part"
        )
        print(f"{fill(args.fill, rows, f'{args.recipe}, {seeds}, {effort}')} rows written into {args.fill}")


if __name__ == "__main__":
    main()
