"""The verbs that work: run, and its stages build, learn, unlearn, evaluate, attack."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mllmu_med.cli import printing
from mllmu_med.cli.options import Debug, DryRun, Jobs, Json, Limit, Output, Overrides, Quiet, RecipeName, Seed, Verbose

if TYPE_CHECKING:
    from mllmu_med.recipe import Recipe

Methods = Annotated[list[str] | None, typer.Option("--method", "-m", help="Only this method; may be repeated.")]
Trials = Annotated[int, typer.Option("--trials", min=1, help="Settings to try for each method.")]
RetainBudget = Annotated[
    float | None,
    typer.Option(
        "--retain-budget",
        min=0.0,
        help="Stop at the last step at which at most this share of the validation answers is lost.",
    ),
]


def run(
    recipe: RecipeName = "phantom",
    overrides: Overrides = None,
    output: Output = None,
    seed: Seed = None,
    limit: Limit = None,
    jobs: Jobs = None,
    dry_run: DryRun = False,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Carry out a whole recipe, from dataset to page.

    Builds, learns, unlearns, evaluates and reports. Finished stages are reused, an interrupted one resumes.
    The last line printed is the path of the page.

    \b
    Examples:
      mllmu-med run
      mllmu-med run --dry-run
      mllmu-med run phantom seed=1 methods=\\[grad_diff,npo] -o runs/second
      mllmu-med run recipes/slake.yaml source.path=Slake1.0 --limit 160
    """
    _carry_out("report", _load(recipe, overrides, seed, limit), output, jobs, dry_run, json)


def build(
    recipe: RecipeName = "phantom",
    overrides: Overrides = None,
    output: Output = None,
    seed: Seed = None,
    limit: Limit = None,
    jobs: Jobs = None,
    dry_run: DryRun = False,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Inject private data and wrong facts into a dataset.

    Reads the source, injects, splits, and writes the benchmark folder. A source's name does in place of a recipe's.

    \b
    Examples:
      mllmu-med build
      mllmu-med build slake source.path=Slake1.0 benchmark.patients_forgotten=8
      mllmu-med build vqa_rad source.path=VQA_RAD benchmark.forget_ratio=0.1
      mllmu-med ls sources
      mllmu-med build recipes/mine.yaml --dry-run
    """
    _carry_out("build", _load(recipe, overrides, seed, limit), output, jobs, dry_run, json)


def learn(
    recipe: RecipeName = "phantom",
    overrides: Overrides = None,
    output: Output = None,
    seed: Seed = None,
    limit: Limit = None,
    jobs: Jobs = None,
    dry_run: DryRun = False,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train the base model, the original θ0 and the oracle θ*.

    θ0 has learnt everything, the oracle never saw the forget set.

    \b
    Examples:
      mllmu-med learn
      mllmu-med learn phantom learn.original.steps=2000
    """
    _carry_out("learn", _load(recipe, overrides, seed, limit), output, jobs, dry_run, json)


def unlearn(
    recipe: RecipeName = "phantom",
    overrides: Overrides = None,
    method: Methods = None,
    retain_budget: RetainBudget = None,
    output: Output = None,
    seed: Seed = None,
    limit: Limit = None,
    jobs: Jobs = None,
    dry_run: DryRun = False,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Unlearn the forget set with each method.

    A method is an objective, with add-ons behind plus signs, or one of the other kinds that "ls methods" shows.

    \b
    Examples:
      mllmu-med unlearn
      mllmu-med unlearn --method npo --method npo+gu
      mllmu-med unlearn phantom -m npo methods.npo.parameters.beta=0.5
      mllmu-med unlearn -m grad_diff --retain-budget 0.02
    """
    loaded = _load(recipe, overrides, seed, limit, method, retain_budget)
    _carry_out("unlearn", loaded, output, jobs, dry_run, json)


def tune(
    recipe: RecipeName = "phantom",
    overrides: Overrides = None,
    method: Methods = None,
    trials: Trials = 8,
    output: Output = None,
    seed: Seed = None,
    limit: Limit = None,
    jobs: Jobs = None,
    dry_run: DryRun = False,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Try several settings of each method, the same number for all, on the validation part.

    The first trial has the recipe's own settings, the others are drawn from the grid that the method declares. No
    oracle is used, the test part is not touched. All trials are recorded; the best settings are a recipe of their own.

    \b
    Examples:
      mllmu-med tune --method npo --trials 6 --dry-run
      mllmu-med tune -m grad_diff -m npo -m npo+gu --trials 8
      mllmu-med run runs/phantom/tuning/tuned.yaml -o runs/phantom
    """
    from mllmu_med import api

    loaded = _load(recipe, overrides, seed, limit, method)
    folder = api.run_folder(loaded, output)
    if dry_run:
        from mllmu_med.pipeline.tuning import plan_tuning, tuning_folder

        _, stages = plan_tuning(loaded, folder, trials)
        printing.print_plan(loaded, tuning_folder(folder), stages, json=json)
    else:
        printing.print_tuning(api.tune(loaded, output, trials=trials, jobs=jobs), folder, json=json)


def evaluate(
    recipe: RecipeName = "phantom",
    overrides: Overrides = None,
    output: Output = None,
    seed: Seed = None,
    limit: Limit = None,
    jobs: Jobs = None,
    dry_run: DryRun = False,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Ask every model every question and score the answers.

    Writes results.json and results.csv.

    \b
    Examples:
      mllmu-med evaluate
      mllmu-med evaluate phantom evaluate.bootstrap=5000 --json
    """
    _carry_out("score", _load(recipe, overrides, seed, limit), output, jobs, dry_run, json)


def attack(
    recipe: RecipeName = "phantom",
    overrides: Overrides = None,
    attacks: Annotated[
        list[str] | None,
        typer.Option("--attack", "-a", metavar="NAME", help="Only this attack; may be given several times."),
    ] = None,
    output: Output = None,
    seed: Seed = None,
    limit: Limit = None,
    jobs: Jobs = None,
    dry_run: DryRun = False,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Try to get out of every model what it should have forgotten.

    Every attack is carried out on the original model and on the oracle, too: what the oracle gives was guessed.
    What comes back counts in UES-R. Attacks are those of --attack, else the recipe's, else all.

    \b
    Examples:
      mllmu-med attack
      mllmu-med attack phantom -a few_shot -a quantise
      mllmu-med ls attacks
    """
    loaded = _load(recipe, overrides, seed, limit)
    if attacks or loaded.attack.attacks == ():
        loaded = _load_again(loaded, f"attack.attacks=[{','.join(attacks)}]" if attacks else "attack.attacks=all")
    _carry_out("score", loaded, output, jobs, dry_run, json)


def metaeval(
    recipe: RecipeName = "phantom",
    overrides: Overrides = None,
    models: Annotated[int, typer.Option("--models", min=2, help="Models in each of the two pools.")] = 4,
    output: Output = None,
    seed: Seed = None,
    limit: Limit = None,
    jobs: Jobs = None,
    dry_run: DryRun = False,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Judge the metrics: do they tell models that hold the knowledge from models that never had it?

    Trains two pools of models, with the forget set and without it. A faithful metric tells the pools apart; a robust
    one judges their models as before after a little training on something else, and after rounding the weights.

    \b
    Examples:
      mllmu-med metaeval --models 4 --dry-run
      mllmu-med metaeval phantom -o runs/phantom
      mllmu-med metaeval slake source.path=Slake1.0 --json
    """
    from mllmu_med import api

    loaded = _load(recipe, overrides, seed, limit)
    folder = api.run_folder(loaded, output)
    if dry_run:
        from mllmu_med.pipeline.metaeval import plan_metaeval

        printing.print_plan(loaded, folder, plan_metaeval(loaded, folder, models), json=json)
    else:
        printing.print_metaeval(api.metaeval(loaded, output, models=models, jobs=jobs), folder, json=json)


def _load_again(recipe: Recipe, change: str) -> Recipe:
    from mllmu_med.recipe import load_recipe

    return load_recipe(recipe, change)


def _load(
    recipe: str,
    overrides: list[str] | None,
    seed: int | None,
    limit: int | None,
    methods: list[str] | None = None,
    retain_budget: float | None = None,
) -> Recipe:
    from mllmu_med.recipe import load_recipe

    changes = list(overrides or ())
    if "=" in recipe and not Path(recipe).is_file():  # "mllmu-med run seed=1": the recipe was left out
        recipe, changes = "phantom", [recipe, *changes]
    if retain_budget is not None:
        changes.append(f"unlearn.retain_budget={retain_budget}")
    return load_recipe(recipe, *changes, seed=seed, limit=limit, methods=methods or ())


def _carry_out(until: str, recipe: Recipe, output: Path | None, jobs: int | None, dry_run: bool, json: bool) -> None:
    from mllmu_med import api

    if dry_run:
        printing.print_plan(recipe, api.run_folder(recipe, output), api.plan(recipe, output, until=until), json=json)
    else:
        printing.print_result(api.run(recipe, output, until=until, jobs=jobs), json=json)
