"""The command line: parse, call the API, print. Nothing heavy is imported before a verb needs it."""

from __future__ import annotations

from mllmu_med.cli.application import main

__all__ = ["main"]
