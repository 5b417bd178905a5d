"""Tables on disk: a damaged one is told in a line that names it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mllmu_med.errors import DataError


@contextmanager
def intact(path: Path) -> Iterator[None]:
    """Whatever a missing, torn or foreign parquet file does to those who read it within the block.

    Raises:
        DataError: it cannot be read, or its rows are not what they should be.
    """
    import pyarrow

    try:
        yield
    except FileNotFoundError:
        raise DataError("no such file", file=path, mend=_MEND) from None
    except PermissionError:
        raise
    except (pyarrow.ArrowException, OSError, TypeError, ValueError, KeyError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise DataError(f"damaged, or of another version: {reason}", file=path, mend=_MEND) from error


_MEND = "Delete its folder and run the same command again."
