"""A benchmark on disk: parquet that ``datasets.load_dataset`` opens, and the reader of it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mllmu_med.benchmark.sample import Node, Probe, Region, Sample, Span, Stratum, Subset
from mllmu_med.errors import DataError
from mllmu_med.folders import read_manifest

if TYPE_CHECKING:
    import pyarrow
    from PIL.Image import Image

    from mllmu_med.sources.images import EncodedImage

FORMAT = "mllmu-med/benchmark/2"
_GROUP_BYTES = 16 * 2**20  # a row group is read whole to get at one image
_GROUP_ROWS = 64
_SHARD_BYTES = 512 * 2**20


def sample_schema() -> pyarrow.Schema:
    """Columns of the sample files: the fields of Sample, in their order."""
    import pyarrow as pa

    text = pa.string()
    span = pa.struct(
        [("phi_class", text), ("value", text), ("start", pa.int32()), ("end", pa.int32()), ("space", pa.float64())]
    )
    special = {
        "repetitions": pa.int32(),
        "spans": pa.list_(span),
        "phrasings": pa.list_(text),
        "probes": pa.list_(pa.struct([(field.name, text) for field in fields(Probe)])),
        "accepted": pa.list_(text),
        "hierarchy": pa.list_(pa.struct([(field.name, text) for field in fields(Node)])),
        "regions": pa.list_(
            pa.struct([("phi_class", text), *((side, pa.int32()) for side in ("x0", "y0", "x1", "y1"))])
        ),
    }
    return pa.schema([(field.name, special.get(field.name, text)) for field in fields(Sample)])


def image_schema() -> pyarrow.Schema:
    """Columns of the image files, with the metadata by which ``datasets`` decodes ``image`` into a picture."""
    import pyarrow as pa

    features = {
        "image_id": {"dtype": "string", "_type": "Value"},
        "image": {"_type": "Image"},
        "width": {"dtype": "int32", "_type": "Value"},
        "height": {"dtype": "int32", "_type": "Value"},
    }
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = [("image_id", pa.string()), ("image", image), ("width", pa.int32()), ("height", pa.int32())]
    metadata = {"huggingface": json.dumps({"info": {"features": features}}, sort_keys=True)}
    return pa.schema(columns, metadata=metadata)


def ledger_schema() -> pyarrow.Schema:
    """Columns of the ledger; see ``ledger.ledger_rows``."""
    import pyarrow as pa

    text = pa.string()
    names = ("fact_id", "scenario", "role", "group", "patient_id", "rule_id", "error_type", "severity",
             "wrong_answer", "correct_answer")  # fmt: skip
    lists = ("forms", "sample_ids", "record_ids", "image_ids", "phi_classes", "values")
    span = pa.struct([("sample_id", text), ("phi_class", text), ("start", pa.int32()), ("end", pa.int32())])
    return pa.schema(
        [(name, text) for name in names]
        + [(name, pa.list_(text)) for name in lists]
        + [("spaces", pa.list_(pa.float64())), ("spans", pa.list_(span)), ("repetitions", pa.int32())]
    )


def _write_table(path: Path, rows: list[dict[str, Any]], schema: pyarrow.Schema) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, compression="zstd")


def write_samples(folder: Path, samples: Iterable[Sample]) -> None:
    """``samples/<subset>-00000.parquet`` for every subset that has samples, in the given order."""
    by_subset: dict[Subset, list[Sample]] = {}
    for sample in samples:
        by_subset.setdefault(sample.subset, []).append(sample)
    (folder / "samples").mkdir()
    for subset, found in by_subset.items():
        rows = [_to_row(sample) for sample in found]
        _write_table(folder / "samples" / f"{subset.file_name}-00000.parquet", rows, sample_schema())


def write_ledger(folder: Path, rows: list[dict[str, Any]]) -> None:
    """``ledger.parquet``."""
    _write_table(folder / "ledger.parquet", rows, ledger_schema())


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


def _to_row(sample: Sample) -> dict[str, Any]:
    row = {field.name: getattr(sample, field.name) for field in fields(Sample)}
    for name in ("spans", "probes", "hierarchy", "regions"):
        row[name] = [asdict(item) for item in row[name]]
    return row


def _to_sample(row: Mapping[str, Any]) -> Sample:
    values = dict(row)
    values["subset"], values["stratum"] = Subset(values["subset"]), Stratum(values["stratum"])
    values["spans"] = tuple(Span(**span) for span in values["spans"])
    values["probes"] = tuple(Probe(**probe) for probe in values["probes"])
    values["hierarchy"] = tuple(Node(**node) for node in values["hierarchy"])
    values["regions"] = tuple(Region(**region) for region in values["regions"])
    values["phrasings"], values["accepted"] = tuple(values["phrasings"]), tuple(values["accepted"])
    return Sample(**values)


class Benchmark:
    """A finished benchmark folder, read lazily."""

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path, self.manifest = path, manifest
        self._last_group: tuple[tuple[Path, int], list[bytes]] | None = None

    @classmethod
    def open(cls, path: Path | str) -> Benchmark:
        """Open a folder.

        Raises:
            DataError: not a finished benchmark, or of another format.
        """
        path = Path(path)
        manifest = read_manifest(path)
        if manifest.get("format") != FORMAT:
            raise DataError(
                f"the format is {manifest.get('format')!r}, not '{FORMAT}'",
                file=path,
                mend="Build the benchmark again.",
            )
        return cls(path, manifest)

    def samples(self, *subsets: Subset) -> list[Sample]:
        """The samples of these subsets, of all if none is named; subset after subset, each in its stored order."""
        import pyarrow.parquet as pq

        found: list[Sample] = []
        for subset in subsets or tuple(Subset):
            for file in sorted((self.path / "samples").glob(f"{subset.file_name}-*.parquet")):
                found.extend(_to_sample(row) for row in pq.read_table(file).to_pylist())
        return found

    @cached_property
    def _index(self) -> dict[str, tuple[Path, int, int]]:
        """Image id → file, row group, row."""
        import pyarrow.parquet as pq

        index: dict[str, tuple[Path, int, int]] = {}
        for path in sorted((self.path / "images").glob("images-*.parquet")):
            with pq.ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    ids = file.read_row_group(group, columns=["image_id"]).column("image_id").to_pylist()
                    index.update({image_id: (path, group, row) for row, image_id in enumerate(ids)})
        return index

    def image_ids(self) -> list[str]:
        """All images, in the order in which the samples first use them."""
        return list(self._index)

    def image_bytes(self, image_id: str) -> bytes:
        """The encoded image; neighbours in ``image_ids()`` are cheap to read one after the other.

        Raises:
            DataError: no such image.
        """
        with suppress(KeyError):
            path, group, row = self._index[image_id]
            if self._last_group is None or self._last_group[0] != (path, group):
                self._last_group = ((path, group), self._read_group(path, group))
            return self._last_group[1][row]
        raise DataError(f"no image {image_id}", file=self.path)

    @staticmethod
    def _read_group(path: Path, group: int) -> list[bytes]:
        import pyarrow.parquet as pq

        with pq.ParquetFile(path) as file:
            column = file.read_row_group(group, columns=["image"]).column("image").to_pylist()
        return [row["bytes"] for row in column]

    def image(self, image_id: str) -> Image:
        """The picture, in RGB."""
        from PIL import Image

        with Image.open(io.BytesIO(self.image_bytes(image_id))) as image:
            return image.convert("RGB")

    def ledger(self) -> list[dict[str, Any]]:
        """One row per injected fact; see ``ledger.ledger_rows``."""
        import pyarrow.parquet as pq

        rows: list[dict[str, Any]] = pq.read_table(self.path / "ledger.parquet").to_pylist()
        return rows
