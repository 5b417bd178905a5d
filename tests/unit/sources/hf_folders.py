"""Folders as datasets writes them, for the tests of the source that reads them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from datasets import Dataset, Features, Image, Value
from PIL import Image as Pictures

from mllmu_med.sources import Record
from mllmu_med.sources.hf import HfSource
from mllmu_med.sources.images import read_image


def png(shade: int) -> bytes:
    """A grey image."""
    buffer = io.BytesIO()
    Pictures.new("L", (6, 4), shade).save(buffer, format="PNG")
    return buffer.getvalue()


def cell(shade: int) -> dict[str, Any]:
    """An image as datasets stores it."""
    return {"bytes": png(shade), "path": f"{shade}.png"}


def rows(number: int, **columns: Any) -> dict[str, list[Any]]:
    """Columns of so many rows; each column is a function of the row's number."""
    made = {"question": lambda n: f"Question {n}?", "answer": lambda n: f"answer {n}", "image": cell, **columns}
    return {name: [make(n) for n in range(number)] for name, make in made.items() if make is not None}


def features(**columns: Any) -> Features:
    """Features of a dataset with questions, answers and images; ``columns`` replace them, None takes one out."""
    found = {"question": Value("string"), "answer": Value("string"), "image": Image(), **columns}
    return Features({name: feature for name, feature in found.items() if feature is not None})


def save(folder: Path, values: dict[str, list[Any]], kinds: Features | None = None, split: str = "train") -> Path:
    """A folder with one parquet file of a split, as datasets writes it."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    table = Dataset.from_dict(values, features=kinds or features())
    pq.write_table(table.data.table, folder / "data" / f"{split}-00000-of-00001.parquet", row_group_size=4)
    return folder


def read(path: Path | str, **options: Any) -> list[Record]:
    """All records."""
    return list(HfSource(path, **options).records())


def data(record: Record) -> bytes:
    """The bytes of a record's image."""
    assert record.image is not None
    return read_image(record.image, record.id).data
