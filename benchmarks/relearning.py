"""What comes back of the contest's rows when the attacker trains on a few of the forgotten records.

    python benchmarks/relearning.py runs/contest/few/theta0-0/seed-0 --rows npo.r100 excess.r100 correct.r100

A tenth of the forget records of each kind (whole patients, whole facts) is given to the attacker, who trains on them
at the rate at which θ0 was trained; the others are asked for after 0, 1, 3, 10 and 30 epochs (of as many steps as the
attack's own batches of them make). θ0 and the oracle are attacked alike: ``back`` = (model − oracle) / (θ0 − oracle) is
what the model held and did not learn anew. The attacks are carried out in ``relearning`` beside the run. Written:
``relearning.json`` and ``relearning.md`` in its folder.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from mllmu_med import api
from mllmu_med.attacks.weights.relearning import RelearnFew
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
                "name": row["name"], "scenario": scenario,
                **{kind: [point[kind] for point in one["points"]] for kind in ("model", "original", "oracle", "back")},
            })  # fmt: skip
    return found


def markdown(entries: Sequence[Mapping[str, Any]]) -> str:
    """Recovered share of what the attacker was not given, row by row."""
    head = ["row", "of", "before", *(f"{epochs} epochs".removesuffix("s" * (epochs == 1)) for epochs in EPOCHS)]
    lines = [head, ["---", "---", *["--:"] * (len(head) - 2)]]
    for one in entries:
        lines.append([f"`{one['name']}`", one["scenario"], *(f"{value:.2f}" for value in one["model"])])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def main() -> None:
    """Parse, carry out, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a run of the contest: OUTPUT/REGIME/theta0-N/seed-M")
    parser.add_argument("--rows", nargs="+", required=True, help="rows of it, e.g. npo.r100")
    args = parser.parse_args()
    entries = attacked(args.folder, args.rows)
    (args.folder / "relearning.json").write_text(json.dumps(entries, indent=2) + "\n", "utf-8")
    (args.folder / "relearning.md").write_text(markdown(entries), encoding="utf-8")
    print(markdown(entries))


if __name__ == "__main__":
    main()
