"""Arguments and options that several verbs share, and what -v, -q and --debug do."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec, get_type_hints

import typer

from mllmu_med.progress import log, show_progress

DEBUG = "debug"


def _verbose(ctx: typer.Context, wanted: bool) -> bool:
    _log_to_stderr()
    if wanted:
        log.setLevel(logging.DEBUG)
    return wanted


def _quiet(ctx: typer.Context, wanted: bool) -> bool:
    if wanted:
        log.setLevel(logging.WARNING)
        show_progress(False)
    return wanted


def _debug(ctx: typer.Context, wanted: bool) -> bool:
    ctx.meta[DEBUG] = wanted
    return wanted


class _Stderr(logging.StreamHandler[Any]):
    """Writes to standard error as it is at the moment of writing."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message."""
        typer.echo(self.format(record), err=True)


def _log_to_stderr() -> None:
    log.setLevel(logging.INFO)
    show_progress(True)
    if not any(isinstance(handler, _Stderr) for handler in log.handlers):
        log.addHandler(_Stderr())
        log.propagate = False


RecipeName = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        help="A YAML file, or the name of a recipe that comes with the package.",
        show_default="phantom",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Changes to the recipe, e.g. seed=1 or model.lora.rank=8."),
]


def _folder(text: str) -> Path:
    if not text.strip():  # an unset variable would mean the folder one stands in
        raise typer.BadParameter("is empty")
    return Path(text)


Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", parser=_folder, metavar="PATH", help="Folder of the run.", show_default="runs/<recipe name>"
    ),
]
Seed = Annotated[
    int | None, typer.Option("--seed", min=0, help="Seed of everything that is drawn.", show_default="the recipe's")
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Read at most so many images: a small trial run.")]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs", "-j", min=1, help="Stages at once. Changes no result.", show_default="what fits the machine"
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and write nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", callback=_verbose, help="Say more.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", callback=_quiet, help="Only warnings, no progress bars.")]
Debug = Annotated[bool, typer.Option("--debug", callback=_debug, help="Show a traceback when something goes wrong.")]


@dataclass(frozen=True)
class Order:
    """What every verb that works on a recipe is told, in the order of its help: its own come behind the recipe."""

    recipe: RecipeName = "phantom"
    overrides: Overrides = None
    output: Output = None
    seed: Seed = None
    limit: Limit = None
    jobs: Jobs = None
    dry_run: DryRun = False
    json: Json = False
    verbose: Verbose = False
    quiet: Quiet = False
    debug: Debug = False


_RECIPE = ("recipe", "overrides")
_Own = ParamSpec("_Own")


def ordered(verb: Callable[Concatenate[Order, _Own], None]) -> Callable[..., None]:
    """A command that takes the fields of :class:`Order` beside the verb's own options, and hands them on as one."""
    hints = get_type_hints(Order, include_extras=True)
    own_hints = get_type_hints(verb, include_extras=True)
    own = [
        Parameter(one.name, Parameter.KEYWORD_ONLY, default=one.default, annotation=own_hints[one.name])
        for one in list(signature(verb).parameters.values())[1:]
    ]
    shared = {
        one.name: Parameter(one.name, Parameter.KEYWORD_ONLY, default=one.default, annotation=hints[one.name])
        for one in fields(Order)
    }
    first, rest = [shared[name] for name in _RECIPE], [one for name, one in shared.items() if name not in _RECIPE]

    @wraps(verb)
    def command(**given: Any) -> None:
        order = Order(**{name: given.pop(name) for name in shared})
        verb(order, **given)  # type: ignore[call-arg]  # typer has checked the names

    # Typer reads both: what is asked for, and of what type it is.
    command.__signature__ = Signature([*first, *own, *rest])  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in (*first, *own, *rest)}
    return command
