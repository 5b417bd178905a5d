"""Locks between processes, which end with the process that has them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def lock(descriptor: int, *, without: bool = True) -> bool:
    """Take the lock of an open file or folder until it is closed; False where another process has it.

    Args:
        without: the answer on a file system that has no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return without
    return True


@contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Whether no other process is in such a block over the same folder, which itself is locked: no file is left."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # there is no such folder, or it may not be read
        yield True
        return
    try:
        yield lock(descriptor)
    finally:
        os.close(descriptor)
