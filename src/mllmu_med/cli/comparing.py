"""The verb that compares: compare."""

from __future__ import annotations

from typing import Annotated

import typer

from mllmu_med.cli.options import Debug, Json, Quiet, Verbose


def compare(
    rows: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN:ROW RUN:ROW…",
            help="Rows to compare; or RUN ROW ROW…, or RUN alone for all its methods. RUN,RUN,RUN:ROW: several seeds.",
        ),
    ],
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric", "-m", metavar="NAME",
            help="Compare this alone, e.g. privacy.forget or retain.rouge_l_f1; may be repeated.",
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Compare every metric of every subset too.")] = False,
    difference: Annotated[
        float | None,
        typer.Option(
            "--difference", metavar="SIZE",
            help="How many patients and images it takes to find a true difference of this size, e.g. 0.05.",
        ),
    ] = None,
    json: Json = False, verbose: Verbose = False, quiet: Quiet = False, debug: Debug = False,
) -> None:  # fmt: skip
    """Say whether two rows differ by more than chance.

    Paired differences with 95 % interval and p-value, from the stored answers: by patient or image, with Holm's
    correction over all that is compared. A star marks what is told apart. In a run with
    controls.another_oracle=true also how far each row is from the oracle, beside how far two oracles are apart.

    \b
    Examples:
      mllmu-med compare phantom npo grad_diff
      mllmu-med compare phantom:npo second:npo
      mllmu-med compare seed0,seed1,seed2 npo grad_diff
      mllmu-med compare phantom npo grad_diff --difference 0.05
      mllmu-med compare phantom --metric privacy --json
    """
    from mllmu_med import api
    from mllmu_med.cli.comparison_printing import print_comparison

    found = api.compare(rows, metrics=metric or (), every=every, difference=difference)
    print_comparison(found, json=json)
