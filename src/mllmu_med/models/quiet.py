"""Silence for transformers' own progress bars, which would be drawn across ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_foreign_bars() -> Iterator[None]:
    """Switch the loading and saving bars of transformers off for a block, and back to what they were."""
    from transformers.utils import logging

    before = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if before:
            logging.enable_progress_bar()
