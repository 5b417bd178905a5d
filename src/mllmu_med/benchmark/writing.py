"""Writing a benchmark's parquet files row group by row group: memory holds a few thousand rows at most."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from mllmu_med.benchmark.sample import Node, Probe, Region, Sample, Span, Subset
from mllmu_med.benchmark.schemas import image_schema, ledger_schema, sample_schema

if TYPE_CHECKING:
    import pyarrow

    from mllmu_med.sources.images import EncodedImage

_SAMPLE_ROWS = 2000
_GROUP_BYTES = 16 * 2**20  # a row group is read whole to get at one image
_GROUP_ROWS = 64
_SHARD_BYTES = 512 * 2**20
_NESTED = {"spans": Span, "probes": Probe, "hierarchy": Node, "regions": Region}


class SampleWriter:
    """``samples/<subset>-00000.parquet`` for every subset that gets samples, each in the order in which they come."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "samples"
        self._schema = sample_schema()
        self._waiting: dict[Subset, list[Sample]] = {}
        self._writers: dict[Subset, Any] = {}

    def __enter__(self) -> Self:
        self._folder.mkdir()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                for subset in self._waiting:
                    self._flush(subset)
        finally:
            for writer in self._writers.values():
                writer.close()

    def add(self, sample: Sample) -> None:
        """Write a sample, now or soon."""
        waiting = self._waiting.setdefault(sample.subset, [])
        waiting.append(sample)
        if len(waiting) == _SAMPLE_ROWS:
            self._flush(sample.subset)

    def _flush(self, subset: Subset) -> None:
        import pyarrow.parquet as pq

        waiting, self._waiting[subset] = self._waiting[subset], []
        if subset not in self._writers:
            path = self._folder / f"{subset.file_name}-00000.parquet"
            self._writers[subset] = pq.ParquetWriter(path, self._schema, compression="zstd")
        if waiting:
            self._writers[subset].write_table(_sample_table(waiting, self._schema))


def _sample_table(samples: list[Sample], schema: pyarrow.Schema) -> pyarrow.Table:
    """Column by column, which is several times faster than row by row."""
    import pyarrow as pa

    columns = []
    for column in schema:
        values = [getattr(sample, column.name) for sample in samples]
        kind = _NESTED.get(column.name)
        if kind is not None:
            names = [field.name for field in fields(kind)]
            values = [[{name: getattr(item, name) for name in names} for item in items] for items in values]
        columns.append(pa.array(values, type=column.type))
    return pa.Table.from_arrays(columns, schema=schema)


def write_samples(folder: Path, samples: Iterable[Sample]) -> None:
    """All samples at once."""
    with SampleWriter(folder) as writer:
        for sample in samples:
            writer.add(sample)


def write_ledger(folder: Path, rows: list[dict[str, Any]]) -> None:
    """``ledger.parquet``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist(rows, schema=ledger_schema())
    pq.write_table(table, folder / "ledger.parquet", compression="zstd")


def write_images(folder: Path, images: Iterable[EncodedImage]) -> int:
    """``images/images-<shard>.parquet``; holds at most one row group in memory. Returns the number of images."""
    import pyarrow.parquet as pq

    (folder / "images").mkdir()
    writer: Any = None
    shard = written = count = 0
    try:
        for group in _row_groups(images):
            if writer is None or written > _SHARD_BYTES:
                if writer is not None:
                    writer.close()
                path = folder / "images" / f"images-{shard:05d}.parquet"
                # Encoded images do not compress; statistics of the bytes would repeat them in the footer.
                writer = pq.ParquetWriter(
                    path, image_schema(), compression="none", use_dictionary=False, write_statistics=False
                )
                shard, written = shard + 1, 0
            writer.write_table(_image_table(group))
            written += sum(len(image.data) for image in group)
            count += len(group)
    finally:
        if writer is not None:
            writer.close()
    return count


def _row_groups(images: Iterable[EncodedImage]) -> Iterator[list[EncodedImage]]:
    group: list[EncodedImage] = []
    for image in images:
        group.append(image)
        if len(group) == _GROUP_ROWS or sum(len(held.data) for held in group) > _GROUP_BYTES:
            yield group
            group = []
    if group:
        yield group


def _image_table(group: list[EncodedImage]) -> pyarrow.Table:
    import pyarrow as pa

    rows = [
        {"image_id": e.id, "image": {"bytes": e.data, "path": None}, "width": e.width, "height": e.height}
        for e in group
    ]
    return pa.Table.from_pylist(rows, schema=image_schema())
