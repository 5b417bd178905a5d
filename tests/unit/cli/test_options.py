"""The order that all working verbs take: what is typed arrives, and a verb's own options keep their place."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import Annotated

import typer
from typer.testing import CliRunner

from mllmu_med.cli.options import Order, ordered

Trials = Annotated[int, typer.Option("--trials", help="So many.")]


def application(found: list[tuple[Order, int]]) -> typer.Typer:
    app = typer.Typer()

    @app.command()
    @ordered
    def verb(order: Order, trials: Trials = 8) -> None:
        """Does it."""
        found.append((order, trials))

    return app


def test_what_is_typed_arrives_and_the_rest_has_its_default() -> None:
    found: list[tuple[Order, int]] = []
    typed = ["slake", "seed=2", "-o", "here", "--seed", "3", "--limit", "5", "-j", "2", "--dry-run", "--json"]
    for words in ([], [*typed, "--trials", "4"]):
        assert CliRunner().invoke(application(found), words).exit_code == 0
    assert found[0] == (Order(), 8)
    given = Order("slake", ["seed=2"], Path("here"), seed=3, limit=5, jobs=2, dry_run=True, json=True)
    assert found[1] == (given, 4)
    assert CliRunner().invoke(application(found), ["--seed", "-1"]).exit_code == 2, "bounds hold"
    assert CliRunner().invoke(application(found), ["--trial", "1"]).exit_code == 2


def test_a_verbs_own_options_stand_behind_the_recipe_in_its_help() -> None:
    @ordered
    def verb(order: Order, trials: Trials = 8) -> None:
        """Does it."""

    assert [*signature(verb).parameters][:4] == ["recipe", "overrides", "trials", "output"]
    assert (verb.__name__, verb.__doc__) == ("verb", "Does it.")
