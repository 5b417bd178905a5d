"""Single files that are whole or absent."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Write beside ``path``, sync, then rename: an earlier file is replaced in one step, and kept if anything fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stage = path.with_name(f".staging-{path.name}-{os.getpid()}")
    try:
        with stage.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(stage, path)
    finally:
        stage.unlink(missing_ok=True)
