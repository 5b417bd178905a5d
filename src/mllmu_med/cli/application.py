"""The application: verbs, signals, and errors as one line and one exit code."""

from __future__ import annotations

import errno
import inspect
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from mllmu_med import __version__
from mllmu_med.cli import asking, comparing, looking, running
from mllmu_med.cli.options import DEBUG
from mllmu_med.cores import wait_shortly
from mllmu_med.errors import Interrupted, MedError

HELP = """Put private data and wrong facts into a medical dataset, teach it to a model, unlearn them, see what is left.

\b
Start here:
  mllmu-med run                        the embedded example, offline, minutes
  mllmu-med run slake source.path=DIR  a real dataset
  mllmu-med ls                         recipes, methods, attacks, runs, …

\b
Exit codes: 0 ok, 2 wrong usage, 3 bad data, 6 a file was changed,
  5 interrupted: the same command resumes, 1 anything else
"""


class Verbs(TyperGroup):
    """The group of verbs; turns our errors and interruptions into one line and an exit code."""

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order of a run, not of the alphabet."""
        return list(self.commands)

    def invoke(self, ctx: Any) -> Any:
        """Run a verb."""
        error: MedError
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interruption:
            command = shlex.join(["mllmu-med", *ctx.meta.get("arguments", ())])
            error = Interrupted(f"interrupted; resume with the same command: {command}")
            error.__cause__ = interruption
        except MedError as raised:
            error = raised
        except OSError as raised:  # no room, no permission: the user's to mend, not ours
            if raised.errno == errno.EPIPE:
                raise
            error = MedError(f"{raised.filename or 'file system'}: {raised.strerror or raised}")
            error.__cause__ = raised
        if ctx.meta.get(DEBUG):
            raise error
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(error.exit_code)

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Keep the arguments: an interrupted command names itself."""
        arguments = list(args)
        context = super().make_context(info_name, args, parent, **extra)
        context.meta["arguments"] = arguments
        return context


app = typer.Typer(cls=Verbs, help=HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mllmu-med {__version__}")
        raise typer.Exit


@app.callback()
def _group(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def _flowing(text: str) -> str:
    """The text with each paragraph on one line, for the terminal's width to break; typer keeps the source's breaks.
    Paragraphs that begin with a backspace stay as they are."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(each if each.startswith("\b") else each.replace("\n", " ") for each in paragraphs)


VERBS: Mapping[str, Callable[..., None]] = {
    "run": running.run,
    "build": running.build,
    "learn": running.learn,
    "unlearn": running.unlearn,
    "tune": running.tune,
    "evaluate": running.evaluate,
    "attack": running.attack,
    "ask": asking.ask,
    "score": looking.score,
    "compare": comparing.compare,
    "metaeval": running.metaeval,
    "report": looking.report,
    "check": looking.check,
    "show": looking.show,
    "ls": looking.list_things,
    "doctor": looking.doctor,
}
for _name, _verb in VERBS.items():
    app.command(_name, help=_flowing(_verb.__doc__ or ""))(_verb)


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _termination_is_interruption() -> Iterator[None]:
    """SIGTERM (a scheduler's way to say stop) ends a run as Ctrl-C does: staged folders go, checkpoints stay."""
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    wait_shortly()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # of numpy, whose matrices here are small; torch has its own
    with _termination_is_interruption():
        try:
            app(args=list(sys.argv[1:] if arguments is None else arguments), prog_name="mllmu-med")
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else int(bool(end.code))
    return 0
