"""Sources: published or own datasets, each streamed as records. One file per dataset."""

from __future__ import annotations

from collections.abc import Callable

from mllmu_med.registry import Registry
from mllmu_med.sources.record import About, ImageRef, Record, Source

SOURCES: Registry[Callable[..., Source]] = Registry(
    "source",
    {
        "phantom": "mllmu_med.sources.phantom:PhantomSource",
        "slake": "mllmu_med.sources.slake:SlakeSource",
        "jsonl": "mllmu_med.sources.jsonl:JsonlSource",
    },
)

__all__ = ["SOURCES", "About", "ImageRef", "Record", "Source"]
