"""Sources: published or own datasets, each streamed as records. One file per dataset."""

from __future__ import annotations

from collections.abc import Callable

from mllmu_med.registry import Registry
from mllmu_med.sources.record import About, ImageRef, Record, Source

SOURCES: Registry[Callable[..., Source]] = Registry(
    "source",
    {
        "csv": "mllmu_med.sources.csv_file:CsvSource",
        "dicom": "mllmu_med.sources.dicom:DicomSource",
        "hf": "mllmu_med.sources.hf:HfSource",
        "jsonl": "mllmu_med.sources.jsonl:JsonlSource",
        "llava": "mllmu_med.sources.llava:LlavaSource",
        "medforget": "mllmu_med.sources.medforget:MedForgetSource",
        "mllmu_bench": "mllmu_med.sources.mllmu_bench:MllmuBenchSource",
        "path_vqa": "mllmu_med.sources.path_vqa:PathVqaSource",
        "phantom": "mllmu_med.sources.phantom:PhantomSource",
        "pmc_vqa": "mllmu_med.sources.pmc_vqa:PmcVqaSource",
        "slake": "mllmu_med.sources.slake:SlakeSource",
        "unlok_vqa": "mllmu_med.sources.unlok_vqa:UnlokVqaSource",
        "vqa_rad": "mllmu_med.sources.vqa_rad:VqaRadSource",
    },
)

__all__ = ["SOURCES", "About", "ImageRef", "Record", "Source"]
