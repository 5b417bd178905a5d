"""What comes back of the contest's rows when the attacker trains on a few of the forgotten records.

    python benchmarks/relearning.py runs/contest/few/theta0-0/seed-0 --rows npo.r100 excess.r100 correct.r100
    python benchmarks/relearning.py runs/contest/few/theta0-*/seed-0 --fill docs --name phantom-few

A tenth of the forget records of each kind (whole patients, whole facts) is given to the attacker, who trains on them
at the rate at which θ0 was trained; the others are asked for after 0, 1, 3, 10 and 30 epochs (of as many steps as the
attack's own batches of them make). θ0 and the oracle are attacked alike: ``back`` = (model − oracle) / (θ0 − oracle) is
what the model held and did not learn anew. The attacks are carried out in ``relearning`` beside the run. Written:
``relearning.json`` and ``relearning.md`` in its folder. Without ``--rows`` what was measured there before is taken.
With ``--fill`` the means over the runs go between the marks ``relearning-NAME`` of ``DOCS/explanation/contest.md``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from statistics import fmean
from typing import Any

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.contests import text
from benchmarks.contests.text import number
from benchmarks.speed import tables
from mllmu_med import api
from mllmu_med.attacks.weights.relearning import RelearnFew
from mllmu_med.evaluation.rows import FIRST_ROWS
from mllmu_med.evaluation.scores import SCENARIOS
from mllmu_med.folders import read_json
from mllmu_med.pipeline.attacking import data_of
from mllmu_med.pipeline.tuning import share_finished
from mllmu_med.pipeline.workshop import Workshop
from mllmu_med.recipe import Recipe

EPOCHS = (1, 3, 10, 30)
ATTACK = "relearn_few"
BATCH = 16


def marks_of(recipe: Recipe, folder: Path) -> list[int]:
    """Steps after which the epochs end, from 0 on: batches are whole packed rows, so their number is not to be guessed.

    Args:
        folder: of the run, with its benchmark.
    """
    attack = RelearnFew(batch=BATCH)
    data = data_of(Workshop(recipe, folder))
    batches = attack.batches([attack.question(record) for record in attack.records(data)], data.seed)
    lengths = [len(batches.epoch(number)) for number in range(EPOCHS[-1])]
    return [0, *(sum(lengths[:epochs]) for epochs in EPOCHS)]


def stages_of(folder: Path, without: Set[str]) -> list[str]:
    """Models and evaluations of a run, but for those of some rows: what is finished is not made again."""
    stages = [path for kind in ("models", "evaluations") for path in sorted((folder / kind).glob("[!.]*"))]
    return [f"{path.parent.name}/{path.name}" for path in stages if path.name not in without]


def attacked(folder: Path, rows: Sequence[str]) -> list[dict[str, Any]]:
    """Attack these rows of a finished run, in a folder of their own beside it; one entry a row and kind of target."""
    raw = read_json(folder / "recipe.json")
    known = {method["row"]: method for method in raw["methods"]}
    missing = [row for row in rows if row not in known]
    if missing:
        raise SystemExit(f"{folder}: there is no row {missing[0]}; there are {', '.join(known)}")
    own = folder / "relearning"
    own.mkdir(exist_ok=True)
    share_finished(folder, own, ["benchmark", *stages_of(folder, set(known) - set(rows))])
    marks = marks_of(Recipe.model_validate({**raw, "methods": [known[row] for row in rows]}), own)
    parameters = {"steps": marks, "batch": BATCH, "learning_rate": raw["learn"]["original"]["learning_rate"]}
    changed = {
        **raw,
        "methods": [known[row] for row in rows],
        "attack": {**raw["attack"], "attacks": [{"name": ATTACK, "parameters": parameters}]},
    }
    results = api.attack(Recipe.model_validate(changed), own).results
    assert results is not None
    found = []
    for row in results["rows"]:
        course = (row.get("recovery") or {}).get(ATTACK)
        for scenario, one in (course or {"scenarios": {}})["scenarios"].items():
            found.append({
                "name": row["name"], "label": row["label"], "scenario": scenario,
                **{kind: [point[kind] for point in one["points"]] for kind in ("model", "original", "oracle", "back")},
            })  # fmt: skip
    return found


def means(runs: Mapping[Path, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """The mean over runs of what comes back, entry by entry, in the order of the first.

    Raises:
        SystemExit: a run lacks what another one has; it would be missing from the table, or be the mean of fewer.
    """
    courses = {folder: {(one["name"], one["scenario"]): one["model"] for one in run} for folder, run in runs.items()}
    labels = {(one["name"], one["scenario"]): one["label"] for run in runs.values() for one in run}
    for folder, course in courses.items():
        lacks = next((key for key in labels if key not in course), None)
        if lacks is not None:
            raise SystemExit(f"{folder}: has no {lacks[0]} of {lacks[1]}, which another run has; name it with --rows")
    found = []
    for (name, scenario), label in labels.items():
        points = zip(*(course[name, scenario] for course in courses.values()), strict=True)
        found.append({"name": name, "label": label, "scenario": scenario, "model": [fmean(point) for point in points]})
    return found


def markdown(entries: Sequence[Mapping[str, Any]]) -> str:
    """Recovered share of what the attacker was not given, row by row: private values / wrong facts."""
    points = ["before", *(f"{epochs} epochs".removesuffix("s" * (epochs == 1)) for epochs in EPOCHS)]
    found: dict[str, dict[str, Sequence[float]]] = {}
    for one in entries:
        shown = one["label"].replace("*", "\\*") if one["name"] in FIRST_ROWS else f"`{one['name']}`"
        found.setdefault(shown, {})[one["scenario"]] = one["model"]
    rows = []
    for name, courses in found.items():
        told = [[number(value) for value in courses[kind]] for kind in SCENARIOS if kind in courses]
        cells = [" / ".join(values) for values in zip(*told, strict=True)]
        rows.append({"name": name, **dict(zip(points, cells, strict=True))})
    return text.markdown(rows, {"name": "", **{point: point for point in points}})


def main() -> None:
    """Parse, carry out, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="runs of the contest: OUTPUT/REGIME/theta0-N/seed-M")
    parser.add_argument("--rows", nargs="+", help="rows of them, e.g. npo.r100; else what was measured before is taken")
    parser.add_argument("--fill", type=Path, metavar="DOCS", help="write the means into the page there, too")
    parser.add_argument("--name", help="of the contest in that page, e.g. phantom-few")
    args = parser.parse_args()
    if args.fill and not args.name:
        parser.error("--fill needs --name")
    runs: dict[Path, list[dict[str, Any]]] = {}
    for folder in args.folders:
        stored = folder / "relearning.json"
        if args.rows:
            entries = attacked(folder, args.rows)
            stored.write_text(json.dumps(entries, indent=2) + "\n", "utf-8")
            stored.with_suffix(".md").write_text(markdown(entries), encoding="utf-8")
        elif not stored.is_file():
            raise SystemExit(f"{folder}: nothing was measured there yet; say --rows")
        runs[folder] = json.loads(stored.read_text(encoding="utf-8"))
    table = markdown(means(runs))
    if args.fill:
        tables.fill(args.fill / "explanation" / "contest.md", {f"relearning-{args.name}": table})
    print(table)


if __name__ == "__main__":
    main()
