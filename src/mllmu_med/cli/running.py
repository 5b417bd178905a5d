"""The verbs that work: run, and its stages build, learn, unlearn, evaluate, attack."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mllmu_med.cli import printing
from mllmu_med.cli.options import Order, ordered

if TYPE_CHECKING:
    from mllmu_med.recipe import Recipe

Methods = Annotated[list[str] | None, typer.Option("--method", "-m", help="Only this method; may be repeated.")]
Trials = Annotated[int, typer.Option("--trials", min=2, help="Settings to try for each method.")]
RetainBudget = Annotated[
    float | None,
    typer.Option(
        "--retain-budget",
        min=0.0,
        help="Stop at the last step at which at most this share of the validation answers is lost "
        "(nats a token, where the recipe measures the loss).",
    ),
]


@ordered
def run(order: Order) -> None:
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
    _carry_out("report", order, _load(order))


@ordered
def build(order: Order) -> None:
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
    _carry_out("build", order, _load(order))


@ordered
def learn(order: Order) -> None:
    """Train the base model, the original θ0 and the oracle θ*.

    θ0 has learnt everything, the oracle never saw the forget set.

    \b
    Examples:
      mllmu-med learn
      mllmu-med learn phantom learn.original.steps=2000
    """
    _carry_out("learn", order, _load(order))


@ordered
def unlearn(
    order: Order,
    method: Methods = None,
    retain_budget: RetainBudget = None,
) -> None:
    """Unlearn the forget set.

    A method is an objective, with add-ons behind plus signs, or another of "ls methods".

    Without --method, a recipe of your own says which. With one that comes with the package it is
    excess where all retain data may be used, and excess+siblings where unlearn.retain_share is
    less. At equal tuning (docs/ours.md) excess is among the best by every score, and with a small
    model forgotten patients stand out least to a membership test; siblings keep most of the
    patients that are not replayed, whom methods without them forget.

    With siblings it takes half the recipe's rate for excess: slower, and more of these patients
    stay; and two fifths of its retain batch, for siblings have the place of the rest. Then it
    hides nobody: a membership test finds forgotten patients. Where many patients go and few stay
    it wants more steps than these, e.g. unlearn.steps=400, or --method correct+siblings, which
    forgets more and keeps fewer; what is left is measured at the end, and a warning says when
    answers are still given.

    \b
    Examples:
      mllmu-med unlearn
      mllmu-med unlearn --method npo --method npo+gu
      mllmu-med unlearn phantom -m npo methods.npo.parameters.beta=0.5
      mllmu-med unlearn -m grad_diff --retain-budget 0.02
    """
    if retain_budget is not None:  # said in the call, like any other change
        order = replace(order, overrides=[*(order.overrides or ()), f"unlearn.retain_budget={retain_budget}"])
    recipe = _load(order, method)
    if not method and _methods_are_chosen(order):
        _carry_out("unlearn", order, recipe)
    else:
        _carry_out("unlearn", order, _as_called(recipe if method else _recommended(recipe), order))


@ordered
def tune(
    order: Order,
    method: Methods = None,
    trials: Trials = 5,
) -> None:
    """Try several settings of each method, the same number for all, on the validation part.

    The first trial has the recipe's own settings, the others are drawn from the grid that the method declares; where
    the grid of one ends earlier, all get as few. No oracle is used, the test part is not touched. All trials are
    recorded; the best settings are a recipe of their own.

    \b
    Examples:
      mllmu-med tune --method excess --trials 8 --dry-run
      mllmu-med tune -m grad_diff -m npo -m npo+gu
      mllmu-med run runs/phantom/tuning/tuned.yaml -o runs/phantom
    """
    from mllmu_med import api

    loaded = _load(order, method)
    folder = api.run_folder(loaded, order.output)
    if order.dry_run:
        from mllmu_med.pipeline.tuning import plan_tuning, tuning_folder

        _, stages = plan_tuning(loaded, folder, trials)
        printing.print_plan(loaded, tuning_folder(folder), stages, json=order.json)
    else:
        printing.print_tuning(api.tune(loaded, order.output, trials=trials, jobs=order.jobs), folder, json=order.json)


@ordered
def evaluate(order: Order) -> None:
    """Ask every model every question and score the answers.

    Writes results.json and results.csv.

    \b
    Examples:
      mllmu-med evaluate
      mllmu-med evaluate phantom evaluate.bootstrap=5000 --json
    """
    _carry_out("score", order, _load(order))


@ordered
def attack(
    order: Order,
    attacks: Annotated[
        list[str] | None,
        typer.Option("--attack", "-a", metavar="NAME", help="Only this attack; may be given several times."),
    ] = None,
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
    loaded = _load(order)
    if attacks:
        loaded = _with_attacks(loaded, attacks)
    elif loaded.attack.attacks == ():
        loaded = _load_again(loaded, "attack.attacks=all")
    _carry_out("score", order, loaded)


@ordered
def metaeval(
    order: Order,
    models: Annotated[int, typer.Option("--models", min=2, help="Models in each of the two pools.")] = 4,
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

    loaded = _load(order)
    folder = api.run_folder(loaded, order.output)
    if order.dry_run:
        from mllmu_med.pipeline.metaeval import plan_metaeval

        printing.print_plan(loaded, folder, plan_metaeval(loaded, folder, models), json=order.json)
    else:
        printing.print_metaeval(
            api.metaeval(loaded, order.output, models=models, jobs=order.jobs), folder, json=order.json
        )


def _load_again(recipe: Recipe, change: str) -> Recipe:
    from mllmu_med.recipe import load_recipe

    return load_recipe(recipe, change)


def _with_attacks(recipe: Recipe, names: list[str]) -> Recipe:
    """The recipe with these attacks alone, each with the numbers that it gives them."""
    own = () if recipe.attack.attacks == "all" else recipe.attack.attacks
    numbers = {choice.name: choice.parameters for choice in own}
    chosen = [{"name": name, "parameters": numbers.get(name, {})} for name in names]
    return _load_again(recipe, f"attack.attacks={json.dumps(chosen)}")


def _methods_are_chosen(order: Order) -> bool:
    """Whether somebody did: in the call, or in a recipe of their own. The recipes of the package list what is worth
    comparing."""
    from mllmu_med.recipe import shipped_recipes

    if "methods" in {name.partition(".")[0] for name in _changed(order)}:
        return True
    file = Path(order.recipe)
    return file.is_file() and file.resolve() not in {path.resolve() for path in shipped_recipes().values()}


def _changed(order: Order) -> list[str]:
    """Names of the settings that the call changes, e.g. ``unlearn.steps``."""
    return [change.partition("=")[0].strip() for change in (order.recipe, *(order.overrides or ()))]


def _recommended(recipe: Recipe) -> Recipe:
    from mllmu_med.recipe import Recipe, load_recipe
    from mllmu_med.recipe.settings import RECOMMENDED, WITH_LESS_RETAIN

    less, named = recipe.unlearn.retain_share < 1, {method.name for method in recipe.methods}
    chosen = load_recipe(recipe, methods=[WITH_LESS_RETAIN if less and WITH_LESS_RETAIN in named else RECOMMENDED])
    if not less or WITH_LESS_RETAIN in named:
        return chosen
    settings = chosen.methods[0].model_dump(mode="json", exclude={"row"})
    changed = {
        "name": WITH_LESS_RETAIN, "learning_rate": settings["learning_rate"] / 2,
        "retain_batch": -(-2 * settings["retain_batch"] // 5),
    }  # fmt: skip
    return Recipe.model_validate({**chosen.to_dict(), "methods": [{**settings, **changed}]})


def _as_called(recipe: Recipe, order: Order) -> Recipe:
    """What the call says of ``unlearn`` counts, also where the recipe has settings of its own for a method; what it
    says of that method counts more."""
    from mllmu_med.recipe import Recipe

    changed, shared = _changed(order), recipe.unlearn.model_dump(mode="json")
    said = {name.split(".")[1] for name in changed if name.startswith("unlearn.")}
    methods = []
    for method in recipe.methods:
        own = {name.split(".")[2] for name in changed if name.startswith(f"methods.{method.row}.")}
        methods.append({**method.model_dump(mode="json"), **{name: shared[name] for name in said - own}})
    return Recipe.model_validate({**recipe.to_dict(), "methods": methods})


def _load(order: Order, methods: list[str] | None = None) -> Recipe:
    from mllmu_med.recipe import load_recipe

    recipe, changes = order.recipe, list(order.overrides or ())
    if "=" in recipe and not Path(recipe).is_file():  # "mllmu-med run seed=1": the recipe was left out
        recipe, changes = "phantom", [recipe, *changes]
    return load_recipe(recipe, *changes, seed=order.seed, limit=order.limit, methods=methods or ())


def _carry_out(until: str, order: Order, recipe: Recipe) -> None:
    from mllmu_med import api

    if order.dry_run:
        plan = api.plan(recipe, order.output, until=until)
        printing.print_plan(recipe, api.run_folder(recipe, order.output), plan, json=order.json)
    else:
        printing.print_result(api.run(recipe, order.output, until=until, jobs=order.jobs), json=order.json)
