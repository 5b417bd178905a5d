"""Ablations of our method: one thing changed at a time, everything else as in the contest, with all and with 30 % of
the retain data.

    python benchmarks/ablations.py phantom --seeds 0 1 2 -o runs/ablations
    python benchmarks/ablations.py phantom --only excess_weight siblings -o runs/ablations --fill docs

Each seed has a benchmark, a base, a θ0 and an oracle of its own. Written: ``table.json`` and ``table.md``, and one
figure for each ablation, in the output folder; with ``--fill`` the table goes into ``DOCS/explanation/ablations.md``,
the figures and ``ablations.json`` into ``DOCS/assets``. What is published there of other seeds and settings stays and
counts. The runs themselves lie in ``seed-N``. What is done is reused.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.contest import BUDGET, LESS_WITH_SIBLINGS
from benchmarks.contests import text
from benchmarks.contests.runs import AUC, UES, Cell, Row, merged, publish, table
from benchmarks.speed import tables
from benchmarks.speed.pictures import lines
from mllmu_med import api
from mllmu_med.benchmark.sample import Sample
from mllmu_med.recipe import Recipe, load_recipe
from mllmu_med.training import siblings

ABLATIONS: Mapping[str, tuple[Any, ...]] = {
    "excess_weight": (0.0, 0.3, 1.0, 3.0, 10.0),
    "divergence_weight": (0.0, 0.3, 1.0, 3.0),
    "correction_weight": (0.0, 0.3, 1.0, 3.0),
    "retain_weight": (0.5, 1.0, 2.0, 5.0, 10.0),
    "teacher_steps": (1, 10, 40, 160, 640),
    "teacher": ("marginals", "base"),
    "weight": (0.0, 1.0, 5.0, 15.0, 50.0),
    "siblings": (6, 24, 100, 400),
    "sibling_batch": (2, 6, 12, 24, 48),
    "sibling_format": ("mismatched", "matched"),
    "as_strangers": (False, True),
    "forget_batch": (3, 6, 12, 24),
    "learning_rate": (1e-4, 3e-4, 1e-3, 3e-3),
    "steps": (40, 80, 160, 320),
}
"""What is changed, and its values. ``weight`` is that of the siblings' term, 0: without siblings. Siblings of a
``mismatched`` format are asked in the same words in reverse order, as no record is."""
OF_OBJECTIVE = ("excess_weight", "divergence_weight", "correction_weight", "as_strangers")
DRAWN = ("forgets", "patients", "unused patients", "restoration")
SHOWN = (*UES, "forgets", "restoration", "patients", "unused patients", AUC, "cost")
SHARES = (1.0, 0.3)


class Change(NamedTuple):
    """One value of one setting, with a share of the retain data."""

    setting: str
    value: Any
    share: float

    @property
    def row(self) -> str:
        """E.g. ``excess_weight-0.3.r30``."""
        return f"{self.setting}-{self.value}.r{round(100 * self.share)}"

    def block(self, ours: Mapping[str, Any]) -> dict[str, Any]:
        """The method as a recipe names it."""
        made = {**ours, "row": self.row, "retain_share": self.share}
        parameters = {**ours.get("parameters", {})}
        if self.setting in OF_OBJECTIVE:
            parameters[self.setting] = self.value
        elif self.setting == "sibling_format":
            pass  # no setting of the package: nobody should want it
        elif self.setting == "weight":
            parameters["siblings"] = {**parameters.get("siblings", {}), "weight": self.value}
        else:
            made[self.setting] = self.value
        return {**made, "parameters": parameters}


@contextmanager
def mismatched() -> Iterator[None]:
    """Within the block made-up patients are asked about in reversed words."""
    made_up = siblings.made_up_beside

    def reversed_words(*given: Any, **named: Any) -> list[Sample]:
        return [
            replace(
                sample, question=_backwards(sample.question), phrasings=tuple(map(_backwards, sample.phrasings)),
            )
            for sample in made_up(*given, **named)
        ]  # fmt: skip

    siblings.made_up_beside = reversed_words
    try:
        yield
    finally:
        siblings.made_up_beside = made_up


def _backwards(text: str) -> str:
    return " ".join(reversed(text.split()))


def changes(names: Sequence[str]) -> list[Change]:
    """All changes of these settings."""
    return [Change(name, value, share) for name in names for share in SHARES for value in ABLATIONS[name]]


def carry_out(recipe: Recipe, names: Sequence[str], seeds: Sequence[int], folder: Path) -> list[dict[str, Any]]:
    """Run every change on every seed; one entry a change, with the figures of each seed and their means."""
    ours = recipe.methods[0].model_dump(mode="json", exclude={"row"})
    wanted = changes(names)
    odd = [change for change in wanted if change.value == "mismatched"]
    cells: list[Cell] = []

    def run(some: Sequence[Change], seed: int, own: Path, jobs: int | None) -> None:
        blocks = [change.block(ours) for change in some]
        api.run(Recipe.model_validate({**recipe.to_dict(), "seed": seed, "methods": blocks}), own, jobs=jobs)
        cells.append(Cell(seed, seed, own))

    for seed in seeds:
        run([change for change in wanted if change not in odd], seed, folder / f"seed-{seed}", None)
        if odd:
            with mismatched():
                run(odd, seed, folder / f"seed-{seed}-mismatched", 1)  # in this process, where the format is changed
    found = {row["name"]: row for row in table(cells)}
    return [{**change._asdict(), **found[change.row]} for change in wanted]


def together(entries: Sequence[Row], file: Path) -> list[dict[str, Any]]:
    """The entries with what is published in a file of other seeds and settings, in the order of the settings."""
    earlier = json.loads(file.read_text(encoding="utf-8"))["rows"] if file.is_file() else []
    found = {row["name"]: row for row in merged(entries, earlier)}
    return [found[change.row] for change in changes(list(ABLATIONS)) if change.row in found]


def refuse_loss(page: Path, names: Sequence[str], published: Path) -> None:
    """Refuse settings with which a page would have fewer rows than now; asked before anything is carried out.

    Raises:
        SystemExit: says how many rows, and the mend.
    """
    earlier = json.loads(published.read_text(encoding="utf-8"))["rows"] if published.is_file() else []
    later = {row["name"] for row in earlier} | {change.row for change in changes(names)}
    standing = sum(line.startswith("| `") for line in page.read_text(encoding="utf-8").splitlines())
    if len(later) < standing:
        raise SystemExit(
            f"{page}: {standing} rows stand there, {len(later)} would: {published} has none of the others; "
            "carry out all settings, or leave out --fill"
        )


def markdown(entries: Sequence[Row]) -> str:
    """The table as Markdown: means over the seeds, least and most in brackets."""
    rows = [
        {
            "setting": f"`{one['setting']}`", "value": f"{one['value']}", "retain": f"{one['share']:.0%}",
            **{name: text.spread(one, name) for name in SHOWN},
        }
        for one in entries
    ]  # fmt: skip
    columns = {name: name for name in ("setting", "value", "retain")}
    return text.markdown(rows, columns | {name: text.TITLES[name] for name in SHOWN})


def pictures(entries: Sequence[Row]) -> dict[str, str]:
    """Name of a figure → SVG: what each setting does with 30 % of the retain data, the values in order."""
    made = {}
    for name in dict.fromkeys(one["setting"] for one in entries):
        own = [one for one in entries if one["setting"] == name and one["share"] < 1]
        values = [str(one["value"]) for one in own]
        series = {what: [one[what] for one in own] for what in DRAWN}
        bands = {what: [text.extent(one, what) for one in own] for what in DRAWN}
        made[f"ablation-{name}"] = lines(values, series, name, "share (higher is better)", bands)
    return made


def main() -> None:
    """Parse, carry out, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", default="phantom", help="a recipe's name or file")
    parser.add_argument("overrides", nargs="*", help="KEY=VALUE")
    parser.add_argument("--method", default="excess+siblings", help="what is changed")
    parser.add_argument(
        "--only", nargs="+", choices=list(ABLATIONS), default=list(ABLATIONS), help="some settings only"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("-o", "--output", default="runs/ablations")
    parser.add_argument("--fill", type=Path, metavar="DOCS", help="write table and figures there, too")
    args = parser.parse_intermixed_args()
    folder = Path(args.output)
    if args.fill is not None:
        page, published = args.fill / "explanation" / "ablations.md", args.fill / "assets" / "ablations.json"
        refuse_loss(page, args.only, published)
    budget = [*BUDGET, *(f"unlearn.{name}={number}" for name, number in LESS_WITH_SIBLINGS.items())]
    recipe = load_recipe(args.recipe, *budget, *args.overrides, methods=[args.method])
    entries = carry_out(recipe, args.only, args.seeds, folder)
    (folder / "table.json").write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    (folder / "table.md").write_text(markdown(entries), encoding="utf-8")
    if args.fill is not None:
        entries = together(entries, published)
        publish(published, entries)
        tables.fill(page, {"ablations": markdown(entries)})
    for name, svg in pictures(entries).items():
        target = folder if args.fill is None else args.fill / "assets"
        (target / f"{name}.svg").write_text(svg, encoding="utf-8")
    print(markdown(entries))


if __name__ == "__main__":
    main()
