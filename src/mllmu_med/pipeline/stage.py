"""A stage: a folder whose name says what it is and whose manifest says what it was made from."""

from __future__ import annotations

import logging
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mllmu_med.cores import all_threads
from mllmu_med.folders import MANIFEST, read_manifest, refuse_foreign, staged
from mllmu_med.memory import forget_peak

log = logging.getLogger("mllmu_med")

VERBS = ("build", "learn", "unlearn", "evaluate", "score", "report", "metaeval")
Facts = dict[str, Any]


@dataclass(frozen=True)
class StagePlan:
    """What a dry run says of a stage.

    Attributes:
        status: ``done`` or ``to do``.
        reason: why.
        estimate: its size in plain words, e.g. ``1,500 steps of 16``.
    """

    name: str
    folder: Path
    status: str
    reason: str
    estimate: str


@dataclass(frozen=True)
class Stage:
    """A unit of work that reads folders and writes one.

    Attributes:
        name: as shown, e.g. ``theta0`` or ``evaluate npo``.
        verb: the command it belongs to.
        folder: where it is written.
        key: hash of everything it depends on, its parents' keys included.
        estimate: its size in plain words.
        make: writes into the staging folder and returns facts for the manifest.
        needs: names of the stages it reads.
        threads: of torch on the CPU; 0 = as many as there are cores. Part of the stage, because sums over more threads
            may round otherwise.
        closed_like: the benchmark's folder, which is closed to others where it holds real values: who may not read it
            may not read what models say about it either.
    """

    name: str
    verb: str
    folder: Path
    key: str
    estimate: str
    make: Callable[[Path], Facts]
    needs: tuple[str, ...] = ()
    threads: int = 0
    closed_like: Path | None = None

    def reason(self) -> str | None:
        """Why the stage must be made; None if it is done.

        Raises:
            UsageError: something that is no output stands where it would be written.
        """
        reason = self._reason()
        if reason is not None:
            refuse_foreign(self.folder)
        return reason

    def _reason(self) -> str | None:
        if not (self.folder / MANIFEST).is_file():
            return "absent"
        if read_manifest(self.folder).get("key") != self.key:
            return "its inputs have changed"
        return None

    def plan(self) -> StagePlan:
        """The stage as a dry run shows it."""
        reason = self.reason()
        return StagePlan(self.name, self.folder, "to do" if reason else "done", reason or "reused", self.estimate)

    def ensure(self, *, again: bool = False) -> bool:
        """Make the stage unless it is done, or in any case; returns whether it was made."""
        if not again and self.reason() is None:
            log.info("%s: reused", self.name)
            return False
        import torch

        log.info("%s: %s", self.name, self.estimate)
        began = time.perf_counter()
        forget_peak()
        torch.set_num_threads(self.threads or all_threads())
        facts: Facts = {"format": "mllmu-med/stage/1", "stage": self.name, "key": self.key}
        with staged(self.folder, facts) as folder:
            if self.closed_like is not None:
                folder.chmod(stat.S_IMODE(self.closed_like.stat().st_mode))
            facts.update(self.make(folder))
            facts.setdefault("seconds", round(time.perf_counter() - began, 3))  # of the making, where it was taken over
        log.info("%s: %s", self.name, took(facts))
        return True

    def facts(self) -> Facts:
        """The manifest of the finished stage."""
        return read_manifest(self.folder)


def took(facts: Facts) -> str:
    """How long a stage took, in words."""
    return f"{facts['seconds']:.1f} s" + (" when it was made; taken from the cache" if facts.get("cached") else "")
