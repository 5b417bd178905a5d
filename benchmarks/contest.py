"""The fair contest: every method at equal tuning budget, on both situations, with less and less retain data.

    python benchmarks/contest.py phantom --regime few --theta0 0 1 --seeds 0 1 2 -o runs/contest
    python benchmarks/contest.py slake source.path=Slake1.0 --regime many --methods npo excess+siblings -o runs/slake

Settings are tuned on θ0 number 0, whichever are run, on the validation part and on retain data that the method may use,
once with all of it and once with 30 %; five settings of each method are tried, its own and four of its grid, which are
as many rates as most grids have. The test part is seen once. Then every method is run on each θ0 (another benchmark,
base, θ0 and oracle) and each seed of unlearning. Written: ``table.json`` and ``table.md`` in ``OUTPUT/REGIME``; the
runs themselves, with pages, in ``OUTPUT/REGIME/theta0-N/seed-M``. What is done is reused, so the same command goes on
after an interruption. Paired tests, pictures and the tables of the documents: ``benchmarks/standings.py``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.contests.runs import Cell, table
from benchmarks.contests.text import less, whole
from benchmarks.speed import tables
from mllmu_med import api
from mllmu_med.recipe import Recipe, load_recipe

REGIMES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "few": {},
    "many": {
        "phantom": (
            "benchmark.patients_forgotten=30",
            "benchmark.patients_retained=10",
            "benchmark.patients_holdout=10",
        ),
        "slake": (
            "benchmark.patients_forgotten=12",
            "benchmark.patients_retained=6",
            "benchmark.patients_holdout=6",
            "unlearn.steps=175",  # the oracle learns less and costs less: 200 would be more than two fifths of it
        ),
    },
}
"""``few`` patients go and many stay, as the recipes have it; ``many`` go and few stay."""

BUDGET = ("unlearn.steps=200", "unlearn.forget_batch=12", "unlearn.retain_batch=20", "unlearn.siblings=200")
"""Answers that every method sees: 200 steps of 12 + 20, a quarter of the oracle's, with truths up to a third."""
FLOOR = "controls.another_oracle=true"
"""How far two oracles are apart stands in every table."""
WITH_SIBLINGS: Mapping[str, int] = {"retain_batch": 8, "sibling_batch": 12}
LESS_WITH_SIBLINGS: Mapping[str, int] = {"retain_batch": 8, "sibling_batch": 24}
"""Siblings take their place among the 20; where retain data is short there are more of them, and the cost says so."""

OURS = "excess+siblings"
METHODS = (
    "filter", "ga", "grad_diff", "kl_min", "idk", "llmu", "npo", "sim_npo", "alt_po", "unlikelihood", "rmu",
    "mmunlearner", "duo", "correct", "excess", OURS, "npo+siblings", "grad_diff+siblings", "unlikelihood+siblings",
    "correct+siblings",
)  # fmt: skip
LESS = ("grad_diff", "npo", "alt_po", "unlikelihood", "correct", "excess", OURS, "npo+siblings", "grad_diff+siblings",
        "unlikelihood+siblings", "correct+siblings")  # fmt: skip
"""What is run with less retain data, too; with none at all those with siblings."""
SHARES = (1.0, 0.3, 0.1, 0.0)
TUNED_ON = 0
"""The θ0 on which settings are chosen."""
TUNED_AT = 0.3
"""The share below 1 at which settings are chosen for all such shares."""


class Entry(NamedTuple):
    """A method with a share of the retain data."""

    method: str
    share: float

    @property
    def row(self) -> str:
        """E.g. ``npo.r30``."""
        return f"{self.method}.r{round(100 * self.share)}"

    @property
    def block(self) -> dict[str, Any]:
        """The method as a recipe names it."""
        made: dict[str, Any] = {"name": self.method, "row": self.row, "retain_share": self.share}
        if self.method.endswith("+siblings"):
            made |= WITH_SIBLINGS if self.share == 1 else LESS_WITH_SIBLINGS
        return made

    @property
    def tuned_as(self) -> Entry:
        """Whose settings it takes."""
        return self._replace(share=1.0 if self.share == 1 else TUNED_AT)


def entries(methods: Sequence[str], shares: Sequence[float]) -> list[Entry]:
    """What is run."""
    found = [Entry(method, 1.0) for method in methods] if 1.0 in shares else []
    for share in shares:
        if share < 1:
            names = [name for name in methods if name in LESS and (share > 0 or name.endswith("+siblings"))]
            found += [Entry(name, share) for name in names]
    return found


def tuned(recipe: Recipe, wanted: Sequence[Entry], folder: Path, trials: int) -> dict[Entry, dict[str, Any]]:
    """Best settings of each entry, by the validation part."""
    rows = list(dict.fromkeys(entry.tuned_as for entry in wanted if _has_grid(entry.method)))
    if trials < 2 or not rows:
        return {}
    found = api.tune(_with(recipe, methods=[one.block for one in rows]), folder, trials=trials)["best"]
    return {one: found[one.row]["settings"] for one in rows}


def _with(recipe: Recipe, **changes: Any) -> Recipe:
    raw = recipe.to_dict()
    if "methods" in changes:  # each takes what it does not set itself from the recipe
        shared = {name: raw["unlearn"][name] for name in raw["unlearn"]}
        changes["methods"] = [{**shared, **method} for method in changes["methods"]]
    return Recipe.model_validate({**raw, **changes})


def _has_grid(name: str) -> bool:
    from mllmu_med.methods import METHODS

    return bool(METHODS.get(name.partition("+")[0]).grid)


def run_all(args: argparse.Namespace) -> Iterator[tuple[int, int, Path]]:
    """Carry out every run; θ0, seed and folder of each as it is done."""
    regime = REGIMES[args.regime].get(args.recipe, ())
    recipe = load_recipe(args.recipe, *BUDGET, FLOOR, *regime, *args.overrides, methods=["ga"])
    folder = Path(args.output) / args.regime
    wanted = entries(args.methods or METHODS, args.shares)
    best = tuned(_with(recipe, seed=TUNED_ON), wanted, folder / f"theta0-{TUNED_ON}", args.trials)
    for theta0 in args.theta0:
        for seed in args.seeds:
            block = [{**best.get(entry.tuned_as, {}), **entry.block, "seed": seed} for entry in wanted]
            own = folder / f"theta0-{theta0}" / f"seed-{seed}"
            api.run(_with(recipe, seed=theta0, methods=block), own)
            yield theta0, seed, own


def main() -> None:
    """Parse, carry out, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", default="phantom", help="a recipe's name or file")
    parser.add_argument("overrides", nargs="*", help="KEY=VALUE")
    parser.add_argument("--regime", choices=sorted(REGIMES), default="few")
    parser.add_argument("--methods", nargs="+", help=f"default: {' '.join(METHODS)}")
    parser.add_argument("--shares", type=float, nargs="+", default=list(SHARES), help="of the retain data, 0…1")
    parser.add_argument("--theta0", type=int, nargs="+", default=[0, 1], help="seeds of benchmark, θ0 and oracle")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of unlearning")
    parser.add_argument("--trials", type=int, default=5, help="settings tried for each method; 1 = untuned")
    parser.add_argument("-o", "--output", default="runs/contest")
    args = parser.parse_intermixed_args()
    cells = [Cell(*done) for done in run_all(args)]
    rows = table(cells)
    tables.write(Path(args.output) / args.regime, "table", {"rows": rows}, f"{whole(rows)}\n{less(rows)}")
    print(whole(rows), less(rows), sep="\n")


if __name__ == "__main__":
    main()
