"""Comparing rows of finished runs, from their stored outputs; no model is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from mllmu_med.errors import DataError, UsageError
from mllmu_med.evaluation.comparing.floor import gaps, noise_floor, within
from mllmu_med.evaluation.comparing.pairs import Difference, compare_sides, corrected
from mllmu_med.evaluation.comparing.sides import PARTS, SCORES, Side, make_side
from mllmu_med.evaluation.rows import ANOTHER_ORACLE_ROW, FIRST_ROWS, ORACLE_ROW, ORIGINAL_ROW, REFUSE_ALL_ROW
from mllmu_med.folders import read_json
from mllmu_med.registry import did_you_mean

if TYPE_CHECKING:
    from mllmu_med.benchmark.sample import Sample
    from mllmu_med.evaluation.outputs import Output

_BOOTSTRAP = 1000


class Place(NamedTuple):
    """A row of one run, or of several (one for each seed)."""

    runs: tuple[Path, ...]
    row: str


class Nearness(TypedDict):
    """One row beside the noise floor. ``gap`` and ``floor`` as in :func:`~.evaluation.comparing.floor.gaps`.

    ``within``: it cannot be told from an oracle; None where one of the two is not known.
    """

    row: str
    quantity: str
    gap: float | None
    floor: float | None
    within: bool | None


class Comparison(TypedDict):
    """What ``compare`` found.

    Attributes:
        rows: as given, in their order; every pair of them is compared, the earlier minus the later.
        differences: pair after pair, quantity after quantity.
        floor: each row beside the distance of the run's two oracles; empty where it has one, and for rows of several
            runs.
    """

    rows: list[str]
    differences: list[Difference]
    floor: list[Nearness]


def compare_rows(
    rows: Sequence[str],
    *,
    metrics: Sequence[str] = (),
    every: bool = False,
    difference: float | None = None,
) -> Comparison:
    """The paired differences between rows; :func:`mllmu_med.api.compare` says what may be given."""
    places = read_places(rows)
    studies = {run: Study(run) for place in places for run in place.runs}
    if difference is not None and not 0 < difference <= 1:
        raise UsageError(f"a difference of {difference}: give one above 0 and up to 1, e.g. 0.05")
    if difference is not None and any(len(place.runs) > 1 for place in places):
        raise UsageError("power is computed from one run's clusters: leave the other seeds out")
    if every and metrics:
        raise UsageError("either everything or some metrics, not both")
    names = _names(places)
    sides = [
        [studies[run].side(place.row, name) for run in place.runs] for place, name in zip(places, names, strict=True)
    ]
    known = list(dict.fromkeys(name for of_row in sides for side in of_row for name in side.quantities()))
    for metric in metrics:
        if metric not in known:
            raise UsageError(f"nothing is called '{metric}'{did_you_mean(metric, list(known))}; see compare --all")
    quantities = tuple(metrics) or (known if every else (*SCORES, *PARTS))
    first = studies[places[0].runs[0]]
    found = [
        one
        for a, b in combinations(sides, 2)
        for one in compare_sides(
            a, b, quantities, seed=first.seed, bootstrap=first.bootstrap, wanted_difference=difference
        )
    ]
    return {
        "rows": names,
        "differences": corrected(found),
        "floor": _floor(places, names, studies),
    }


def read_places(arguments: Sequence[str]) -> list[Place]:
    """``RUN:ROW RUN:ROW …``, ``RUN ROW ROW …`` or ``RUN`` (all its methods); ``RUN,RUN,…:ROW`` for several seeds.

    Raises:
        UsageError: fewer than two rows, or both ways of naming them are mixed.
        DataError: no such run or row.
    """
    from mllmu_med.api import find_folder

    if not arguments:
        raise UsageError("name a run, or two rows as RUN:ROW")
    if all(":" in argument for argument in arguments):
        split = [argument.rpartition(":") for argument in arguments]
        places = [Place(tuple(find_folder(run) for run in runs.split(",")), row) for runs, _, row in split]
    elif any(":" in argument for argument in arguments):
        raise UsageError("name every row as RUN:ROW, or one run and its rows as RUN ROW ROW")
    else:
        runs = tuple(find_folder(run) for run in arguments[0].split(","))
        places = [Place(runs, row) for row in arguments[1:] or _methods(runs[0])]
    if len(places) < 2:
        raise UsageError("a comparison takes two rows: RUN:ROW RUN:ROW, or RUN ROW ROW")
    if len(set(places)) < len(places):
        raise UsageError("a row is named twice")
    if any(len({run.resolve() for run in place.runs}) < len(place.runs) for place in places):
        raise UsageError("a run is named twice: the same run is no second seed")
    return places


def _methods(run: Path) -> list[str]:
    return [row for row in Study(run).rows if row not in FIRST_ROWS]


def _names(places: Sequence[Place]) -> list[str]:
    """Row names, with their runs where two rows have the same name or stand in different runs."""
    if len({place.runs for place in places}) == 1:
        return [place.row for place in places]
    return [f"{','.join(run.name for run in place.runs)}:{place.row}" for place in places]


@dataclass(frozen=True)
class Study:
    """A finished run, read lazily."""

    folder: Path

    @cached_property
    def recipe(self) -> Mapping[str, Any]:
        """The recipe as stored; read leniently, so that older runs can be compared."""
        recipe = read_json(self.folder / "recipe.json")
        if not isinstance(recipe, dict) or not isinstance(recipe.get("evaluate", {}), dict):
            raise DataError("not a recipe", file=self.folder / "recipe.json", mend="Run the recipe again.")
        return recipe

    @property
    def seed(self) -> int:
        """Of the run, and so of its resamples."""
        return int(self.recipe.get("seed", 0))

    @property
    def bootstrap(self) -> int:
        """Resamples, as in the run's results; the default where it asked for none."""
        return int(self.recipe.get("evaluate", {}).get("bootstrap", 0)) or _BOOTSTRAP

    @property
    def rows(self) -> list[str]:
        """The rows that have outputs, sorted: not the base, which is asked little, and no stop on the way to a row."""
        from mllmu_med.pipeline.requests import is_row

        found = (path.parent.name for path in (self.folder / "evaluations").glob("*/outputs.parquet"))
        return sorted(name for name in found if name != "base" and is_row(name))

    @cached_property
    def samples(self) -> list[Sample]:
        """The benchmark's samples, in the part that was evaluated."""
        from mllmu_med.benchmark.store import Benchmark
        from mllmu_med.evaluation.grid import evaluation_samples

        every = Benchmark.open(self.folder / "benchmark").samples()
        part = str(self.recipe.get("evaluate", {}).get("part", "test"))
        return evaluation_samples(every, most=len(every), seed=self.seed, part=part)

    @cached_property
    def original(self) -> list[Output]:
        """Outputs of θ0."""
        return self.outputs(ORIGINAL_ROW)

    @cached_property
    def oracle(self) -> list[Output]:
        """Outputs of the oracle."""
        return self.outputs(ORACLE_ROW)

    def outputs(self, row: str) -> list[Output]:
        """Stored outputs of a row, or those of the row that refuses everything, which are stored nowhere.

        Raises:
            DataError: the run has no such row, or its outputs are damaged or of another version.
        """
        from mllmu_med.evaluation.behaviour import refuse_all_outputs
        from mllmu_med.evaluation.output_store import read_outputs

        if row == REFUSE_ALL_ROW:
            asked = {output.sample_id for output in self.original}
            return refuse_all_outputs(sample for sample in self.samples if sample.id in asked)
        folder = self.folder / "evaluations" / row
        if row not in self.rows:
            known = [*self.rows, REFUSE_ALL_ROW]
            raise DataError(
                f"no row '{row}'{did_you_mean(row, known)}",
                file=self.folder,
                mend=f"Rows with outputs: {', '.join(self.rows) or 'none; run mllmu-med evaluate first'}.",
            )
        return read_outputs(folder)

    def side(self, row: str, name: str) -> Side:
        """The row with what it is measured against."""
        return make_side(name, self.samples, self.outputs(row), self.original, self.oracle)


def _floor(places: Sequence[Place], names: Sequence[str], studies: Mapping[Path, Study]) -> list[Nearness]:
    if len(studies) > 1:
        return []
    (study,) = studies.values()
    if ANOTHER_ORACLE_ROW not in study.rows:
        return []
    oracles = {row: study.outputs(row) for row in (ORACLE_ROW, ANOTHER_ORACLE_ROW)}
    floor = noise_floor(study.samples, study.original, oracles)
    found: list[Nearness] = []
    for place, name in zip(places, names, strict=True):
        own = gaps(study.samples, study.outputs(place.row), study.original, study.oracle)
        found += [
            {"row": name, "quantity": what, "gap": own[what], "floor": value, "within": within(own[what], value)}
            for what, value in floor.items()
        ]
    return found
