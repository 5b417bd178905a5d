"""One way to show progress: a bar on a terminal, nothing in a pipe, the same calls everywhere."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger("mllmu_med")
_enabled = True


def show_progress(enabled: bool) -> None:
    """Switch bars on or off for the whole process (``-q`` switches them off)."""
    global _enabled
    _enabled = enabled


class Bar:
    """Handle of a running bar; does nothing where no bar is shown."""

    def __init__(self, progress: object = None, task: object = None) -> None:
        self._progress, self._task = progress, task

    def advance(self, steps: float = 1, note: str | None = None) -> None:
        """Move on by ``steps``; ``note`` replaces the text at the right end."""
        if self._progress is not None:
            fields = {} if note is None else {"note": note}
            self._progress.update(self._task, advance=steps, **fields)  # type: ignore[attr-defined]


@contextmanager
def bar(title: str, total: float | None) -> Iterator[Bar]:
    """A progress bar on standard error, with elapsed and remaining time."""
    from rich.console import Console

    console = Console(stderr=True)
    if not _enabled or not console.is_terminal:
        yield Bar()
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<28}"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=False) as progress:
        yield Bar(progress, progress.add_task(title, total=total, note=""))
