"""Stages side by side: whatever has its inputs runs in one of several worker processes.

A small model gains little from a second thread, while two stages on two cores take half the time. How many run at
once changes no byte: each stage's number of threads is its own (``Stage.threads``), not its lane's.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from mllmu_med.cores import wait_shortly
from mllmu_med.errors import IntegrityError, Interrupted, UsageError
from mllmu_med.locks import alone
from mllmu_med.pipeline.stage import Stage, took
from mllmu_med.progress import Board, Event, drawing, log, send_progress
from mllmu_med.recipe import Recipe

STOPPED = "stopped; resume with the same command"
DIED = (
    "a worker process ended before its work did: out of memory, or killed. What is finished is kept; the same command "
    'goes on. In a script of your own, make this call under `if __name__ == "__main__":`'
)
_stages: dict[str, Stage] = {}
_at_work: list[str] = []


@contextmanager
def alone_in(output: Path) -> Iterator[None]:
    """One process at a time writes into a run's folder: another recipe's stages would get in between.

    Raises:
        UsageError: another one is at it; or a worker process imports the program that started it.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise UsageError(
            'every worker process runs this script again: make the call under `if __name__ == "__main__":`'
        )
    with alone(output) as only:
        if not only:
            raise UsageError(f"{output}: another process is at work there; wait for it, or choose another folder")
        yield


def run_stages(recipe: Recipe, output: Path, stages: Sequence[Stage], jobs: int) -> None:
    """Bring every stage up to date; with ``jobs`` > 1, up to so many at once, each after those it needs.

    Called within :func:`alone_in`.

    Raises:
        Interrupted: a stop was asked for, and what was running has saved its state; or a worker process is gone.
        Exception: the first failure of a stage, after the others that were running have ended.
    """
    if jobs == 1 or sum(stage.reason() is not None for stage in stages) <= 1:
        try:
            for stage in stages:
                stage.ensure()
        except BrokenProcessPool as broken:  # a stage may have workers of its own, for images
            raise Interrupted(DIED) from broken
        return
    done = {stage.name for stage in stages if stage.reason() is None}
    names = {stage.name for stage in stages}
    waiting = [stage for stage in stages if stage.name not in done]
    running: dict[Future[None], Stage] = {}
    failure: BaseException | None = None
    with _pool(recipe, output, jobs) as pool, _forward_signals(pool) as stop:
        while waiting or running:
            ready = [s for s in waiting if not (set(s.needs) & names) - done] if failure is None and not stop else []
            for stage in ready[: jobs - len(running)]:
                log.info("%s: %s", stage.name, stage.estimate)
                running[pool.submit(_ensure, stage.name, stage.key)] = stage
                waiting.remove(stage)
            if not running:
                break
            finished, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in finished:
                stage = running.pop(future)
                error = future.exception()
                if error is None:
                    done.add(stage.name)
                    log.info("%s: %s", stage.name, took(stage.facts()))
                elif failure is None:
                    died = isinstance(error, BrokenProcessPool)
                    failure = Interrupted(STOPPED if stop else DIED) if died else error
    if failure is not None:
        raise failure
    if stop and waiting:
        raise Interrupted(STOPPED)


@contextmanager
def _pool(recipe: Recipe, output: Path, jobs: int) -> Iterator[ProcessPoolExecutor]:
    wait_shortly()  # the workers; Python programs, which the command line does not start, have them, too
    context = multiprocessing.get_context("spawn")
    events: Any = context.Queue()
    given = (recipe.to_dict(), str(output.absolute()), events, log.level)
    with drawing() as progress:
        board = Board(progress)
        listener = threading.Thread(target=_listen, args=(events, board), daemon=True)
        listener.start()
        with ProcessPoolExecutor(jobs, mp_context=context, initializer=_start, initargs=given) as pool:
            yield pool
        events.put(None)
        listener.join()


def _listen(events: Any, board: Board) -> None:
    while (item := events.get()) is not None:
        board.take(*item)


@contextmanager
def _forward_signals(pool: ProcessPoolExecutor) -> Iterator[list[int]]:
    """Pass the first SIGINT or SIGTERM on to the workers, so that they save their state; it is noted in the list."""
    received: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        received.append(number)
        for process in list(getattr(pool, "_processes", {}).values()):
            os.kill(process.pid, signal.SIGINT)

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _start(recipe: dict[str, Any], output: str, events: Any, level: int) -> None:
    """In a fresh worker process: rebuild the stages."""
    from mllmu_med.pipeline.stages import all_stages

    os.setpgrp()  # the terminal's Ctrl-C reaches the parent alone, which passes it on once
    signal.signal(signal.SIGINT, _stop)
    log.setLevel(max(level, 30))  # the parent tells of stages; warnings of a worker are shown

    def send(event: Event) -> None:
        events.put((os.getpid(), event))

    send_progress(send)
    _stages.update({stage.name: stage for stage in all_stages(Recipe.model_validate(recipe), Path(output))})


def _stop(number: int, frame: FrameType | None) -> None:
    """Only a stage at work is stopped: a worker that ends while it waits would take the others down with it."""
    if _at_work:
        raise Interrupted(STOPPED)


def _ensure(name: str, key: str) -> None:
    if _stages[name].key != key:
        raise IntegrityError(f"{name}: code or data changed while the run was going on. Run the same command again.")
    _at_work.append(name)
    try:
        _stages[name].ensure()
    finally:
        _at_work.clear()
