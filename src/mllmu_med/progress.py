"""One way to show progress: a bar on a terminal, nothing in a pipe, the same calls in every process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, NamedTuple

log = logging.getLogger("mllmu_med")
_enabled = True
_sink: Callable[[Event], None] | None = None
_numbers = count()


class Event(NamedTuple):
    """What a worker process tells of one of its bars; ``title`` only when it begins, ``ended`` only when it ends."""

    bar: int
    title: str | None = None
    total: float | None = None
    advance: float = 0
    note: str | None = None
    ended: bool = False


def show_progress(enabled: bool) -> None:
    """Switch bars on or off for the whole process (``-q`` switches them off)."""
    global _enabled
    _enabled = enabled


def send_progress(sink: Callable[[Event], None]) -> None:
    """In a worker process: send every bar's events to ``sink`` instead of drawing."""
    global _sink
    _sink = sink


class Bar:
    """Handle of a running bar; does nothing where no bar is shown."""

    def __init__(self, update: Callable[[float, str | None], None] | None = None) -> None:
        self._update = update

    def advance(self, steps: float = 1, note: str | None = None) -> None:
        """Move on by ``steps``; ``note`` replaces the text at the right end."""
        if self._update is not None:
            self._update(steps, note)


@contextmanager
def bar(title: str, total: float | None) -> Iterator[Bar]:
    """A progress bar on standard error, with elapsed and remaining time."""
    if _sink is not None:
        sink, number = _sink, next(_numbers)
        sink(Event(number, title, total))
        try:
            yield Bar(lambda steps, note: sink(Event(number, advance=steps, note=note)))
        finally:
            sink(Event(number, ended=True))
        return
    with drawing() as progress:
        if progress is None:
            yield Bar()
            return
        task = progress.add_task(title, total=total, note="")
        yield Bar(lambda steps, note: _move(progress, task, steps, note))


def _move(progress: Any, task: Any, steps: float, note: str | None) -> None:
    progress.update(task, advance=steps, **({} if note is None else {"note": note}))


@contextmanager
def drawing() -> Iterator[Any]:
    """A rich ``Progress`` on standard error, or None where nothing is drawn."""
    from rich.console import Console

    console = Console(stderr=True)
    if not _enabled or not console.is_terminal:
        yield None
        return
    from rich import progress as rich_progress

    columns = (
        rich_progress.TextColumn("{task.description:<28}"),
        rich_progress.BarColumn(bar_width=30),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TimeElapsedColumn(),
        rich_progress.TimeRemainingColumn(),
        rich_progress.TextColumn("{task.fields[note]}"),
    )
    with rich_progress.Progress(*columns, console=console, transient=False) as progress:
        yield progress


class Board:
    """Draws the bars of several worker processes; feed it their events."""

    def __init__(self, progress: Any) -> None:
        self._progress = progress
        self._tasks: dict[tuple[int, int], Any] = {}

    def take(self, worker: int, event: Event) -> None:
        """Draw one event of one worker."""
        if self._progress is None:
            return
        key = (worker, event.bar)
        if event.title is not None:
            self._tasks[key] = self._progress.add_task(event.title, total=event.total, note="")
        elif event.ended:
            self._progress.stop_task(self._tasks.pop(key))
        else:
            _move(self._progress, self._tasks[key], event.advance, event.note)
