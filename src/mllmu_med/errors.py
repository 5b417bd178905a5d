"""Errors a user can act on. Each becomes one line on the terminal and one exit code."""

from __future__ import annotations

from pathlib import Path


class MedError(Exception):
    """Base of every error this package raises on purpose; shown without a traceback unless ``--debug``."""

    exit_code = 1


class UsageError(MedError):
    """The command, the recipe or an argument is wrong (exit code 2)."""

    exit_code = 2


class DataError(MedError):
    """Input data cannot be used (exit code 3). The message names file, record, reason and mend."""

    exit_code = 3

    def __init__(
        self, reason: str, *, file: Path | str | None = None, record: str | int | None = None, mend: str | None = None
    ) -> None:
        where = [str(file)] if file is not None else []
        if record is not None:
            where.append(f"record {record}")
        self.reason, self.file, self.record, self.mend = reason, file, record, mend
        text = ": ".join([", ".join(where), reason]) if where else reason
        super().__init__(f"{text}. {mend}" if mend else text)


class Interrupted(MedError):
    """The work was stopped and can be resumed by the same command (exit code 5)."""

    exit_code = 5


class IntegrityError(MedError):
    """A file does not have the content its manifest promises (exit code 6)."""

    exit_code = 6
