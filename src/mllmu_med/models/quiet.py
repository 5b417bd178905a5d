"""Silence for what other packages say across our own output, and nobody who runs a recipe can do anything about."""

from __future__ import annotations

import warnings
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


@contextmanager
def no_renamed_attributes() -> Iterator[None]:
    """Leave out the warning that PEFT, putting adapters on a model, asks transformers for an attribute by its old name
    (PEFT 0.21, transformers 5.23)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        yield
